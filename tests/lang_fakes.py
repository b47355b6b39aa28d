"""A builder that keeps shapes only: enough to test the language without the layers."""

from __future__ import annotations

from dataclasses import dataclass

from tinyconv.lang import LayerError, Param, Shape, Signature

WEIGHTS = (Param("bias", "switch|number", True), Param("init", "init", ("he",)), Param("share", "name", None))
CONV = (Param("k", "size", positional=True), Param("x", "whole", None), Param("s", "size", 1),
        Param("p", "size|word", "half", words=("half",)), Param("d", "size", 1), Param("g", "whole", 1),
        Param("dw", "switch", False), *WEIGHTS)
SIGNATURES = {s.name: s for s in [
    Signature("input", (Param("k", "size", None, True), Param("x", "whole"),
                        Param("mean", "number|list|word", 0, words=("data",)),
                        Param("std", "number|list|word", 1, words=("data",)))),
    Signature("conv", CONV),
    Signature("deconv", CONV),
    Signature("pool", (Param("k", "size", None, True), Param("s", "size", None), Param("p", "size", 0),
                       Param("mode", "word", "max", words=("max", "avg")), Param("ceil", "switch", False),
                       Param("global", "switch", False), Param("adaptive", "switch", False))),
    Signature("fc", (Param("x", "whole", positional=True), *WEIGHTS)),
    Signature("crop", (Param("k", "size|value", positional=True),)),
    Signature("lrn", (Param("n", "whole", positional=True),)),
    Signature("dropout", (Param("p", "number", 0.5, True),)),
    *(Signature(name) for name in ("bn", "relu", "tanh", "sigmoid", "softmax", "skip", "flatten")),
    *(Signature(name, merge=True) for name in ("add", "concat", "mul")),
]}


@dataclass
class Value:
    shape: Shape
    label: str


class FakeBuilder:
    """Records every call in `calls` as (name, args, input shapes, output shape, trail)."""

    signatures = SIGNATURES

    def __init__(self):
        self.calls = []
        self.heads = []
        self.names = []
        self.result = None

    def layer(self, name, args, inputs, span, trail):
        shapes = [v.shape for v in inputs]
        shape = getattr(self, name, self.same)(args, shapes)
        self.calls.append((name, args, shapes, shape, trail))
        return Value(shape, f"{name}{len(self.calls)}")

    def named(self, name, value, trail):
        self.names.append((name, value.shape))

    def begin_head(self, name, weight, value, span):
        self.heads.append([name, weight, value.shape, None])

    def end_head(self, value):
        self.heads[-1][3] = value.shape

    def output(self, value):
        assert self.result is None
        self.result = value.shape

    # Shape rules

    def same(self, args, shapes):
        return shapes[0]

    def input(self, args, shapes):
        k = args["k"]
        return Shape(k if isinstance(k, tuple) else () if k is None else (k,), args["x"])

    def window(self, args, shape, k, s, p):
        axes = len(shape.spatial)
        each = [v if isinstance(v, tuple) else (v,) * axes for v in (k, s, p)]
        if any(len(v) != axes or None in v for v in each):
            raise LayerError(f"a size here must have {axes} numbers", "write one number for all axes", "E201", "k")
        sizes = []
        for n, k, s, p in zip(shape.spatial, *each):
            if n is not None and n + 2 * p < k:
                raise LayerError(f"kernel {k} is larger than its padded input {n + 2 * p}", "use a smaller kernel",
                                 "E202")
            sizes.append(None if n is None else (n + 2 * p - k) // max(1, s) + 1)
        return tuple(sizes)

    def conv(self, args, shapes):
        k, p, d = args["k"], args["p"], args["d"]
        if isinstance(k, tuple) and None in k:
            raise LayerError("a kernel has no free axis", "", "E201", "k")
        if args["g"] and shapes[0].channels % args["g"]:
            raise LayerError(f"{args['g']} groups do not divide {shapes[0].channels} channels", "", "E203", "g")
        one = isinstance(k, int)
        extent = d * (k - 1) + 1 if one and isinstance(d, int) else k
        half = extent // 2 if isinstance(extent, int) else tuple(n // 2 for n in extent)
        x = shapes[0].channels if args["x"] is None else args["x"]
        return Shape(self.window(args, shapes[0], extent, args["s"], half if p == "half" else p), x)

    def deconv(self, args, shapes):
        spatial = shapes[0].spatial
        stride = args["s"] if isinstance(args["s"], tuple) else (args["s"],) * len(spatial)
        if len(stride) != len(spatial) or None in stride:
            raise LayerError(f"a size here must have {len(spatial)} numbers", "", "E201", "s")
        sizes = tuple(None if n is None else n * s for n, s in zip(spatial, stride))
        return Shape(sizes, shapes[0].channels if args["x"] is None else args["x"])

    def pool(self, args, shapes):
        if args["global"]:
            return Shape((1,) * len(shapes[0].spatial), shapes[0].channels)
        k, s, p = args["k"], args["s"], args["p"]
        return Shape(self.window(args, shapes[0], k, k if s is None else s, p), shapes[0].channels)

    def fc(self, args, shapes):
        return Shape((), args["x"])

    def add(self, args, shapes):
        if len(set(shapes)) > 1:
            raise LayerError(f"the branches of `add` differ in shape: {' and '.join(map(str, shapes))}", "", "E204")
        return shapes[0]

    def concat(self, args, shapes):
        if len({s.spatial for s in shapes}) > 1:
            raise LayerError("the branches of `concat` differ in spatial size", "", "E205")
        return Shape(shapes[0].spatial, sum(s.channels for s in shapes))
