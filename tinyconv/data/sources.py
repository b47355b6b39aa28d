"""From a path or a known name to a Dataset: which layout a source has, and the parts it is made of.

A source is looked at as Files (a folder, a zip archive, or a lone file). Each layout has a probe that gives either a
reader or the words why it does not fit; exactly one may fit.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ..errors import NetError
from ..lang.suggest import nearest
from . import bundled, folders, formats, images, known, lists
from .dataset import VALIDATION, Dataset, Split, draw
from .files import Archive, Files, Folder, Loose, read_file
from .parts import Parts, Reader, listed, numbered
from .steps import size_words

NAMES = {**bundled.NAMES, **{name: known_set.words for name, known_set in known.SETS.items()}}


def open(source, *, base=None, validation: float | None = None, seed: int = 0, skip_bad: bool = False) -> Dataset:
    """Open a data set: a known name, or a path to an .npz, an idx folder, CIFAR binary, folders of images, arrays or
    sounds, images with masks, a list in a .csv or .parquet, or a zip of these.

    base: the folder relative paths are meant from (None: the current one). validation: the share 0 <= f < 1 of the
    training part to draw, by seed and every class by its share, where the source has no `val` split of its own; epochs
    then report on it and a test split is kept for `eval`. Without it a source that has neither gets 0.1, and 0 draws
    none. skip_bad: leave out images that are truncated or corrupt, and count them in `Dataset.skipped`.
    Every unusable source is a NetError that names the file.
    """
    if validation is not None and not 0 <= validation < 1:
        raise NetError(f"`validation {validation}` is no share", help="give a fraction from 0 to below 1, such as 0.1")
    if str(source) in bundled.NAMES:
        name, parts = str(source), _bundled()
    elif str(source) in known.SETS:
        name, parts = str(source), _fetched(known.SETS[str(source)])
    else:
        path = Path(base or "", os.path.expanduser(str(source)))
        name, parts = path.stem if path.suffix else path.name, _read(path, str(source), skip_bad)
    _verify(parts, str(source))
    return _divide(parts, name, validation, seed)


def _bundled() -> Parts:
    x, y, xt, yt = bundled.fashion_mnist_small()
    return Parts({"train": Split(x, y), "test": Split(xt, yt)}, list(bundled.CLASSES))


def _fetched(wanted: known.KnownSet) -> Parts:
    """A set that `tinyconv data` fetched before."""
    parts = _fitting(wanted.files(), LAYOUTS)(False)
    return Parts(parts.splits, list(wanted.classes) or parts.classes)


def _read(path: Path, given: str, skip_bad: bool) -> Parts:
    if not path.exists():
        if os.sep in given:
            raise NetError(f"{path}: no such file or folder")
        near = nearest(given, NAMES)
        raise NetError(f"{path}: no such file or folder, nor is `{given}` a known data set",
                       help=f"did you mean `{near}`?" if near else f"known are {', '.join(NAMES)}")
    if path.is_dir():
        return _fitting(Folder(path), LAYOUTS)(skip_bad)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _npz(read_file(path), str(path))
    if suffix == ".bin":
        return _cifar([(str(path), read_file(path))], {}, skip_bad)
    if suffix in lists.SUFFIXES:
        return lists.read(Loose(path.parent), {"train": path.name}, skip_bad)
    if suffix == ".zip":
        archive = Archive(path)
        # Often everything is packed under one folder: look into it where the top itself fits nothing.
        if len(archive.children()) == 1 and not archive.inside() and archive.children()[0] not in folders.ROLES:
            top = archive.children()[0]
            archive.close()
            archive = Archive(path, top + "/")
        return _fitting(archive, LAYOUTS + ARCHIVED)(skip_bad)
    raise NetError(f"{path}: not a data file that is known",
                   help="give a folder, or a file ending in .npz, .csv, .parquet, .bin (CIFAR binary) or .zip")


def _fitting(files: Files, layouts: tuple) -> Reader:
    """The reader of the one layout that fits; NetError with what was looked for where none or several do."""
    results = [(title, probe(files)) for title, probe in layouts]
    readers = [(title, result) for title, result in results if callable(result)]
    if len(readers) == 1:
        return readers[0][1]
    if readers:
        raise NetError(f"{files.label}: fits {len(readers)} layouts: {'; '.join(title for title, _ in readers)}",
                       help="give the folder or file of one of them")
    width = max(len(title) for title, _ in results)
    looked = "\n".join(f"    {title:{width}}  {why}" for title, why in results)
    raise NetError(f"{files.label}: no data set found here; looked for\n{looked}")


# --- idx -----------------------------------------------------------------------------------------------------------

_IMAGES, _LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"


def _probe_idx(files: Files) -> Reader | str:
    found = {}
    for name in files.inside():
        stem = name[:-3] if name.endswith(".gz") else name
        if stem.endswith(_IMAGES) and name in (stem, stem + ".gz"):
            found.setdefault(stem[:-len(_IMAGES)], name)  # sorted: the plain file comes before its .gz
    if not found:
        return "no such file"
    return lambda skip_bad: _idx(files, found, skip_bad)


def _idx(files: Files, found: dict[str, str], skip_bad: bool) -> Parts:
    skipped: list[str] = []
    splits: dict[str, Split] = {}
    present = set(files.inside())
    for prefix, name in found.items():
        lower = prefix.lower()
        role = "test" if lower.endswith(("test", "t10k")) else "val" if lower.endswith("val") else "train"
        if role in splits:
            raise NetError(f"{files.label}: several idx files of {role} images: {', '.join(found.values())}",
                           help="keep one data set in a folder")
        labels_name = next((n for n in (prefix + _LABELS, prefix + _LABELS + ".gz") if n in present), None)
        if labels_name is None:
            raise NetError(f"{files.path(prefix + _LABELS)}[.gz]: missing, the labels of {name}")
        x = formats.read_idx(files.read(name), files.path(name), 3, skip_bad, skipped)
        y = formats.read_idx(files.read(labels_name), files.path(labels_name), 1, skip_bad, skipped)
        if len(x) != len(y) and not skipped:
            raise NetError(f"{files.path(name)}: {len(x):,} images, but {len(y):,} labels in {labels_name}")
        n = min(len(x), len(y))
        splits[role] = Split(x[:n, :, :, None], y[:n])
    return Parts(splits, numbered(splits, files.label), skipped)


# --- CIFAR binary --------------------------------------------------------------------------------------------------

_NAMES = ("batches.meta.txt", "fine_label_names.txt")  # the class names, a line each


def _probe_cifar(files: Files) -> Reader | str:
    names = [name for name in files.inside() if name.lower().endswith(".bin")]
    if not names:
        return "no such file"
    if not any(files.size(name) and _cifar_classes(files.size(name)) for name in names):
        return f"{names[0]}: {files.size(names[0]):,} bytes are no whole number of records"
    meta = {name: files.read(name).decode("utf-8", "replace").split() for name in _NAMES if name in files.inside()}
    return lambda skip_bad: _cifar([(files.path(name), files.read(name)) for name in names], meta, skip_bad)


def _cifar_classes(size: int) -> int:
    """10 or 100 by the length of a file's records, 0 where neither fits."""
    return 10 if size % formats.RECORD == 0 else 100 if size % (formats.RECORD + 1) == 0 else 0


def _cifar(batches: list[tuple[str, bytes]], meta: dict[str, list[str]], skip_bad: bool) -> Parts:
    skipped: list[str] = []
    parts: dict[str, list] = {}
    classes = 100 if all(_cifar_classes(len(data)) == 100 for _, data in batches) else 10
    for label, data in batches:
        test = Path(label.rpartition(": ")[2]).name.lower() in ("test_batch.bin", "test.bin")
        read = formats.read_cifar(data, label, skip_bad, skipped, classes)
        parts.setdefault("test" if test else "train", []).append(read)
    splits = {role: Split(np.concatenate([x for x, _ in read]), np.concatenate([y for _, y in read]))
              for role, read in parts.items()}
    if "train" not in splits:  # test_batch.bin alone is all there is
        splits["train"] = splits.pop("test")
    numbers = formats.CIFAR10 if classes == 10 else [str(i) for i in range(100)]
    return Parts(splits, next((names for names in meta.values() if len(names) == classes), list(numbers)), skipped)


# --- npz -----------------------------------------------------------------------------------------------------------

def _probe_npz(files: Files) -> Reader | str:
    names = [name for name in files.inside() if name.lower().endswith(".npz")]
    if len(names) != 1:
        return "no such file" if not names else f"{len(names)} such files"
    return lambda skip_bad: _npz(files.read(names[0]), files.path(names[0]))


def _npz(data: bytes, label: str) -> Parts:
    arrays, there = formats.read_npz(data, label)
    whole, split = {"x", "y"} & set(arrays), {"x_train", "y_train"} & set(arrays)
    if whole and split:
        raise NetError(f"{label}: holds both `{min(whole)}` and `{min(split)}`",
                       help="keep either x, y or x_train, …")
    names = {"train": ("x", "y")} if whole else {"train": ("x_train", "y_train")}
    if "x_test" in arrays or "y_test" in arrays:
        names["test"] = ("x_test", "y_test")
    splits = {}
    for role, pair in names.items():
        for name in pair:
            if name not in arrays:
                raise NetError(f"{label}: no array `{name}` in it; there are {listed(sorted(there)) or 'none'}",
                               help="looked for x_train, y_train[, x_test, y_test] or x, y")
        x = formats.npz_images(arrays[pair[0]], pair[0], label)
        splits[role] = Split(x, formats.npz_labels(arrays[pair[1]], len(x), pair[1], label))
        if splits[role].masks and splits[role].labels.shape != x.shape[:-1]:
            raise NetError(f"{label}: `{pair[1]}` has shape {splits[role].labels.shape}, where masks of `{pair[0]}` "
                           f"have {x.shape[:-1]}", help=f"save {pair[1]}.argmax(-1) where these are one-hot rows")
    classes = [str(name) for name in arrays["classes"].ravel()] if "classes" in arrays else numbered(splits, label)
    return Parts(splits, classes)


LAYOUTS = (("*-images-idx3-ubyte[.gz]", _probe_idx), ("*.bin of 3,073-byte records", _probe_cifar),
           ("train/ + test/ or val/ of class folders", folders.probe_split), ("class folders", folders.probe_classes),
           ("image/ + label/", folders.probe_pairs), ("train.csv or train.parquet", lists.probe))
ARCHIVED = ((".npz", _probe_npz),)


# --- what every source must be -------------------------------------------------------------------------------------

def _verify(parts: Parts, source: str) -> None:
    """NetErrors for an empty data set, splits of different channels, labels out of range, and names of classes that no
    weights file can hold."""
    train = parts.splits.get("train")
    if train is None:
        raise NetError(f"{source}: no training images, only {' and '.join(parts.splits)}")
    for role, split in parts.splits.items():
        if not len(split):
            raise NetError(f"{source}: the {role} split is empty")
        if split.shape[-1] != train.shape[-1]:
            raise NetError(f"{source}: train images are {images.channel_words(train.shape[-1])}, "
                           f"{role} images {images.channel_words(split.shape[-1])}")
        if split.masks != train.masks:
            raise NetError(f"{source}: the {role} split has {'masks' if split.masks else 'no masks'}, the training "
                           f"part {'masks' if train.masks else 'none'}")
        if not split.masks and split.labels.max() >= len(parts.classes):
            at = int(np.argmax(split.labels >= len(parts.classes)))
            raise NetError(f"{source}: label {split.labels[at]} out of range ({role} {split.name(at)}): there are "
                           f"{len(parts.classes)} classes, counted from 0")
    # Python reads bytes of a file's name that are no UTF-8 as lone surrogates.
    strange = next((name for name in parts.classes if re.search("[\ud800-\udfff]", name)), None)
    if strange is not None:
        raise NetError(f"{source}: the class name {strange!r} is not UTF-8", help="rename its folder")


def _divide(parts: Parts, name: str, validation: float | None, seed: int) -> Dataset:
    train, val, test = (parts.splits.get(role) for role in ("train", "val", "test"))
    drawn = 0.0
    if val is None:
        drawn = validation if validation is not None else (VALIDATION if test is None else 0.0)
        if drawn and len(train) > 1:
            kept, taken = draw(np.zeros(len(train), int) if train.masks else train.labels, drawn, seed)
            train, val = train.take(kept), train.take(taken)
        else:
            drawn, val = 0.0, test
    words = f"{name}: {len(train):,} training"
    if drawn:
        words += f" + {len(val):,} validation images (drawn by seed {seed})"
    elif val is not None:
        words += f" + {len(val):,} {'test' if val is test else 'validation'} images"
    else:
        words += " images"
    if test is not None and val is not test:
        words += f" + {len(test):,} test images"
    words += f", {size_words(train.shape)}, {len(parts.classes)} classes"
    if parts.skipped:
        words += f", {len(parts.skipped):,} bad files skipped"
    return Dataset(train, val, test, parts.classes, name, words, parts.skipped)
