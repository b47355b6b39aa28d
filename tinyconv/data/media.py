"""Files that hold one sample each: images, arrays (`.npy`) and sound (`.wav`); all of a set of one kind.

They are decoded when the set is opened, into one array or a list; a set too large for memory is decoded batch by batch,
and what was decoded is kept up to a limit.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..errors import NetError
from . import formats, images
from .files import BadFile, Files, read_file

# Decoded samples are kept in memory up to this many bytes; a larger set is decoded when a batch needs it.
MEMORY_LIMIT = 2 << 30
_CHUNK = 64  # files a task of the pool decodes
# Below this many values a sample's time is Python's, not the decoder's: threads then only wait for one another.
_THREADS_FROM = 3 * 96 * 96

KINDS = {**dict.fromkeys(images.SUFFIXES, "image"), ".npy": "array", ".wav": "sound"}


def kind(name: str) -> str | None:
    """"image", "array" or "sound" by the suffix of a file's name; None for other files."""
    return KINDS.get(os.path.splitext(name)[1].lower())


@dataclass(frozen=True)
class Like:
    """What all samples of a set have in common: number of axes, channels, type, and sounds their samples a second."""

    axes: int
    channels: int
    dtype: np.dtype
    rate: int | None = None


_FACTS = {"axes": "axes", "channels": "channels", "rate": "samples a second", "dtype": "type"}  # in messages


def decode(data: bytes, label: str, name: str, least: int | None = None) -> tuple[np.ndarray, Like]:
    """A file's sample (*axes, c), uint8 or float32, and its facts. `name` tells the kind by its suffix.

    With `least`, a JPEG may come smaller, its short side at least twice `least`. BadFile where the bytes are damaged,
    NetError where they hold what no net takes.
    """
    what, rate = kind(name), None
    if what == "sound":
        sample, rate = formats.read_wav(data, label)
    elif what == "array":
        sample = formats.read_npy(data, label)
    else:
        sample = images.decode(data, label, least)
    return sample, Like(sample.ndim - 1, sample.shape[-1], sample.dtype, rate)


def load(path, channels: int | None = None) -> np.ndarray:
    """Decode one file to (*axes, channels): an image to uint8 (height, width, channels), a `.wav` to float32 (frames,
    channels), a `.npy` as it is.

    With `channels`, a file that has another number is a NetError: grey and RGB are never converted silently.
    """
    try:
        sample, _ = decode(read_file(path), str(path), str(path))
    except BadFile as error:
        raise NetError(error.message) from error  # nothing to skip where one file was asked for
    if kind(str(path)) in (None, "image"):
        images.check_channels(sample, channels, str(path))
    elif channels not in (None, sample.shape[-1]):
        raise NetError(f"{path}: {sample.shape[-1]} channels, where {channels} are needed")
    return sample


def read(files: Files, name: str, like: Like | None = None, least: int | None = None) -> tuple[np.ndarray, Like]:
    """`decode` of a file of a set; NetError where it is not like the first of the set."""
    label = files.path(name)
    sample, found = decode(files.read(name), label, name, least)
    if like is not None and found != like:
        if kind(name) == "image":
            images.check_channels(sample, like.channels, label)
        what, have, wanted = next(
            (words, getattr(found, fact), getattr(like, fact)) for fact, words in _FACTS.items()
            if getattr(found, fact) != getattr(like, fact))
        raise NetError(f"{label}: {what}: {have}, where the other files have {wanted}",
                       help="bring all files to one form first")
    return sample, found


class Lazy:
    """A sequence of samples (*axes, c) decoded on access, for sets too large for memory."""

    def __init__(self, files: Files, names: list[str], like: Like, store: Store | None = None):
        self.files, self.names, self.like = files, names, like
        self.axes, self.channels = like.axes, like.channels
        self.store = store or Store(MEMORY_LIMIT)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        return read(self.files, self.names[i], self.like)[0]

    def get(self, i: int, least: int | None = None) -> np.ndarray:
        """Sample i for a batch, kept while there is room: see `decode` for `least`."""
        key = (self.names[i], least)
        kept = self.store.get(key)
        if kept is None:
            kept = self.store.put(key, read(self.files, self.names[i], self.like, least)[0])
        return kept

    def take(self, index) -> Lazy:
        return Lazy(self.files, [self.names[i] for i in index], self.like, self.store)


class Store:
    """Arrays by key, up to `limit` bytes in all; the first to come stay. An epoch asks for each sample once, so
    replacing the oldest would always drop the one that is needed next."""

    def __init__(self, limit: int):
        self.limit, self.spent = limit, 0
        self._kept: dict = {}
        self._lock = threading.Lock()

    def get(self, key) -> np.ndarray | None:
        return self._kept.get(key)

    def put(self, key, array: np.ndarray) -> np.ndarray:
        """Keeps it if there is room, and gives it back."""
        with self._lock:
            if key not in self._kept and self.spent + array.nbytes <= self.limit:
                self.spent += array.nbytes
                self._kept[key] = array
        return array


def decode_all(files: Files, names: list[str], skip_bad: bool) -> tuple[object, list[int], list[str]]:
    """Decode files into (samples, kept, skipped).

    samples: one array (n, *axes, c) where all sizes agree, else a list of (*axes, c) arrays, or Lazy beyond
    MEMORY_LIMIT. kept: positions in `names` of what is in samples; skipped: messages of what is not (`skip_bad` only).
    Raises the NetError of the first bad file in order, or of the first that is not like the others.
    """
    first, like, start, skipped = _first_good(files, names, skip_bad)
    lazy = first.nbytes * len(names) > MEMORY_LIMIT
    block = None if lazy else np.empty((len(names), *first.shape), first.dtype)
    odd: dict[int, np.ndarray] = {}
    spent = [0]

    def work(begin: int) -> list[tuple[int, NetError]]:
        bad = []
        for i in range(begin, min(begin + _CHUNK, len(names))):
            try:
                sample, _ = read(files, names[i], like)
            except NetError as error:
                bad.append((i, error))
                if not (skip_bad and isinstance(error, BadFile)):
                    break
                continue
            if block is not None and sample.shape == first.shape:
                block[i] = sample
            elif spent[0] <= MEMORY_LIMIT and not lazy:
                spent[0] += sample.nbytes
                odd[i] = sample
        return bad

    # A set too large for memory is decoded in full only where bad files must be found beforehand.
    if not lazy or skip_bad:
        dropped = dict.fromkeys(range(start))
        for i, error in _each(work, range(start, len(names), _CHUNK), first.size >= _THREADS_FROM):
            if not (skip_bad and isinstance(error, BadFile)):
                raise error
            skipped.append(error.message)
            dropped[i] = None
        kept = [i for i in range(len(names)) if i not in dropped]
    else:
        kept = list(range(len(names)))
    if lazy or spent[0] > MEMORY_LIMIT:
        return Lazy(files, [names[i] for i in kept], like), kept, skipped
    if odd:
        return [odd[i] if i in odd else block[i] for i in kept], kept, skipped
    return (block if len(kept) == len(names) else block[kept]), kept, skipped


def _each(work, begins: range, threads: bool):
    """What the tasks found, in the order of the tasks; those not begun are dropped when the caller stops early."""
    if not threads:
        for begin in begins:
            yield from work(begin)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        try:
            for found in pool.map(work, begins):
                yield from found
        finally:
            pool.shutdown(cancel_futures=True)


def _first_good(files: Files, names: list[str], skip_bad: bool) -> tuple[np.ndarray, Like, int, list[str]]:
    """The first sample that decodes, its facts, its position, and the messages of those before it."""
    skipped = []
    for i, name in enumerate(names):
        try:
            return *read(files, name), i, skipped
        except BadFile as error:
            if not skip_bad:
                raise
            skipped.append(error.message)
    raise NetError(f"{files.label}: none of {len(names)} {'images' if kind(names[0]) == 'image' else 'files'} can be "
                   "decoded")


def read_masks(files: Files, names: list[str]) -> list[np.ndarray]:
    """Masks of images (h, w), or of arrays (*axes), uint8 as stored; palettes are taken by their numbers. NetError
    for colours, for more than 8 bits, and where together they take more than MEMORY_LIMIT."""
    masks, spent = [], 0
    for name in names:
        label, data = files.path(name), files.read(name)
        masks.append(formats.read_npy_mask(data, label) if kind(name) == "array" else images.decode_mask(data, label))
        spent += masks[-1].nbytes
        if spent > MEMORY_LIMIT:
            raise NetError(f"{files.label}: the masks take more than {MEMORY_LIMIT >> 30} GiB of memory",
                           help="cut the images into smaller tiles, or train on a part of them")
    return masks
