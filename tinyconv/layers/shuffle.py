"""Channel shuffle (Zhang et al. 2018, ShuffleNet): mixes the groups of grouped convolutions without arithmetic."""

from __future__ import annotations

from .base import Layer, Param, Signature, checked_groups


class Shuffle(Layer):
    """y[j g + i] = x[i (c/g) + j]: the channels as a (g, c/g) matrix, transposed, at each position."""

    signature = Signature("shuffle", (Param("g", "whole", positional=True),))

    def resolve(self, args, inputs):
        checked_groups("shuffle", args["g"], inputs[0].channels)
        return dict(args)

    def forward(self, tape, args, x, params):
        return tape.op("shuffle", x, groups=args["g"]), None

    def backward(self, tape, args, dy, saved, params):
        return tape.op("shuffle", dy, groups=dy.shape[-1] // args["g"])
