"""The pipelines of `augment` and `test` in the `data` section: what steps do to shapes, which fit where, running them.

A pipeline is what `lang.sections` delivers: a list of (name, arguments[, span]). What is random in `augment` is drawn
from the key (seed, epoch), the sample's position in its split and the step's position in the pipeline, and from nothing
else: not from the batch it is in, the thread that makes it or where a run was resumed. `mixup` and `cutmix` alone take
something from the batch: the other sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import Diagnostic, NetError
from ..sections import DATA, STEPS
from . import geometry, mixing, values
from .dataset import stacked
from .draws import Draw
from .geometry import resized, sizes

__all__ = ["DATA", "STEPS", "bind", "check", "output_shape", "relabel", "resized", "run", "single", "size_words",
           "views"]

_GEOMETRY = {"pad": geometry.pad, "crop": geometry.crop, "fit": geometry.fit, "shift": geometry.shift,
             "flip": geometry.flip, "resize": geometry.resize, "resizedcrop": geometry.resizedcrop,
             "rotate": geometry.rotate, "affine": geometry.affine, "tencrop": geometry.tencrop}
_VALUES = {"jitter": values.jitter, "pca": values.pca, "noise": values.noise, "cutout": values.cutout,
           "erase": values.erase}
_MIXING = {"mixup": mixing.mixup, "cutmix": mixing.cutmix}
_SHARES = {"mixup": mixing.mixup_share, "cutmix": mixing.cutmix_share}
_PLAIN = {"pad", "crop", "fit", "resize"}  # what both pipelines take; all else but `tencrop` draws at random
_PICTURES = {"resize", "resizedcrop", "rotate", "affine", "tencrop", "erase", "cutmix"}  # steps that need two axes
VIEWS = 10  # of `tencrop`

Step = tuple  # (name, arguments[, span])


def check(steps: Sequence[Step], augment: bool) -> None:
    """NetError for steps that cannot be: a size of 0, a share above 1, and those that belong in the other pipeline."""
    seen, mixed = False, []
    for step in steps:
        name, args = step[0], step[1]
        if name in _MIXING:
            mixed.append(name)
        elif mixed and name in _GEOMETRY:
            raise _error(step, f"`{name}` after `{mixed[0]}` would change sizes or places", f"put `{mixed[0]}` last")
        if name not in _PLAIN and name != "tencrop" and not augment:
            raise _error(step, f"`{name}` is random and belongs in `augment`", "remove it from `test`")
        if name == "tencrop" and (augment or seen):
            raise _error(step, "`tencrop` stands once, in `test`", "write `crop` in `augment`")
        seen = seen or name == "tencrop"
        if None in sizes(args.get("n", 0), 1):
            raise _error(step, f"`{name}` needs a number for every axis", "put numbers for `?`")
        if "n" in args and name not in ("pad", "shift") and min(sizes(args["n"], 1)) < 1:
            raise _error(step, f"`{name} {_words(args['n'])}` leaves no pixels", "give a size of at least 1")
        for key, low, high in _LIMITS.get(name, ()):
            value = args[key]
            if isinstance(value, tuple) and (len(value) != 2 or value[0] > value[1]):
                raise _error(step, f"`{key}` of `{name}` is no range", f"write `{key}=LOW,HIGH`")
            if not all(low <= v <= high for v in (value if isinstance(value, tuple) else (value,))):
                words = "above 0" if low == _TINY else f"{low:g} or more"
                raise _error(step, f"`{key}` of `{name}` must be {words}" +
                             (f", up to {high:g}" if high < _HUGE else ""), f"change `{key}`")


_TINY, _HUGE = 1e-6, 1e6
# (parameter, least, most); a pair of numbers is a range, low first.
_LIMITS = {
    "resizedcrop": (("scale", _TINY, 1), ("ratio", _TINY, _HUGE)),
    "rotate": (("degrees", 0, 360),),
    "affine": (("rotate", 0, 360), ("translate", 0, 1), ("scale", _TINY, _HUGE), ("shear", 0, 80)),
    "jitter": (("brightness", 0, _HUGE), ("contrast", 0, _HUGE), ("saturation", 0, _HUGE), ("hue", 0, 0.5)),
    "pca": (("sigma", 0, _HUGE),),
    "noise": (("sigma", 0, _HUGE),),
    "mixup": (("alpha", _TINY, 2),),
    "cutmix": (("alpha", _TINY, 2),),
    "erase": (("p", 0, 1), ("area", _TINY, 1), ("ratio", _TINY, _HUGE)),
}


def output_shape(steps: Sequence[Step], shape: tuple, label: str = "the images") -> tuple:
    """(*axes, c) after the steps of a sample of that shape; an axis that is None stays unknown until a crop fixes it.
    `tencrop` counts as the crop it is.

    NetError, naming `label`, where a step does not fit.
    """
    for step in steps:
        shape = (*_after(step, shape, label), shape[-1])
    return shape


def _after(step: Step, shape: tuple, label: str) -> tuple:
    """The axes after one step."""
    name, args, axes, c = step[0], step[1], shape[:-1], shape[-1]
    n = args.get("n")
    if isinstance(n, tuple) and len(n) != len(axes):
        raise _error(step, f"`{name} {_words(n)}` of {label}: they have {len(axes)} "
                           f"{'axis' if len(axes) == 1 else 'axes'}", "give one number an axis, or one for all")
    if len(axes) < 2 and (name in _PICTURES or args.get("axis") == "vertical"):
        raise _error(step, f"`{name}` of {label} of {size_words(shape)}: it needs two axes",
                     "use `crop`, `fit`, `shift`, `flip` or `noise` on sequences")
    if name == "pca" and c != 3 or name == "jitter" and c != 3 and (args["saturation"] or args["hue"]):
        what = "`pca`" if name == "pca" else "saturation and hue"
        raise _error(step, f"{what} of {label} of {c} channel{'s' if c != 1 else ''}: only for RGB", f"remove {what}")
    if name == "pad":
        return tuple(None if s is None else s + 2 * m for s, m in zip(axes, sizes(n, len(axes))))
    if name in ("crop", "tencrop"):
        window = sizes(n, len(axes)) if name == "crop" else (*axes[:-2], n, n)
        if any(s is not None and s < k for s, k in zip(axes, window) if k is not None):
            raise _error(step, f"`{name} {_words(n)}` of {label}: only {size_words(shape)} at that step",
                         f"put `resize {n}` or a `pad` before the crop" if len(axes) > 1 else f"write `fit {n}`")
        return window
    if name == "fit":
        return sizes(n, len(axes))
    if name == "resizedcrop":
        return (*axes[:-2], n, n)
    if name == "resize":
        h, w = axes[-2:]
        return (*axes[:-2], *((None, None) if h is None or w is None else resized(h, w, n)))
    return axes


def size_words(shape: tuple) -> str:
    """'32x32 x3', with ? for what is not known."""
    *axes, c = ("?" if v is None else str(v) for v in shape)
    return f"{'x'.join(axes)} x{c}".lstrip()


def _words(n) -> str:
    return "x".join(map(str, n)) if isinstance(n, tuple) else str(n)


def views(steps: Sequence[Step]) -> int:
    """How many arrays the steps make of each sample: their predictions are averaged."""
    return VIEWS if any(step[0] == "tencrop" for step in steps) else 1


def single(steps: Sequence[Step]) -> list[Step]:
    """The same steps with one view a sample: `tencrop` as the crop in its middle."""
    return [("crop", *step[1:]) if step[0] == "tencrop" else step for step in steps]


def bind(steps: Sequence[Step], split) -> list[Step]:
    """The steps with what they take from the training set: the axes of `pca`."""
    return [("pca", {**step[1], "axes": split.colour_axes}, *step[2:]) if step[0] == "pca" else step for step in steps]


def run(steps: Sequence[Step], images, samples: np.ndarray | None = None, key: tuple[int, ...] | None = None,
        names: Callable[[int], str] | None = None, masks: bool = False):
    """The pipeline on a batch: an array (n, *axes, c) or a list of (*axes, c) arrays, whose sizes may differ.

    With `samples` (their positions in the split) and `key` (seed, epoch) the random steps draw; without, as in tests.
    Returns an array (n * views, *axes', c), or a list while sizes differ. `names` calls position i of the batch in
    errors. With `masks`, geometry alone, the same as that of the images at these positions, by the nearest value.
    """
    for position, step in enumerate(steps):
        if masks and step[0] in _VALUES:
            continue
        if step[0] in _MIXING and isinstance(images, list):
            images = stacked(images)
            if isinstance(images, list):
                raise _error(step, f"`{step[0]}` mixes images of one size; these differ",
                             "put a `crop` or `fit` before it")
        if isinstance(images, list):
            done = []
            for i, image in enumerate(images):
                output_shape([step], image.shape, names(i) if names else "the images")
                done.append(_one(step, position, image[None], samples[i:i + 1] if key else None, key, masks))
            images = stacked([view for result in done for view in result])
        else:
            output_shape([step], images.shape[1:])
            images = _one(step, position, images, samples, key, masks)
        if step[0] == "tencrop" and samples is not None:
            samples = np.repeat(samples, VIEWS)
    return stacked(images) if isinstance(images, list) else images


def _one(step: Step, position: int, images: np.ndarray, samples, key, masks: bool) -> np.ndarray:
    draw = None if key is None else Draw(samples, (*key, position))
    if step[0] in _VALUES:
        return _VALUES[step[0]](images, draw, **step[1])
    if step[0] == "mixup" and masks:
        return mixing.chosen(images, draw, mixing.mixup_share(images.shape, draw, **step[1]))
    if step[0] in _MIXING:
        return _MIXING[step[0]](images, draw, **step[1])
    return _GEOMETRY[step[0]](images, draw, masks, **step[1])


def relabel(steps: Sequence[Step], labels: np.ndarray, shape: tuple, samples: np.ndarray,
            key: tuple[int, ...]) -> np.ndarray:
    """The labels (n,) of a batch after the steps that mix samples; `shape` is that of the batch."""
    for position, step in enumerate(steps):
        if step[0] in _MIXING:
            draw = Draw(samples, (*key, position))
            labels = mixing.chosen(labels, draw, _SHARES[step[0]](shape, draw, **step[1]))
    return labels


def _error(step: Step, message: str, help: str) -> NetError:
    span = step[2] if len(step) > 2 else None
    if span is None:
        return NetError(message, help=help)
    where = Diagnostic("E310", message, span.file, span.line, span.column, span.end_column, help)
    return NetError(message, help=help, diagnostics=(where,))
