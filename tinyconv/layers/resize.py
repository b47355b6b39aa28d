"""Resizing of maps by a factor, or to the size of another value.

Along one axis of n positions, with N at the output (the semantics of align_corners=False):
nearest: y[o] = x[floor(o n / N)]
linear:  y[o] = (1 - f) x[i] + f x[i + 1], i + f = (o + 1/2) n / N - 1/2, clamped to 0 .. n - 1.
Several axes are resized one after another.
"""

from __future__ import annotations

from fractions import Fraction

from .base import GLOBAL, Layer, Param, Reference, Shape, Signature, flow, per_axis, referred, spatial_axes


class Up(Layer):
    """`up 2`, `up 2x1 linear`: sizes times k. `up @a`: to the spatial size of a."""

    signature = Signature("up", (
        Param("k", "size|value", positional=True),
        Param("mode", "word", "nearest", words=("nearest", "linear")),
    ))

    def resolve(self, args, inputs):
        axes, k = spatial_axes("up", inputs[0], "use `reshape` to give the values a place first"), args["k"]
        return args | {"k": k if isinstance(k, Reference) else per_axis(k, axes, "factor")}

    @staticmethod
    def _size(args, inputs) -> tuple[int | None, ...]:
        if isinstance(args["k"], Reference):
            return referred("up", args["k"], inputs)
        return tuple(None if n is None else n * k for n, k in zip(inputs[0].spatial, args["k"]))

    def shape(self, args, inputs):
        return Shape(self._size(args, inputs), inputs[0].channels)

    def reach(self, args, inputs):
        if isinstance(args["k"], Reference):
            sizes = tuple(zip(inputs[0].spatial, inputs[1].spatial))
            if any(None in pair for pair in sizes):
                return GLOBAL
        else:
            sizes = tuple((1, k) for k in args["k"])
        extents = tuple(2 if args["mode"] == "linear" and n != size else 1 for n, size in sizes)
        return extents, tuple(Fraction(n, size) for n, size in sizes)

    def forward(self, tape, args, x, params):
        x, shapes = flow(x)
        return tape.op("resize", x, mode=args["mode"], size=self._size(args, shapes)), x.shape

    def backward(self, tape, args, dy, saved, params):
        return tape.op("resize_grad", dy, mode=args["mode"], shape=saved)
