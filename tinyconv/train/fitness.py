"""Do this net, this data and these settings go together? Asked before anything is written."""

from __future__ import annotations

import re
import zlib
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from .. import data
from ..errors import NetError
from ..runtime.losses import as_losses, label_help, terms
from .settings import Settings

SAMPLED = 64  # images that the fingerprint reads


class Pipelines(NamedTuple):
    """The steps that images go through: in training (`augment`: whether they draw at random), and everywhere else."""

    train: Sequence[tuple] = ()
    augment: bool = False
    test: Sequence[tuple] = ()

    @classmethod
    def of(cls, net) -> Pipelines:
        """Those of the net's `data` section. Without `augment` training uses the steps of `test`, one view a sample."""
        section = net.sections.get("data", {})
        augment, test = section.get("augment", ()), section.get("test", ())
        return cls(augment or data.steps.single(test), bool(augment), test)


def check(net, dataset, settings: Settings, pipelines: Pipelines,
          note: Callable[[str], None] = lambda message: None) -> None:
    """NetError where training would fail or mislead: an empty data set, class counts or image shapes that differ,
    labels out of range, steps that cannot be, a plateau schedule with nothing to measure. Remarks go to `note`."""
    for what, split in (("training", dataset.train), ("validation", dataset.val)):
        if split is not None and not len(split):
            raise NetError(f"the {what} part of {dataset.name} is empty")
    if dataset.classes is not None and len(dataset.classes) == 1:
        raise NetError(f"{dataset.name} has one class, {dataset.classes[0]!r}: there is nothing to tell apart",
                       help="give each class a folder of its own beside it")
    if dataset.classes is not None and known_classes(net) != len(dataset.classes):
        raise NetError(f"{dataset.name} has {len(dataset.classes)} classes, the net has {known_classes(net)}",
                       help=_class_help(net, len(dataset.classes)))
    _check_split(net, dataset.train, dataset.name, pipelines.train, pipelines.augment)
    if dataset.val is not None:
        _check_split(net, dataset.val, dataset.name, pipelines.test, False)
    _check_losses(net, dataset.train, settings)
    waiting = [what for what, used in (("schedule plateau", settings.schedule[0] == "plateau"),
                                       ("patience", settings.patience is not None)) if used]
    if waiting and dataset.val is None:
        raise NetError(f"`{waiting[0]}` needs validation data, and there is none",
                       help="draw some from the training part by `validation 0.1` in the data section")
    if settings.batch > len(dataset.train):
        note(f"the batch of {settings.batch} is larger than the training part of {len(dataset.train)}: "
             "each epoch is one batch of them all")


def _check_losses(net, split, settings: Settings) -> None:
    """NetError where a `loss` line is not for a net that ends like this one."""
    if settings.loss:
        # Weights of the classes may not be measured yet.
        losses = as_losses((name, {**options, "weights": None} if options.get("weights") == "data" else options)
                           for name, options in settings.loss)
        for end in (net.graph.output_index, *(head.output for head in net.graph.heads)):
            terms(net.graph, end, not split.targets, losses)


def known_classes(net) -> int:
    """How many class numbers a label of the net may have: its outputs, or 0 and 1 where one sigmoid says yes or no."""
    one = net.classes == 1 and net.graph.nodes[net.graph.output_index].op == "sigmoid"
    return 2 if one else net.classes


def fingerprint(dataset) -> dict[str, Any]:
    """What tells data sets apart, cheaply: sizes, shape, class names and a CRC-32 of all labels and a few images."""
    found: dict[str, Any] = {"classes": None if dataset.classes is None else list(dataset.classes)}
    for name, split in (("train", dataset.train), ("val", dataset.val)):
        if split is None:
            found[name] = None
            continue
        checksum = 0
        for labels in split.label_arrays:
            checksum = zlib.crc32(np.ascontiguousarray(labels), checksum)
        for i in np.unique(np.linspace(0, len(split) - 1, SAMPLED).astype(int)):
            image = np.ascontiguousarray(split.images[int(i)])
            checksum = zlib.crc32(repr(image.shape).encode(), zlib.crc32(image, checksum))
        found[name] = {"images": len(split), "shape": list(split.shape), "crc32": checksum}
    return found


def check_same(kept: Mapping[str, Any], found: Mapping[str, Any], folder) -> None:
    """NetError where the data of a resumed run are not those it began with; says what differs."""
    for name in ("train", "val"):
        if kept.get(name) == found.get(name):
            continue
        if kept.get(name) is None or found.get(name) is None:
            what = f"a `{name}` part was there {'then and is not now' if kept.get(name) else 'not then and is now'}"
        else:
            then, now = kept[name], found[name]
            what = next(f"{words} of the `{name}` part: {then[key]} then, {now[key]} now"
                        for key, words in (("images", "number of images"), ("shape", "shape"), ("crc32", "checksum"))
                        if then.get(key) != now.get(key))
        raise NetError(f"the data differ from those the run in {folder} began with ({what})",
                       help="restore the data, or train anew into another folder")
    if kept.get("classes") != found.get("classes"):
        raise NetError(f"the class names differ from those the run in {folder} began with",
                       help="restore the data, or train anew into another folder")


def _class_help(net, classes: int) -> str:
    if re.search(r"^\s*let\s+classes\b", net.text, re.MULTILINE):
        return f"`-D classes={classes}` sets it"
    return (f"let the last layer give {classes} channels; with `let classes = {net.classes}` and `classes` in its "
            f"place, `-D classes={classes}` sets it")


def _check_split(net, split, name: str, steps: Sequence[tuple], augment: bool) -> None:
    classes = known_classes(net)
    # All labels of a sample, or of all samples where each has one.
    for i, labels in enumerate([] if split.targets else split.label_arrays):
        bad = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(bad):
            sample = i if split.masks else bad[0]
            raise NetError(f"{name}: sample {sample} has label {labels.flat[bad[0]]}; labels of this net go from 0 to "
                           f"{classes - 1}")
    data.steps.check(steps, augment)
    shape, wanted = split.shape, net.input_shape
    if len(shape) != len(wanted):
        raise NetError(f"{name} has samples of {data.steps.size_words(shape)}, the net takes "
                       f"{data.steps.size_words(wanted)}", help="give the net an input of as many axes, or samples of "
                                                                "the net's")
    data.check_shape(split, steps, wanted)
    if split.masks and len(net.graph.output.spatial) != len(wanted) - 1:
        extra = next(iter(split.label_arrays)).shape
        raise NetError(f"{name} has masks, a label for each pixel: each sample has {' x '.join(map(str, extra))} "
                       f"labels; the net's output is {net.graph.output}",
                       help=label_help(extra, net.classes)
                       or "end the net with the size of the mask and a channel for each class")
