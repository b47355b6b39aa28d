"""A resolved layer in the words of the language: `conv 3x3 s2 x64`, with what would be filled in anyway left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from ..lang.errors import LayerError
from ..lang.shape import Shape
from ..lang.signature import REQUIRED, Param
from ..layers import LAYERS, Layer


def describe(op: str, args: Mapping[str, object], inputs: Sequence[Shape] = ()) -> str:
    """The shortest text that resolves to `args` on these inputs."""
    layer = LAYERS[op]
    needed = _needed(layer, args, tuple(inputs))
    words = [op]
    channels = ""
    for param in layer.signature.params:
        if param.name in needed:
            word = _word(param, args[param.name], layer.signature.params)
            if param.name == "x" and not param.positional:
                channels = word  # last, as papers write it
            else:
                words.append(word)
    return " ".join(words + [channels] * bool(channels))


def _needed(layer: Layer, args: Mapping[str, object], inputs: tuple[Shape, ...]) -> set[str]:
    """The fewest parameters that must be written so that the layer's own defaults give the rest."""
    params = layer.signature.params
    if not params:
        return set()
    required = {p.name for p in params if p.default is REQUIRED}
    defaults = {p.name: p.default for p in params}
    differing = [p.name for p in params if p.name not in required and not _equal(args[p.name], p.default)]
    for count in range(len(differing) + 1):
        for given in combinations(differing, count):
            written = required.union(given)
            try:
                found = layer.resolve(defaults | {name: args[name] for name in written}, inputs)
                if all(_equal(found[name], value) for name, value in args.items()):
                    return written
            except LayerError:
                continue  # too little was given: try the next set
    return required.union(differing)


def _equal(a: object, b: object) -> bool:
    """Python's equality, but a switch is no number: `bias=1` is not `bias=on`."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _word(param: Param, value: object, params: Sequence[Param]) -> str:
    if value is True and "switch" in param.kinds:
        return param.name
    sized = "size" in param.kinds and isinstance(value, tuple) and not param.positional
    text = axes(value, fold=True) if sized else _text(value)
    shared = any(value in p.words for p in params if p is not param)
    own = isinstance(value, str) and value in param.words and not shared
    if param.positional or own:
        return text
    if len(param.name) == 1 and text[:1].isdigit():
        return f"{param.name}{text}"
    return f"{param.name}={text}"


def _text(value: object) -> str:
    if value is True or value is False:
        return "on" if value else "off"
    if isinstance(value, tuple) and value and isinstance(value[0], str):  # an init: ("normal", 0.01)
        return value[0] + (f"({','.join(_text(v) for v in value[1:])})" if len(value) > 1 else "")
    if isinstance(value, tuple):
        return axes(value) if all(v is None or isinstance(v, int) for v in value) else ",".join(_text(v) for v in value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def axes(sizes: Sequence[int | None], fold: bool = False) -> str:
    """`3x3`, `?` for a free size; with `fold` a single number where all axes agree."""
    if fold and len(set(sizes)) == 1:
        sizes = sizes[:1]
    return "x".join("?" if n is None else f"{n:g}" if isinstance(n, float) else str(n) for n in sizes)
