"""Operations in CUDA C: where the array backend takes several passes over memory, a kernel takes one.

Each kernel is the body of a loop over the elements of its output (CuPy's ElementwiseKernel): `i` is the element's
number in C order, names without `raw` are its values, those with `raw` whole arrays. The same text runs in the tests,
compiled as C++. Names and formulas are those of the functions of the same name in array*.py. Nothing is added up by
atomics: equal runs give equal bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from . import array_conv
from .array_drop import bound, stream
from .array_optim import clipped


class Kernel(NamedTuple):
    takes: str
    gives: str
    body: str


# kind -> (value of x, slope at v: the output for those of ops.SAVES_OUTPUT, else the input); NaN stays NaN
ACTIVATIONS = {
    "relu": ("x < 0 ? 0 : x", "v > 0 ? 1 : 0"),
    "relu6": ("x < 0 ? 0 : x > 6 ? 6 : x", "v > 0 && v < 6 ? 1 : 0"),
    "leaky": ("x > 0 ? x : a * x", "v > 0 ? 1 : a"),
    "elu": ("x > 0 ? x : a * expm1f(x)", "v > 0 ? 1 : v + a"),
    "gelu": ("x * 0.5f * erfcf(-x * 0.70710678f)",
             "0.5f * erfcf(-v * 0.70710678f) + v * expf(-0.5f * v * v) * 0.39894228f"),
    "silu": ("x / (1 + expf(-x))", "(1 + v * (1 - 1 / (1 + expf(-v)))) / (1 + expf(-v))"),
    "hswish": ("x * fminf(fmaxf(x / 6 + 0.5f, 0), 1)", "v <= -3 ? 0 : v >= 3 ? 1 : v / 3 + 0.5f"),
    "sigmoid": ("1 / (1 + expf(-x))", "v * (1 - v)"),
    "hsigmoid": ("x != x ? x : fminf(fmaxf(x / 6 + 0.5f, 0), 1)", "v > 0 && v < 1 ? 1 / 6.f : 0"),
    "tanh": ("tanhf(x)", "1 - v * v"),
}

# Sums over the rows of an (rows, c) array: element (part, channel) adds up every parts-th row, from row `part` on, so
# that neighbouring threads read neighbouring values.
_ROWS = ("const int channel = i % c;"
         "for (long long r = i / c; r < rows; r += parts) { const long long at = r * c + channel;")
_SHAPE = "int64 rows, int32 c, int32 parts"

# Windows along three axes: x are the input's sizes, y the output's, k the window's; a stands in x, o in y, t in the
# window, b and e are where a window begins and ends in x.
_GEOMETRY = ", ".join(f"int32 {name}{axis}" for name in "xyksp" for axis in range(3))


def _each_axis(text: str) -> str:
    return " ".join(text.replace("#", str(axis)) for axis in range(3))


_SPANS = _each_axis("const int b# = adaptive ? o# * x# / y# : o# * s# - p#;"
                    "const int e# = adaptive ? ((o# + 1) * x# + y# - 1) / y# : min(b# + k#, x#);")
_MAXPOOL = f"""
    ptrdiff_t rest = i / c;
    const int o2 = rest % y2; rest /= y2;
    const int o1 = rest % y1; rest /= y1;
    const int o0 = rest % y0; rest /= y0;
    {_SPANS}
    bool none = true;
    float best = 0;
    int place = 0;
    for (int a0 = max(b0, 0); a0 < e0; ++a0)
        for (int a1 = max(b1, 0); a1 < e1; ++a1)
            for (int a2 = max(b2, 0); a2 < e2; ++a2) {{
                const float v = x[(((rest * x0 + a0) * x1 + a1) * x2 + a2) * c + i % c];
                if (none || v > best || (v != v && best == best)) {{
                    best = v; place = ((a0 - b0) * k1 + a1 - b1) * k2 + a2 - b2; none = false;
                }}
            }}
    y = best;
    index = place
"""
# a value of x collects from the outputs o of first..last that see it and found it largest
_MAXPOOL_GRAD = f"""
    ptrdiff_t rest = i / c;
    const int a2 = rest % x2; rest /= x2;
    const int a1 = rest % x1; rest /= x1;
    const int a0 = rest % x0; rest /= x0;
    {_each_axis("const int first# = adaptive ? a# * y# / x# : a# + p# < k# ? 0 : (a# + p# - k#) / s# + 1;"
                "const int last# = adaptive ? ((a# + 1) * y# - 1) / x# : min((a# + p#) / s#, y# - 1);")}
    float sum = 0;
    for (int o0 = first0; o0 <= last0; ++o0)
        for (int o1 = first1; o1 <= last1; ++o1)
            for (int o2 = first2; o2 <= last2; ++o2) {{
                {_each_axis("const int b# = adaptive ? o# * x# / y# : o# * s# - p#;")}
                const ptrdiff_t at = (((rest * y0 + o0) * y1 + o1) * y2 + o2) * c + i % c;
                if (index[at] == ((a0 - b0) * k1 + a1 - b1) * k2 + a2 - b2) sum += dy[at];
            }}
    dx = sum
"""
# a value of dx collects from the windows that it was copied to, by the taps t in order
_ADD_WINDOWS = f"""
    const int channel = i % c;
    ptrdiff_t rest = i / c;
    const int a2 = rest % x2 + p2; rest /= x2;
    const int a1 = rest % x1 + p1; rest /= x1;
    const int a0 = rest % x0 + p0; rest /= x0;
    const ptrdiff_t sample = channel / depth * samples + rest;
    float sum = 0;
    for (int t0 = 0; t0 < k0; ++t0) {{
        const int r0 = a0 - t0 * d0;
        if (r0 < 0 || r0 % s0 != 0 || r0 / s0 >= y0) continue;
        for (int t1 = 0; t1 < k1; ++t1) {{
            const int r1 = a1 - t1 * d1;
            if (r1 < 0 || r1 % s1 != 0 || r1 / s1 >= y1) continue;
            for (int t2 = 0; t2 < k2; ++t2) {{
                const int r2 = a2 - t2 * d2;
                if (r2 < 0 || r2 % s2 != 0 || r2 / s2 >= y2) continue;
                const ptrdiff_t row = ((sample * y0 + r0 / s0) * y1 + r1 / s1) * y2 + r2 / s2;
                sum += wide[(((row * k0 + t0) * k1 + t1) * k2 + t2) * depth + channel % depth];
            }}
        }}
    }}
    dx = sum
"""

KERNELS = {
    "maxpool": Kernel(f"raw float32 x, {_GEOMETRY}, bool adaptive, int32 c", "float32 y, T index", _MAXPOOL),
    "maxpool_grad": Kernel(f"raw float32 dy, raw T index, {_GEOMETRY}, bool adaptive, int32 c", "float32 dx",
                           _MAXPOOL_GRAD),
    "add_windows": Kernel(f"raw float32 wide, {_GEOMETRY}, int32 d0, int32 d1, int32 d2, int64 samples, int32 depth, "
                          "int32 c", "float32 dx", _ADD_WINDOWS),
    "bn_apply": Kernel("float32 x, float32 mean, float32 var, float32 gamma, float32 beta, float32 eps", "float32 y",
                       "y = (x - mean) * (gamma / sqrtf(var + eps)) + beta"),
    "bn_grad": Kernel("float32 x, float32 dy, float32 mean, float32 var, float32 gamma, float32 dgamma, float32 dbeta, "
                      "float32 eps, float32 share", "float32 dx",
                      "const float inverse = 1 / sqrtf(var + eps);"
                      "dx = gamma * inverse * (dy - dbeta * share - (x - mean) * inverse * (dgamma * share))"),
    "bn_running": Kernel("float32 mean, float32 var, float32 momentum, float32 unbias",
                         "float32 running_mean, float32 running_var",
                         "running_mean += momentum * (mean - running_mean);"
                         "running_var += momentum * (var * unbias - running_var)"),
    "row_sums": Kernel(f"raw T x, {_SHAPE}", "float64 sum", f"sum = 0; {_ROWS} sum += x[at]; }}"),
    "square_sums": Kernel(f"raw float32 x, raw float64 mean, {_SHAPE}", "float64 sum",
                          f"sum = 0; {_ROWS} const double d = x[at] - mean[channel]; sum += d * d; }}"),
    "bn_grad_sums": Kernel(f"raw float32 x, raw float32 dy, raw float32 mean, {_SHAPE}", "float64 sum, float64 product",
                           f"sum = 0; product = 0; {_ROWS} const double g = dy[at]; sum += g; "
                           "product += g * (x[at] - mean[channel]); }"),
    # splitmix64's finaliser over position and stream, as in array_drop.py; `each` values share a draw
    "dropout": Kernel("float32 x, uint64 stream, uint32 bound, float32 factor, int64 each", "float32 y",
                      "unsigned long long z = (unsigned long long)(i / each) + stream;"
                      "z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL; z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;"
                      "y = (unsigned int)((z ^ (z >> 31)) >> 32) < bound ? 0 : x * factor"),
    "sgd": Kernel("float32 g, float32 lr, float32 momentum, float32 decay, bool nesterov", "float32 w, float32 v",
                  "const float whole = g + decay * w; v = momentum * v + whole;"
                  "w -= lr * (nesterov ? whole + momentum * v : v)"),
    # rate = lr / (1 - beta1^t), root = sqrt(1 - beta2^t); shrink = lr decay where that stands apart
    "adam": Kernel("float32 g, float32 rate, float32 root, float32 eps, float32 rest1, float32 rest2, float32 decay, "
                   "float32 shrink", "float32 w, float32 m, float32 v",
                   "const float whole = g + decay * w; m += rest1 * (whole - m); v += rest2 * (whole * whole - v);"
                   "w -= shrink * w; w -= rate * m / (sqrtf(v) / root + eps)"),
}
for _kind, (_value, _slope) in ACTIVATIONS.items():
    KERNELS[f"act_{_kind}"] = Kernel("float32 x, float32 a", "float32 y", f"y = {_value}")
    KERNELS[f"act_grad_{_kind}"] = Kernel("float32 v, float32 dy, float32 a", "float32 dx", f"dx = dy * ({_slope})")

THREADS = 1 << 18  # that read rows at the same time
PARTS = 64  # so few that one block of threads adds them up


class CudaOps:
    """`ops`: the operations that stand here in place of the array backend's, with the same arguments."""

    def __init__(self, cupy):
        self.xp = cupy
        self.kernels = {name: cupy.ElementwiseKernel(*kernel, f"tinyconv_{name}") for name, kernel in KERNELS.items()}
        self.ops = {op.__name__: op for op in (
            self.act, self.act_grad, self.bias_grad, self.bn_stats, self.bn_running, self.bn_apply, self.bn_grad,
            self.dropout, self.droppath, self.conv_dx, self.maxpool, self.maxpool_grad, self.sgd, self.adam)}

    # -- elementwise

    def act(self, xp, a, x):
        return self.kernels["act_" + a["kind"]](x, a["a"])

    def act_grad(self, xp, a, v, dy):
        return self.kernels["act_grad_" + a["kind"]](v, dy, a["a"])

    def dropout(self, xp, a, x, *, seed, step):
        return self._without(x, a, seed, step, 1)

    def droppath(self, xp, a, x, *, seed, step):
        return self._without(x, a, seed, step, math.prod(x.shape[1:]))

    def _without(self, x, a, seed, step, each):
        p, first = np.float32(a["p"]), a["first"] * (math.prod(x.shape[1:]) // each)
        draws = (stream(seed, step, a["layer"]) + first) % 2**64
        return self.kernels["dropout"](x, np.uint64(draws), bound(p),
                                       np.float32(1) / (np.float32(1) - p), each)

    # -- windows

    def conv_dx(self, xp, a, dy, w):
        return array_conv.conv_dx(xp, a, dy, w, self._add_windows)

    def _add_windows(self, xp, wide, dx, w_shape, out, a):
        geometry = _geometry(dx.shape, out, w_shape[1:-1], a)
        self.kernels["add_windows"](xp.ascontiguousarray(wide), *geometry, *_three(a["dilation"]), dx.shape[0],
                                    w_shape[-1], dx.shape[-1], dx)

    def maxpool(self, xp, a, x):
        y = xp.empty((x.shape[0], *a["size"], x.shape[-1]), x.dtype)
        index = xp.empty(y.shape, a["index_dtype"])
        geometry = _geometry(x.shape, a["size"], a["kernel"], a)
        return self.kernels["maxpool"](xp.ascontiguousarray(x), *geometry, a["adaptive"], x.shape[-1], y, index)

    def maxpool_grad(self, xp, a, dy, index):
        dx = xp.empty(a["shape"], dy.dtype)
        geometry = _geometry(dx.shape, dy.shape[1:-1], a["kernel"], a)
        return self.kernels["maxpool_grad"](xp.ascontiguousarray(dy), xp.ascontiguousarray(index), *geometry,
                                            a["adaptive"], dx.shape[-1], dx)

    # -- sums over all positions

    def _sum(self, name, arrays, others=()):
        """The kernel's sums for each channel, in double; arrays are (…, c). Every stage has a fixed order."""
        arrays = [self.xp.ascontiguousarray(x).reshape(-1, x.shape[-1]) for x in arrays]
        sums = self._parts(name, arrays, others, max(PARTS, THREADS // arrays[0].shape[-1]))
        return [self._parts("row_sums", [s], (), PARTS)[0].sum(axis=0) for s in sums]

    def _parts(self, name, arrays, others, parts):
        """At most so many sums of rows for each channel."""
        (rows, c), kernel = arrays[0].shape, self.kernels[name]
        sums = [self.xp.empty((min(rows, parts), c), np.float64) for _ in range(kernel.nout)]
        kernel(*arrays, *others, rows, c, len(sums[0]), *sums)
        return sums

    def bias_grad(self, xp, a, dy):
        return self._sum("row_sums", [dy])[0].astype(dy.dtype)

    def bn_stats(self, xp, a, x):
        rows = math.prod(x.shape[:-1])
        mean = self._sum("row_sums", [x])[0] / rows
        var = self._sum("square_sums", [x], [mean])[0] / rows
        return mean.astype(x.dtype), var.astype(x.dtype)

    def bn_running(self, xp, a, mean, var, running_mean, running_var):
        unbias = a["rows"] / max(a["rows"] - 1, 1)
        self.kernels["bn_running"](mean, var, a["momentum"], unbias, running_mean, running_var)

    def bn_apply(self, xp, a, x, mean, var, gamma, beta):
        return self.kernels["bn_apply"](x, mean, var, gamma, beta, a["eps"])

    def bn_grad(self, xp, a, x, dy, mean, var, gamma):
        dbeta, product = self._sum("bn_grad_sums", [x, dy], [mean])
        dgamma = (product / xp.sqrt(var + a["eps"])).astype(x.dtype)
        dbeta = dbeta.astype(x.dtype)
        share = 1 / math.prod(x.shape[:-1])
        dx = self.kernels["bn_grad"](x, dy, mean, var, gamma, dgamma, dbeta, a["eps"], share)
        return dx, dgamma, dbeta

    # -- optimisers

    def sgd(self, xp, a, w, g, v, squares=None, *, lr):
        g = clipped(xp, a, g, squares)
        self.kernels["sgd"](g, lr, a["momentum"], a["decay"], a["nesterov"], w, v)

    def adam(self, xp, a, w, g, m, v, squares=None, *, lr, step):
        g, t = clipped(xp, a, g, squares), step + 1
        decay, shrink = (0, lr * a["decay"]) if a["decoupled"] else (a["decay"], 0)
        self.kernels["adam"](g, lr / (1 - a["beta1"] ** t), math.sqrt(1 - a["beta2"] ** t), a["eps"], 1 - a["beta1"],
                             1 - a["beta2"], decay, shrink, w, m, v)


def _three(sizes, fill=1) -> tuple[int, ...]:
    """The kernels know three axes: those missing stand in front."""
    return (fill,) * (3 - len(sizes)) + tuple(sizes)


def _geometry(x_shape, out, kernel, a) -> tuple[int, ...]:
    return (*_three(x_shape[1:-1]), *_three(out), *_three(kernel), *_three(a["stride"]), *_three(a["padding"], 0))
