"""What a source becomes: splits of images and labels, the class names, and what is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import NetError
from . import hashing

VALIDATION = 0.1  # the share that validates where the source has no split of its own and none was asked for
_SPLIT_KEY = 0x5711  # keeps the draw of the split apart from all other random numbers of the seed
_AXES_FROM = 10_000  # images that principal axes are measured on


class Split:
    """Samples with their labels.

    images: uint8 or float32 (n, *axes, c), or a sequence of (*axes, c) arrays where sizes differ or memory forbids.
    labels: int32 (n,), counted from 0; or float32 targets (n, …); or masks, (n, h, w) uint8 class numbers of each
    pixel, as a list where sizes differ. names: what messages call each sample, or None.
    """

    def __init__(self, images, labels, names: Sequence[str] | None = None):
        self.images = images
        first = np.asarray(labels[0] if len(labels) else 0)
        self.targets = first.dtype.kind == "f"
        self.masks = first.ndim > 0 and not self.targets
        self.labels = labels if self.masks else np.ascontiguousarray(labels, np.float32 if self.targets else np.int32)
        self.names = names

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(*axes, c) of every sample; an axis is None where it differs or is not known before decoding."""
        if isinstance(self.images, np.ndarray):
            return self.images.shape[1:]
        if isinstance(self.images, list):
            return tuple(sizes[0] if len(set(sizes)) == 1 else None
                         for sizes in zip(*{image.shape for image in self.images}))
        return (None,) * self.images.axes + (self.images.channels,)

    @cached_property
    def colour_axes(self) -> np.ndarray:
        """What `pca` shifts colours along: `principal_axes` of these images, measured at the first need."""
        return principal_axes(self)

    @property
    def label_arrays(self) -> Sequence[np.ndarray]:
        """The labels as few arrays: each mask, or all labels in one."""
        return self.labels if self.masks else [self.labels]

    def name(self, i: int) -> str:
        """What messages call image i."""
        return self.names[i] if self.names is not None else f"image {i}"

    def take(self, index: np.ndarray) -> Split:
        """The images at these positions, in that order, as a split of its own."""
        names = None if self.names is None else [self.names[i] for i in index]
        return Split(_taken(self.images, index), _taken(self.labels, index), names)


def stacked(arrays: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """One array (n, …) where all shapes agree, else the list as it is."""
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays


def _taken(values, index: np.ndarray):
    if isinstance(values, list):
        return [values[i] for i in index]
    return values[index] if isinstance(values, np.ndarray) else values.take(index)


@dataclass
class Dataset:
    """A data set ready for training.

    train: what is learned from. val: what each epoch reports: the source's val split, else what was drawn from the
    training part, else its test split; None where there is nothing to report on. test: the source's test split or None.
    classes: the names, position = label. name: short, for messages; description: one line with the facts.
    skipped: one message for each image left out because `skip_bad` was given.
    """

    train: Split
    val: Split | None
    test: Split | None
    classes: list[str]
    name: str
    description: str = ""
    skipped: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(*axes, c) of the training images; None where sizes differ."""
        return self.train.shape

    @property
    def evaluation(self) -> Split:
        """What `eval` measures: the test split, else the validation split, else everything there is."""
        return self.test or self.val or self.train


def draw(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (kept, drawn), each ascending: `fraction` of the samples drawn by seed, every class by its share.

    At least one sample is drawn and at least one kept; a lone sample is kept.
    """
    n = len(labels)
    count = min(max(1, round(n * fraction)), n - 1)
    key = hashing.bits(np.arange(n), seed, _SPLIT_KEY)
    order = np.lexsort((key, labels))  # by class, random within it
    sizes = np.bincount(labels)[labels[order]]
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])[labels[order]]
    # The k-th of a class of m stands at (k + 1/2) / m; cutting all classes at one height draws the same share of each.
    height = (np.arange(n) - starts + 0.5) / sizes
    chosen = order[np.lexsort((key[order], height))[:count]]
    mask = np.zeros(n, bool)
    mask[chosen] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def measure(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of a split, float64 (c,) each.

    Of the plain images, before any augmentation or test steps; uint8 counts as 0..1 (divided by 255), floats as they
    are. The deviation is the population's (divided by n). A constant channel gets 1, so that normalising makes it 0.
    """
    if not len(split):
        raise NetError("mean and deviation of an empty split")
    channels = split.shape[-1]
    if isinstance(split.images, np.ndarray):
        chunks = [split.images[i:i + 512] for i in range(0, len(split), 512)]
    else:
        chunks = split.images  # decoded one by one, each time
    if next(iter(chunks)).dtype == np.uint8:
        # Counts of the 256 values are exact whatever the order of summing.
        counts = np.zeros((channels, 256), np.int64)
        for chunk in chunks:
            _count(counts, chunk)
        return _moments(counts)
    n, total, squares = 0, np.zeros(channels), np.zeros(channels)
    for chunk in chunks:
        n, total = n + chunk.size // channels, total + chunk.reshape(-1, channels).sum(0, np.float64)
    for chunk in chunks:
        squares += np.square(chunk.reshape(-1, channels) - total / n).sum(0)
    return total / n, _deviation(squares / n)


def principal_axes(split: Split) -> np.ndarray:
    """float64 (3, 3): column i is lambda_i p_i, with p_i the i-th eigenvector of the covariance of the RGB values of
    pixels and lambda_i its eigenvalue, smallest first, in the scale of `measure` (Krizhevsky et al. 2012).

    Of at most 10,000 images, the same draw each time. The component of largest size of each eigenvector is positive.
    """
    if not len(split) or split.shape[-1] != 3:
        raise NetError("`pca` needs RGB images to measure their colours on")
    some = np.sort(hashing.permutation(len(split), 0, _SPLIT_KEY)[:_AXES_FROM])
    n, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for i in some:
        pixels = split.images[i].reshape(-1, 3)
        scale = 255.0 if pixels.dtype == np.uint8 else 1.0
        pixels = pixels.astype(np.float64)  # sums and products of whole numbers are exact in any order
        n, total, products = n + len(pixels), total + pixels.sum(0), products + pixels.T @ pixels
    values, vectors = np.linalg.eigh((products / n - np.outer(total / n, total / n)) / scale**2)
    largest = np.abs(vectors).argmax(0)
    return vectors * np.sign(vectors[largest, np.arange(3)]) * np.maximum(values, 0)


def _count(counts: np.ndarray, pixels: np.ndarray) -> None:
    for c in range(len(counts)):
        counts[c] += np.bincount(pixels[..., c].ravel(), minlength=256)


def _moments(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value = np.arange(256) / 255.0
    n = counts.sum(1)
    mean = counts @ value / n
    variance = (counts * np.square(value[None, :] - mean[:, None])).sum(1) / n
    return mean, _deviation(variance)


def _deviation(variance: np.ndarray) -> np.ndarray:
    return np.where(variance > 0, np.sqrt(variance), 1.0)
