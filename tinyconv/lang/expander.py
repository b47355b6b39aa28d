"""From a program to layers: blocks, repeats and conditions expanded, names resolved, a builder called once a layer.

After an error the flow is UNKNOWN: names and arguments of what follows are still checked, shapes are not.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Diagnostic, Label
from . import ast
from .binding import ANY, PLAIN, Callee, Given, bind, convert, split_name
from .checks import aliases, call_cycle, warnings_of
from .errors import LayerError, SourceError
from .lets import bind_lets, merged_input, parse_input
from .parser import MAX_DEPTH
from .reader import Program
from .scope import Scope, Table
from .signature import REQUIRED, Param
from .span import Call
from .suggest import foreign, nearest
from .trace import Level, branch_label, chain_lines, shape_trace
from .values import UNKNOWN, BlockValue, Fault, RefValue, evaluate, is_number, kind_of, show

MAX_LAYERS = 20_000
MAX_STEPS = 100_000     # stages visited, those that build nothing included
MAX_ERRORS = 20

HEAD = Callee("head", (Param("weight", "number", 1),), "head")


class Stop(Exception):
    """Expansion ends here: a bound was met or enough errors were found. The diagnostics say why."""


def expand(program: Program, builder, overrides: Mapping[str, object] | None = None,
           input: str | None = None) -> list[Diagnostic]:
    """Gives the builder every layer of the program in order; returns warnings.

    overrides: {let: value}, a text is parsed as an expression. input: `32x32 x3`, used where the program has no
    `input`, else in place of its sizes. Raises NetError with every error that can honestly be reported. A program of
    blocks only builds nothing, and only its names are checked.
    """
    return Expander(program, builder).run(overrides or {}, input)


class Expander:
    def __init__(self, program: Program, builder):
        self.program = program
        self.builder = builder
        self.table = Table(program.blocks, builder.signatures)
        self.callees = {name: Callee(name, s.params) for name, s in builder.signatures.items()}
        self.callees |= {name: block_callee(block) for name, block in program.blocks.items()}
        self.file = Scope(None, self.table)
        self.defaults: dict[str, dict[str, object]] = {}
        self.errors: dict[tuple, Diagnostic] = {}
        self.files: dict[str, str] = dict(program.files)
        self.levels: list[Level] = []
        self.entered: set[str] = set()
        self.depth = self.steps = self.layers = 0
        self.named_input = False
        self.given: ast.Layer | None = None     # in place of the program's own input

    # The whole

    def run(self, overrides: Mapping[str, object], input: str | None) -> list[Diagnostic]:
        value = None
        try:
            self.check_items()
            bind_lets(self.program, self.file, overrides, self.fault, self.files)
            value = self.flow(None if input is None else parse_input(input, self.files))
            self.check_unused_blocks()
        except Stop:
            pass
        except RecursionError:
            self.errors[("recursion",)] = Diagnostic("E106", "this program is nested too deeply", self.program.file)
        if self.errors:
            raise SourceError(self.errors.values(), self.files)
        if value is not None:
            self.builder.output(value)
        return warnings_of(self.program)

    def check_items(self) -> None:
        seen: dict[str, ast.Block] = {}
        for item in self.program.items:
            if not isinstance(item, ast.Block):
                continue
            name = item.name.name
            if name in self.builder.signatures:
                self.fault(Fault("E121", f"`{name}` is a built-in layer and cannot be a block", item.name,
                                 "choose another name"))
            elif name in seen:
                first = seen[name].name.span
                self.fault(Fault("E122", f"the block `{name}` is defined twice", item.name, "choose another name",
                                 (Label(*first, "defined here first"),)))
            seen.setdefault(name, item)
            self.check_params(item)

    def check_params(self, block: ast.Block) -> None:
        taken = set()
        for param in block.params:
            ident = ast.Ident(param.source, param.start, param.start + len(param.name), param.name)
            if param.name in taken:
                self.fault(Fault("E122", f"`{block.name.name}` has two parameters `{param.name}`", ident,
                                 "choose another name"))
            elif param.name in ("in", "on", "off"):
                self.fault(Fault("E121", f"`{param.name}` has a meaning of its own and cannot be a parameter", ident,
                                 "choose another name"))
            taken.add(param.name)

    def flow(self, given: ast.Layer | None):
        """The top-level layers, then the heads; returns the net's output, None where there are no layers."""
        stages = [s for item in self.program.items if isinstance(item, ast.Pipe) for s in item.stages]
        has_input = any(isinstance(s, ast.Layer) and s.callee.name == "input" for s in stages)
        if not stages and not any(isinstance(item, ast.Head) for item in self.program.items):
            for item in self.program.items:
                self.item(item, None)
            return None
        value = None
        self.levels.append(Level(None))
        self.given = given if has_input else None
        if given is not None and not has_input:
            value = self.stage(given, value, self.file)
        heads = []
        for item in self.program.items:
            if isinstance(item, ast.Pipe):
                value = self.chain(item.stages, value, self.file)
            elif isinstance(item, ast.Head):
                heads.append((item, value))
            else:
                self.item(item, value)
        seen = {}
        for head, start in heads:
            if head.name.name in seen:
                self.fault(
    Fault(
        "E122",
        f"the head `{head.name.name}` is defined twice",
        head.name,
         "choose another name"))
            seen[head.name.name] = head
            self.head(head, start)
        self.levels.pop()
        return None if value is UNKNOWN else value

    def item(self, item: ast.Item, value) -> None:
        if isinstance(item, ast.Default):
            self.attempt(lambda: self.default(item), self.file)

    def default(self, item: ast.Default) -> None:
        name = item.callee.name
        signature = self.builder.signatures.get(name)
        if signature is None:
            if name in self.table.blocks:
                raise Fault("E126", f"`default` is for built-in layers, `{name}` is a block", item.callee,
                            "give the block's parameter a default: `block NAME k=3 { … }`")
            raise self.unknown_layer(item.callee)
        for arg in item.args:
            if isinstance(arg, ast.Positional) and not isinstance(arg.value, ast.Name):
                raise Fault("E126", "`default` takes only keys", arg, f"write `default {name} key=value`")
        callee = self.callees[name]
        given = bind(callee, item.args, self.file, item, required=False)
        for key, value in given.items():
            self.defaults.setdefault(name, {})[key] = convert(callee, callee.params[key], value)

    def head(self, head: ast.Head, start) -> None:
        def build():
            given = bind(HEAD, head.args, self.file, head.name)
            weight = convert(HEAD, HEAD.params["weight"], given["weight"]) if "weight" in given else 1
            if weight is not UNKNOWN and weight < 0:
                raise Fault("E147", f"`weight` of a head must not be negative, this is {weight:g}", given["weight"].arg)
            scope, value = Scope(self.file), start
            self.lets(head.body, scope)
            stages = head.body.chain
            if stages and isinstance(stages[0], ast.RefStage):
                value = self.stage(stages[0], value, scope)
                stages = stages[1:]
            if value is None:
                raise Fault("E151", f"the head `{head.name.name}` stands before any layer", head.name,
                            "start it with `@name`")
            known = value is not UNKNOWN
            if known:
                self.builder.begin_head(head.name.name, weight, value, head.name.span)
            self.levels.append(Level(value))
            value = self.chain(stages, value, scope)
            self.levels.pop()
            if known and value is not UNKNOWN:
                self.builder.end_head(value)

        self.attempt(build, self.file)

    def check_unused_blocks(self) -> None:
        """Blocks that were never entered are walked with unknown values, so that their names are checked too."""
        for name, block in self.table.blocks.items():
            if name in self.entered or name in self.builder.signatures:
                continue
            scope = self.file.call(UNKNOWN, None)
            for param in block.params:
                scope.values[param.name] = UNKNOWN
            self.recursion(name, block)
            self.attempt(lambda: self.chain_of(block.body, UNKNOWN, scope), scope)

    def recursion(self, name: str, block: ast.Block) -> None:
        """Reports a block that reaches itself by name, without expanding anything."""
        found = call_cycle(name, self.table.blocks)
        if found:
            chain, at = found
            self.fault(Fault("E161", f"a block cannot contain itself: {' -> '.join(chain)}", at,
                             "write the repetition with `repeat`"))

    # Errors

    def fault(self, fault: Fault, trail: tuple[Call, ...] = (), trace: tuple[str, ...] = ()) -> None:
        span = fault.node.span
        self.report(Diagnostic(fault.code, fault.message, *span, help=fault.help, labels=fault.labels,
                               trace=trace + chain_lines(trail)))

    def report(self, diagnostic: Diagnostic) -> None:
        key = (diagnostic.code, diagnostic.file, diagnostic.line, diagnostic.column)
        self.errors.setdefault(key, diagnostic)
        if len(self.errors) >= MAX_ERRORS:
            raise Stop

    def attempt(self, action, scope: Scope, otherwise=UNKNOWN):
        try:
            return action()
        except Fault as fault:
            self.fault(fault, scope.trail)
            return otherwise

    def bound(self, message: str, node: ast.Node, scope: Scope, help: str) -> Stop:
        """For what would not end: this error alone is reported beside those before it."""
        self.fault(Fault("E171", message, node, help), scope.trail)
        return Stop()

    # Stages

    def chain(self, stages: list[ast.Stage], value, scope: Scope):
        for stage in stages:
            value = self.stage(stage, value, scope)
        return value

    def chain_of(self, body: ast.Body, value, scope: Scope):
        self.lets(body, scope)
        return self.chain(body.chain, value, scope)

    def lets(self, body: ast.Body, scope: Scope) -> None:
        for let in body.lets:
            try:
                scope.define(let.name, evaluate(let.value, scope.lookup), "let")
            except Fault as fault:
                self.fault(fault, scope.trail)
                scope.values.setdefault(let.name.name, UNKNOWN)

    def stage(self, stage: ast.Stage, value, scope: Scope):
        """The value after the stage, UNKNOWN after an error in it."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self.bound(f"this net expands to more than {MAX_STEPS} steps", stage, scope, "repeat less")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.bound(f"blocks and braces are nested deeper than {MAX_DEPTH}", stage, scope, "nest less")
        try:
            kind = type(stage)
            if kind is ast.Layer:
                value = self.layer(stage, value, scope)
            elif kind is ast.RefStage:
                value = self.reference(stage, scope)
            elif kind is ast.Repeat:
                value = self.repeat(stage, value, scope)
            else:
                value = self.when(stage, value, scope)
        except Fault as fault:
            self.fault(fault, scope.trail)
            value = UNKNOWN
        self.depth -= 1
        if stage.alias is not None:
            self.name(stage.alias, value, scope)
        return value

    def name(self, alias: ast.Ident, value, scope: Scope) -> None:
        if alias.name in scope.names:
            first = scope.names[alias.name][1].span
            self.fault(Fault("E122", f"`{alias.name}` is named twice", alias, "choose another name",
                             (Label(*first, "named here first"),)), scope.trail)
        scope.names[alias.name] = (value, alias)
        if value is not UNKNOWN and value is not None:
            self.builder.named(alias.name, value, scope.trail)

    def reference(self, stage: ast.RefStage, scope: Scope):
        value = self.resolve(stage.ref, scope)
        if value is not UNKNOWN and self.levels:
            self.levels[-1].steps.append((f"@{stage.ref.name}", value, True))
        return value

    def resolve(self, ref: ast.Ref, scope: Scope):
        try:
            found = scope.reference(ref)
        except Fault as fault:
            raise self.early_name(fault, ref) from None
        return UNKNOWN if found is UNKNOWN else found.value

    def early_name(self, fault: Fault, ref: ast.Ref) -> Fault:
        """A better word for an `@name` that is named elsewhere."""
        place = next((a for a in aliases(self.program) if a.name == ref.name), None)
        if place is None:
            return fault
        label = (Label(*place.span, "named here"),)
        if place.source is ref.source and place.start > ref.start:
            return Fault("E124", f"`@{ref.name}` is used before it is named", ref,
                         "name the layer with `as` above this line", label)
        return Fault("E124", f"`@{ref.name}` is not visible here", ref,
                     "a name ends with its braces; pass it to a block as an argument", label)

    def repeat(self, stage: ast.Repeat, value, scope: Scope):
        count = evaluate(stage.count, scope.lookup)
        if count is UNKNOWN:
            passes = range(1)
        elif not is_number(count):
            raise Fault("E136", f"`repeat` takes a number, not {kind_of(count)}", stage.count)
        elif not isinstance(count, int):
            text = stage.source.text[stage.count.start:stage.count.end]
            raise Fault("E136", f"`repeat` takes a whole number, this is {show(count)}", stage.count,
                        f"write `round({text})`")
        elif count < 0:
            raise Fault("E136", f"`repeat` cannot run {show(count)} times", stage.count, "0 times is the least")
        else:
            passes = range(count if value is not UNKNOWN else min(count, 1))
        for i in passes:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise self.bound(f"this net expands to more than {MAX_STEPS} steps", stage, scope, "repeat less")
            inner = Scope(scope)
            if stage.index is not None:
                inner.define(stage.index, i if count is not UNKNOWN else UNKNOWN, "loop index")
            value = self.chain_of(stage.body, value, inner)
        return value

    def when(self, stage: ast.When, value, scope: Scope):
        branch: ast.Body | ast.When | None = stage
        while isinstance(branch, ast.When):
            condition = evaluate(branch.condition, scope.lookup)
            if condition is UNKNOWN:
                return self.both(branch, value, scope)
            if not isinstance(condition, bool):
                text = branch.source.text[branch.condition.start:branch.condition.end]
                raise Fault("E137", f"a condition is on or off, this is {kind_of(condition)}", branch.condition,
                            f"compare it, as in `{text} == 1`")
            if condition:
                return self.chain_of(branch.body, value, Scope(scope))
            branch = branch.otherwise
        return value if branch is None else self.chain_of(branch, value, Scope(scope))

    def both(self, branch, value, scope: Scope):
        """An unknown condition: every way is checked, none is taken."""
        while isinstance(branch, ast.When):
            self.chain_of(branch.body, UNKNOWN, Scope(scope))
            branch = branch.otherwise
        if branch is not None:
            self.chain_of(branch, UNKNOWN, Scope(scope))
        return UNKNOWN

    # Layers

    def layer(self, stage: ast.Layer, value, scope: Scope):
        name = stage.callee.name
        passed = scope.find(name) if name != "in" else None
        if passed is UNKNOWN:
            return UNKNOWN
        if isinstance(passed, BlockValue):
            name = passed.name
        elif not self.table.is_layer(name):
            raise self.unknown_layer(stage.callee, passed, scope, stage)
        signature = self.builder.signatures.get(name)
        if signature is not None and signature.merge:
            return self.merge(name, stage, value, scope)
        if stage.branches is not None:
            brace = ast.Ident(stage.source, stage.branches.start, stage.branches.start + 1, "{")
            raise Fault("E152", f"`{name}` takes no branches", brace, "only add, concat and mul have braces; write "
                        f"`block {name} … {{ }}` to define a block" if len(stage.branches.chains) == 1 else
                        "only add, concat and mul have branches")
        if name == "input":
            stage = self.check_input(stage, value, scope)
        elif value is None:
            raise Fault("E150", "this net has no `input`", stage, "start with `input 32x32 x3`, or give "
                        "`--input \"32x32 x3\"`")
        callee = self.callees[name]
        given = bind(callee, stage.args, scope, stage)
        if signature is None:
            return self.call(name, callee, given, stage, value, scope)
        if name == "skip":
            if self.levels and value is not UNKNOWN:
                self.levels[-1].steps.append(("skip", value, False))
            return value
        args = self.arguments(name, callee, given)
        if value is UNKNOWN or UNKNOWN in args.values():
            return UNKNOWN
        inputs = [] if name == "input" else [value]
        return self.build(name, args, inputs, stage, scope, given)

    def check_input(self, stage: ast.Layer, value, scope: Scope) -> ast.Layer:
        if scope is not self.file:
            raise Fault("E153", "`input` cannot stand inside braces", stage, "make it the first line of the net")
        if self.named_input:
            raise Fault("E153", "a net has one `input`, this is a second", stage, "remove it")
        self.named_input = True
        if value is not None and value is not UNKNOWN:
            raise Fault("E153", "`input` must be the first layer", stage, "move it up")
        given = self.given
        if given is None or stage is given:
            return stage
        return ast.Layer(
    given.source,
    given.start,
    given.end,
    given.callee,
    merged_input(
        stage,
        given),
        None,
         stage.alias)

    def unknown_layer(self, ident: ast.Ident, passed=None, scope: Scope | None = None,
                      stage: ast.Layer | None = None) -> Fault:
        name = ident.name
        if passed is not None:
            return Fault("E120", f"`{name}` is {kind_of(passed)} here, not a layer", ident)
        if scope is not None and scope.find_name(name) is not None:
            return Fault("E120", f"unknown layer `{name}`", ident, f"write `@{name}` for the output of that name")
        help = foreign(name, self.builder.signatures)
        if help:
            args = ident.source.text[ident.end:stage.end].strip() if stage is not None else ""
            return Fault("E120", f"unknown layer `{name}`", ident, f"write `{help.format(args or '…')}`")
        split = split_name(name, self.file)
        if split:
            return Fault("E120", f"unknown layer `{name}`", ident, f"write `{split}`")
        near = nearest(name, self.table.layers())
        if near:
            return Fault("E120", f"unknown layer `{name}`", ident, f"did you mean `{near}`?")
        return Fault("E120", f"unknown layer `{name}`", ident, f"define it: `block {name} … {{ … }}`")

    def arguments(self, name: str, callee: Callee, given: dict[str, Given]) -> dict[str, object]:
        """Every parameter: as given, else from `default`, else the signature's default."""
        defaults = self.defaults.get(name, {})
        # In the order of the text, so that the first mistake is the one reported.
        values = {key: convert(callee, callee.params[key], item)
                  for key, item in sorted(given.items(), key=lambda pair: pair[1].arg.start)}
        return {key: values[key] if key in values else defaults.get(key, param.default)
                for key, param in callee.params.items()}

    def build(self, name: str, args: dict, inputs: list, stage: ast.Layer, scope: Scope, given=None, labels=()):
        self.layers += 1
        if self.layers > MAX_LAYERS:
            raise self.bound(f"this net has more than {MAX_LAYERS} layers", stage, scope, "repeat less")
        try:
            value = self.builder.layer(name, args, inputs, stage.span, scope.trail)
        except LayerError as error:
            self.layer_error(error, stage, scope, given or {}, labels)
            return UNKNOWN
        self.levels[-1].steps.append((name, value, bool(stage.args) or stage.branches is not None))
        return value

    def layer_error(self, error: LayerError, stage: ast.Layer, scope: Scope, given: dict[str, Given], labels) -> None:
        node = given[error.param].arg if error.param in given else stage.callee if labels else stage
        shapes = () if labels else shape_trace(self.levels, stage.callee.name)
        self.report(Diagnostic(error.code, error.message, *node.span, help=error.help, labels=tuple(labels),
                               trace=shapes + chain_lines(scope.trail)))

    def call(self, name: str, callee: Callee, given: dict[str, Given], stage: ast.Layer, value, scope: Scope):
        block = self.table.blocks[name]
        calls = [c.block for c in scope.trail]
        if name in calls:
            chain = " -> ".join([*calls[calls.index(name):], name])
            raise Fault("E161", f"a block cannot contain itself: {chain}", stage.callee,
                        "write the repetition with `repeat`")
        if value is UNKNOWN:
            return UNKNOWN
        shown: dict[str, str] = {}
        call = Call(name, shown, stage.span)
        inner = self.file.call(value.shape.channels, call)
        inner.trail = (*scope.trail, call)
        for param in block.params:
            if param.name in given:
                inner.values[param.name] = given[param.name].value
            else:
                inner.values[param.name] = evaluate(param.default, inner.lookup)
            shown[param.name] = show(inner.values[param.name])
        self.entered.add(name)
        self.levels.append(Level(value, name))
        result = self.chain_of(block.body, value, inner)
        self.levels.pop()
        if result is not UNKNOWN:
            label = f"{stage.callee.name}"
            self.levels[-1].steps.append((label, result, bool(stage.args)))
        return result

    # Merges

    def merge(self, name: str, stage: ast.Layer, value, scope: Scope):
        if value is None:
            raise Fault("E150", "this net has no `input`", stage, "start with `input 32x32 x3`, or give "
                        "`--input \"32x32 x3\"`")
        values: list = []
        labels: list[Label] = []
        if stage.branches is None:
            values, labels = self.merge_references(name, stage, value, scope)
        elif stage.args:
            raise Fault("E152", f"`{name}` takes branches or @names, not both", stage.args[0],
                        f"write `{name} {{ skip | @a }}` with all of them in the braces")
        elif len(stage.branches.chains) < 2:
            raise Fault("E152", f"`{name}` merges at least two branches", stage.callee,
                        f"separate them with `|`; `{name} {{ skip | … }}` keeps the input")
        else:
            for index, chain in enumerate(stage.branches.chains):
                level = Level(value)
                self.levels.append(level)
                values.append(self.chain(chain, value, Scope(scope)))
                self.levels.pop()
                labels.append(branch_label(index, chain, level, stage))
        if any(v is UNKNOWN for v in values):
            return UNKNOWN
        args = {p.name: p.default for p in self.callees[name].params.values() if p.default is not REQUIRED}
        return self.build(name, args, values, stage, scope, labels=labels)

    def merge_references(self, name: str, stage: ast.Layer, value, scope: Scope):
        if not stage.args:
            raise Fault("E152", f"`{name}` has nothing to merge", stage,
                        f"write `{name} {{ … | … }}` or `{name} @name`")
        values = [value]
        shape = "?" if value is UNKNOWN else value.shape
        labels = [Label(*stage.callee.span, f"the flow: {shape}")]
        for arg in stage.args:
            found = evaluate(arg.value, scope.lookup) if not isinstance(arg.value, ast.Ref) else None
            if isinstance(arg.value, ast.Ref):
                found = RefValue(arg.value.name, self.resolve(arg.value, scope))
            if found is UNKNOWN or (isinstance(found, RefValue) and found.value is UNKNOWN):
                values.append(UNKNOWN)
            elif isinstance(arg, ast.Positional) and isinstance(found, RefValue):
                values.append(found.value)
                labels.append(Label(*arg.span, f"@{found.name}: {found.value.shape}"))
            else:
                raise Fault("E152", f"`{name}` merges branches or @names, not {kind_of(found)}", arg,
                            f"write `{name} {{ … | … }}` or `{name} @name`")
        return values, labels


def block_callee(block: ast.Block) -> Callee:
    def kind(default) -> str:
        return f"{ANY}|{PLAIN}" if isinstance(default, (ast.Number, ast.SizeLiteral)) else ANY

    params = [Param(p.name, kind(p.default), REQUIRED if p.default is None else None, positional=True)
              for p in block.params]
    return Callee(block.name.name, params, "block")
