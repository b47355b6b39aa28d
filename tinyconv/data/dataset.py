"""What a source becomes: splits of images and labels, the class names, and what is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tinyconv.data import hashing
from tinyconv.errors import NetError

VALIDATION = 0.1  # the share that validates where the source has no split of its own and none was asked for
_SPLIT_KEY = 0x5711  # keeps the draw of the split apart from all other random numbers of the seed


class Split:
    """Images with their labels.

    images: uint8 or float32 (n, h, w, c), or a sequence of (h, w, c) arrays where sizes differ or memory forbids.
    labels: int32 (n,), counted from 0. names: what messages call each image, or None.
    """

    def __init__(self, images, labels, names: Sequence[str] | None = None):
        self.images = images
        self.labels = np.ascontiguousarray(labels, np.int32)
        self.names = names

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int | None, int | None, int]:
        """(h, w, c) of every image; h or w is None where it differs or is not known before decoding."""
        if isinstance(self.images, np.ndarray):
            return self.images.shape[1:]
        if isinstance(self.images, list):
            sizes = {image.shape for image in self.images}
            h, w = {s[0] for s in sizes}, {s[1] for s in sizes}
            return (h.pop() if len(h) == 1 else None, w.pop() if len(w) == 1 else None, self.images[0].shape[2])
        return (None, None, self.images.channels)

    def name(self, i: int) -> str:
        """What messages call image i."""
        return self.names[i] if self.names is not None else f"image {i}"

    def take(self, index: np.ndarray) -> Split:
        """The images at these positions, in that order, as a split of its own."""
        if isinstance(self.images, np.ndarray):
            images = self.images[index]
        elif isinstance(self.images, list):
            images = [self.images[i] for i in index]
        else:
            images = self.images.take(index)
        names = None if self.names is None else [self.names[i] for i in index]
        return Split(images, self.labels[index], names)


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
    def shape(self) -> tuple[int | None, int | None, int]:
        """(h, w, c) of the training images; None where sizes differ."""
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
    channels = split.images.shape[-1] if isinstance(split.images, np.ndarray) else split.shape[2]
    block = 512
    chunks = range(0, len(split), block)
    if isinstance(split.images, np.ndarray) and split.images.dtype == np.uint8:
        # Counts of the 256 values are exact whatever the order of summing.
        counts = np.zeros((channels, 256), np.int64)
        for i in chunks:
            _count(counts, split.images[i:i + block])
        return _moments(counts)
    if not isinstance(split.images, np.ndarray):
        counts = np.zeros((channels, 256), np.int64)
        for i in range(len(split)):
            _count(counts, split.images[i])
        return _moments(counts)
    axes = tuple(range(split.images.ndim - 1))
    n = split.images.size // channels
    mean = sum(split.images[i:i + block].sum(axes, np.float64) for i in chunks) / n
    variance = sum(np.square(split.images[i:i + block] - mean).sum(axes) for i in chunks) / n
    return mean, _deviation(variance)


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
