"""The file's lets with overrides, and texts from the command line parsed as parts of a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from ..errors import Diagnostic
from . import ast
from .ast import Source
from .errors import SourceError
from .reader import Program, normalise
from .scope import Scope
from .suggest import nearest
from .syntax import parse_source
from .values import UNKNOWN, Fault, evaluate, kind_of, show


def bind_lets(program: Program, scope: Scope, overrides: Mapping[str, object],
              report: Callable[[Fault], None], files: dict[str, str]) -> None:
    """Defines every file-level let in `scope`, in order; errors go to `report` and leave UNKNOWN."""
    lets = [item for item in program.items if isinstance(item, ast.Let)]
    check_overrides(lets, overrides, files)
    for let in lets:
        name = let.name.name
        try:
            value = override_value(let, overrides[name], scope, files) if name in overrides \
                else evaluate(let.value, scope.lookup)
            scope.define(let.name, value, "let")
        except Fault as fault:
            report(fault)
            scope.values.setdefault(name, UNKNOWN)


def check_overrides(lets: list[ast.Let], overrides: Mapping[str, object], files: Mapping[str, str]) -> None:
    names = [let.name.name for let in lets]
    for name in overrides:
        if name not in names:
            near = nearest(str(name), names)
            known = f"its lets are {', '.join(names)}" if names else "it has no lets"
            help = f"did you mean `{near}`?" if near else known
            raise SourceError([Diagnostic("E127", f"there is no let `{name}` to override", help=help)], files)


def override_value(let: ast.Let, given, scope: Scope, files: dict[str, str]):
    """The override's value. Its kind must be that of the let as written, where that can be told."""
    try:
        written = evaluate(let.value, scope.lookup)
    except Fault:
        written = UNKNOWN
    if isinstance(written, str) and isinstance(given, str) and not given.strip().startswith('"'):
        return given
    value = evaluate(override_expr(let.name.name, given, files), scope.lookup)
    if written is not UNKNOWN and value is not UNKNOWN and kind_of(written) != kind_of(value):
        raise Fault("E128", f"`{let.name.name}` is {kind_of(written)} (`{show(written)}`), its override is "
                            f"{kind_of(value)} (`{show(value)}`)", let, "give a value of the same kind")
    return value


def override_expr(name: str, given, files: dict[str, str]) -> ast.Expr:
    """The expression of an override, parsed as the right side of its let."""
    source = Source(f"-D {name}", f"let {name} = {python_text(given)}")
    files[source.file] = source.text
    items = parse_or_raise(source, files)
    if len(items) != 1 or not isinstance(items[0], ast.Let):
        raise SourceError([Diagnostic("E129", f"the override of `{name}` must be one value", source.file, 1, 1,
                                      len(source.text) + 1)], files)
    return items[0].value


def parse_input(text: str, files: dict[str, str]) -> ast.Layer:
    """`32x32 x3` as an `input` layer."""
    source = Source("--input", "input " + normalise(text).strip().removeprefix("input "))
    files[source.file] = source.text
    items = parse_or_raise(source, files)
    stages = items[0].stages if len(items) == 1 and isinstance(items[0], ast.Pipe) else []
    if len(stages) != 1 or not isinstance(stages[0], ast.Layer) or stages[0].branches or stages[0].alias:
        raise SourceError([Diagnostic("E129", "the input must be one shape", source.file, 1, 1, len(source.text) + 1,
                                      help="write it as in `--input \"32x32 x3\"`")], files)
    return stages[0]


def merged_input(stage: ast.Layer, given: ast.Layer) -> list[ast.Arg]:
    """What is given replaces the sizes of the net's own input; its other keys stay unless given as well."""
    named = {a.name for a in given.args if isinstance(a, (ast.Keyword, ast.Flag))}
    return given.args + [a for a in stage.args if isinstance(a, ast.Keyword) and a.name not in named | {"k", "x"}]


def parse_or_raise(source: Source, files: Mapping[str, str]) -> list[ast.Item]:
    items, problems = parse_source(source)
    if problems:
        raise SourceError(problems, files)
    return items


def python_text(value) -> str:
    """A Python value as it would be written in a `.net` file; texts are taken as they are."""
    if isinstance(value, str):
        return normalise(value).strip()
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (tuple, list)):
        return ",".join(python_text(v) for v in value)
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    return repr(value.item() if hasattr(value, "item") else value)
