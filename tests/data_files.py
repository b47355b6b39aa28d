"""Images, folders and files of data sets, made small in a temporary folder."""

import gzip
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from tinyconv import data
from tinyconv.errors import NetError


def picture(seed, size=(6, 8), channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array).save(path)
    return array


def class_folders(root, per_class=5, classes=("dog", "cat", "bee"), seed=0, **kw):
    """Writes PNGs; the returned dict is {relative name: array}."""
    return {f"{c}/{i}.png": save(root / c / f"{i}.png", picture(seed + 100 * k + i, **kw))
            for k, c in enumerate(classes) for i in range(per_class)}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(root, prefix, n, seed=0, zipped=True, labels=None):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, 5, 4), dtype=np.uint8)
    y = np.arange(n, dtype=np.uint8) % 3 if labels is None else np.asarray(labels, np.uint8)
    for name, array in ((f"{prefix}-images-idx3-ubyte", x), (f"{prefix}-labels-idx1-ubyte", y)):
        if zipped:
            (root / (name + ".gz")).write_bytes(gzip.compress(idx(array)))
        else:
            (root / name).write_bytes(idx(array))
    return x, y


def cifar_records(n, seed=0):
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(n, dtype=np.uint8) % 10
    return planes, labels, np.concatenate([labels[:, None], planes.reshape(n, -1)], 1).tobytes()


def zip_folder(root, target, prefix=""):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, prefix + path.relative_to(root).as_posix())
    return target


def fails(*words, source, **kw):
    with pytest.raises(NetError) as caught:
        data.open(source, **kw)
    for word in words:
        assert str(word) in str(caught.value)
    return str(caught.value)
