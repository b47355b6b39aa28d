"""Where branches meet: add, concat, mul."""

from __future__ import annotations

from math import prod

from .base import Layer, LayerError, Shape, Signature

_OPERANDS = 12  # what one concat step takes; more are joined in groups


class Add(Layer):
    """Sum of equal shapes (He et al. 2015)."""

    signature = Signature("add", merge=True)

    def shape(self, args, inputs):
        first = inputs[0]
        spatial = first.spatial
        for other in inputs[1:]:
            if len(other.spatial) != len(spatial) or other.channels != first.channels:
                raise differ("add", inputs)
            spatial = common("add", spatial, other, inputs)
        return Shape(spatial, first.channels)

    def forward(self, tape, args, xs, params):
        y = xs[0]
        for x in xs[1:]:
            y = tape.op("add", y, x)
        return y, len(xs)

    def backward(self, tape, args, dy, saved, params):
        return (dy,) * saved


class Concat(Layer):
    """Channels joined in written order."""

    signature = Signature("concat", merge=True)

    def shape(self, args, inputs):
        spatial = inputs[0].spatial
        for other in inputs[1:]:
            if len(other.spatial) != len(spatial):
                raise differ("concat", inputs)
            spatial = common("concat", spatial, other, inputs)
        return Shape(spatial, sum(x.channels for x in inputs))

    def forward(self, tape, args, xs, params):
        parts = tuple(xs)
        while len(parts) > 1:
            groups = [parts[i:i + _OPERANDS] for i in range(0, len(parts), _OPERANDS)]
            parts = tuple(tape.op("concat", *group) if len(group) > 1 else group[0] for group in groups)
        return parts[0], tuple(xs)

    def backward(self, tape, args, dy, saved, params):
        grads, at = [], 0
        for x in saved:
            before = (0,) * (len(x.shape) - 1) + (-at,)
            grads.append(tape.op("window", dy, before=before, shape=x.shape) if tape.needs_grad(x) else None)
            at += x.shape[-1]
        return tuple(grads)


class Mul(Layer):
    """Product; a branch with no or all-1 spatial axes, or with 1 channel, is stretched (Hu et al. 2018)."""

    signature = Signature("mul", merge=True)

    def shape(self, args, inputs):
        spatial, channels = (), 1
        for x in inputs:
            if _points(x.spatial) > 1 or len(x.spatial) > len(spatial):
                if _points(spatial) > 1 and x.spatial != spatial:
                    spatial = common("mul", spatial, x, inputs)
                else:
                    spatial = x.spatial
            if x.channels != 1:
                if channels not in (1, x.channels):
                    raise differ("mul", inputs)
                channels = x.channels
        if not any((x.spatial == spatial or None in x.spatial) and x.channels == channels for x in inputs):
            raise differ("mul", inputs)
        return Shape(spatial, channels)

    def forward(self, tape, args, xs, params):
        # The first branch of full shape leads; the others are stretched over it, one after another.
        full = max(range(len(xs)), key=lambda i: (prod(xs[i].shape), -i))
        order = (full, *(i for i in range(len(xs)) if i != full))
        products = [xs[full]]
        for i in order[1:]:
            products.append(tape.op("mul", products[-1], xs[i]))
        return products[-1], (tuple(xs), order, products)

    def backward(self, tape, args, dy, saved, params):
        xs, order, products = saved
        grads: list = [None] * len(xs)
        for step in range(len(order) - 1, 0, -1):
            other = order[step]
            if tape.needs_grad(xs[other]):
                grads[other] = tape.op("mul_reduce", dy, products[step - 1], shape=xs[other].shape)
            if tape.needs_grad(products[step - 1]):
                dy = tape.op("mul", dy, xs[other])
            else:
                return tuple(grads)
        grads[order[0]] = dy
        return tuple(grads)


def _points(spatial) -> int:
    return 1 if all(n == 1 for n in spatial) else 2


def common(name: str, spatial, other: Shape, inputs):
    """Sizes two branches share; a free axis equals anything."""
    out = []
    for a, b in zip(spatial, other.spatial):
        if a is not None and b is not None and a != b:
            raise differ(name, inputs)
        out.append(b if a is None else a)
    return tuple(out)


def differ(name: str, inputs) -> LayerError:
    shapes = ", ".join(str(x) for x in inputs[:-1])
    rule = {"add": "`add` needs equal shapes", "concat": "`concat` needs equal spatial sizes",
            "mul": "`mul` stretches only a branch of one position or one channel"}[name]
    mended = mend(name, inputs) if name != "mul" else ""
    return LayerError(f"the branches of `{name}` differ in shape: {shapes} and {inputs[-1]}",
                      help=f"{rule}: {mended}" if mended else rule, code="E204")


def mend(name: str, inputs) -> str:
    """The layer that brings one branch to the shape of the other, where one layer does."""
    first, other = inputs[0], next(x for x in inputs if x.spatial != inputs[0].spatial or
                                   (name == "add" and x != inputs[0]))
    big, small = sorted((first, other), key=lambda x: [n or 0 for n in x.spatial], reverse=True)
    if len(big.spatial) != len(small.spatial) or None in (*big.spatial, *small.spatial):
        return ""
    if big.spatial == small.spatial:
        return f"`conv {_text(1 for _ in big.spatial)} x{first.channels}` brings {other} to {first}"
    ratios = [(b // s, b % s) for b, s in zip(big.spatial, small.spatial)]
    if any(rest or ratio < 1 for ratio, rest in ratios):
        return "keep the size with the default padding, or `crop` the larger one"
    ratio = _text(r for r, _ in ratios)
    if name == "add":
        return f"`conv {_text(1 for _ in ratios)} s{ratio} x{small.channels}` brings {big} to {small}"
    return f"`up {ratio}` brings {small} to {_text(big.spatial)}, `pool {ratio}` the other way"


def _text(sizes) -> str:
    sizes = list(sizes)
    return str(sizes[0]) if len(set(sizes)) == 1 and sizes[0] > 1 else "x".join(map(str, sizes))


FAMILY = (Add(), Concat(), Mul())
