"""Batches of a split, in a reproducible order, made by a thread ahead of the training step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from tinyconv.data import hashing, steps as pipeline
from tinyconv.data.dataset import Split
from tinyconv.errors import NetError

AHEAD = 2  # batches waiting in the queue; one more is in the making
_ORDER_KEY = 0x0DE5  # keeps the shuffle apart from all other random numbers of the seed


class Batches:
    """One epoch over a split: iterating gives (x, labels), x uint8 or float32 (n, h, w, c) and labels int32 (n,).

    The order is a permutation drawn from (seed, epoch), or the split's own without `shuffle`. The last batch holds what
    is left and may be short; a batch larger than the split is the whole split. `augment` says whether the steps draw at
    random (by seed, epoch and the sample's position in the split) or are the deterministic test pipeline. `shape`,
    where given, is the (h, w, c) every image must have after the steps (None: any); else all of a batch must agree.
    The same arguments give the same batches, whatever was iterated before and from wherever it starts.
    """

    def __init__(self, split: Split, batch: int, steps: Sequence[tuple] = (), *, seed: int = 0, epoch: int = 0,
                 shuffle: bool = True, augment: bool = True, shape: tuple | None = None):
        if batch < 1:
            raise NetError(f"a batch of {batch} images", help="give a batch of at least 1")
        pipeline.check(steps, augment)
        self.split, self.batch, self.steps = split, batch, list(steps)
        self.seed, self.epoch, self.shuffle, self.augment, self.shape = seed, epoch, shuffle, augment, shape
        if shape is not None:
            check_shape(split, self.steps, shape)

    def __len__(self) -> int:
        """Number of batches, the short one counted."""
        return -(-len(self.split) // self.batch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self.start(0)

    def start(self, at: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches from number `at` on, for a run that goes on within an epoch.

        A thread prepares up to AHEAD + 1 of them in advance. It ends with the iterator: at its end, at `close()`, or
        when the iterator is dropped. What goes wrong in the thread is raised here, in its batch's turn.
        """
        order = self.order()
        ready: queue.Queue = queue.Queue(AHEAD)
        stop = threading.Event()

        def work() -> None:
            try:
                for first in range(at * self.batch, len(order), self.batch):
                    ready.put(self.make(order[first:first + self.batch]))
                    if stop.is_set():
                        return
                ready.put(None)
            except BaseException as error:  # handed to the consumer, who raises it
                ready.put(error)

        thread = threading.Thread(target=work, name="tinyconv-batches", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            # The thread may stand in `put`; an emptied queue lets it through to see `stop`.
            while thread.is_alive():
                try:
                    ready.get(timeout=0.01)
                except queue.Empty:
                    continue

    def order(self) -> np.ndarray:
        """Positions in the split in the order of this epoch, int64 (n,)."""
        if self.shuffle:
            return hashing.permutation(len(self.split), self.seed, _ORDER_KEY, self.epoch)
        return np.arange(len(self.split))

    def make(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The batch of these positions of the split."""
        source = self.split.images
        images = source[samples] if isinstance(source, np.ndarray) else [source[i] for i in samples]
        key = (self.seed, self.epoch) if self.augment else None
        x = pipeline.run(self.steps, images, samples, key, lambda i: self.split.name(samples[i]))
        if isinstance(x, list) or (self.shape is not None and not _fits(x.shape[1:], self.shape)):
            shapes = [image.shape for image in x]
            wanted = self.shape or shapes[0]
            bad = next(i for i, shape in enumerate(shapes) if not _fits(shape, wanted))
            raise _other_size(self.split.name(samples[bad]), shapes[bad], wanted, bool(self.steps))
        return np.ascontiguousarray(x), self.split.labels[samples]


def _fits(shape: tuple, wanted: tuple) -> bool:
    return len(shape) == len(wanted) and all(w is None or s is None or s == w for s, w in zip(shape, wanted))


def _other_size(label: str, have: tuple, wanted: tuple, stepped: bool) -> NetError:
    after = " after the steps" if stepped else ""
    return NetError(f"{label}: {pipeline.size_words(have)}{after}, where {pipeline.size_words(wanted)} is needed",
                    help=_size_help(have, wanted))


def _size_help(have: tuple, wanted: tuple) -> str:
    """The step that most likely makes an image fit."""
    (h, w), (H, W) = have[:2], wanted[:2]
    if have[2] != wanted[2]:
        return f"the net takes {wanted[2]} channel{'s' if wanted[2] != 1 else ''}, the images have {have[2]}"
    if None in (h, w, H, W) or H != W:
        return "add a `resize`, `crop` or `pad` step to `augment` and `test`"
    if h == w and H > h and (H - h) % 2 == 0 and H - h <= h // 2:
        return f"add `pad {(H - h) // 2}` to `augment` and `test`"
    return f"add `resize {H} -> crop {H}` to `augment` and `test`"


def check_shape(split: Split, steps: Sequence[tuple], wanted: tuple) -> None:
    """NetError, naming the first image concerned, where the steps do not bring a split's images to (h, w, c) `wanted`.

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
