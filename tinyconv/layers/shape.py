"""Layers that only move values: the input, flatten, reshape, zero padding, crop, chunk, skip."""

from __future__ import annotations

from math import prod

from .base import (
    GLOBAL,
    Layer,
    LayerError,
    Param,
    Reference,
    Shape,
    Signature,
    Weight,
    flow,
    per_axis,
    referred,
    spatial_axes,
    total,
)


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
            raise LayerError("`input` needs at least 1 channel", help="write `x1` for grey images, `x3` for colour")
        k = args["k"]
        out["k"] = () if k is None else k if isinstance(k, tuple) else (k,)
        if len(out["k"]) > 3:
            raise LayerError(f"`input` of {len(out['k'])} axes: at most 3 spatial axes",
                             help="channels stand apart: `224x224 x3`")
        if any(n == 0 for n in out["k"]):
            raise LayerError("a size of 0", help="write `?` for an axis of free size")
        for name in ("mean", "std"):
            value = args[name]
            if value == "data":
                continue
            values = tuple(value) if isinstance(value, tuple) else (value,)
            if len(values) not in (1, channels):
                raise LayerError(f"`{name}` has {len(values)} values, the input {channels} channels",
                                 help="give one number, or one a channel")
            if name == "std" and not all(v > 0 for v in values):
                raise LayerError("`std` must be above 0", help="leave it out, or write `std=data`")
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
        if x.dtype == "float32" and set(args["mean"]) == {0.0} and set(args["std"]) == {1.0}:
            return x, None  # nothing to do
        return tape.op("input", x, params["mean"], params["std"]), None

    def backward(self, tape, args, dy, saved, params):
        return None


class _Rearranged(Layer):
    """The same values under another shape."""

    def reach(self, args, inputs):
        return GLOBAL

    def forward(self, tape, args, x, params):
        shape = self.shape(args, (Shape(x.shape[1:-1], x.shape[-1]),))
        return tape.op("reshape", x, shape=(x.shape[0], *shape.spatial, shape.channels)), x.shape

    def backward(self, tape, args, dy, saved, params):
        return tape.op("reshape", dy, shape=saved)


class Flatten(_Rearranged):
    """All values of a sample in one row, in channels-last order."""

    signature = Signature("flatten")

    def shape(self, args, inputs):
        n = total(inputs[0])
        if n is None:
            raise LayerError(f"`flatten` of a free size: {inputs[0]}", help="put `pool global` before it")
        return Shape((), n)


class Reshape(_Rearranged):
    """A sample's values, in channels-last order, as k positions of x channels: `reshape 7x7 x64`. The number of axes
    may change; a number stands for all axes of the input, for one axis where the input has none."""

    signature = Signature("reshape", (Param("k", "size", positional=True), Param("x", "whole")))

    def resolve(self, args, inputs):
        k, axes = args["k"], len(inputs[0].spatial)
        if isinstance(k, tuple) and len(k) > 3:
            raise LayerError(f"`reshape` to {len(k)} axes: at most 3 spatial axes", help="multiply some of the sizes")
        k = per_axis(k, len(k) if isinstance(k, tuple) else max(axes, 1), "size")
        if args["x"] < 1:
            raise LayerError("`reshape` needs at least 1 channel", help="write `x1`")
        return {"k": k, "x": args["x"]}

    def shape(self, args, inputs):
        n, shape = total(inputs[0]), Shape(args["k"], args["x"])
        if n is None:
            raise LayerError(f"`reshape` of a free size: {inputs[0]}", help="put `pool adaptive` before it")
        if n != total(shape):
            positions = prod(shape.spatial)
            fits = f"{positions} positions take x{n // positions}" if n % positions == 0 else "use sizes that divide it"
            raise LayerError(f"`reshape` keeps the number of values: {inputs[0]} are {n}, {shape} would be "
                             f"{total(shape)}", help=f"{n} = {factors(n)}: {fits}")
        return shape


def factors(n: int) -> str:
    """`2^3 * 7`; what is left without factors up to 1000 stays whole."""
    parts, p = [], 2
    while n > 1:
        if p * p > n or p > 1000:
            p = n
        times = 0
        while n % p == 0:
            n, times = n // p, times + 1
        if times:
            parts.append(f"{p}^{times}" if times > 1 else str(p))
        p += 1
    return " * ".join(parts) or "1"


class Pad(Layer):
    """Zeros: n before and m after every axis; `channels=8`: 8 zero channels on each side."""

    signature = Signature("pad", (
        Param("n", "whole", positional=True),
        Param("m", "whole", None, positional=True),
        Param("channels", "whole", 0),
    ))

    def resolve(self, args, inputs):
        m = args["n"] if args["m"] is None else args["m"]
        if not inputs[0].spatial and (args["n"] or m):
            raise LayerError("`pad` has no spatial axes left to pad", help="for channels write `pad 0 channels=8`")
        return dict(args) | {"m": m}

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


class _Part(Layer):
    """A window into the input."""

    def corner(self, args, shapes) -> tuple[int, ...]:
        """Where the window begins: per spatial axis, then the channel."""
        raise NotImplementedError

    def forward(self, tape, args, x, params):
        x, shapes = flow(x)
        shape = self.shape(args, shapes)
        before = (0, *(-at for at in self.corner(args, shapes)))
        y = tape.op("window", x, before=before, shape=(x.shape[0], *shape.spatial, shape.channels))
        return y, (x.shape, before)

    def backward(self, tape, args, dy, saved, params):
        shape, before = saved
        return tape.op("window", dy, before=tuple(-b for b in before), shape=shape)


class Crop(_Part):
    """The centre: of n positions the k from (n-k)//2. `crop @a`: k is the spatial size of a."""

    signature = Signature("crop", (Param("k", "size|value", positional=True),))

    def resolve(self, args, inputs):
        axes, k = spatial_axes("crop", inputs[0], "for a part of the channels use `chunk`"), args["k"]
        return {"k": k if isinstance(k, Reference) else per_axis(k, axes, "size")}

    def shape(self, args, inputs):
        x, k = inputs[0], args["k"]
        size = referred("crop", k, inputs) if isinstance(k, Reference) else k
        if any(None not in pair and pair[0] < pair[1] for pair in zip(x.spatial, size)):
            raise LayerError(f"`crop` to {Shape(size, x.channels)} is larger than its input {x}",
                             help="crop to less, or `pad`")
        return Shape(size, x.channels)

    def corner(self, args, shapes):
        size = self.shape(args, shapes).spatial
        return (*((n - k) // 2 for n, k in zip(shapes[0].spatial, size)), 0)


class Chunk(_Part):
    """The i-th, from 0, of n equal parts of the channels."""

    signature = Signature("chunk", (Param("i", "whole", positional=True), Param("n", "whole", positional=True)))

    def resolve(self, args, inputs):
        i, n, channels = args["i"], args["n"], inputs[0].channels
        if n < 1 or channels % n:
            raise LayerError(f"{channels} channels have no {n} equal parts",
                             help=f"choose `n` among the divisors of {channels}", param="n")
        if i >= n:
            raise LayerError(f"there is no part {i}: of {n} parts the first is 0, the last {n - 1}",
                             help=f"write `chunk {n - 1} {n}` for the last", param="i")
        return dict(args)

    def shape(self, args, inputs):
        return Shape(inputs[0].spatial, inputs[0].channels // args["n"])

    def corner(self, args, shapes):
        return (*(0 for _ in shapes[0].spatial), args["i"] * (shapes[0].channels // args["n"]))


class Skip(Layer):
    """Identity."""

    signature = Signature("skip")

    def forward(self, tape, args, x, params):
        return x, None

    def backward(self, tape, args, dy, saved, params):
        return dy


FAMILY = (Input(), Flatten(), Reshape(), Pad(), Crop(), Chunk(), Skip())
