"""Maximum and average pooling: windows, whole maps (`global`) or a given output size (`adaptive`).

Window o covers [o*s - p, o*s - p + k), clipped to the image; averages divide by the positions inside it.
"""

from __future__ import annotations

from ..ops import conv_size, index_dtype
from .base import GLOBAL, Layer, LayerError, Param, Shape, Signature, per_axis, spatial_axes


def ceil_size(n: int, k: int, s: int, p: int) -> int:
    """ceil((n + 2p - k) / s) + 1, less 1 if the last window would start at n + p or beyond."""
    size = -(-(n + 2 * p - k) // s) + 1
    return size - 1 if (size - 1) * s >= n + p else size


class Pool(Layer):
    signature = Signature("pool", (
        Param("k", "size", None, positional=True),
        Param("s", "size", None),
        Param("p", "size", 0),
        Param("mode", "word", "max", words=("max", "avg")),
        Param("ceil", "switch", False),
        Param("global", "switch", False),
        Param("adaptive", "switch", False),
    ))

    def resolve(self, args, inputs):
        (x,) = inputs
        axes, out = spatial_axes("pool", x, "put it before `flatten` or `fc`"), dict(args)
        whole = args["global"]
        if whole or args["adaptive"]:
            word = "global" if whole else "adaptive"
            for name, default in (("s", None), ("p", 0), ("ceil", False)):
                if args[name] != default:
                    raise LayerError(f"`pool {word}` takes no `{name}`", help=f"drop `{name}`")
            if whole and (args["k"] is not None or args["adaptive"]):
                raise LayerError("`pool global` takes no size", help="the window is the whole map: write `pool global`")
            if not whole and args["k"] is None:
                raise LayerError("`pool adaptive` needs its output size", help="write `pool 7 adaptive`")
            k = (1,) * axes if whole else per_axis(args["k"], axes, "output size")
            return out | dict(k=k, s=k, p=(0,) * axes)
        if args["k"] is None:
            raise LayerError("`pool` needs its window size", help="write `pool 2`, or `pool global`")
        k = per_axis(args["k"], axes, "window")
        p = per_axis(args["p"], axes, "padding", least=0)
        if any(2 * pi > ki for pi, ki in zip(p, k)):
            raise LayerError("padding of a pool is at most half its window", help=f"use p{min(k) // 2} or less")
        return out | dict(k=k, p=p, s=k if args["s"] is None else per_axis(args["s"], axes, "stride"))

    def shape(self, args, inputs):
        (x,) = inputs
        if args["global"] or args["adaptive"]:
            return Shape(args["k"], x.channels)
        spatial = []
        for n, k, s, p in zip(x.spatial, args["k"], args["s"], args["p"]):
            size = None if n is None else ceil_size(n, k, s, p) if args["ceil"] else conv_size(n, k, s, p, 1)
            # With ceil a window may hang over the edge, but it must begin inside.
            if size is not None and (size < 1 or n + 2 * p < k and not args["ceil"]):
                raise LayerError(f"window {k} is larger than its padded input {n + 2 * p}",
                                 help="use a smaller window, or fewer strides before")
            spatial.append(size)
        return Shape(tuple(spatial), x.channels)

    def reach(self, args, inputs):
        if args["global"]:
            return GLOBAL
        if args["adaptive"]:
            spans = [(n, o) for n, o in zip(inputs[0].spatial, args["k"])]
            if any(n is None for n, _ in spans):
                return GLOBAL
            return (tuple(-(-n // o) for n, o in spans), tuple(max(n // o, 1) for n, o in spans))
        return args["k"], args["s"]

    @staticmethod
    def _window(args, x_shape, y_size):
        spatial = x_shape[1:-1]
        if args["global"]:
            return dict(kernel=spatial, stride=spatial, padding=(0,) * len(spatial), size=y_size, adaptive=False)
        if args["adaptive"]:
            # the largest window: [floor(i n / o), ceil((i + 1) n / o))
            k = tuple(max(-(-(i + 1) * n // o) - i * n // o for i in range(o)) for n, o in zip(spatial, y_size))
            return dict(kernel=k, stride=k, padding=(0,) * len(k), size=y_size, adaptive=True)
        return dict(kernel=args["k"], stride=args["s"], padding=args["p"], size=y_size, adaptive=False)

    def forward(self, tape, args, x, params):
        y_size = self.shape(args, (Shape(x.shape[1:-1], x.shape[-1]),)).spatial
        window = self._window(args, x.shape, y_size)
        if args["mode"] == "avg":
            return tape.op("avgpool", x, **window), (x.shape, window, None)
        y, index = tape.op("maxpool", x, **window, index_dtype=index_dtype(window["kernel"]))
        return y, (x.shape, window, index)

    def backward(self, tape, args, dy, saved, params):
        shape, window, index = saved
        if index is None:
            return tape.op("avgpool_grad", dy, **window, shape=shape)
        return tape.op("maxpool_grad", dy, index, **window, shape=shape)
