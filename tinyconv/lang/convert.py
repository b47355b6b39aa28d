"""Values to the kinds that a builder asks for (rule 9)."""

from __future__ import annotations

from fractions import Fraction

from . import ast
from .callee import ANY, Callee, Given
from .scope import INITS
from .signature import Param
from .suggest import nearest
from .values import UNKNOWN, BlockValue, Fault, Init, RefValue, Size, Word, is_number, kind_of, plain, show

WANTS = {
    "whole": "a whole number", "number": "a number", "size": "a size", "switch": "on or off",
    "text": "a text in quotes", "value": "an @name", "list": "numbers with commas", "name": "a name",
    "init": "he, xavier, zeros or normal(σ)",
}
MAX_SIZE = 10**9        # of an axis, a number of channels, a kernel: products of a few stay exact and printable


def convert(callee: Callee, param: Param, item: Given):
    """The value as `Param` documents it. Raises Fault."""
    value, kinds = item.value, param.kinds
    if value is UNKNOWN or ANY in kinds:
        return value
    if is_number(value):
        return convert_number(callee, param, item)
    if isinstance(value, bool) and "switch" in kinds:
        return value
    if isinstance(value, Size) and "size" in kinds:
        if any(n is not None and n > MAX_SIZE for n in value.sizes):
            raise too_large(callee, param, item)
        return value.sizes
    if isinstance(value, Word):
        if "name" in kinds or ("word" in kinds and value.text in param.words):
            return value.text
        if "init" in kinds and value.text in INITS:
            return (value.text,)
    if isinstance(value, BlockValue) and "word" in kinds and value.name in param.words:
        return value.name
    if isinstance(value, Init) and "init" in kinds:
        return (value.name, value.sigma)
    if isinstance(value, str) and "text" in kinds:
        return value
    if isinstance(value, RefValue) and "value" in kinds:
        return value.value
    if isinstance(value, tuple) and "list" in kinds:
        return tuple(plain(v) for v in value)
    raise mismatch(callee, param, item)


def convert_number(callee: Callee, param: Param, item: Given):
    value, kinds = item.value, param.kinds
    if "number" in kinds:
        return plain(value)
    if "list" in kinds:
        return (plain(value),)
    if "whole" not in kinds and "size" not in kinds:
        raise mismatch(callee, param, item)
    if isinstance(value, Fraction):
        raise Fault("E147", f"`{param.name}` of `{callee.name}` must be a whole number, this is {show(value)}",
                    item.arg, rounded(callee, param, item))
    if value < 0:
        raise Fault("E147", f"`{param.name}` of `{callee.name}` must not be negative, this is {show(value)}", item.arg,
                    "0 is the least" if isinstance(item.node, ast.Unary) else f"write `max(0, {source_of(item.node)})`")
    if value > MAX_SIZE:
        raise too_large(callee, param, item)
    return value


def rounded(callee: Callee, param: Param, item: Given) -> str:
    if isinstance(item.node, ast.Number):
        nearest_whole = int(item.value + Fraction(1, 2))
        if isinstance(item.arg, ast.Keyword):
            return f"write `{param.name}={nearest_whole}`"
        return f"write `{param.name}{nearest_whole}`" if isinstance(item.arg, ast.Flag) else f"write {nearest_whole}"
    text = source_of(item.node)
    text = text[1:-1] if text.startswith("(") and text.endswith(")") and text.count("(") == 1 else text
    return f"write `{param.name}=round({text})`"


def source_of(node: ast.Node) -> str:
    return node.source.text[node.start:node.end]


def too_large(callee: Callee, param: Param, item: Given) -> Fault:
    return Fault("E105", f"`{param.name}` of `{callee.name}` is out of range: {show(item.value)}", item.arg,
                 f"whole numbers and sizes of a net go up to {MAX_SIZE:,}")


def mismatch(callee: Callee, param: Param, item: Given) -> Fault:
    wants = [WANTS[k] if k != "word" else " or ".join(param.words) for k in param.kinds]
    if item.value.__class__ is BlockValue and isinstance(item.arg, ast.Positional):
        return Fault("E140", f"an `->` is missing before `{item.value.name}`", item.arg,
                     f"write `-> {item.value.name}`; `{param.name}` of `{callee.name}` takes {' or '.join(wants)}")
    help = f"it takes `{callee.usage()}`"
    words = (*param.words, *(INITS if "init" in param.kinds else ()))
    if isinstance(item.value, tuple) and "size" in param.kinds:
        size = "x".join(show(n) for n in item.value)
        help = f"write `{param.name}{size}`" if len(param.name) == 1 else f"write `{param.name}={size}`"
    elif isinstance(item.value, str) and (item.value in words or item.value in ("on", "off")):
        help = f"write `{item.value}` without quotes"
    elif isinstance(item.value, Word):
        near = nearest(item.value.text, words)
        help = f"did you mean `{near}`?" if near else help
    return Fault("E148", f"`{param.name}` of `{callee.name}` takes {' or '.join(wants)}, not {kind_of(item.value)}"
                         f" (`{show(item.value)}`)", item.arg, help)
