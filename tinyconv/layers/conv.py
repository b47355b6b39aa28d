"""Convolution in 1, 2 and 3 dimensions, with stride, dilation and groups; and the fully connected layer.

y[o] = bias + sum over taps t and channels c of x[o*s - p + d*t][c] w[t][c], see Dumoulin & Visin,
"A guide to convolution arithmetic for deep learning" (2016). A fully connected layer is the case without axes.
"""

from __future__ import annotations

from math import gcd, prod, sqrt

from ..ops import conv_size
from .base import GLOBAL, Layer, LayerError, Param, Shape, Signature, Weight, divisors, per_axis, spatial_axes, total

WEIGHTS = (
    Param("bias", "switch|number", True),
    Param("init", "init", ("he",)),
    Param("share", "name", None),
)


def initial(init: tuple, n_in: int, n_out: int) -> tuple:
    """he = normal(sqrt(2/in)) (He et al. 2015); xavier = uniform(±sqrt(6/(in+out))) (Glorot & Bengio 2010)."""
    if init[0] == "he":
        return ("normal", sqrt(2 / n_in))
    if init[0] == "xavier":
        return ("uniform", sqrt(6 / (n_in + n_out)))
    if init[0] == "zeros":
        return ("constant", 0.0)
    return init


def weight_and_bias(args: dict, shape: tuple[int, ...], n_in: int, n_out: int) -> tuple[Weight, ...]:
    """n_in: how many products an output sums up (fan_in); n_out: how many outputs an input goes into."""
    weight = Weight("weight", shape, initial(args["init"], n_in, n_out), decay=True)
    if args["bias"] is False:
        return (weight,)
    start = 0.0 if args["bias"] is True else float(args["bias"])
    return (weight, Weight("bias", (args["x"],), ("constant", start)))


def kernel_weights(args: dict, n_in: int, n_out: int, transposed: bool = False) -> tuple[Weight, ...]:
    """`(out, *k, in/groups)` and a bias; transposed: `(in, *k, out/groups)`."""
    area, groups = prod(args["k"]), args["g"]
    shape = (n_in, *args["k"], n_out // groups) if transposed else (n_out, *args["k"], n_in // groups)
    return weight_and_bias(args, shape, n_in // groups * area, n_out // groups * area)


def _common_divisors(a: int, b: int) -> str:
    """The first of them, for a message."""
    shown = divisors(gcd(a, b))
    return ", ".join(map(str, shown[:9])) + (", …" if len(shown) > 9 else "")


def check_channels(groups: int, n_in: int, n_out: int) -> None:
    """LayerError where there is nothing to compute or groups do not divide the channels."""
    if n_out < 1 or groups < 1:
        raise LayerError("`x` and `g` must be at least 1", help="`x` is the number of output channels: write `x64`")
    for what, count in (("input", n_in), ("output", n_out)):
        if count % groups:
            raise LayerError(f"{groups} groups do not divide the {count} {what} channels",
                             help=f"choose `g` among the common divisors of {n_in} and {n_out}: "
                                  f"{_common_divisors(n_in, n_out)}",
                             param="g")


def record_forward(tape, x, params, geometry):
    y = tape.op("conv", x, params["weight"], params.get("bias"), **geometry)
    return y, x


def record_backward(tape, x, dy, params, geometry):
    # The data gradient comes last: it may then take over dy's memory, and an optimiser fused into dw runs after it.
    weight = params["weight"]
    if "bias" in params:
        tape.gradient(params["bias"], tape.op("bias_grad", dy))
    if tape.needs_grad(weight):
        tape.gradient(weight, tape.op("conv_dw", x, dy, **geometry, shape=weight.shape))
    if not tape.needs_grad(x):
        return None
    return tape.op("conv_dx", dy, weight, **geometry, shape=x.shape)


class Conv(Layer):
    signature = Signature("conv", (
        Param("k", "size", positional=True),
        Param("x", "whole", None),
        Param("s", "size", 1),
        Param("p", "size|word", "half", words=("half",)),
        Param("d", "size", 1),
        Param("g", "whole", None),
        Param("dw", "switch", False),
        *WEIGHTS,
    ))

    def resolve(self, args, inputs):
        (x,) = inputs
        axes, out = spatial_axes("conv", x, "put it before `flatten` or `fc`, or use `fc`"), dict(args)
        k = per_axis(args["k"], axes, "kernel")
        d = per_axis(args["d"], axes, "dilation")
        p = args["p"]
        half = tuple(di * (ki - 1) // 2 for ki, di in zip(k, d))
        out.update(k=k, d=d, s=per_axis(args["s"], axes, "stride"),
                   p=half if p == "half" else per_axis(p, axes, "padding", least=0))
        if args["dw"] and args["g"] is not None:
            raise LayerError("`dw` and `g` were both given", help="`dw` is `g` = the channels entering: drop one")
        groups = x.channels if args["dw"] else args["g"] if args["g"] is not None else 1
        channels = x.channels if args["dw"] and args["x"] is None else args["x"]
        if channels is None:
            raise LayerError("`conv` needs its number of output channels", help="add it as a flag: `x64`")
        check_channels(groups, x.channels, channels)
        out.update(g=groups, x=channels)
        return out

    def shape(self, args, inputs):
        (x,) = inputs
        spatial = []
        for n, k, s, p, d in zip(x.spatial, args["k"], args["s"], args["p"], args["d"]):
            size = None if n is None else conv_size(n, k, s, p, d)
            if size is not None and size < 1:
                reach = d * (k - 1) + 1
                wide = f"{k}" if d == 1 else f"{k} with dilation {d} spans {reach} and"
                raise LayerError(f"kernel {wide} is larger than its padded input {n + 2 * p}",
                                 help=f"use a kernel of at most {(n + 2 * p - 1) // d + 1}, more padding, "
                                      "or fewer strides before")
            spatial.append(size)
        return Shape(tuple(spatial), args["x"])

    def weights(self, args, inputs):
        return kernel_weights(args, inputs[0].channels, args["x"])

    def macs(self, args, inputs, output):
        values = total(output)
        return None if values is None else values * prod(args["k"]) * inputs[0].channels // args["g"]

    def reach(self, args, inputs):
        return tuple(d * (k - 1) + 1 for k, d in zip(args["k"], args["d"])), args["s"]

    @staticmethod
    def _geometry(args):
        return dict(stride=args["s"], padding=args["p"], dilation=args["d"], groups=args["g"])

    def forward(self, tape, args, x, params):
        return record_forward(tape, x, params, self._geometry(args))

    def backward(self, tape, args, dy, saved, params):
        return record_backward(tape, saved, dy, params, self._geometry(args))


class FullyConnected(Layer):
    signature = Signature("fc", (Param("x", "whole", positional=True), *WEIGHTS))
    geometry = dict(stride=(), padding=(), dilation=(), groups=1)

    def resolve(self, args, inputs):
        if args["x"] < 1:
            raise LayerError("`fc` needs at least 1 output", help="write `fc 10` for ten")
        if total(inputs[0]) is None:
            raise LayerError(f"`fc` on a free size: {inputs[0]}", help="put `pool global` before it")
        return dict(args)

    def shape(self, args, inputs):
        return Shape((), args["x"])

    def weights(self, args, inputs):
        n = total(inputs[0])
        return weight_and_bias(args, (args["x"], n), n, args["x"])

    def macs(self, args, inputs, output):
        return total(inputs[0]) * args["x"]

    def reach(self, args, inputs):
        return GLOBAL

    def forward(self, tape, args, x, params):
        flat = x if len(x.shape) == 2 else tape.op("reshape", x, shape=(x.shape[0], prod(x.shape[1:])))
        y, _ = record_forward(tape, flat, params, self.geometry)
        return y, (x, flat)

    def backward(self, tape, args, dy, saved, params):
        x, flat = saved
        dx = record_backward(tape, flat, dy, params, self.geometry)
        return dx if dx is None or x is flat else tape.op("reshape", dx, shape=x.shape)
