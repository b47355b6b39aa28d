"""How a layer was reached, for errors: the shapes so far and the chain of block calls."""

from __future__ import annotations

from ..errors import Label
from . import ast
from .span import Call, Span
from .values import UNKNOWN

MAX_SHOWN = 8           # stages of a shape trace


class Level:
    """The stages done so far in one body, for shape traces: (label, value, whether it is worth showing)."""

    def __init__(self, start, block: str = ""):
        self.start = start
        self.block = block
        self.steps: list[tuple[str, object, bool]] = []


def shape_trace(levels: list[Level], name: str) -> tuple[str, ...]:
    """The shapes on the way to layer `name`: whole blocks of the outer levels, each layer of the innermost."""
    steps = [step for level in levels for step in level.steps]
    if not steps:
        return ()
    shown, before = [], None
    for label, value, worth in steps:
        if worth or before is None or value.shape != before:
            shown.append(f"{label} {brief(value.shape, before)}" if label != "input" else str(value.shape))
        before = value.shape
    if len(shown) > MAX_SHOWN:
        shown = ["…", *shown[-MAX_SHOWN:]]
    return (f"shapes: {' -> '.join([*shown, name])}",)


def branch_label(index: int, chain: list[ast.Stage], level: Level, stage: ast.Layer) -> Label:
    """`branch 1: 56x56 x64 -> cb x64 -> cb x256`; the first stands at the merge's own name."""
    place: Span = stage.callee.span if index == 0 else chain[0].span
    if level.start is UNKNOWN:
        return Label(*place, f"branch {index + 1}")
    before, shown = level.start.shape, [str(level.start.shape)]
    for label, value, worth in level.steps:
        if worth or value.shape != before or len(level.steps) == 1:
            shown.append(f"{label} {brief(value.shape, before)}")
        before = value.shape
    if len(shown) > MAX_SHOWN:
        shown = [shown[0], "…", *shown[-MAX_SHOWN + 1:]]
    return Label(*place, f"branch {index + 1}: {' -> '.join(shown)}")


def odd_one(shapes: list) -> int:
    """The branch that alone differs from all others, of three or more; else the first."""
    for keys in ([shape.spatial for shape in shapes], shapes):
        odd = [i for i, key in enumerate(keys) if keys.count(key) == 1]
        if len(keys) > 2 and len(odd) == 1 and len(set(keys)) == 2:
            return odd[0]
        if len(set(keys)) > 1:
            return 0
    return 0


def brief(shape, before) -> str:
    """The shape, without its spatial sizes where they are as before."""
    return f"x{shape.channels}" if before is not None and shape.spatial == before.spatial else str(shape)


def chain_lines(trail: tuple[Call, ...]) -> tuple[str, ...]:
    """The calls that lead to a place: the innermost with its values and its callers, then each caller's values."""
    if not trail:
        return ()

    def values(call: Call) -> str:
        return " with " + ", ".join(f"{k}={v}" for k, v in call.args.items()) if call.args else ""

    inner, *outer = reversed(trail)
    place = trail[0].span
    callers = "".join(f", {'called ' if i == 0 else ''}from `{c.block}`" for i, c in enumerate(outer))
    called = "" if outer else ", called"
    lines = [f"in `{inner.block}`{values(inner)}{callers}{called}{',' if outer else ''} from "
             f"{place.file}:{place.line}:{place.column}"]
    return tuple(lines + [f"`{c.block}`{values(c)}" for c in outer if c.args])
