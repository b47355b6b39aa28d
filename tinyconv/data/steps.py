"""The steps of `augment` and `test` in the `data` section.

A pipeline is what `lang.sections` delivers: a list of (name, arguments[, span]). Steps take a batch (n, h, w, c) of
uint8 or float32 and give one of the same type; each is a plain function on the whole batch. What is random in
`augment` is drawn from the key (seed, epoch), the sample's position in its split and the step's position in the
pipeline, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tinyconv.data import hashing
from tinyconv.errors import Diagnostic, NetError
from tinyconv.sections import DATA, STEPS

__all__ = ["DATA", "STEPS", "check", "crop", "flip", "output_shape", "pad", "resize", "resized", "run"]

Draw = Callable[[int, int], np.ndarray]  # (limit, number of the draw) -> whole numbers below limit, one a sample


def pad(x: np.ndarray, n: int, draw: Draw | None = None) -> np.ndarray:
    """n rows and columns of zeros on every side (zero before the input's mean is taken off)."""
    if n == 0:
        return x
    count, h, w, c = x.shape
    y = np.zeros((count, h + 2 * n, w + 2 * n, c), x.dtype)
    y[:, n:n + h, n:n + w] = x
    return y


def crop(x: np.ndarray, n: int, draw: Draw | None = None) -> np.ndarray:
    """An n x n window: anywhere, uniformly, with `draw`; else the centre, from (size - n) // 2."""
    count, h, w, c = x.shape
    if draw is None:
        top, left = (h - n) // 2, (w - n) // 2
        return x[:, top:top + n, left:left + n]
    x = np.ascontiguousarray(x)
    # Every window of a row is a run of n*c values: a view of all windows, of which one a sample is copied.
    image, row, value = h * w * c * x.itemsize, w * c * x.itemsize, x.itemsize
    windows = np.lib.stride_tricks.as_strided(
        x, (count, h - n + 1, w - n + 1, n, n * c), (image, row, c * value, row, value), writeable=False)
    top, left = draw(h - n + 1, 0), draw(w - n + 1, 1)
    return windows[np.arange(count), top, left].reshape(count, n, n, c)


def flip(x: np.ndarray, draw: Draw | None = None) -> np.ndarray:
    """Mirrors each sample left to right with probability 1/2; without `draw` none."""
    if draw is None:
        return x
    chosen = np.flatnonzero(draw(2, 0))
    y = np.array(x)
    # Pixels as one opaque element where that is possible: reversing them is then one copy a pixel.
    pixel = y.dtype.itemsize * y.shape[3]
    rows = y.view(f"V{pixel}")[..., 0]
    rows[chosen] = rows[chosen, :, ::-1]
    return y


def resize(x: np.ndarray, n: int, draw: Draw | None = None) -> np.ndarray:
    """The short side to n pixels, the long one in proportion (rounded); Pillow's antialiased bilinear filter."""
    h, w = resized(*x.shape[1:3], n)
    if (h, w) == x.shape[1:3]:
        return x
    y = np.empty((len(x), h, w, x.shape[3]), x.dtype)
    for source, target in zip(x, y):
        _resize_one(source, target)
    return y


def _resize_one(source: np.ndarray, target: np.ndarray) -> None:
    from PIL import Image

    size = (target.shape[1], target.shape[0])
    if source.dtype == np.uint8 and source.shape[2] == 3:
        target[:] = Image.fromarray(np.ascontiguousarray(source)).resize(size, Image.Resampling.BILINEAR)
        return
    # Channel by channel: Pillow would treat a fourth channel as opacity, and knows no float images of several.
    for c in range(source.shape[2]):
        plane = np.ascontiguousarray(source[:, :, c])
        target[:, :, c] = Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR)


def resized(h: int, w: int, n: int) -> tuple[int, int]:
    """(h, w) after `resize n`."""
    short = min(h, w)
    return (h * n + short // 2) // short, (w * n + short // 2) // short


_RUN = {"pad": pad, "crop": crop, "flip": flip, "resize": resize}


def check(steps: Sequence[tuple], augment: bool) -> None:
    """NetError for a step that cannot be: `crop 0`, `resize 0`, and `flip` outside `augment`."""
    for step in steps:
        name, args = step[0], step[1]
        if name in ("crop", "resize") and args["n"] < 1:
            raise _error(step, f"`{name} {args['n']}` leaves no pixels", "give a size of at least 1")
        if name == "flip" and not augment:
            raise _error(step, "`flip` is random and belongs in `augment`", "remove it from `test`")


def output_shape(steps: Sequence[tuple], shape: tuple, label: str = "the images") -> tuple:
    """(h, w, c) after the steps of an image of that shape; an axis that is None stays unknown until a crop fixes it.

    NetError where a crop is larger than the image, naming `label`.
    """
    h, w, c = shape
    for step in steps:
        name, n = step[0], step[1].get("n")
        if name == "pad":
            h, w = (None if h is None else h + 2 * n), (None if w is None else w + 2 * n)
        elif name == "crop":
            if (h is not None and h < n) or (w is not None and w < n):
                raise _error(step, f"`crop {n}` of {label}: only {size_words((h, w, c))} at that step",
                             f"put `resize {n}` or a `pad` before the crop")
            h = w = n
        elif name == "resize":
            h, w = (None, None) if h is None or w is None else resized(h, w, n)
    return h, w, c


def size_words(shape: tuple) -> str:
    """'32x32 x3', with ? for what is not known."""
    h, w, c = ("?" if v is None else v for v in shape)
    return f"{h}x{w} x{c}"


def run(steps: Sequence[tuple], images, samples: np.ndarray | None = None, key: tuple[int, ...] | None = None,
        names: Callable[[int], str] | None = None):
    """The pipeline on a batch: an array (n, h, w, c) or a list of (h, w, c) arrays of differing sizes.

    With `samples` (their positions in the split) and `key` (seed, epoch) the random steps draw; without, as in tests.
    Returns an array (n, h', w', c), or a list while sizes differ. `names` calls position i of the batch in errors.
    """
    for position, step in enumerate(steps):
        draw = None
        if isinstance(images, list):
            done = []
            for i, image in enumerate(images):
                if key is not None:
                    draw = _drawer(samples[i:i + 1], key, position)
                output_shape([step], image.shape, names(i) if names else "the images")
                done.append(_RUN[step[0]](image[None], draw=draw, **step[1])[0])
            images = _join(done)
        else:
            if key is not None:
                draw = _drawer(samples, key, position)
            output_shape([step], images.shape[1:])
            images = _RUN[step[0]](images, draw=draw, **step[1])
    return _join(images) if isinstance(images, list) else images


def _drawer(samples: np.ndarray, key: tuple[int, ...], position: int) -> Draw:
    return lambda limit, number: hashing.below(samples, limit, *key, position, number)


def _join(images: list):
    """One array where all sizes agree (they then are a batch), else the list as it is."""
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def _error(step: tuple, message: str, help: str) -> NetError:
    span = step[2] if len(step) > 2 else None
    if span is None:
        return NetError(message, help=help)
    where = Diagnostic("E310", message, span.file, span.line, span.column, span.end_column, help)
    return NetError(message, help=help, diagnostics=(where,))
