"""Activations, one value at a time; PReLU with a learned slope per channel; softmax over channels."""

from __future__ import annotations

from ..ops import ACTIVATIONS, SAVES_OUTPUT
from .base import Layer, LayerError, Param, PerChannel, Signature

_SLOPE = {"elu": Param("a", "number", 1, positional=True), "leaky": Param("a", "number", 0.01, positional=True)}


class Activation(Layer):
    """relu, relu6 = min(relu, 6), leaky(a), elu(a), gelu = x Phi(x), silu = x sigmoid(x),
    hswish = x hsigmoid(x), hsigmoid = clip(x/6 + 1/2, 0, 1), sigmoid, tanh."""

    def __init__(self, kind: str):
        self.signature = Signature(kind, (_SLOPE[kind],) if kind in _SLOPE else ())

    def resolve(self, args, inputs):
        if args.get("a", 0) < 0:
            raise LayerError(f"the slope of `{self.name}` must be at least 0")
        return dict(args)

    def _attrs(self, args):
        return dict(kind=self.name, a=float(args.get("a", 0.0)))

    def forward(self, tape, args, x, params):
        # Where the output tells the slope as well as the input does, it is kept: the next layer keeps it anyway.
        y = tape.op("act", x, **self._attrs(args))
        return y, y if self.name in SAVES_OUTPUT else x

    def backward(self, tape, args, dy, saved, params):
        return tape.op("act_grad", saved, dy, **self._attrs(args))


class PReLU(PerChannel):
    """max(x, 0) + a min(x, 0), a learned per channel, starting at 0.25 (He et al. 2015)."""

    signature = Signature("prelu")

    def start(self, args):
        return 0.25


class Softmax(Layer):
    """exp(x_c) / sum over channels of exp(x), at each position."""

    signature = Signature("softmax")

    def forward(self, tape, args, x, params):
        y = tape.op("softmax", x)
        return y, y

    def backward(self, tape, args, dy, saved, params):
        return tape.op("softmax_grad", saved, dy)


FAMILY = (*(Activation(kind) for kind in ACTIVATIONS), PReLU(), Softmax())
