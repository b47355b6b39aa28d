"""Samples that Python code gives: any iterable of (x, label), or a data set that is indexed like one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import NetError
from . import media
from .dataset import Split, stacked


class Indexed:
    """A sequence of the samples of `source`, whose items are (x, label), made anew at every access."""

    def __init__(self, source, places, shape: tuple, channels_first: bool):
        self.source, self.places, self.shape, self.channels_first = source, places, shape, channels_first
        self.axes, self.channels = len(shape) - 1, shape[-1]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> np.ndarray:
        return _sample(self.source[int(self.places[i])][0], i, self.channels_first)

    def take(self, index) -> Indexed:
        return Indexed(self.source, self.places[index], self.shape, self.channels_first)


def pairs(source: Iterable, channels_first: bool = False) -> Split:
    """A split of (x, label) pairs: x uint8 or float32 (*axes, c), or (c, *axes) with `channels_first`; label a whole
    number, or a mask (*axes).

    They are read once into memory. A source with `len` and `[i]` that takes more than MEMORY_LIMIT of it is asked again
    for each batch instead. TypeError or NetError for what is no such pair.
    """
    if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
        raise TypeError(f"give arrays x and labels, or an iterable of pairs (x, label), not {source!r}")
    samples: list[np.ndarray] | None = []
    labels, spent, shape = [], 0, None
    indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    # Data sets with `len` and `[i]` need not end by an IndexError, as the loop over a sequence does.
    for i, item in enumerate(source[k] for k in range(len(source))) if indexed else enumerate(source):
        try:
            x, label = item
        except (TypeError, ValueError) as error:
            raise TypeError(f"item {i} is no pair (x, label): give labels as well, or such pairs") from error
        x, label = _sample(x, i, channels_first), np.asarray(label)
        if label.dtype.kind not in "iub":
            raise TypeError(f"label {i} is {label.dtype}: give whole numbers counted from 0")
        shape = shape or x.shape
        labels.append(label)
        spent += x.nbytes
        if samples is not None and indexed and spent > media.MEMORY_LIMIT:
            samples = None
        if samples is not None:
            samples.append(x)
    if not labels:
        raise NetError("there are no samples in what was given to train on")
    if samples is None:
        images = Indexed(source, np.arange(len(labels)), shape, channels_first)
    else:
        images = stacked(samples)
    return Split(images, stacked(labels))


def _sample(x, i: int, channels_first: bool) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype not in (np.uint8, np.float32):
        raise TypeError(f"sample {i} holds {x.dtype}: use float32, or uint8 for images of 0 to 255")
    return np.ascontiguousarray(np.moveaxis(x, 0, -1)) if channels_first else x
