"""Dropout (Srivastava et al. 2014): a share p of the values is zeroed in training, survivors grow by 1/(1-p)."""

from __future__ import annotations

from .base import Layer, LayerError, Param, Signature


class Dropout(Layer):
    signature = Signature("dropout", (Param("p", "number", 0.5, positional=True),))

    def resolve(self, args, inputs):
        if not 0 <= args["p"] < 1:
            raise LayerError("`dropout` drops a share of at least 0 and below 1", help="write `dropout 0.5`")
        return dict(args)

    def forward(self, tape, args, x, params):
        if not tape.training or args["p"] == 0:
            return x, None
        return tape.op("dropout", x, p=float(args["p"]), layer=tape.layer), tape.layer

    def backward(self, tape, args, dy, saved, params):
        # The mask is a hash of seed, step, layer and position: nothing has to be kept.
        return dy if saved is None else tape.op("dropout", dy, p=float(args["p"]), layer=saved)
