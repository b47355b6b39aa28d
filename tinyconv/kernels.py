"""Single kernels on NumPy arrays, to check and to measure them by: gemm, conv, conv_dx, conv_dw.

They run what a net runs: the C kernels, or their NumPy twins where those are not built. Arrays are float32, channels
last: x (N, *spatial, C), weights (K, *kernel, C/groups), y (N, *spatial, K). 1, 2 or 3 spatial axes.
"""

from __future__ import annotations

import threading
from math import prod

import numpy as np

from .errors import NetError
from .ops import conv_size
from .runtime import threads
from .runtime.array import conv as _conv_array, conv_dw as _dw_array, conv_dx as _dx_array
from .runtime.backend import compiled
from .runtime.host import aligned, empty

if compiled():
    from .runtime import _cpu
    from .runtime.cpu import ALGORITHMS, PASSES, address, conv_shape

FLOAT = np.dtype(np.float32)
SMALL = 1 << 14  # values: finding whole cache lines for so few takes longer than stores across them

_kept = threading.local()


def gemm(a, b) -> np.ndarray:
    """The matrix product a b of (m, k) and (k, n), float32."""
    a, b = _float32(a, "a"), _float32(b, "b")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise NetError(f"gemm takes (m, k) and (k, n), not {a.shape} and {b.shape}")
    if not compiled():
        return a @ b
    (m, k), n = a.shape, b.shape[1]
    c, count = _empty((m, n)), threads.get()
    scratch = _room("scratch", _cpu.gemm_scratch(m, n, k, count))
    _cpu.gemm(m, n, k, address(a), address(b), address(c), address(scratch), count)
    return c


def conv(x, w, stride=1, padding=0, dilation=1, groups=1, algorithm=None) -> np.ndarray:
    """The convolution of x (N, *spatial, C) with w (K, *kernel, C/groups): (N, *output, K).

    stride, padding, dilation: a number or one an axis; output = floor((n + 2p - d(k-1) - 1)/s) + 1.
    algorithm: None takes the one that `algorithm_of` names; else "winograd4x4" or "winograd2x2" (3x3 kernels of stride
    and dilation 1), "winograd4x1" or "winograd2x1" (3 taps along one axis, stride 1), "unpacked" (weights read as they
    stand: 1x1 of stride 1, or any data gradient but "dwconv"), or the direct one: "igemm", "gemm" (1x1, or as large as
    the map), "dwconv" (a channel a group).
    """
    x, w = _float32(x, "x"), _float32(w, "w")
    a = _geometry(w.shape[1:-1], x.ndim - 2, stride, padding, dilation, groups)
    _check(x.shape[-1], w, groups, x.ndim)
    out = _outputs(x.shape[1:-1], w.shape[1:-1], a)
    y_shape = (len(x), *out, len(w))
    return _run("conv", a, x.shape, y_shape, w.shape, (x, w), y_shape, algorithm)


def conv_dx(dy, w, stride=1, padding=0, dilation=1, groups=1, algorithm=None, size=None) -> np.ndarray:
    """The gradient with respect to x: dy (N, *output, K), w (K, *kernel, C/groups) -> (N, *size, C).

    size: of x; None is the smallest that gives dy's, (n-1)s - 2p + d(k-1) + 1.
    """
    dy, w = _float32(dy, "dy"), _float32(w, "w")
    a = _geometry(w.shape[1:-1], dy.ndim - 2, stride, padding, dilation, groups)
    if dy.shape[-1] != len(w) or len(w) % groups:
        raise NetError(f"dy has {dy.shape[-1]} channels, w {len(w)} outputs in {groups} groups")
    kernel = w.shape[1:-1]
    least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in
                  zip(dy.shape[1:-1], kernel, a["stride"], a["padding"], a["dilation"]))
    size = least if size is None else _axes(size, len(kernel), "size", 1)
    if _outputs(size, kernel, a) != dy.shape[1:-1]:
        raise NetError(f"an input of {size} does not give outputs of {dy.shape[1:-1]}", help=f"use size={least}")
    x_shape = (len(dy), *size, w.shape[-1] * groups)
    return _run("conv_dx", a, x_shape, dy.shape, w.shape, (dy, w), x_shape, algorithm)


def conv_dw(x, dy, stride=1, padding=0, dilation=1, groups=1, algorithm=None, kernel=None) -> np.ndarray:
    """The gradient with respect to w: x (N, *spatial, C), dy (N, *output, K) -> (K, *kernel, C/groups).

    kernel: its size; None is worked out where only one fits (stride 1 does).
    """
    x, dy = _float32(x, "x"), _float32(dy, "dy")
    axes = x.ndim - 2
    a = _geometry((1,) * axes, axes, stride, padding, dilation, groups)
    if dy.ndim != x.ndim or len(dy) != len(x) or x.shape[-1] % groups or dy.shape[-1] % groups:
        raise NetError(f"x {x.shape} and dy {dy.shape} do not go together in {groups} groups")
    kernel = _kernel_of(x, dy, a) if kernel is None else _axes(kernel, axes, "kernel", 1)
    if _outputs(x.shape[1:-1], kernel, a) != dy.shape[1:-1]:
        raise NetError(f"a kernel of {kernel} does not lead from {x.shape[1:-1]} to {dy.shape[1:-1]}")
    w_shape = (dy.shape[-1], *kernel, x.shape[-1] // groups)
    return _run("conv_dw", a, x.shape, dy.shape, w_shape, (x, dy), w_shape, algorithm)


def algorithm_of(x_shape, w_shape, stride=1, padding=0, dilation=1, groups=1, which="conv") -> str:
    """The algorithm for one pass ("conv", "conv_dx", "conv_dw"): a function of the shapes and the instruction set."""
    a = _geometry(w_shape[1:-1], len(x_shape) - 2, stride, padding, dilation, groups)
    y_shape = (x_shape[0], *_outputs(x_shape[1:-1], w_shape[1:-1], a), w_shape[0])
    return _algorithm(which, a, x_shape, y_shape, w_shape)


def _algorithm(which, a, x_shape, y_shape, w_shape, asked=None) -> str:
    """What C takes: `asked` where it is known and fits the shape."""
    if not compiled():
        return "array"
    ints = conv_shape(x_shape, y_shape, w_shape[1:-1], a, asked if asked in ALGORITHMS else None)
    return _cpu.conv_algorithm(ints, PASSES[which])


def _run(which, a, x_shape, y_shape, w_shape, operands, out_shape, algorithm) -> np.ndarray:
    if algorithm is not None and _algorithm(which, a, x_shape, y_shape, w_shape, algorithm) != algorithm:
        have = _algorithm(which, a, x_shape, y_shape, w_shape)
        raise NetError(f"there is no algorithm {algorithm!r} for this shape", help=f"use {have!r}")
    if 0 in out_shape or any(0 in o.shape for o in operands):
        return np.zeros(out_shape, np.float32)
    if not compiled():
        twin = {"conv": _conv_array, "conv_dx": _dx_array, "conv_dw": _dw_array}[which]
        return twin(np, dict(a, shape=out_shape), *operands)
    out = _empty(out_shape)
    call, steps = _call(which, a, x_shape, y_shape, w_shape, operands, out, algorithm)
    call(0, steps)
    return out


def _call(which, a, x_shape, y_shape, w_shape, operands, out, algorithm):
    """A function of (first, last) that runs these steps of one kernel's program, and how many there are: the packing
    of weights, where it takes some, stands first."""
    ints, count = conv_shape(x_shape, y_shape, w_shape[1:-1], a, algorithm), threads.get()
    steps, arrays = [], list(operands)
    inputs = [(0, 0), (1, 0)]
    if which != "conv_dw" and algorithm != "unpacked":
        packed = _room("packed", 4 * _cpu.conv_packed(ints, PASSES[which]))
        steps.append(("pack", [(1, 0), (2, 0)], [*ints, PASSES[which]], []))
        arrays.append(packed)
        inputs = [(0, 0), (2, 0)]
    no_bias = [(-1, 0)] * (which == "conv")
    steps.append((which, [*inputs, *no_bias, (len(arrays), 0)], ints, []))
    program = _cpu.Program(steps)
    scratch = address(_room("scratch", max(program.scratch(count))))
    bases = [*map(address, arrays), address(out)]

    def call(first: int, last: int) -> None:
        program.run(first, last, bases, scratch, count)

    return call, len(steps)


def _empty(shape) -> np.ndarray:
    values = prod(shape)
    return np.empty(shape, FLOAT) if values <= SMALL else empty(4 * values).view(FLOAT).reshape(shape)


def _float32(x, name: str) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype != FLOAT:
        raise TypeError(f"{name} holds {x.dtype}: use {name}.astype('float32')")
    return np.ascontiguousarray(x)


def _axes(value, axes: int, what: str, least: int) -> tuple[int, ...]:
    size = (value,) * axes if isinstance(value, (int, np.integer)) else tuple(value)
    if len(size) != axes or any(v < least for v in size):
        raise NetError(f"{what} is a number of at least {least}, or {axes} of them, not {value!r}")
    return tuple(int(v) for v in size)


def _geometry(kernel, axes, stride, padding, dilation, groups) -> dict:
    if not 1 <= axes <= 3 or len(kernel) != axes:
        raise NetError("convolution has 1 to 3 spatial axes, as many in x as in w: x (N, *spatial, C), "
                       "w (K, *kernel, C/groups)")
    if groups < 1:
        raise NetError("groups must be at least 1")
    return dict(stride=_axes(stride, axes, "stride", 1), padding=_axes(padding, axes, "padding", 0),
                dilation=_axes(dilation, axes, "dilation", 1), groups=int(groups))


def _outputs(spatial, kernel, a) -> tuple[int, ...]:
    out = tuple(conv_size(*axis) for axis in zip(spatial, kernel, a["stride"], a["padding"], a["dilation"]))
    if any(n < 1 for n in out):
        raise NetError(f"a kernel of {kernel} is larger than its padded input {spatial}")
    return out


def _check(channels: int, w, groups: int, ndim: int) -> None:
    if w.ndim != ndim or channels != w.shape[-1] * groups or len(w) % groups:
        raise NetError(f"x has {channels} channels, w {w.shape} takes {w.shape[-1]} a group in {groups} groups")


def _kernel_of(x, dy, a) -> tuple[int, ...]:
    kernel = []
    for n, o, s, p, d in zip(x.shape[1:-1], dy.shape[1:-1], a["stride"], a["padding"], a["dilation"]):
        fits = [k for k in range(1, (n + 2 * p - 1) // d + 2) if conv_size(n, k, s, p, d) == o]
        if len(fits) != 1:
            raise NetError(f"{len(fits)} kernel sizes lead from {n} to {o}: {fits}", help="give kernel=")
        kernel.append(fits[0])
    return tuple(kernel)


def _room(name: str, nbytes: int) -> np.ndarray:
    """Aligned memory, this thread's, kept from call to call: fresh pages would cost more than a small product."""
    have = getattr(_kept, name, None)
    if have is None or have.nbytes < nbytes:
        have = aligned(max(nbytes, 1 << 16))
        setattr(_kept, name, have)
    return have
