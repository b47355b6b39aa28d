"""Transposed convolution in 1, 2 and 3 dimensions: the adjoint of the convolution with the same weights, plus a bias.

y[i*s - p + d*t] += x[i] w[t] over inputs i and taps t, so that n positions become (n-1)s - 2p + d(k-1) + op + 1; see
Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016), chapter 4.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

from .base import Layer, LayerError, Param, Shape, Signature, per_axis, spatial_axes, total
from .conv import WEIGHTS, check_channels, kernel_weights


class Deconv(Layer):
    """Weights are those of the convolution from output to input, `(in, *k, out/groups)`; fan_in is in/groups times the
    kernel's area. `p` is (d(k-1) + 2 - s) // 2 where not given: a kernel of even size, or of size s, then multiplies
    sizes by s, one of odd size does with `op=1`."""

    signature = Signature("deconv", (
        Param("k", "size", positional=True),
        Param("x", "whole"),
        Param("s", "size", 1),
        Param("p", "size", None),
        Param("d", "size", 1),
        Param("g", "whole", 1),
        Param("op", "size", 0),
        *WEIGHTS,
    ))

    def resolve(self, args, inputs):
        (x,) = inputs
        axes = spatial_axes("deconv", x, "give the values a place first: `reshape 7x7 x64`")
        k = per_axis(args["k"], axes, "kernel")
        s, d = per_axis(args["s"], axes, "stride"), per_axis(args["d"], axes, "dilation")
        op = per_axis(args["op"], axes, "output padding", least=0)
        if args["p"] is None:
            p = tuple((di * (ki - 1) + 2 - si) // 2 for ki, si, di in zip(k, s, d))  # below 0 for k far below s
        else:
            p = per_axis(args["p"], axes, "padding", least=0)
        for oi, si, di in zip(op, s, d):
            if oi >= max(si, di):
                raise LayerError(f"output padding {oi} must be below the stride {si} or the dilation {di}",
                                 help=f"use op={max(si, di) - 1} or less; for zeros behind the map use `pad 0 {oi}`",
                                 param="op")
        check_channels(args["g"], x.channels, args["x"])
        return dict(args) | dict(k=k, s=s, p=p, d=d, op=op)

    def shape(self, args, inputs):
        (x,) = inputs
        spatial = []
        for n, k, s, p, d, op in zip(x.spatial, *(args[name] for name in ("k", "s", "p", "d", "op"))):
            size = None if n is None else (n - 1) * s - 2 * p + d * (k - 1) + op + 1
            if size is not None and size < 1:
                raise LayerError(f"padding {p} leaves nothing of size {n}: (n-1)s - 2p + d(k-1) + op + 1 = "
                                 f"{n - 1}*{s} - 2*{p} + {d}*{k - 1} + {op} + 1 = {size}",
                                 help=f"use p{(size + 2 * p - 1) // 2} or less")
            spatial.append(size)
        return Shape(tuple(spatial), args["x"])

    def weights(self, args, inputs):
        return kernel_weights(args, inputs[0].channels, args["x"], transposed=True)

    def macs(self, args, inputs, output):
        values = total(inputs[0])
        return None if values is None else values * prod(args["k"]) * args["x"] // args["g"]

    def reach(self, args, inputs):
        # Of k taps d apart, those that fall on one output come from inputs s apart.
        extents = tuple(d * (k - 1) // s + 1 for k, d, s in zip(args["k"], args["d"], args["s"]))
        return extents, tuple(Fraction(1, s) for s in args["s"])

    def _geometry(self, args, x_shape):
        """Of the convolution from y to x: its attributes, the shape of y without padding below 0, and that of y."""
        geometry = dict(stride=args["s"], padding=tuple(max(p, 0) for p in args["p"]), dilation=args["d"],
                        groups=args["g"])
        spatial = self.shape(args, (Shape(x_shape[1:-1], x_shape[-1]),)).spatial
        inner = tuple(n + 2 * p - op if p < 0 else n for n, p, op in zip(spatial, args["p"], args["op"]))
        return geometry, (x_shape[0], *inner, args["x"]), (x_shape[0], *spatial, args["x"])

    def forward(self, tape, args, x, params):
        geometry, inner, shape = self._geometry(args, x.shape)
        y = tape.op("conv_dx", x, params["weight"], **geometry, shape=inner)
        if inner != shape:
            before = (0, *(max(-p, 0) for p in args["p"]), 0)
            y = tape.op("window", y, before=before, shape=shape)
        if "bias" in params:
            y = tape.op("bias_add", y, params["bias"])
        return y, x

    def backward(self, tape, args, dy, saved, params):
        x, weight = saved, params["weight"]
        geometry, inner, shape = self._geometry(args, x.shape)
        if "bias" in params:
            tape.gradient(params["bias"], tape.op("bias_grad", dy))
        if inner != shape:
            before = (0, *(min(p, 0) for p in args["p"]), 0)
            dy = tape.op("window", dy, before=before, shape=inner)
        if tape.needs_grad(weight):
            tape.gradient(weight, tape.op("conv_dw", dy, x, **geometry, shape=weight.shape))
        if not tape.needs_grad(x):
            return None
        dx = tape.op("conv", dy, weight, None, **geometry)
        # With op >= s the convolution of dy has outputs behind those that x has.
        return dx if dx.shape == x.shape else tape.op("window", dx, before=(0,) * len(dx.shape), shape=x.shape)
