"""Steps that move pixels. Each takes a batch (n, *axes, c) and the draws of its samples (None: no randomness, as in
`test`), and gives a batch of the same type. A mask goes through the same functions with the same draws and `nearest`.

Sizes are a number for all axes, or one an axis. Steps on pictures (`resize`, `resizedcrop`, `rotate`, `affine`) work on
the last two axes and treat the frames of a clip, or the slices of a volume, alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .draws import Draw

Size = "int | tuple[int, ...]"


def sizes(n, axes: int) -> tuple[int, ...]:
    """One number an axis."""
    return n if isinstance(n, tuple) else (n,) * axes


def pad(x: np.ndarray, draw: Draw | None, nearest: bool, n: Size) -> np.ndarray:
    """n zeros before and after every axis (zero before the input's mean is taken off)."""
    margins = sizes(n, x.ndim - 2)
    if not any(margins):
        return x
    y = np.zeros((len(x), *(s + 2 * m for s, m in zip(x.shape[1:-1], margins)), x.shape[-1]), x.dtype)
    y[(slice(None), *(slice(m, m + s) for s, m in zip(x.shape[1:-1], margins)))] = x
    return y


def crop(x: np.ndarray, draw: Draw | None, nearest: bool, n: Size) -> np.ndarray:
    """A window of size n: anywhere, uniformly, with `draw`; else the centre, from (size - n) // 2."""
    axes, window = x.shape[1:-1], sizes(n, x.ndim - 2)
    room = [s - k for s, k in zip(axes, window)]
    if draw is None:
        return x[(slice(None), *(slice(r // 2, r // 2 + k) for r, k in zip(room, window)))]
    x = np.ascontiguousarray(x)
    # Every window's row is a run of k*c values: a view of all windows, of which one a sample is copied.
    count, c = len(x), x.shape[-1]
    shape = (count, *(r + 1 for r in room), *window[:-1], window[-1] * c)
    strides = (x.strides[0], *x.strides[1:-1], *x.strides[1:-2], x.itemsize)
    windows = np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)
    starts = [draw.below(r + 1, axis) for axis, r in enumerate(room)]
    return windows[(np.arange(count), *starts)].reshape(count, *window, c)


def fit(x: np.ndarray, draw: Draw | None, nearest: bool, n: Size) -> np.ndarray:
    """Exactly size n: longer axes are cropped as by `crop`, shorter ones filled with zeros, the content placed at
    random with `draw`, else in the middle."""
    short = tuple(max(0, k - s) for s, k in zip(x.shape[1:-1], sizes(n, x.ndim - 2)))
    return crop(pad(x, None, nearest, short), draw, nearest, n)


def shift(x: np.ndarray, draw: Draw, nearest: bool, n: Size) -> np.ndarray:
    """Moved along each axis by -n..n positions, uniformly; zeros come in."""
    return crop(pad(x, None, nearest, n), draw, nearest, x.shape[1:-1])


def flip(x: np.ndarray, draw: Draw, nearest: bool, axis: str = "horizontal") -> np.ndarray:
    """Mirrors each sample left to right (`vertical`: upside down) with probability 1/2."""
    chosen = np.flatnonzero(draw.below(2, 0))
    y = np.array(x)
    # Pixels as one opaque element: reversing them is then one copy a pixel.
    rows = y.view(f"V{y.dtype.itemsize * y.shape[-1]}")[..., 0]
    rows[chosen] = np.flip(rows[chosen], -1 if axis == "horizontal" else -2)
    return y


def resize(x: np.ndarray, draw: Draw | None, nearest: bool, n: int) -> np.ndarray:
    """The short side to n pixels, the long one in proportion (rounded); Pillow's antialiased bilinear filter."""
    h, w = resized(*x.shape[-3:-1], n)
    if (h, w) == x.shape[-3:-1]:
        return x
    how = _filter(nearest)
    return _pictures(x, (h, w), lambda picture, sample: picture.resize((w, h), how))


def resized(h: int, w: int, n: int) -> tuple[int, int]:
    """(h, w) after `resize n`."""
    short = min(h, w)
    return (h * n + short // 2) // short, (w * n + short // 2) // short


def resizedcrop(x: np.ndarray, draw: Draw, nearest: bool, n: int, scale: tuple, ratio: tuple) -> np.ndarray:
    """A window of a random share of the area (`scale`) and a random shape (`ratio`: width to height), resized to n x n
    (Szegedy et al. 2015, Going deeper with convolutions)."""
    top, left, height, width = windows(*x.shape[-3:-1], draw, scale, ratio)
    how = _filter(nearest)

    def change(picture, i: int):
        return picture.resize((n, n), how, (left[i], top[i], left[i] + width[i], top[i] + height[i]))

    return _pictures(x, (n, n), change)


_TRIES = 10
WINDOW_DRAWS = 4 * _TRIES  # numbers of the draws that `windows` may take


def windows(h: int, w: int, draw: Draw, scale: tuple,
            ratio: tuple) -> tuple[list[int], list[int], list[int], list[int]]:
    """(top, left, height, width) of a window in h x w pixels for each sample: the area uniform within `scale` of the
    whole, the logarithm of width / height uniform within `ratio`. Where no try fits, the largest window in the middle
    whose shape is within `ratio`."""
    whole = min(max(w / h, ratio[0]), ratio[1])
    height = np.full(len(draw), min(h, round(w / whole)))
    width = np.full(len(draw), min(w, round(h * whole)))
    top, left = (h - height) // 2, (w - width) // 2
    found = np.zeros(len(draw), bool)
    for attempt in range(_TRIES):
        area = h * w * draw.between(*scale, 4 * attempt)
        shape = np.exp(draw.between(np.log(ratio[0]), np.log(ratio[1]), 4 * attempt + 1))
        tall, wide = (np.rint(v).astype(int) for v in (np.sqrt(area / shape), np.sqrt(area * shape)))
        good = ~found & (tall > 0) & (wide > 0) & (tall <= h) & (wide <= w)
        height[good], width[good] = tall[good], wide[good]
        top[good] = (draw.unit(4 * attempt + 2) * (h - tall + 1)).astype(int)[good]
        left[good] = (draw.unit(4 * attempt + 3) * (w - wide + 1)).astype(int)[good]
        found |= good
        if found.all():
            break
    return top.tolist(), left.tolist(), height.tolist(), width.tolist()


def rotate(x: np.ndarray, draw: Draw, nearest: bool, degrees: float) -> np.ndarray:
    """Turned about the centre by an angle uniform in -degrees..degrees; bilinear, zeros come in."""
    return affine(x, draw, nearest, degrees, 0, (1, 1), 0)


def affine(x: np.ndarray, draw: Draw, nearest: bool, rotate: float, translate: float, scale: tuple,
           shear: float) -> np.ndarray:
    """Turned by up to `rotate` degrees, moved by up to the share `translate` of each side, scaled by a factor within
    `scale` and sheared along x by up to `shear` degrees, all uniform, about the centre; bilinear, zeros come in."""
    from PIL import Image

    how = _filter(nearest)
    h, w = x.shape[-3:-1]
    turn, slant = (np.deg2rad(draw.between(-v, v, i)) for i, v in enumerate((rotate, shear)))
    size = draw.between(*scale, 2)
    move = np.stack([w * draw.between(-translate, translate, 3), h * draw.between(-translate, translate, 4)], -1)
    # From places in the source to places in the result: turn * shear * size, y downwards.
    matrix = np.empty((len(draw), 2, 2))
    matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(turn), np.cos(turn) * np.tan(slant) + np.sin(turn)
    matrix[:, 1, 0], matrix[:, 1, 1] = -np.sin(turn), -np.sin(turn) * np.tan(slant) + np.cos(turn)
    back = np.linalg.inv(matrix * size[:, None, None])  # Pillow asks where each pixel of the result comes from
    centre = np.array([w / 2, h / 2])
    origin = centre - np.einsum("nij,nj->ni", back, centre + move)
    rows = np.concatenate([back, origin[:, :, None]], 2).reshape(-1, 6).tolist()
    return _pictures(x, (h, w), lambda picture, i: picture.transform((w, h), Image.Transform.AFFINE, rows[i], how))


def tencrop(x: np.ndarray, draw: None, nearest: bool, n: int) -> np.ndarray:
    """(10 n, n, n, c): the four corners, the centre and their mirror images, sample by sample (Krizhevsky et al.
    2012)."""
    h, w = x.shape[-3:-1]
    bottom, right = h - n, w - n
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    five = np.stack([x[..., top:top + n, left:left + n, :] for top, left in places], 1)
    ten = np.concatenate([five, five[..., ::-1, :]], 1)
    return ten.reshape(-1, *ten.shape[2:])


def _filter(nearest: bool):
    from PIL import Image

    return Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR


def _pictures(x: np.ndarray, size: tuple[int, int], change: Callable) -> np.ndarray:
    """The pictures of the last two axes through `change(picture, sample)`, which gives one of (h, w) `size`."""
    from PIL import Image

    h, w, c = x.shape[-3:]
    source = np.ascontiguousarray(x).reshape(len(x), -1, h, w, c)
    target = np.empty((*source.shape[:2], *size, c), x.dtype)
    # Else channel by channel: Pillow would treat a fourth channel as opacity, and knows no float images of several.
    whole = x.dtype == np.uint8 and c == 3
    for i, (frames, results) in enumerate(zip(source, target)):
        for frame, result in zip(frames, results):
            if whole:
                result[:] = change(Image.fromarray(frame), i)
                continue
            for k in range(c):
                result[:, :, k] = change(Image.fromarray(np.ascontiguousarray(frame[:, :, k])), i)
    return target.reshape(*x.shape[:-3], *size, c)
