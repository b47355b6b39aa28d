"""One self-contained text of a program: includes inlined, lets as overridden, settings as set."""

from __future__ import annotations

from collections.abc import Mapping

from . import ast
from .convert import source_of
from .lets import check_overrides, merged_input, override_expr, parse_input
from .reader import Program, parse
from .settings import Schema, setting_lines
from .values import Fault, evaluate


def inline(program: Program, overrides: Mapping[str, object] | None = None, set: Mapping[str, object] | None = None,
           schema: Schema | None = None, input: str | None = None) -> str:
    """The program as one text that parses to the same net, comments and layout kept where nothing changed.

    `schema` tells which absent settings are pipelines; without it a setting that `set` adds is none. `input`: as in
    `expand`, written into the text.
    """
    overrides, set, files = overrides or {}, set or {}, dict(program.files)
    check_overrides([item for item in program.items if isinstance(item, ast.Let)], overrides, files)
    text = _module(program, program.root, program.source, overrides, files)
    if set:
        text = _with_settings(parse(text, program.file), set, schema, files)
    return text if input is None else with_input(text, input)


def with_input(text: str, input: str) -> str:
    """The text of a net with this input (`32x32 x3`) in place of its own; in a fragment, before the first layer."""
    given = parse_input(input, {})
    program = parse(text)
    pipes = [item for item in program.root if isinstance(item, ast.Pipe)]
    for stage in (stage for pipe in pipes for stage in pipe.stages):
        if isinstance(stage, ast.Layer) and stage.callee.name == "input":
            args = merged_input(stage, given)
            return _edited(text, [(stage.start, stage.end, " ".join(["input", *map(source_of, args)]))])
    line = " ".join(["input", *map(source_of, given.args)])
    at = pipes[0].start if pipes else len(text)
    return f"{text[:at]}{line}\n{text[at:]}"


def _module(program: Program, items, source: ast.Source, overrides, files: dict[str, str]) -> str:
    edits = []
    for item in items:
        if isinstance(item, ast.Include):
            included = _included(program, item, overrides, files)
            # It ends in a comment, which must not swallow what follows on the line.
            same_line = source.text[item.end:item.end + 1] not in ("", "\n")
            edits.append((item.start, item.end, included + "\n" * same_line))
        elif isinstance(item, ast.Let) and item.name.name in overrides:
            edits.append((item.value.start, item.value.end, _override_text(item, overrides[item.name.name], files)))
    return _edited(source.text, edits)


def _included(program: Program, item: ast.Include, overrides, files: dict[str, str]) -> str:
    """The included file's text; nothing where it was read before."""
    file = program.included.get(id(item), "")
    if not file:
        return f"# {item.path.value} is already included"
    source = program.sources[file]
    text = _module(program, program.modules[file], source, overrides, files).strip("\n")
    return f"# from {item.path.value}\n{text}\n# end of {item.path.value}"


def _override_text(let: ast.Let, given, files: dict[str, str]) -> str:
    try:
        written = evaluate(let.value, _no_names)
    except Fault:
        written = None
    if isinstance(written, str) and isinstance(given, str) and not given.strip().startswith('"'):
        return f'"{given}"'
    return source_of(override_expr(let.name.name, given, files))


def _no_names(node):
    raise Fault("E125", f"unknown name `{node.name}`", node)


def _with_settings(program: Program, set, schema, files) -> str:
    """The text with each section written anew where `set` changed it; what it adds stands at the end."""
    before = setting_lines(program, {}, schema, files)
    after = setting_lines(program, set, schema, files)
    edits, done = [], []
    for item in program.items:
        if not isinstance(item, ast.Section) or after.get(item.name) == before.get(item.name):
            continue
        edits.append((item.start, item.end, "" if item.name in done else _section_text(item.name, after[item.name])))
        done.append(item.name)
    text = _edited(program.source.text, edits)
    added = [_section_text(name, lines) for name, lines in after.items() if name not in before]
    return "\n".join([text.rstrip("\n"), *added]) + "\n" if added else text


def _section_text(name: str, lines: list[ast.SettingLine]) -> str:
    return "\n".join([f"{name} {{", *(f"    {_line_text(line)}" for line in lines), "}"])


def _line_text(line: ast.SettingLine) -> str:
    if line.stages is not None:
        return f"{line.name.name}: " + " -> ".join(map(source_of, line.stages))
    return " ".join([line.name.name, *map(source_of, line.args)])


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
