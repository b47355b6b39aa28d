"""Resizing for the array backend: a matrix per axis, whose transpose is the gradient."""

from __future__ import annotations


def _reading(xp, mode, n, size, dtype):
    """The matrix (size, n) of what each output along one axis reads: y = M x, dx = M^T dy."""
    o = xp.arange(size)
    matrix = xp.zeros((size, n), dtype)
    if mode == "nearest":
        matrix[o, o * n // size] = 1
        return matrix
    source = xp.clip(((2 * o + 1) * n - size) / (2 * size), 0, n - 1)
    first = xp.floor(source).astype("int64")
    matrix[o, first] = 1 - (source - first)
    matrix[o, xp.minimum(first + 1, n - 1)] += source - first
    return matrix


def along(xp, matrix, x, axis):
    """The matrix times every row of x along that axis."""
    return xp.moveaxis(xp.tensordot(matrix, x, axes=(1, axis)), 0, axis)


def resize(xp, a, x):
    y = x
    for axis, (n, size) in enumerate(zip(x.shape[1:-1], a["size"]), 1):
        y = along(xp, _reading(xp, a["mode"], n, size, x.dtype), y, axis)
    return y


def resize_grad(xp, a, dy):
    dx = dy
    for axis, (n, size) in enumerate(zip(a["shape"][1:-1], dy.shape[1:-1]), 1):
        dx = along(xp, _reading(xp, a["mode"], n, size, dy.dtype).T, dx, axis)
    return dx
