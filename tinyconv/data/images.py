"""Image files to uint8 arrays. Pillow is imported when the first image is decoded, not before."""

from __future__ import annotations

import io
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tinyconv.data.files import BadFile, Files, read_file, reason
from tinyconv.errors import NetError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm")
# Decoded images are kept in memory up to this many bytes; a larger set is decoded when a batch needs it.
MEMORY_LIMIT = 2 << 30
_CHUNK = 64  # files a task of the pool decodes
# Below this many pixels an image's time is Python's, not the decoder's: threads then only wait for one another.
_THREADS_FROM = 96 * 96

CHANNELS = {1: "grey (1 channel)", 2: "grey with alpha (2 channels)", 3: "RGB (3 channels)", 4: "RGBA (4 channels)"}
# Pillow's modes that hold 8 bits a channel, and the lossless step that brings others to one of them.
_PLAIN = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def channel_words(channels: int) -> str:
    """'grey (1 channel)', 'RGB (3 channels)', …"""
    return CHANNELS.get(channels, f"{channels} channels")


def decode(data: bytes, label: str) -> np.ndarray:
    """The image of a file's bytes, uint8 (height, width, channels); nothing is converted but palettes and bitmaps.

    BadFile (a NetError naming `label`) where the bytes are no whole image; NetError for 16-bit, CMYK and the like.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            mode = image.mode
            if mode == "1":
                image = image.convert("L")
            elif mode in ("P", "PA"):
                image = image.convert("RGBA" if "transparency" in image.info or mode == "PA" else "RGB")
            if image.mode in _PLAIN:
                array = np.asarray(image)
                return array[:, :, None] if array.ndim == 2 else array
    except Image.UnidentifiedImageError:
        raise BadFile(f"{label}: not an image that can be decoded") from None
    except Image.DecompressionBombError as error:
        raise NetError(f"{label}: refused: {reason(error)}") from error
    # Pillow reports damage as any of these, by format.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, MemoryError, struct.error) as error:
        raise BadFile(f"{label}: truncated or corrupt image: {reason(error)}") from error
    raise NetError(f"{label}: pixel format {mode} is not supported",
                   help="convert the images to 8-bit grey or RGB first")


def load_image(path, channels: int | None = None) -> np.ndarray:
    """Decode one file to uint8 (height, width, channels).

    With `channels`, a file that has another number is a NetError: grey and RGB are never converted silently.
    """
    try:
        image = decode(read_file(path), str(path))
    except BadFile as error:
        raise NetError(error.message) from error  # nothing to skip where one file was asked for
    check_channels(image, channels, str(path))
    return image


def check_channels(image: np.ndarray, channels: int | None, label: str) -> None:
    """NetError where an (h, w, c) image has other channels than wanted (None: anything)."""
    have = image.shape[-1]
    if channels is not None and have != channels:
        wanted = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
        fix = f'convert it, say with Pillow: Image.open(p).convert("{wanted}").save(q)' if wanted else ""
        raise NetError(f"{label}: {channel_words(have)}, where {channel_words(channels)} is needed", help=fix)


class LazyImages:
    """A sequence of (h, w, c) uint8 images decoded on access, for sets too large for memory or of differing sizes."""

    def __init__(self, files: Files, names: list[str], channels: int):
        self.files, self.names, self.channels = files, names, channels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        name = self.names[i]
        image = decode(self.files.read(name), self.files.path(name))
        check_channels(image, self.channels, self.files.path(name))
        return image

    def take(self, index) -> LazyImages:
        return LazyImages(self.files, [self.names[i] for i in index], self.channels)


def decode_all(files: Files, names: list[str], skip_bad: bool) -> tuple[object, list[int], list[str]]:
    """Decode files into (images, kept, skipped).

    images: one uint8 array (n, h, w, c) where all sizes agree, else a list of (h, w, c) arrays, or LazyImages beyond
    MEMORY_LIMIT. kept: positions in `names` of what is in images; skipped: messages of what is not (`skip_bad` only).
    Raises the NetError of the first bad file in order, or of the first with another number of channels.
    """
    first, start, skipped = _first_good(files, names, skip_bad)
    channels = first.shape[2]
    lazy = first.nbytes * len(names) > MEMORY_LIMIT
    block = None if lazy else np.empty((len(names), *first.shape), np.uint8)
    odd: dict[int, np.ndarray] = {}
    spent = [0]

    def work(begin: int) -> list[tuple[int, NetError]]:
        bad = []
        for i in range(begin, min(begin + _CHUNK, len(names))):
            try:
                label = files.path(names[i])
                image = decode(files.read(names[i]), label)
                check_channels(image, channels, label)
            except NetError as error:
                bad.append((i, error))
                if not (skip_bad and isinstance(error, BadFile)):
                    break
                continue
            if block is not None and image.shape == first.shape:
                block[i] = image
            elif spent[0] <= MEMORY_LIMIT and not lazy:
                spent[0] += image.nbytes
                odd[i] = image
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
        return LazyImages(files, [names[i] for i in kept], channels), kept, skipped
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


def _first_good(files: Files, names: list[str], skip_bad: bool) -> tuple[np.ndarray, int, list[str]]:
    """The first image that decodes, its position, and the messages of those before it."""
    skipped = []
    for i, name in enumerate(names):
        try:
            return decode(files.read(name), files.path(name)), i, skipped
        except BadFile as error:
            if not skip_bad:
                raise
            skipped.append(error.message)
    raise NetError(f"{files.label}: none of {len(names)} images can be decoded")
