"""Readers of array files: idx, CIFAR binary, npz with whole sets; npy and wav with a sample each."""

from __future__ import annotations

import io
import struct
import wave
import zipfile
import zlib

import numpy as np

from ..errors import NetError
from .files import BadFile, reason, too_large

RECORD = 3073  # CIFAR binary: the label byte and 3 planes of 32 x 32
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_SKIP = "get the file again, or keep its whole part explicitly with --skip-bad"


def read_idx(data: bytes, label: str, axes: int, skip_bad: bool, skipped: list[str]) -> np.ndarray:
    """An idx file of unsigned bytes (Y. LeCun's MNIST format) with `axes` axes, gzipped or not.

    With `skip_bad` a truncated file gives its whole items, and a message is added to `skipped`.
    """
    whole = True
    if data[:2] == b"\x1f\x8b":
        data, whole = _gunzip(data, label)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise NetError(f"{label}: not an idx file (its first bytes are no idx magic number)")
    if data[2] != 8 or data[3] != axes:
        raise NetError(f"{label}: idx file of type 0x{data[2]:02x} with {data[3]} axes, where unsigned bytes (0x08) "
                       f"with {axes} are needed")
    header = 4 + 4 * axes
    if len(data) < header:
        raise NetError(f"{label}: truncated: the file ends within its header")
    shape = struct.unpack(f">{axes}I", data[4:header])
    item = int(np.prod(shape[1:], dtype=object))
    if item == 0:
        raise NetError(f"{label}: images of {'x'.join(map(str, shape[1:]))} pixels")
    have = len(data) - header
    if have > shape[0] * item:
        raise NetError(f"{label}: corrupt: {have - shape[0] * item:,} bytes more than its {shape[0]:,} items take")
    count = shape[0]
    if have < count * item or not whole:
        count = have // item
        message = (f"{label}: truncated or corrupt: {have:,} of {shape[0] * item:,} bytes, "
                   f"{count:,} of {shape[0]:,} items are whole")
        if not skip_bad:
            raise NetError(message, help=_SKIP)
        skipped.append(message)
    return np.frombuffer(data, np.uint8, count * item, header).reshape(count, *shape[1:])


def _gunzip(data: bytes, label: str) -> tuple[bytes, bool]:
    """What can be unpacked, and whether that is all. NetError where it is too large."""
    parts, total = [], 0
    stream = zlib.decompressobj(wbits=31)  # not gzip.open: that drops the last whole part of a truncated file
    for at in range(0, len(data), 1 << 14):
        try:
            parts.append(stream.decompress(data[at:at + (1 << 14)]))
        except zlib.error:
            return b"".join(parts), False
        total += len(parts[-1])
        if too_large(total, len(data)):
            raise NetError(f"{label}: unpacks to more than {total:,} bytes, which is refused",
                           help="unpack it yourself if it is what you meant")
        if stream.eof:
            break
    return b"".join(parts), stream.eof


def read_cifar(data: bytes, label: str, skip_bad: bool, skipped: list[str], classes: int = 10) -> tuple:
    """(images uint8 (n, 32, 32, 3), labels int32) of CIFAR binary: records of a label byte, 1,024 red, 1,024 green and
    1,024 blue, rows from the top. With 100 classes (CIFAR-100) a byte of the coarse label stands before the label."""
    size = RECORD if classes == 10 else RECORD + 1
    if len(data) % size:
        message = f"{label}: truncated: {len(data):,} bytes are no whole number of {size:,}-byte records"
        if not skip_bad:
            raise NetError(message, help=_SKIP)
        skipped.append(message)
        data = data[:len(data) // size * size]
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    labels = records[:, size - RECORD].astype(np.int32)
    if len(labels) and labels.max() >= classes:
        at = int(np.argmax(labels >= classes))
        raise NetError(f"{label}: label {labels[at]} out of range at record {at}: CIFAR-{classes} has classes 0 to "
                       f"{classes - 1}")
    planes = records[:, size - RECORD + 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def read_npy(data: bytes, label: str) -> np.ndarray:
    """A sample (*axes, c) as stored, uint8 or float32; nothing is ever unpickled."""
    array = _npy(data, label)
    if array.dtype not in (np.uint8, np.float32):
        raise NetError(f"{label}: an array of {array.dtype}, where samples are uint8 (0 to 255) or float32",
                       help="save a.astype(numpy.float32)")
    if array.ndim < 1 or not array.size:
        raise NetError(f"{label}: an array of shape {array.shape}, where samples are (*axes, channels)")
    return np.ascontiguousarray(array)


def read_npy_mask(data: bytes, label: str) -> np.ndarray:
    """Class numbers (*axes) uint8, from any type of whole numbers."""
    array = _npy(data, label)
    if array.dtype.kind not in "iub" or array.size and not 0 <= array.min() <= array.max() <= 255:
        raise NetError(f"{label}: a mask of {array.dtype}; masks are whole numbers, the class of each place")
    return np.ascontiguousarray(array, np.uint8)


def _npy(data: bytes, label: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise BadFile(f"{label}: cannot be read as .npy: {reason(error)}") from error


def read_wav(data: bytes, label: str) -> tuple[np.ndarray, int]:
    """(float32 (frames, channels) in -1..1, samples a second) of a PCM file of 8, 16, 24 or 32 bits."""
    try:
        with wave.open(io.BytesIO(data)) as sound:
            width, channels, rate = sound.getsampwidth(), sound.getnchannels(), sound.getframerate()
            declared, raw = sound.getnframes(), sound.readframes(sound.getnframes())
    except (wave.Error, EOFError, OSError, struct.error) as error:
        raise BadFile(f"{label}: cannot be read as PCM .wav: {reason(error)}") from error
    if not declared or len(raw) < declared * width * channels:
        raise BadFile(f"{label}: truncated: {len(raw) // (width * channels):,} of {declared:,} frames")
    if width == 1:
        values = np.frombuffer(raw, np.uint8).astype(np.float32) - 128
    elif width == 3:
        # Three bytes as the upper ones of four, so that the sign comes along.
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = (wide.view("<i4")[:, 0] >> 8).astype(np.float32)
    else:
        values = np.frombuffer(raw, f"<i{width}").astype(np.float32)
    return (values / 2.0 ** (8 * width - 1)).astype(np.float32).reshape(-1, channels), rate


def read_npz(data: bytes, label: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of an .npz that a data set may have, and the names of all; nothing is ever unpickled.

    NetError where they are too large unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if too_large(size, len(data)):
            raise NetError(f"{label}: unpacks to {size:,} bytes, which is refused")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name in NPZ_NAMES}, list(arrays.files)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, zlib.error, MemoryError) as error:
        raise NetError(f"{label}: cannot be read as .npz: {reason(error)}",
                       help="write it with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…), "
                            "numeric arrays only") from error


NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test", "x", "y", "classes")


def npz_images(array: np.ndarray, name: str, label: str) -> np.ndarray:
    """Samples as stored, (n, *axes, c) uint8 or float32, else NetError. (n, h, w) are grey images, unless w is 1: then
    they are sequences of one channel. `name`: the array's in the file."""
    if array.dtype == np.uint8 or array.dtype == np.float32:
        if array.ndim == 3 and array.shape[2] != 1:
            array = array[..., None]
        if array.ndim >= 2 and all(array.shape[1:]):
            return np.ascontiguousarray(array)
        raise NetError(f"{label}: `{name}` has shape {array.shape}, where samples are (n, *axes, channels) or grey "
                       "images (n, height, width)")
    raise NetError(f"{label}: `{name}` is {array.dtype}, where images are uint8 (0 to 255) or float32",
                   help=f"save {name}.astype(numpy.float32), or numpy.uint8 for pixels of 0 to 255")


def npz_labels(array: np.ndarray, count: int, name: str, label: str) -> np.ndarray:
    """Labels int32 (n,), or masks uint8 (n, *axes), from any whole-number type; a last axis of 1 is dropped. Negative
    ones and other lengths are NetErrors."""
    if array.ndim >= 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim < 1 or array.dtype.kind not in "iu":
        whole = {"f": f"save {name}.astype(int)" if array.ndim == 1 else f"save {name}.argmax(-1) of one-hot rows",
                 "U": f"save numpy.unique({name}, return_inverse=True)[1], the names' numbers"}
        raise NetError(f"{label}: `{name}` is {array.dtype} of shape {array.shape}, "
                       "where labels are whole numbers of shape (n,), or (n, height, width) for masks",
                       help=whole.get(array.dtype.kind, ""))
    if len(array) != count:
        raise NetError(f"{label}: {len(array):,} labels in `{name}` for {count:,} images")
    masks = array.ndim > 1
    bad = (array < 0) | (array > (254 if masks else 65535))
    if masks and bad.any():
        raise NetError(f"{label}: `{name}` goes from {array.min()} to {array.max()}; masks hold class numbers, "
                       "0 to 254")
    if bad.any():
        at = int(np.argmax(bad))
        raise NetError(f"{label}: label {array[at]} out of range at {name}[{at}]: classes count from 0")
    return array.astype(np.uint8 if masks else np.int32)
