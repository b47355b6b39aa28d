"""Batches of a split, in a reproducible order, made by threads ahead of the training step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from ..errors import NetError
from ..runtime.ranks import part_of
from . import hashing, steps as pipeline
from .dataset import Split, stacked
from .media import Lazy

AHEAD = 2  # batches that wait, besides those in the making
_ORDER_KEY = 0x0DE5  # keeps the shuffle apart from all other random numbers of the seed


class Batches:
    """One epoch over a split: iterating gives (x, labels), x uint8 or float32 (n, *axes, c) and labels int32 (n,), or
    (n, h, w) masks. Where the steps make several views of a sample (`tencrop`), x has n * views arrays, all of a sample
    together.

    The order is a permutation drawn from (seed, epoch), or the split's own without `shuffle`. The last batch holds what
    is left and may be short; a batch larger than the split is the whole split. `augment` says whether the steps draw at
    random (by seed, epoch and the sample's position in the split) or are the deterministic test pipeline. `shape`,
    where given, is the (*axes, c) every image must have after the steps (None: any); else all of a batch must agree.
    The same arguments give the same batches, whatever was iterated before, from wherever it starts, and however many
    `threads` prepare them (None: one for arrays in memory, two where images are decoded). `part`, (rank, size), leaves
    of every batch the contiguous part of one of several processes; steps that mix samples then do so within it.
    """

    def __init__(self, split: Split, batch: int, steps: Sequence[tuple] = (), *, seed: int = 0, epoch: int = 0,
                 shuffle: bool = True, augment: bool = True, shape: tuple | None = None, threads: int | None = None,
                 part: tuple[int, int] = (0, 1)):
        if batch < 1:
            raise NetError(f"a batch of {batch} images", help="give a batch of at least 1")
        pipeline.check(steps, augment)
        if split.masks and pipeline.views(steps) > 1:
            raise NetError("`tencrop` averages one prediction an image: masks have one a pixel",
                           help="write `crop` in `test`")
        self.split, self.batch, self.steps = split, batch, pipeline.bind(steps, split)
        self.seed, self.epoch, self.shuffle, self.augment, self.shape = seed, epoch, shuffle, augment, shape
        self.part = part
        self.threads = threads or (1 if isinstance(split.images, (np.ndarray, list)) else 2)
        if shape is not None:
            check_shape(split, self.steps, shape)

    def __len__(self) -> int:
        """Number of batches, the short one counted."""
        return -(-len(self.split) // self.batch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self.start(0)

    def start(self, at: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches from number `at` on, for a run that goes on within an epoch.

        Threads prepare up to AHEAD + `threads` of them in advance. They end with the iterator: at its end, at
        `close()`, or when the iterator is dropped. What goes wrong in one is raised here, in its batch's turn.
        """
        order = self.order()

        def samples(first: int) -> np.ndarray:
            whole = order[first:first + self.batch]
            return whole[part_of(len(whole), *self.part)]

        starts = iter(range(at * self.batch, len(order), self.batch))
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="tinyconv-batches")
        ahead: deque[Future] = deque()
        try:
            for first in islice(starts, AHEAD + self.threads):
                ahead.append(pool.submit(self.make, samples(first)))
            while ahead:
                ready = ahead.popleft().result()
                for first in islice(starts, 1):
                    ahead.append(pool.submit(self.make, samples(first)))
                yield ready
        finally:
            pool.shutdown(cancel_futures=True)

    def count(self, number: int) -> int:
        """Samples in batch `number`, all parts together."""
        return min(self.batch, len(self.split) - number * self.batch)

    def order(self) -> np.ndarray:
        """Positions in the split in the order of this epoch, int64 (n,)."""
        if self.shuffle:
            return hashing.permutation(len(self.split), self.seed, _ORDER_KEY, self.epoch)
        return np.arange(len(self.split))

    def make(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The batch of these positions of the split."""
        split, key = self.split, (self.seed, self.epoch) if self.augment else None

        def name(i: int) -> str:
            return split.name(samples[i])

        x = pipeline.run(self.steps, self._images(samples), samples, key, name)
        if isinstance(x, list) or (self.shape is not None and not _fits(x.shape[1:], self.shape)):
            shapes = [image.shape for image in x]
            wanted = self.shape or shapes[0]
            bad = next(i for i, shape in enumerate(shapes) if not _fits(shape, wanted))
            raise _other_size(name(bad // pipeline.views(self.steps)), shapes[bad], wanted, bool(self.steps))
        if not split.masks:
            labels = split.labels[samples]
            if key is not None:
                labels = pipeline.relabel(self.steps, labels, x.shape, samples, key)
            return np.ascontiguousarray(x), labels
        masks = stacked([split.labels[i][..., None] for i in samples])
        masks = pipeline.run(self.steps, masks, samples, key, name, masks=True)
        return np.ascontiguousarray(x), masks[..., 0].astype(np.int32)

    def _images(self, samples: np.ndarray):
        """An array where all sizes are known to agree, else a list."""
        source = self.split.images
        if isinstance(source, np.ndarray):
            return source[samples]
        if not isinstance(source, Lazy):
            return [source[i] for i in samples]
        first = self.steps[0] if self.steps else ("",)
        least = first[1]["n"] if first[0] == "resize" else None
        return [source.get(i, least) for i in samples]


def _fits(shape: tuple, wanted: tuple) -> bool:
    return len(shape) == len(wanted) and all(w is None or s is None or s == w for s, w in zip(shape, wanted))


def _other_size(label: str, have: tuple, wanted: tuple, stepped: bool) -> NetError:
    after = " after the steps" if stepped else ""
    return NetError(f"{label}: {pipeline.size_words(have)}{after}, where {pipeline.size_words(wanted)} is needed",
                    help=_size_help(have, wanted))


def _size_help(have: tuple, wanted: tuple) -> str:
    """The step that most likely makes a sample fit."""
    if have[-1] != wanted[-1]:
        return f"the net takes {wanted[-1]} channel{'s' if wanted[-1] != 1 else ''}, the images have {have[-1]}"
    if len(have) != len(wanted):
        return "give the net an input of as many axes, or samples of the net's"
    if len(have) == 2:
        return f"add `fit {wanted[0]}` to `augment` and `test`"
    if len(have) != 3 or None in (*have, *wanted) or wanted[0] != wanted[1]:
        return "add a `resize`, `crop` or `pad` step to `augment` and `test`"
    (h, w), side = have[:2], wanted[0]
    if h == w and side > h and (side - h) % 2 == 0 and side - h <= h // 2:
        return f"add `pad {(side - h) // 2}` to `augment` and `test`"
    return f"add `resize {side} -> crop {side}` to `augment` and `test`"


def check_shape(split: Split, steps: Sequence[tuple], wanted: tuple) -> None:
    """NetError, naming the first image concerned, where the steps do not bring a split's images to (*axes, c) `wanted`.

    None in `wanted` is an axis of free size. Images that are decoded only when needed are checked in their batch.
    """
    images = split.images
    if isinstance(images, np.ndarray):
        shapes = [(0, images.shape[1:])]
    elif isinstance(images, list):
        first: dict[tuple, int] = {}
        for i, image in enumerate(images):
            first.setdefault(image.shape, i)
        shapes = [(i, shape) for shape, i in first.items()]
    else:
        shapes = [(0, split.shape)]
    for i, shape in shapes:
        label = "the images" if len(shapes) == 1 else split.name(i)
        after = pipeline.output_shape(steps, shape, label)
        if not _fits(after, wanted):
            raise _other_size(label, after, wanted, bool(steps))
