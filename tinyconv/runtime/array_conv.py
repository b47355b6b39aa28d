"""Convolution for the array backend (array.py): x is (n, *s, c), w (k, *kernel, c/g), y (n, *out, k).

All that a convolution does is one matrix product for each group. Its left side has a row for each position of the
output: the window of x that is seen from there (Chellapilla et al. 2006, "im2col"). The gradients are the same product
solved for the other two: dw = dyᵀ windows, and dy w is the gradient of the windows, added up where they came from.
"""

from __future__ import annotations

import itertools
import math

PORTION = 1 << 28  # bytes of windows at a time; samples are taken in turns


def conv(xp, a, x, w, bias=None):
    out, k = _outputs(x.shape, w.shape, a), w.shape[0]
    y = xp.empty((x.shape[0], *out, k), x.dtype)
    filters = _filters(w, a["groups"]).swapaxes(1, 2)  # (g, taps c/g, k/g)
    for part in _portions(x, w.shape, out):
        rows = _product(xp, _windows(xp, x[part], w.shape, out, a), filters)
        y[part] = xp.moveaxis(rows, 0, 1).reshape(y[part].shape)
    return y if bias is None else y + bias


def conv_dx(xp, a, dy, w, add_windows=None):
    """`add_windows`: a device's own."""
    out, g = dy.shape[1:-1], a["groups"]
    dx = xp.empty(a["shape"], dy.dtype)
    for part in _portions(dx, w.shape, out):
        wide = _product(xp, _rows(xp, dy[part], g), _filters(w, g))
        (add_windows or _add_windows)(xp, wide, dx[part], w.shape, out, a)
    return dx


def conv_dw(xp, a, x, dy):
    out, g = dy.shape[1:-1], a["groups"]
    dw = 0
    for part in _portions(x, a["shape"], out):
        turned = _rows(xp, dy[part], g).swapaxes(1, 2)  # (g, k/g, rows)
        dw = dw + _product(xp, turned, _windows(xp, x[part], a["shape"], out, a))
    return dw.reshape(a["shape"])


def taps(kernel, out, a):
    """Each position in the window with the slices of the padded input that it meets at all outputs."""
    for tap in itertools.product(*map(range, kernel)):
        where = tuple(slice(t * d, t * d + s * (o - 1) + 1, s)
                      for t, d, s, o in zip(tap, a["dilation"], a["stride"], out))
        yield tap, (slice(None), *where)


def padded(xp, x, kernel, out, a):
    """x with `padding` zeros before every axis and as many behind as the last window reaches."""
    widths = [(p, max(0, (o - 1) * s + d * (k - 1) + 1 - n - p)) for n, k, s, p, d, o in
              zip(x.shape[1:-1], kernel, a["stride"], a["padding"], a["dilation"], out)]
    return xp.pad(x, ((0, 0), *widths, (0, 0))) if any(map(any, widths)) else x


def _outputs(x, w, a):
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in
                 zip(x[1:-1], w[1:-1], a["stride"], a["padding"], a["dilation"]))


def _portions(x, w_shape, out):
    """Slices of samples whose windows fill at most PORTION bytes."""
    sample = x.shape[-1] * math.prod(w_shape[1:-1]) * math.prod(out) * x.dtype.itemsize
    step = max(1, PORTION // sample)
    return [slice(n, n + step) for n in range(0, x.shape[0], step)]


def _windows(xp, x, w_shape, out, a):
    """The windows of x as rows: (g, n out, taps c/g). A view finds every value where it is; reshaping copies it out."""
    kernel, g, depth = w_shape[1:-1], a["groups"], w_shape[-1]
    xs = padded(xp, x, kernel, out, a)
    sample, *axes, value = xs.strides
    steps = [s * n for s, n in zip(a["stride"], axes)]
    reach = [d * n for d, n in zip(a["dilation"], axes)]
    view = xp.lib.stride_tricks.as_strided(xs, (g, x.shape[0], *out, *kernel, depth),
                                           (depth * value, sample, *steps, *reach, value))
    return view.reshape(g, x.shape[0] * math.prod(out), math.prod(kernel) * depth)


def _add_windows(xp, wide, dx, w_shape, out, a):
    """dx becomes the sum of rows as _windows gives them, each value where it came from."""
    kernel, g = w_shape[1:-1], a["groups"]
    wide = wide.reshape(g, dx.shape[0], *out, *kernel, w_shape[-1])
    dxs = padded(xp, xp.zeros_like(dx), kernel, out, a)
    for tap, where in taps(kernel, out, a):
        seen = xp.moveaxis(wide[(..., *tap, slice(None))], 0, -2)  # (n, *out, g, c/g)
        there = dxs[where]
        there += seen.reshape(there.shape)
    dx[...] = dxs[(slice(None), *(slice(p, p + n) for p, n in zip(a["padding"], dx.shape[1:-1])))]


def _filters(w, g):
    """(g, k/g, taps c/g)"""
    return w.reshape(g, w.shape[0] // g, -1)


def _rows(xp, dy, g):
    """(g, n out, k/g)"""
    return xp.moveaxis(dy.reshape(-1, g, dy.shape[-1] // g), 1, 0)


def _product(xp, a, b):
    """A matrix product a group; one alone needs no copy of a transposed side."""
    return xp.matmul(a[0], b[0])[None] if len(a) == 1 else xp.matmul(a, b)
