"""Readers of array files: idx, CIFAR binary, npz. Each gives (images uint8 or float32 (n, h, w, c), labels int32)."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np

from tinyconv.data.files import LIMIT, RATIO_FREE, RATIO_LIMIT, reason
from tinyconv.errors import NetError

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
    """What can be unpacked, and whether that is all. Stops at LIMIT."""
    parts, total = [], 0
    stream = zlib.decompressobj(wbits=31)  # not gzip.open: that drops the last whole part of a truncated file
    for at in range(0, len(data), 1 << 14):
        try:
            parts.append(stream.decompress(data[at:at + (1 << 14)]))
        except zlib.error:
            return b"".join(parts), False
        total += len(parts[-1])
        if total > LIMIT or (total > RATIO_FREE and total > RATIO_LIMIT * len(data)):
            raise NetError(f"{label}: unpacks to more than {total:,} bytes, which is refused",
                           help="unpack it yourself if it is what you meant")
        if stream.eof:
            break
    return b"".join(parts), stream.eof


def read_cifar(data: bytes, label: str, skip_bad: bool, skipped: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 binary: records of a label byte, 1,024 red, 1,024 green and 1,024 blue, rows from the top."""
    if len(data) % RECORD:
        message = f"{label}: truncated: {len(data):,} bytes are no whole number of {RECORD:,}-byte records"
        if not skip_bad:
            raise NetError(message, help=_SKIP)
        skipped.append(message)
        data = data[:len(data) // RECORD * RECORD]
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int32)
    if len(labels) and labels.max() >= len(CIFAR10):
        at = int(np.argmax(labels >= len(CIFAR10)))
        raise NetError(f"{label}: label {labels[at]} out of range at record {at}: CIFAR-10 has classes 0 to 9")
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def read_npz(data: bytes, label: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of an .npz that a data set may have, and the names of all; nothing is ever unpickled.

    Larger than LIMIT unpacked, or growing absurdly: refused.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > LIMIT or (size > RATIO_FREE and size > RATIO_LIMIT * len(data)):
            raise NetError(f"{label}: unpacks to {size:,} bytes, which is refused")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name in NPZ_NAMES}, list(arrays.files)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, zlib.error, MemoryError) as error:
        raise NetError(f"{label}: cannot be read as .npz: {reason(error)}",
                       help="write it with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…), "
                            "numeric arrays only") from error


NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test", "x", "y", "classes")


def npz_images(array: np.ndarray, name: str, label: str) -> np.ndarray:
    """Images as stored, (n, h, w) taken as grey; uint8 or float32, else NetError. `name`: the array's in the file."""
    if array.dtype == np.uint8 or array.dtype == np.float32:
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim == 4 and all(array.shape[1:]):
            return np.ascontiguousarray(array)
        raise NetError(f"{label}: `{name}` has shape {array.shape}, where images are (n, height, width, channels) or "
                       "(n, height, width)")
    raise NetError(f"{label}: `{name}` is {array.dtype}, where images are uint8 (0 to 255) or float32",
                   help=f"save {name}.astype(numpy.float32), or numpy.uint8 for pixels of 0 to 255")


def npz_labels(array: np.ndarray, count: int, name: str, label: str) -> np.ndarray:
    """Labels int32 (n,) from any whole-number type, (n, 1) accepted; negative ones and other lengths are NetErrors."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise NetError(f"{label}: `{name}` is {array.dtype} of shape {array.shape}, "
                       "where labels are whole numbers of shape (n,)")
    if len(array) != count:
        raise NetError(f"{label}: {len(array):,} labels in `{name}` for {count:,} images")
    bad = (array < 0) | (array > 65535)
    if bad.any():
        at = int(np.argmax(bad))
        raise NetError(f"{label}: label {array[at]} out of range at {name}[{at}]: classes count from 0")
    return array.astype(np.int32)
