"""Pooling for the array backend (array.py): one axis after another, as a window's maximum and mean allow."""

from __future__ import annotations

import itertools
import math

from .array_resize import along


def _spans(xp, a, axis, n):
    """For each output along one axis: where its window begins, and where what lies inside of x begins and ends."""
    o = xp.arange(a["size"][axis])
    if a["adaptive"]:
        begin = o * n // len(o)
        return begin, begin, -(-(o + 1) * n // len(o))
    begin = o * a["stride"][axis] - a["padding"][axis]
    return begin, xp.maximum(begin, 0), xp.minimum(begin + a["kernel"][axis], n)


def _places(a):
    """What a step along each axis of the window adds to a position in it."""
    return [math.prod(a["kernel"][axis + 1:]) for axis in range(len(a["kernel"]))]


def maxpool(xp, a, x):
    """The last axis first: of equal maxima the first in reading order then stands. `index`: its position in the window
    as if that lay whole inside of x."""
    y, index, places = x, None, _places(a)
    for axis in reversed(range(1, x.ndim - 1)):
        begin, low, high = _spans(xp, a, axis - 1, x.shape[axis])
        # a row of positions for each output; where the window hangs over, its outermost inside stands repeatedly
        at = xp.clip(begin[:, None] + xp.arange(a["kernel"][axis - 1]), low[:, None], high[:, None] - 1)
        seen = xp.take(y, at, axis=axis)
        best = xp.expand_dims(seen.argmax(axis=axis + 1), axis + 1)
        y = _chosen(xp, seen, best, axis + 1)
        position = xp.maximum(best.squeeze(axis + 1), _upright(low - begin, axis, x.ndim))
        if index is None:
            index = position * places[axis - 1]
        else:
            index = _chosen(xp, xp.take(index, at, axis=axis), best, axis + 1) + position * places[axis - 1]
    return y, index.astype(a["index_dtype"])


def _chosen(xp, values, at, axis):
    return xp.take_along_axis(values, at, axis=axis).squeeze(axis)


def _upright(values, axis, ndim):
    """(o,) along one of ndim axes."""
    return values.reshape(*(-1 if i == axis else 1 for i in range(ndim)))


def maxpool_grad(xp, a, dy, index):
    ndim, shape = dy.ndim, a["shape"]
    index = index.astype("int64")
    sample, channel = _upright(xp.arange(shape[0]), 0, ndim), xp.arange(shape[-1])
    where = []
    for axis, (place, k) in enumerate(zip(_places(a), a["kernel"]), 1):
        begin, _, _ = _spans(xp, a, axis - 1, shape[axis])
        where.append(index // place % k + _upright(begin, axis, ndim))
    dx = xp.zeros(shape, dy.dtype)
    # Windows so many outputs apart share no position of x: none stands twice in an assignment.
    apart = [1 + -(-o // n) if a["adaptive"] else -(-k // s)
             for n, o, k, s in zip(shape[1:-1], dy.shape[1:-1], a["kernel"], a["stride"])]
    for first in itertools.product(*map(range, apart)):
        some = (slice(None), *(slice(f, None, step) for f, step in zip(first, apart)))
        dx[(sample, *(at[some] for at in where), channel)] += dy[some]
    return dx


def _means(xp, a, axis, n, dtype):
    """The matrix (outputs, n) of the means along one axis."""
    _, low, high = _spans(xp, a, axis, n)
    i = xp.arange(n)
    inside = (i >= low[:, None]) & (i < high[:, None])
    return (inside / (high - low)[:, None]).astype(dtype)


def avgpool(xp, a, x):
    for axis in range(1, x.ndim - 1):
        x = along(xp, _means(xp, a, axis - 1, x.shape[axis], x.dtype), x, axis)
    return x


def avgpool_grad(xp, a, dy):
    for axis in range(1, dy.ndim - 1):
        dy = along(xp, _means(xp, a, axis - 1, a["shape"][axis], dy.dtype).T, dy, axis)
    return dy
