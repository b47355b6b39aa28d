"""The arithmetic of each layer as a lecture puts it on the board: a formula in letters, the same with this layer's
numbers, and what comes out. Imported only to explain a layer; what counts is computed by the layers themselves.

Letters: n positions entering along an axis, c channels entering; the others are the layer's own arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from .base import Reference, Shape

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


class Equation(NamedTuple):
    """`what`: formula = worked = value. `worked` is the formula with numbers, "" where there is nothing to put in;
    `value` None where it is not known or is no number. `worked` is valid arithmetic: it evaluates to `value`."""

    what: str
    formula: str
    worked: str = ""
    value: int | float | None = None


def axes_of(what: str, formula: str, lines: list[tuple[str, int | None]]) -> list[Equation]:
    """One equation where all axes agree, else one an axis, named."""
    if len(set(lines)) == 1:
        each = "" if len(lines) == 1 else ", each axis"
        return [Equation(what + each, formula, *lines[0])]
    return [Equation(f"{what}, {axis}", formula, *line) for axis, line in zip(AXES[len(lines)], lines)]


def sizes(formula: str, numbers: Callable, inputs: tuple[Shape, ...], output: Shape, *args) -> list[Equation]:
    """Output sizes: `numbers(n, *arguments of the axis)` writes the formula out."""
    lines = [("" if n is None else numbers(n, *axis), out)
             for n, out, *axis in zip(inputs[0].spatial, output.spatial, *args)]
    return axes_of("output size", formula, lines) if lines else []


def times(values) -> str:
    """`3*3*64`."""
    return "*".join(map(str, values)) or "1"


def product(values) -> tuple[str, int | None]:
    """Worked and value of a product, ("", None) where one factor is not known."""
    return ("", None) if None in values else (times(values), prod(values))


def letters(name: str, count: int) -> str:
    return "*".join([name] * count)


# -- weights times inputs

def conv(args, inputs, output):
    c, k, g, x = inputs[0].channels, args["k"], args["g"], args["x"]
    if all(d == 1 for d in args["d"]):
        found = sizes("floor((n + 2*p - k) / s) + 1", lambda n, k, s, p: f"floor(({n} + 2*{p} - {k}) / {s}) + 1",
                      inputs, output, k, args["s"], args["p"])
    else:
        found = axes_of("extent of the kernel", "e = d*(k - 1) + 1",
                        [(f"{d}*({n} - 1) + 1", d * (n - 1) + 1) for n, d in zip(k, args["d"])])
        found += sizes("floor((n + 2*p - e) / s) + 1",
                       lambda n, k, s, p, d: f"floor(({n} + 2*{p} - {d * (k - 1) + 1}) / {s}) + 1",
                       inputs, output, k, args["s"], args["p"], args["d"])
    return found + kernel(args, k, c, g, x) + macs(output.spatial, k, c, g, x, "output")


def kernel(args, k, c, g, x):
    """Weights and bias of a convolution, transposed or not."""
    formula, area = letters("k", len(k)), times(k)
    if g == 1:
        found = [Equation("weights", f"{formula} * c * x", f"{area} * {c} * {x}", prod(k) * c * x)]
    else:
        found = [Equation("weights", f"{formula} * c/g * x", f"{area} * {c}/{g} * {x}", prod(k) * (c // g) * x)]
    return found + bias(args, x)


def bias(args, x):
    return [] if args["bias"] is False else [Equation("bias", "x", str(x), x)]


def macs(spatial, k, c, g, x, where):
    """One multiply-add for each weight of the kernel at each position."""
    group, of = ("c", str(c)) if g == 1 else ("c/g", f"{c}/{g}")
    value = None if None in spatial else prod(spatial) * prod(k) * (c // g) * x
    worked = "" if value is None else f"{times(spatial)} * {times(k)} * {of} * {x}"
    return [Equation("multiply-adds", f"{where} positions * {letters('k', len(k))} * {group} * x", worked, value)]


def deconv(args, inputs, output):
    c, k, g, x = inputs[0].channels, args["k"], args["g"], args["x"]
    found = sizes("(n - 1)*s - 2*p + d*(k - 1) + op + 1",
                  lambda n, k, s, p, d, op: f"({n} - 1)*{s} - 2*{signed(p)} + {d}*({k} - 1) + {op} + 1",
                  inputs, output, k, args["s"], args["p"], args["d"], args["op"])
    return found + kernel(args, k, c, g, x) + macs(inputs[0].spatial, k, c, g, x, "input")


def signed(n: int) -> str:
    return str(n) if n >= 0 else f"({n})"


def fc(args, inputs, output):
    (source,), x = inputs, args["x"]
    n, found = source.channels, []
    if source.spatial:
        n = prod(source.spatial) * source.channels
        found = [Equation("inputs", "positions * c", f"{times(source.spatial)} * {source.channels}", n)]
    weights = Equation("weights", "inputs * x", f"{n} * {x}", n * x)
    return [*found, weights, *bias(args, x), weights._replace(what="multiply-adds")]


# -- windows and places

def pool(args, inputs, output):
    (source,), mode = inputs, "mean" if args["mode"] == "avg" else "largest"
    if args["global"]:
        return [Equation("each value", f"the {mode} of its channel"),
                Equation("window", "all positions", *product(source.spatial))]
    if args["adaptive"]:
        lines = [("" if n is None else f"max(ceil((i + 1)*{n}/{o}) - floor(i*{n}/{o}) for i in range({o}))",
                  None if n is None else max(-(-(i + 1) * n // o) - i * n // o for i in range(o)))
                 for n, o in zip(source.spatial, args["k"])]
        return [Equation("each value", f"the {mode} of window i, floor(i*n/k) up to ceil((i + 1)*n/k)"),
                *axes_of("output size", "k", [(str(o), o) for o in args["k"]]),
                *axes_of("largest window", "max over i of ceil((i + 1)*n/k) - floor(i*n/k)", lines)]
    inside = " inside the map" if any(args["p"]) or args["ceil"] else ""
    found = [Equation("each value", f"the {mode} of the positions of its window{inside}"),
             Equation("window", letters("k", len(args["k"])), times(args["k"]), prod(args["k"]))]
    if not args["ceil"]:
        return found + sizes("floor((n + 2*p - k) / s) + 1",
                             lambda n, k, s, p: f"floor(({n} + 2*{p} - {k}) / {s}) + 1",
                             inputs, output, args["k"], args["s"], args["p"])

    def rounded_up(n, out, k, s, p):
        plain = -(-(n + 2 * p - k) // s) + 1
        return f"ceil(({n} + 2*{p} - {k}) / {s}) + 1" + (" - 1" if plain != out else "")

    lines = [("" if n is None else rounded_up(n, out, *axis), out)
             for n, out, *axis in zip(source.spatial, output.spatial, args["k"], args["s"], args["p"])]
    return found + axes_of("output size", "ceil((n + 2*p - k) / s) + 1, less 1 if the last window starts beyond n + p",
                           lines)


def up(args, inputs, output):
    rule = {"nearest": "the nearest one before it, x[floor(i*n/N)] of N at the output",
            "linear": "a mean of its two neighbours an axis, weighted by distance"}[args["mode"]]
    found = [Equation("each value", rule)]
    if isinstance(args["k"], Reference):
        return found + taken(args["k"], output)
    return found + sizes("n * k", lambda n, k: f"{n} * {k}", inputs, output, args["k"])


def taken(reference: Reference, output: Shape) -> list[Equation]:
    return axes_of("output size", f"that of {reference}", [("" if n is None else str(n), n) for n in output.spatial])


def pad(args, inputs, output):
    n, m, channels = args["n"], args["m"], args["channels"]
    found = sizes("n + before + after", lambda size: f"{size} + {n} + {m}", inputs, output)
    return found + [Equation("channels", "c + 2*channels", f"{inputs[0].channels} + 2*{channels}", output.channels)]


def crop(args, inputs, output):
    k = args["k"]
    found = taken(k, output) if isinstance(k, Reference) else axes_of("output size", "k", [(str(o), o) for o in k])
    pairs = list(zip(inputs[0].spatial, output.spatial))
    return found + axes_of("first position", "floor((n - k) / 2)",
                           [("", None) if None in (n, o) else (f"floor(({n} - {o}) / 2)", (n - o) // 2)
                            for n, o in pairs])


def chunk(args, inputs, output):
    c, i, n = inputs[0].channels, args["i"], args["n"]
    return [Equation("channels", "c / parts", f"{c} / {n}", output.channels),
            Equation("first channel", "i * c / parts", f"{i} * {c} / {n}", i * c // n)]


def rearranged(args, inputs, output):
    source = inputs[0]
    return [Equation("values", "the same, in channels-last order", times([*source.spatial, source.channels]),
                     prod([*output.spatial, output.channels]))]


def shuffle(args, inputs, output):
    c, g = inputs[0].channels, args["g"]
    return [Equation("channels of a group", "c / g", f"{c} / {g}", c // g),
            Equation("each value", f"channel j*g + i is channel i*(c/g) + j, here i*{c // g} + j: a transposed table")]


def source(args, inputs, output):
    return [Equation("each value", "(v - mean) / std of its channel; bytes are divided by 255 first")]


# -- values

def norm(of: str, over: str) -> Callable:
    def equations(args, inputs, output):
        c = inputs[0].channels
        return [Equation("each value", f"w * (v - mean) / sqrt(var + {args['eps']:g}) + b, {of}"),
                *over_values(over, args, inputs[0]), Equation("factor w", "c", str(c), c),
                Equation("shift b", "c", str(c), c)]
    return equations


def over_values(over: str, args, shape: Shape) -> list[Equation]:
    """How many values a mean is taken over."""
    if over == "channels":
        return [Equation("values of a mean", "c", str(shape.channels), shape.channels)]
    if over == "group":
        c, g = shape.channels, args["g"]
        value = None if None in shape.spatial else prod(shape.spatial) * (c // g)
        worked = "" if value is None else f"{times(shape.spatial)} * {c}/{g}"
        return [Equation("values of a mean", "positions * c/g", worked, value)]
    return [Equation("values of a mean", "positions, times the batch", *product(shape.spatial))]


def lrn(args, inputs, output):
    return [Equation("each value", f"v / (k + alpha/n * sum of v^2 over {args['n']} channels)^beta, here v / "
                                   f"({args['k']:g} + {args['alpha']:g}/{args['n']} * sum)^{args['beta']:g}")]


def scale(args, inputs, output):
    c = inputs[0].channels
    return [Equation("each value", f"w * v, w learned for each channel, from {args['v']:g}"),
            Equation("factor w", "c", str(c), c)]


def prelu(args, inputs, output):
    c = inputs[0].channels
    return [Equation("each value", "v above 0, a*v below, a learned for each channel, from 0.25"),
            Equation("slope a", "c", str(c), c)]


ACTIVATIONS = {
    "relu": "max(v, 0)",
    "relu6": "min(max(v, 0), 6)",
    "leaky": "v above 0, {a:g}*v below",
    "elu": "v above 0, {a:g}*(exp(v) - 1) below",
    "gelu": "v * Phi(v), Phi the normal distribution function",
    "silu": "v * sigmoid(v) = v / (1 + exp(-v))",
    "hswish": "v * min(max(v/6 + 1/2, 0), 1)",
    "sigmoid": "1 / (1 + exp(-v))",
    "hsigmoid": "min(max(v/6 + 1/2, 0), 1)",
    "tanh": "(exp(v) - exp(-v)) / (exp(v) + exp(-v))",
    "softmax": "exp(v) / sum of exp over the channels of its position",
}


def activation(rule: str) -> Callable:
    return lambda args, inputs, output: [Equation("each value", rule.format(**args))]


def drop(what: str) -> Callable:
    def equations(args, inputs, output):
        p = args["p"]
        return [Equation("each value", f"0 for {what}, in training only"),
                Equation("share dropped", "p", f"{p:g}", p),
                Equation("survivors grow by", "1 / (1 - p)", f"1 / (1 - {p:g})", 1 / (1 - p))]
    return equations


# -- merges

def add(args, inputs, output):
    return [Equation("each value", "the sum of the branches at its place")]


def concat(args, inputs, output):
    return [Equation("channels", "the sum of those of the branches", " + ".join(str(x.channels) for x in inputs),
                     output.channels)]


def mul(args, inputs, output):
    small = [str(x) for x in inputs if x != output]
    stretched = f", {' and '.join(small)} stretched to {output}" if small else ""
    return [Equation("each value", f"the product of the branches at its place{stretched}")]


EQUATIONS: dict[str, Callable] = {
    "input": source, "conv": conv, "deconv": deconv, "fc": fc, "pool": pool, "up": up, "pad": pad, "crop": crop,
    "chunk": chunk, "flatten": rearranged, "reshape": rearranged, "shuffle": shuffle,
    "bn": norm("mean and var of the batch in training, running ones in inference", "batch"),
    "ln": norm("mean and var over the channels of its position", "channels"),
    "gn": norm("mean and var over its group of channels", "group"),
    "lrn": lrn, "scale": scale, "prelu": prelu, **{name: activation(rule) for name, rule in ACTIVATIONS.items()},
    "dropout": drop("a random share of the values"), "droppath": drop("a random share of the samples"),
    "dropblock": drop("random blocks of positions"), "add": add, "concat": concat, "mul": mul,
}
