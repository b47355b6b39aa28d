"""Layers that only move values: the input, flatten, zero padding, skip."""

from __future__ import annotations

from .base import GLOBAL, Layer, LayerError, Param, Shape, Signature, Weight, total


class Input(Layer):
    """(x - mean) / std per channel; uint8 is divided by 255 first. `data` is measured on the training set."""

    signature = Signature("input", (
        Param("k", "size", None, positional=True),
        Param("x", "whole"),
        Param("mean", "number|list|word", 0, words=("data",)),
        Param("std", "number|list|word", 1, words=("data",)),
    ))

    def resolve(self, args, inputs):
        out, channels = dict(args), args["x"]
        if channels < 1:
            raise LayerError("`input` needs at least 1 channel")
        k = args["k"]
        out["k"] = () if k is None else k if isinstance(k, tuple) else (k,)
        if len(out["k"]) > 3:
            raise LayerError("at most 3 spatial axes")
        if any(n == 0 for n in out["k"]):
            raise LayerError("a size of 0")
        for name in ("mean", "std"):
            value = args[name]
            if value == "data":
                continue
            values = tuple(value) if isinstance(value, tuple) else (value,)
            if len(values) not in (1, channels):
                raise LayerError(f"`{name}` has {len(values)} values, the input {channels} channels",
                                 help="give one number, or one a channel")
            if name == "std" and not all(v > 0 for v in values):
                raise LayerError("`std` must be above 0")
            out[name] = tuple(float(v) for v in values)
        return out

    def shape(self, args, inputs):
        return Shape(args["k"], args["x"])

    def weights(self, args, inputs):
        def weight(name, neutral):
            value = args[name]
            start = neutral if value == "data" else value
            return Weight(name, (args["x"],), ("constant", start), trainable=False, fixed=value != "data")

        return weight("mean", 0.0), weight("std", 1.0)

    def forward(self, tape, args, x, params):
        return tape.op("input", x, params["mean"], params["std"]), None

    def backward(self, tape, args, dy, saved, params):
        return None


class Flatten(Layer):
    """All values of a sample in one row, in channels-last order."""

    signature = Signature("flatten")

    def shape(self, args, inputs):
        n = total(inputs[0])
        if n is None:
            raise LayerError(f"`flatten` of a free size: {inputs[0]}", help="put `pool global` before it")
        return Shape((), n)

    def reach(self, args, inputs):
        return GLOBAL

    def forward(self, tape, args, x, params):
        n = 1
        for axis in x.shape[1:]:
            n *= axis
        return tape.op("reshape", x, shape=(x.shape[0], n)), x.shape

    def backward(self, tape, args, dy, saved, params):
        return tape.op("reshape", dy, shape=saved)


class Pad(Layer):
    """Zeros: n before and m after every axis; `channels=8`: 8 zero channels on each side."""

    signature = Signature("pad", (
        Param("n", "whole", positional=True),
        Param("m", "whole", None, positional=True),
        Param("channels", "whole", 0),
    ))

    def resolve(self, args, inputs):
        return dict(args) | {"m": args["n"] if args["m"] is None else args["m"]}

    def shape(self, args, inputs):
        (x,) = inputs
        more = args["n"] + args["m"]
        return Shape(tuple(None if n is None else n + more for n in x.spatial), x.channels + 2 * args["channels"])

    @staticmethod
    def _before(args, x_shape):
        return (0, *(args["n"],) * (len(x_shape) - 2), args["channels"])

    def forward(self, tape, args, x, params):
        before = self._before(args, x.shape)
        more = args["n"] + args["m"]
        shape = (x.shape[0], *(n + more for n in x.shape[1:-1]), x.shape[-1] + 2 * args["channels"])
        return tape.op("window", x, before=before, shape=shape), x.shape

    def backward(self, tape, args, dy, saved, params):
        before = tuple(-b for b in self._before(args, saved))
        return tape.op("window", dy, before=before, shape=saved)


class Skip(Layer):
    """Identity."""

    signature = Signature("skip")

    def forward(self, tape, args, x, params):
        return x, None

    def backward(self, tape, args, dy, saved, params):
        return dy


FAMILY = (Input(), Flatten(), Pad(), Skip())
