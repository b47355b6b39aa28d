"""Branches that meet (rule 12): `add { a | b }` and `add @a @b`."""

from __future__ import annotations

from ..errors import Label
from . import ast
from .convert import source_of
from .scope import Scope
from .trace import Level, branch_label
from .values import UNKNOWN, BlockValue, Fault, RefValue, evaluate, kind_of


def branch_values(expander, name: str, stage: ast.Layer, value, scope: Scope) -> tuple[list, list[Label]]:
    """What enters the merge `stage`, and a label for each branch's place. Raises Fault."""
    if stage.branches is None:
        return referenced(expander, name, stage, value, scope)
    if stage.args:
        raise Fault("E152", f"`{name}` takes branches or @names, not both", stage.args[0],
                    f"write `{name} {{ skip | @a }}` with all of them in the braces")
    if len(stage.branches.chains) < 2:
        raise Fault("E152", f"`{name}` merges at least two branches", stage.callee,
                    f"separate them with `|`; `{name} {{ skip | … }}` keeps the input")
    values, labels = [], []
    for index, chain in enumerate(stage.branches.chains):
        level = Level(value)
        expander.levels.append(level)
        values.append(expander.chain(chain, value, Scope(scope)))
        expander.levels.pop()
        labels.append(branch_label(index, chain, level, stage))
    return values, labels


def referenced(expander, name: str, stage: ast.Layer, value, scope: Scope) -> tuple[list, list[Label]]:
    if not stage.args:
        raise Fault("E152", f"`{name}` has nothing to merge", stage, f"write `{name} {{ … | … }}` or `{name} @name`")
    values = [value]
    labels = [Label(*stage.callee.span, f"the flow: {'?' if value is UNKNOWN else value.shape}")]
    for arg in stage.args:
        if isinstance(arg.value, ast.Ref):
            found = RefValue(arg.value.name, expander.resolve(arg.value, scope))
        else:
            found = other_value(name, arg, scope)
        if found is UNKNOWN or found.value is UNKNOWN:
            values.append(UNKNOWN)
        else:
            values.append(found.value)
            labels.append(Label(*arg.span, f"@{found.name}: {found.value.shape}"))
    return values, labels


def other_value(name: str, arg: ast.Arg, scope: Scope):
    """An argument without `@`: a block's parameter that holds a name is one, everything else a Fault."""
    text = source_of(arg)
    if scope.find(text) is None and scope.find_name(text) is not None:
        raise Fault("E152", f"`{text}` is the output of that name only with its `@`", arg, f"write `{name} @{text}`")
    found = evaluate(arg.value, scope.lookup)
    if found is UNKNOWN or (isinstance(found, RefValue) and isinstance(arg, ast.Positional)):
        return found
    if isinstance(found, BlockValue):
        raise Fault("E152", f"`{name}` merges branches or @names, not {kind_of(found)}", arg,
                    f"write `{name} {{ {text} | … }}`: branches stand in braces")
    raise Fault("E152", f"`{name}` merges branches or @names, not {kind_of(found)}", arg,
                f"write `{name} {{ … | … }}` or `{name} @name`")


def no_branches(name: str, stage: ast.Layer) -> Fault:
    brace = ast.Ident(stage.source, stage.branches.start, stage.branches.start + 1, "{")
    if brace.span.line != stage.span.line:
        return Fault("E152", "these braces have no word before them", brace,
                     "write `repeat 2 { … }`, `add { … | … }` or `block NAME { … }`")
    if len(stage.branches.chains) > 1:
        return Fault("E152", f"`{name}` takes no branches", brace, "write `add { … | … }`, `concat { … | … }` or "
                     "`mul { … | … }`")
    return Fault("E152", f"`{name}` takes no braces", brace,
                 f"write `-> repeat n {{ … }}`, or `block {name} … {{ … }}` to define a block")
