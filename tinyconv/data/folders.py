"""Sources of one file a sample: folders of classes, and images beside their masks."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from ..errors import NetError
from . import media
from .dataset import Split, stacked
from .files import Files
from .parts import Parts, Reader, listed, numbered

ROLES = ("train", "test", "val")
TRAIN_LISTS = ("train.csv", "train.parquet")
_IMAGES, _MASKS = ("image", "images"), ("label", "labels", "mask", "masks")


def _samples(files: Files, folder: str) -> list[str]:
    """The files of samples directly in a folder; NetError where they are of several kinds."""
    names = [name for name in files.inside(folder) if media.kind(name)]
    kinds = sorted({media.kind(name) for name in names})
    if len(kinds) > 1:
        raise NetError(f"{files.path(folder)}: files of several kinds: {' and '.join(kinds)}s",
                       help="keep one kind in a data set")
    return names


# --- class folders -------------------------------------------------------------------------------------------------

def _class_folders(files: Files, root: str = "") -> list[str]:
    """The names of folders in `root`, if any of them holds samples and they are no image/ + label/ pair."""
    folders = files.children(root)
    if not any(media.kind(name) for folder in folders for name in files.inside(folder)):
        return []
    return [] if _pair(files, root) else [_last(folder) for folder in folders]


def probe_split(files: Files) -> Reader | str:
    roles = [role for role in ROLES if role in files.children() and _class_folders(files, role)]
    if "train" not in roles:
        return "no class folders with images in train/" if "train" in files.children() else "no train/"
    if len(roles) == 1:
        there = [role for role in ROLES[1:] if role in files.children()]
        return f"no class folders with images in {there[0]}/" if there else "no test/ or val/ beside train/"
    return lambda skip_bad: _folders(files, {role: role for role in roles}, skip_bad)


def probe_classes(files: Files) -> Reader | str:
    if any(name in files.inside() for name in TRAIN_LISTS):
        return "a list names the files"  # which may well lie in folders
    names = _class_folders(files)
    if not names:
        return "no folders with images, .npy or .wav files in them"
    if set(names) <= set(ROLES):
        return f"{names[0]}/ is no class"
    return lambda skip_bad: _folders(files, {"train": ""}, skip_bad)


def _folders(files: Files, roots: dict[str, str], skip_bad: bool) -> Parts:
    """Splits of class folders; the sorted folder names of the training part are the classes."""
    classes = sorted(_class_folders(files, roots["train"]))
    skipped: list[str] = []
    splits = {}
    for role, root in roots.items():
        here = sorted(_class_folders(files, root))
        strange = [name for name in here if name not in classes]
        if strange:
            raise NetError(f"{files.path(root)}: class folder `{strange[0]}` is not in {roots['train']}/",
                           help=f"the classes are {listed(classes)}")
        members, labels = [], []
        for name in here:
            folder = f"{root}/{name}" if root else name
            inside = _samples(files, folder)
            if not inside:
                raise NetError(f"{files.path(folder)}: class folder without an image",
                               help="add images to it or remove the folder")
            members += inside
            labels += [classes.index(name)] * len(inside)
        splits[role] = decoded(files, members, np.array(labels, np.int32), skip_bad, skipped)
    return Parts(splits, classes, skipped)


def decoded(files: Files, members: list[str], labels: np.ndarray, skip_bad: bool, skipped: list[str]) -> Split:
    """The split of these files; messages of bad ones that `skip_bad` leaves out go to `skipped`."""
    data, kept, bad = media.decode_all(files, members, skip_bad)
    skipped += bad
    return Split(data, labels[kept], [files.path(members[i]) for i in kept])


# --- images with masks ---------------------------------------------------------------------------------------------

def _pair(files: Files, root: str = "") -> tuple[str, str] | None:
    """The folders of images and of masks in `root`."""
    names = {_last(folder): folder for folder in files.children(root)}
    found = [next((names[name] for name in wanted if name in names), None) for wanted in (_IMAGES, _MASKS)]
    return (found[0], found[1]) if all(found) else None


def probe_pairs(files: Files) -> Reader | str:
    roots = {role: role for role in ROLES if _pair(files, role)}
    if _pair(files):
        roots = {"train": ""}
    if "train" not in roots:
        return "no image/ with a label/ beside it"
    return lambda skip_bad: _pairs(files, roots, skip_bad)


def _pairs(files: Files, roots: dict[str, str], skip_bad: bool) -> Parts:
    """Splits of images and the masks of the same name. Masks of 0 and 255 are two classes; else each value is one."""
    skipped: list[str] = []
    splits, masks = {}, {}
    for role, root in roots.items():
        image_folder, mask_folder = _pair(files, root)
        members, partners = _samples(files, image_folder), {_stem(name): name for name in _samples(files, mask_folder)}
        if not members:
            raise NetError(f"{files.path(image_folder)}: no images in it")
        lone = next((name for name in members if _stem(name) not in partners), None)
        if lone is not None:
            raise NetError(f"{files.path(lone)}: no mask `{_stem(lone)}` in {mask_folder}/",
                           help="give image and mask the same name")
        data, kept, bad = media.decode_all(files, members, skip_bad)
        skipped += bad
        members = [members[i] for i in kept]
        masks[role] = media.read_masks(files, [partners[_stem(name)] for name in members])
        _same_size(files, members, data, masks[role])
        splits[role] = data, [files.path(name) for name in members]
    classes = _number_masks(files, masks)
    for role, (data, names) in splits.items():
        splits[role] = Split(data, stacked(masks[role]), names)
    return Parts(splits, classes, skipped)


def _same_size(files: Files, members: list[str], data, masks: list[np.ndarray]) -> None:
    if isinstance(data, media.Lazy):
        return  # told in the batch, when the image is decoded
    for name, image, mask in zip(members, data, masks):
        if image.shape[:-1] != mask.shape:
            sizes = ["x".join(map(str, shape)) for shape in (image.shape[:-1], mask.shape)]
            raise NetError(f"{files.path(name)}: {sizes[0]}, but its mask is {sizes[1]}",
                           help="a mask has one value for each pixel of its image")


def _number_masks(files: Files, masks: dict[str, list[np.ndarray]]) -> list[str]:
    """The classes; masks of 0 and 255 are changed to 0 and 1."""
    counts = sum(np.bincount(mask.ravel(), minlength=256) for of_role in masks.values() for mask in of_role)
    values = np.flatnonzero(counts)
    if set(values) <= {0, 255}:
        for mask in (mask for of_role in masks.values() for mask in of_role):
            np.minimum(mask, 1, out=mask)
        return ["background", "foreground"]
    if values[-1] == 255 or len(values) < (values[-1] + 1) / 2:
        raise NetError(f"{files.label}: masks with the values {listed([str(v) for v in values])}: a mask holds class "
                       "numbers from 0 without gaps, or 0 and 255", help="number the classes in the masks anew")
    return [str(i) for i in range(values[-1] + 1)]


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _last(folder: str) -> str:
    return folder.rpartition("/")[2]
