"""Steps that change values and leave pixels where they are; masks do not go through them.

Each takes a batch (n, *axes, c) and the draws of its samples. Amounts are in the scale of 0..1, so uint8 counts as
divided by 255; its results are rounded, and cut off at 0 and 255. Floats are not cut off.
"""

from __future__ import annotations

import numpy as np

from . import geometry
from .draws import Draw

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601: the grey of a colour


def jitter(x: np.ndarray, draw: Draw, brightness: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    """Brightness, contrast and saturation times a factor uniform within 1 ± the given share (at least 0); colours
    turned about the grey axis by up to the share `hue` of a full turn.

    Contrast works towards the mean grey of the image, saturation towards each pixel's grey. The whole is one affine
    map of the colours of a sample, so the order does not depend on chance and values are cut off once, at the end.
    """
    factors = [draw.between(max(0.0, 1 - v), 1 + v, i) for i, v in enumerate((brightness, contrast, saturation))]
    bright, contrasted, saturated = factors
    count, c = len(x), x.shape[-1]
    matrix = np.broadcast_to(np.eye(c), (count, c, c))
    if c == 3:
        grey = np.broadcast_to(_LUMA, (3, 3))
        matrix = saturated[:, None, None] * matrix + (1 - saturated)[:, None, None] * grey
        matrix = _turns(2 * np.pi * draw.between(-hue, hue, 3)) @ matrix
    matrix = (bright * contrasted)[:, None, None] * matrix
    mean = x.reshape(count, -1, c).mean(1, dtype=np.float64) @ (_LUMA if c == 3 else np.full(c, 1 / c))
    offset = (bright * (1 - contrasted) * mean)[:, None].repeat(c, 1)
    return _mapped(x, matrix, offset)


def _turns(angles: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) about (1, 1, 1) by Rodrigues' formula: greys stay, and the sum of the channels."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    a = angles[:, None, None]
    return np.cos(a) * np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * np.full((3, 3), 1 / 3)


def _mapped(x: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """matrix (n, c, c) times the colours of each sample, plus offset (n, c)."""
    y, c = np.empty_like(x), x.shape[-1]
    factors, offsets = matrix.astype(np.float32), offset.astype(np.float32)
    for i in range(len(x)):
        planes = [x[i, ..., k].astype(np.float32) for k in range(c)]  # planes apart are several times as fast
        for out in range(c):
            total = planes[0] * factors[i, out, 0] + offsets[i, out]
            for k in range(1, c):
                total += planes[k] * factors[i, out, k]
            y[i, ..., out] = _like(total, x.dtype)
    return y


def pca(x: np.ndarray, draw: Draw, sigma: float, axes: np.ndarray) -> np.ndarray:
    """Adds sum_i alpha_i lambda_i p_i to all pixels of a sample, alpha_i normal with deviation `sigma` (Krizhevsky et
    al. 2012). axes: (c, c), column i is lambda_i p_i, of the training set: see `dataset.principal_axes`."""
    alpha = np.stack([draw.normal(i) for i in range(len(axes))], 1) * sigma
    shifts = (alpha[:, None, :] * axes).sum(2) * _unit(x)
    return _like(x + shifts.astype(np.float32).reshape(len(x), *(1,) * (x.ndim - 2), -1), x.dtype)


def noise(x: np.ndarray, draw: Draw, sigma: float) -> np.ndarray:
    """Adds normal noise of deviation `sigma` to every value."""
    return _like(x + draw.noise(x[0].size, 0).reshape(x.shape) * np.float32(sigma * _unit(x)), x.dtype)


def cutout(x: np.ndarray, draw: Draw, n: geometry.Size) -> np.ndarray:
    """Zeros in a block of size n with its centre anywhere in the image, cut off at the border (DeVries and Taylor
    2017)."""
    lengths = geometry.sizes(n, x.ndim - 2)
    starts = [draw.below(s, axis) - k // 2 for axis, (s, k) in enumerate(zip(x.shape[1:-1], lengths))]
    return _blanked(x, range(len(x)), [(start, start + k) for start, k in zip(starts, lengths)])


def erase(x: np.ndarray, draw: Draw, p: float, area: tuple, ratio: tuple) -> np.ndarray:
    """With probability p zeros in a window of a random share of the area and a random shape (Zhong et al. 2017)."""
    top, left, height, width = map(np.array, geometry.windows(*x.shape[-3:-1], draw, area, ratio))
    chosen = np.flatnonzero(draw.unit(geometry.WINDOW_DRAWS) < p)
    whole = [(np.zeros(len(x), int), np.full(len(x), s)) for s in x.shape[1:-3]]
    return _blanked(x, chosen, [*whole, (top, top + height), (left, left + width)])


def _blanked(x: np.ndarray, chosen, spans: list[tuple]) -> np.ndarray:
    """x with zeros in the chosen samples, from start to end (arrays, one a sample) along each axis."""
    y = np.array(x)
    for i in chosen:
        y[(i, *(slice(max(0, int(start[i])), int(end[i])) for start, end in spans))] = 0
    return y


def _unit(x: np.ndarray) -> float:
    """What 1 is in the scale of x."""
    return 255.0 if x.dtype == np.uint8 else 1.0


def _like(y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 values as the type of the batch they came from."""
    if dtype != np.uint8:
        return y.astype(dtype, copy=False)
    np.rint(y, out=y)
    return np.clip(y, 0, 255, out=y).astype(np.uint8)
