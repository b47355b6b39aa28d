"""`default` lines and heads (rules 15 and 17)."""

from __future__ import annotations

from . import ast
from .binding import bind
from .callee import Callee
from .convert import convert
from .scope import Scope
from .signature import Param
from .trace import Level
from .unknown import unknown_layer
from .values import UNKNOWN, Fault

HEAD = Callee("head", (Param("weight", "number", 1),), "head")


def set_default(expander, item: ast.Default) -> None:
    """Keeps the keys for the built-ins that are built after this. Raises Fault."""
    name = item.callee.name
    if name not in expander.builder.signatures:
        if name in expander.table.blocks:
            raise Fault("E126", f"`default` is for built-in layers, `{name}` is a block", item.callee,
                        "give the block's parameter a default: `block NAME k=3 { … }`")
        raise unknown_layer(item.callee, expander.file)
    for arg in item.args:
        if isinstance(arg, ast.Positional) and not isinstance(arg.value, ast.Name):
            raise Fault("E126", "`default` takes only keys", arg, f"write `default {name} key=value`")
    callee = expander.callees[name]
    given = bind(callee, item.args, expander.file, item, required=False)
    keys = expander.defaults.setdefault(name, {})
    keys |= {key: convert(callee, callee.params[key], value) for key, value in given.items()}


def build_head(expander, head: ast.Head, value) -> None:
    """Builds a head; `value` is what flows where it stands. Raises Fault."""
    weight = head_weight(head, expander.file)
    scope, stages = Scope(expander.file), head.body.chain
    expander.lets(head.body, scope)
    if stages and isinstance(stages[0], ast.RefStage):
        value = expander.stage(stages[0], value, scope)
        stages = stages[1:]
    if value is None:
        raise Fault("E151", f"the head `{head.name.name}` stands before any layer", head.name, "start it with `@name`")
    known = value is not UNKNOWN
    if known:
        expander.builder.begin_head(head.name.name, weight, value, head.name.span)
    expander.levels.append(Level(value))
    value = expander.chain(stages, value, scope)
    expander.levels.pop()
    if known and value is not UNKNOWN:
        expander.builder.end_head(value)


def head_weight(head: ast.Head, scope: Scope):
    given = bind(HEAD, head.args, scope, head.name)
    if "weight" not in given:
        return 1
    weight = convert(HEAD, HEAD.params["weight"], given["weight"])
    if weight is not UNKNOWN and weight < 0:
        raise Fault("E147", f"`weight` of a head must not be negative, this is {weight:g}", given["weight"].arg,
                    "0 is the least")
    return weight
