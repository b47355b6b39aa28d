"""The `data` and `train` sections, read by schemas that their owners define; `--set` applied."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Diagnostic, Label
from . import ast
from .ast import Source
from .binding import bind
from .callee import Callee
from .convert import convert
from .errors import SourceError
from .lets import bind_lets, parse_or_raise, python_text
from .reader import Program
from .scope import Scope, Table
from .signature import Setting
from .suggest import SETTINGS_ELSEWHERE, foreign, nearest
from .values import Fault

Schema = Mapping[str, Mapping[str, Setting]]


def sections(program: Program, schema: Schema, set: Mapping[str, object] | None = None,
             overrides: Mapping[str, object] | None = None) -> dict[str, dict[str, object]]:
    """{"data": {setting: value}, "train": {…}}: what the program gives, by `schema`; absent settings are absent keys.

    A setting of one parameter gives its value, of a text or name ("text", value, given in quotes); of several a dict.
    A setting with choices gives (choice, {every parameter}), a pipeline a list of (step, {…}, span), a repeated setting
    a list. set: {"train.batch": 32, "train.optimizer.lr": 0.1}, before anything is checked. overrides: as in `expand`.
    Raises NetError with every error.
    """
    return _Reader(program, schema).read(set or {}, overrides or {})


class _Reader:
    def __init__(self, program: Program, schema: Schema):
        self.program = program
        self.schema = schema
        self.errors: list[Diagnostic] = []
        self.files = dict(program.files)
        self.scope = Scope(None, Table(program.blocks, {}))

    def read(self, set: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, dict[str, object]]:
        # A let's own errors are for `expand` to report; a setting that uses such a let says what it lacks.
        bind_lets(self.program, self.scope, overrides, lambda fault: None, self.files)
        result: dict[str, dict[str, object]] = {name: {} for name in self.schema}
        for name, lines in setting_lines(self.program, set, self.schema, self.files).items():
            if name in self.schema:
                self.section(self.schema[name], name, lines, result[name])
            else:
                self.report(Fault("E301", f"there is no section `{name}`", lines[0].name))
        if self.errors:
            raise SourceError(self.errors, self.files)
        return result

    def report(self, fault: Fault) -> None:
        self.errors.append(Diagnostic(fault.code, fault.message, *fault.node.span, help=fault.help,
                                      labels=fault.labels))

    def section(self, schema: Mapping[str, Setting], name: str, lines: list[ast.SettingLine], result: dict) -> None:
        first: dict[str, ast.SettingLine] = {}
        for line in lines:
            try:
                setting = self.find(schema, name, line)
                if setting.name in first and not setting.repeated:
                    raise Fault("E303", f"`{setting.name}` is set twice", line.name, "remove one of them",
                                (Label(*first[setting.name].name.span, "set here first"),))
                first.setdefault(setting.name, line)
                value = self.value(setting, line)
            except Fault as fault:
                self.report(fault)
                continue
            if setting.repeated:
                result.setdefault(setting.name, []).append(value)
            else:
                result[setting.name] = value

    def find(self, schema: Mapping[str, Setting], section: str, line: ast.SettingLine) -> Setting:
        name = line.name.name
        if name in schema:
            return schema[name]
        raise Fault("E302", f"`{section}` has no setting `{name}`", line.name,
                    self.setting_meant(schema, section, line))

    def setting_meant(self, schema: Mapping[str, Setting], section: str, line: ast.SettingLine) -> str:
        name, rest = line.name.name, line.source.text[line.name.end:line.end].strip().removeprefix(":").strip()
        for other, settings in self.schema.items():
            if name in settings and other != section:
                return f"it belongs in `{other} {{ {name} {rest} }}`"
        meant = SETTINGS_ELSEWHERE.get(name.lower(), "")
        if meant.split(" ")[0] in schema:
            return f"write `{meant.format(rest).strip()}`"
        near = nearest(name, schema)
        if near:
            return f"did you mean `{near}`?"
        for setting in schema.values():
            if setting.choices and name in setting.choices:
                return f"write `{setting.name}{':' if setting.pipeline else ''} {name} {rest}`".replace(" `", "`")
        return f"its settings are {', '.join(schema)}"

    def value(self, setting: Setting, line: ast.SettingLine):
        if setting.pipeline:
            return self.pipeline(setting, line)
        if line.stages is not None:
            text = line.source.text[line.stages[0].start:line.stages[-1].end]
            raise Fault("E304", f"`{setting.name}` is no pipeline", line.name, f"write `{setting.name} {text}`")
        self.check_separated(setting, line)
        if setting.choices is not None:
            return self.choice(setting, line)
        callee = Callee(setting.name, setting.params, "setting")
        values = self.bind(callee, line.args, line.name)
        if len(setting.params) > 1:
            return values
        param = setting.params[0]
        if "text" in param.kinds:
            return "text", values[param.name], isinstance(line.args[0].value, ast.Text)
        return values[param.name]

    def check_separated(self, setting: Setting, line: ast.SettingLine) -> None:
        """Two settings on one line without a `;`."""
        known = {name for settings in self.schema.values() for name in settings}
        for arg in line.args[1:]:
            name = arg.value.name if isinstance(arg, ast.Positional) and isinstance(arg.value, ast.Name) else ""
            if name in known and self.scope.find(name) is None:
                raise Fault("E304", f"`{name}` is a setting of its own", arg,
                            f"write `; {name}`, or start a line with it")

    def bind(self, callee: Callee, args: list[ast.Arg], where: ast.Node) -> dict[str, object]:
        given = bind(callee, args, self.scope, where)
        values = {p.name: convert(callee, p, given[p.name]) if p.name in given else p.default
                  for p in callee.params.values()}
        for name, argument in given.items():
            param = callee.params[name]
            if param.range is not None and not param.range.holds(values[name]):
                text = argument.arg.source.text[argument.node.start:argument.node.end]
                what = f"`{callee.name}`" if param.positional else f"`{name}` of `{callee.name}`"
                raise Fault("E307", f"{what} is {text}; it must be {param.range.words}", argument.arg)
        return values

    def choice(self, setting: Setting, line: ast.SettingLine):
        first = line.args[0] if line.args else None
        if not isinstance(first, ast.Positional) or not isinstance(first.value, ast.Name):
            raise Fault("E305", f"`{setting.name}` needs a name after it", first or line.name,
                        f"write `{setting.name} NAME`, one of {', '.join(setting.choices)}")
        name = first.value.name
        if name not in setting.choices:
            raise self.unknown_choice(setting, name, first)
        callee = Callee(name, setting.choices[name].params, "setting")
        return name, self.bind(callee, line.args[1:], first)

    def unknown_choice(self, setting: Setting, name: str, node: ast.Node) -> Fault:
        near = nearest(name, setting.choices) or foreign(name, setting.choices).split(" ")[0]
        what = "step" if setting.pipeline else setting.name
        return Fault("E305", f"there is no {what} `{name}`", node,
                     f"did you mean `{near}`?" if near else f"there are {', '.join(setting.choices)}")

    def pipeline(self, setting: Setting, line: ast.SettingLine) -> list[tuple]:
        if line.stages is None:
            text = line.source.text[line.args[0].start:line.end] if line.args else "pad 4 -> crop 32"
            raise Fault("E304", f"`{setting.name}` is a pipeline", line.name, f"write `{setting.name}: {text}`")
        steps = []
        for stage in line.stages:
            if not isinstance(stage, ast.Layer) or stage.branches is not None or stage.alias is not None:
                raise Fault("E304", f"a step of `{setting.name}` is a name and its arguments", stage,
                            f"the steps are {', '.join(setting.choices)}")
            name = stage.callee.name
            if name not in setting.choices:
                raise self.unknown_choice(setting, name, stage.callee)
            callee = Callee(name, setting.choices[name].params, "setting")
            steps.append((name, self.bind(callee, stage.args, stage), stage.span))
        return steps


# `--set`


def setting_lines(program: Program, set: Mapping[str, object], schema: Schema | None,
                  files: dict[str, str]) -> dict[str, list[ast.SettingLine]]:
    """{section: its lines}, several sections of one name joined, with `set` applied. Raises NetError for bad keys."""
    lines: dict[str, list[ast.SettingLine]] = {}
    for item in program.items:
        if isinstance(item, ast.Section):
            lines.setdefault(item.name, []).extend(item.settings)
    for key, value in set.items():
        apply_set(lines, key, value, schema, files)
    return {name: found for name, found in lines.items() if found}


def apply_set(lines: dict[str, list[ast.SettingLine]], key: str, value, schema: Schema | None,
              files: dict[str, str]) -> None:
    parts = key.split(".")
    if parts[0] not in ("data", "train") or not 2 <= len(parts) <= 3 or not all(parts):
        raise SourceError([Diagnostic("E306", f"`{key}` names no setting", help="write it as in `train.batch=32` or "
                                      "`train.optimizer.lr=0.1`")], files)
    section, name = parts[0], parts[1]
    known = schema.get(section, {}) if schema is not None else None
    if known is not None and name not in known:
        near = nearest(name, known) or foreign(name, known)
        help = f"did you mean `{near}`?" if near else f"its settings are {', '.join(known)}"
        for setting in known.values():
            if not near and any(choice.param(name) for choice in (setting.choices or {}).values()):
                help = f"write `{section}.{setting.name}.{name}`"
                break
        raise SourceError([Diagnostic("E306", f"`{section}` has no setting `{name}`", help=help)], files)
    existing = lines.setdefault(section, [])
    same = [line for line in existing if line.name.name == name]
    if len(parts) == 3:
        set_key(existing, same, key, parts, value, known[name] if known is not None else None, files)
        return
    pipeline = known[name].pipeline if known is not None else bool(same) and same[0].stages is not None
    text = python_text(value)
    new = parse_setting(key, f"{name}: {text}" if pipeline else f"{name} {text}", section, files)
    if same and not pipeline and new.args and not isinstance(new.args[0].value, ast.Name):
        # A plain value replaces the value and leaves the keys; a new choice starts afresh.
        new.args = new.args + [a for a in same[0].args if isinstance(a, ast.Keyword)
                               and a.name not in {getattr(b, "name", None) for b in new.args}]
    replace(existing, same, new)


def set_key(existing, same, key: str, parts: list[str], value, setting: Setting | None, files: dict[str, str]) -> None:
    section, name, param = parts
    if not same and setting is not None:
        first = next((c for c, signature in (setting.choices or {}).items() if signature.param(param)), None)
        if first is not None and not setting.pipeline:
            whole = f"`--set '{section}.{name}={first} {param}={python_text(value)}'`"
            raise SourceError([Diagnostic("E306", f"`{key}` cannot be set: `{name}` is not in the net",
                                          help=f"give it whole: {whole}")], files)
    if len(same) != 1 or same[0].stages is not None:
        reason = "is a pipeline" if same and same[0].stages is not None else \
            f"stands {len(same)} times" if same else "is not in the net"
        raise SourceError([Diagnostic("E306", f"`{key}` cannot be set: `{name}` {reason}",
                                      help=f"give it whole, as in `{section}.{name}=…`")], files)
    new = parse_setting(key, f"{name} {param}={python_text(value)}", section, files)
    old = same[0]
    # A switch that was given as a bare word (`nesterov`) gives way to its key.
    kept = [a for a in old.args if getattr(a, "name", None) != param
            and not (isinstance(a, ast.Positional) and isinstance(a.value, ast.Name) and a.value.name == param)]
    merged = ast.SettingLine(new.source, new.start, new.end, new.name, kept + new.args)
    replace(existing, same, merged)


def replace(existing: list[ast.SettingLine], same: list[ast.SettingLine], new: ast.SettingLine) -> None:
    if not same:
        existing.append(new)
        return
    existing[existing.index(same[0])] = new
    for line in same[1:]:
        existing.remove(line)


def parse_setting(key: str, text: str, section: str, files: dict[str, str]) -> ast.SettingLine:
    source = Source(f"--set {key}", f"{section} {{ {text} }}")
    files[source.file] = source.text
    items = parse_or_raise(source, files)
    found = items[0].settings if len(items) == 1 and isinstance(items[0], ast.Section) else []
    if len(found) != 1:
        raise SourceError([Diagnostic("E306", f"`{key}` must be set to one value", source.file, 1, 1,
                                      len(source.text) + 1)], files)
    return found[0]
