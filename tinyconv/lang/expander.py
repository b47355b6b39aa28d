"""From a program to layers: blocks, repeats and conditions expanded, names resolved, a builder called once a layer.

After an error the flow is UNKNOWN: names and arguments of what follows are still checked, shapes are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from ..errors import Diagnostic, Label
from . import ast
from .binding import bind
from .callee import Callee, Given, block_callee
from .checks import warnings_of
from .convert import MAX_SIZE, convert, source_of
from .definitions import check_blocks, check_once, check_recursion, recursion
from .errors import LayerError, SourceError
from .findings import NO_INPUT, Findings, Stop, at_origin, passed_through
from .items import build_head, set_default
from .lets import bind_lets, merged_input, parse_input
from .merges import branch_values, no_branches
from .parser import MAX_DEPTH
from .reader import Program
from .scope import Scope, Table
from .signature import REQUIRED
from .span import Call
from .trace import Level, chain_lines, odd_one, shape_trace
from .unknown import early_name, unknown_layer
from .values import UNKNOWN, BlockValue, Fault, evaluate, is_number, kind_of, show

MAX_LAYERS = 20_000
MAX_STEPS = 100_000     # stages visited, those that build nothing included


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
        self.table = Table(program.blocks, builder.signatures, program.items)
        self.callees = {name: Callee(name, s.params) for name, s in builder.signatures.items()}
        blocks = {name: b for name, b in program.blocks.items() if name not in builder.signatures}
        self.callees |= {name: block_callee(block) for name, block in blocks.items()}
        self.file = Scope(None, self.table)
        self.defaults: dict[str, dict[str, object]] = {}
        self.findings = Findings()
        self.files: dict[str, str] = dict(program.files)
        self.levels: list[Level] = []
        self.entered: set[str] = set()
        self.depth = self.steps = self.layers = 0
        self.named_input = False
        self.given: ast.Layer | None = None     # in place of the program's own input
        self.first: ast.Layer | None = None     # the first layer of a program with an input

    # The whole

    def run(self, overrides: Mapping[str, object], input: str | None) -> list[Diagnostic]:
        value = None
        try:
            check_blocks(self.program.items, self.builder.signatures, self.findings.fault)
            bind_lets(self.program, self.file, overrides, self.findings.fault, self.files)
            value = self.flow(None if input is None else parse_input(input, self.files))
            self.check_unused_blocks()
        except Stop:        # there are more errors than anybody reads; they are told below
            value = None
        except RecursionError:
            deep = Diagnostic("E106", "this program is nested too deeply", self.program.file, help="nest less")
            self.findings.errors[("recursion",)] = deep
        if self.findings.errors:
            raise SourceError(self.findings.errors.values(), self.files)
        if value is not None:
            self.builder.output(value)
        return warnings_of(self.program)

    def flow(self, given: ast.Layer | None):
        """The top-level layers, then the heads; returns the net's output, None where there are no layers."""
        items = self.program.items
        stages = [s for item in items if isinstance(item, ast.Pipe) for s in item.stages]
        if not stages and not any(isinstance(item, ast.Head) for item in items):
            for item in items:
                self.item(item)
            return None
        has_input = any(isinstance(s, ast.Layer) and s.callee.name == "input" for s in stages)
        value = None
        self.levels.append(Level(None))
        self.given = given if has_input else None
        if given is not None and not has_input:
            value = self.stage(given, value, self.file)
        elif has_input:
            self.first = stages[0]
        heads = []
        for item in items:
            if isinstance(item, ast.Pipe):
                value = self.chain(item.stages, value, self.file)
            elif isinstance(item, ast.Head):
                heads.append((item, value, {name: dict(keys) for name, keys in self.defaults.items()}))
            else:
                self.item(item)
        self.heads(heads)
        self.levels.pop()
        return None if value is UNKNOWN else value

    def heads(self, heads: list[tuple[ast.Head, object, dict]]) -> None:
        """Heads are built last, with the defaults that stand above them."""
        seen: dict[str, ast.Ident] = {}
        for head, start, defaults in heads:
            check_once(seen, head.name, "head", self.findings.fault)
            self.defaults = defaults
            self.findings.attempt(partial(build_head, self, head, start), self.file)

    def item(self, item: ast.Item) -> None:
        if isinstance(item, ast.Default):
            self.findings.attempt(lambda: set_default(self, item), self.file)

    def check_unused_blocks(self) -> None:
        """Blocks that were never entered are walked with unknown values, so that their names are checked too."""
        for name, block in self.table.blocks.items():
            if name in self.entered or name in self.builder.signatures:
                continue
            scope = self.file.call(UNKNOWN, None)
            for param in block.params:
                scope.values[param.name] = UNKNOWN
            check_recursion(name, self.table.blocks, self.findings.fault)
            self.findings.attempt(lambda: self.chain_of(block.body, UNKNOWN, scope), scope)

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
                self.findings.fault(fault, scope.trail)
                scope.values.setdefault(let.name.name, UNKNOWN)

    def step(self, stage: ast.Stage, scope: Scope) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self.findings.bound(f"this net expands to more than {MAX_STEPS} steps", stage, scope, "repeat less")

    def stage(self, stage: ast.Stage, value, scope: Scope):
        """The value after the stage, UNKNOWN after an error in it."""
        self.step(stage, scope)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.findings.bound(f"blocks and braces are nested deeper than {MAX_DEPTH}", stage, scope,
                                      "nest less")
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
            self.findings.fault(at_origin(fault, scope), scope.trail)
            value = UNKNOWN
        self.depth -= 1
        if stage.alias is not None:
            self.name(stage.alias, value, scope)
        return value

    def name(self, alias: ast.Ident, value, scope: Scope) -> None:
        if alias.name in scope.names:
            first = scope.names[alias.name][1].span
            label = Label(*first, "named here first")
            self.findings.fault(Fault("E122", f"`{alias.name}` is named twice", alias, "choose another name", (label,)),
                                scope.trail)
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
            raise early_name(fault, ref, self.program) from None
        return UNKNOWN if found is UNKNOWN else found.value

    def repeat(self, stage: ast.Repeat, value, scope: Scope):
        count = self.count(stage, scope)
        if count is UNKNOWN:
            passes = range(1)
        else:
            check_count(stage, count)
            passes = range(count if value is not UNKNOWN else min(count, 1))
        for i in passes:
            self.step(stage, scope)
            inner = Scope(scope)
            if stage.index is not None:
                inner.define(stage.index, i if count is not UNKNOWN else UNKNOWN, "loop index")
            value = self.chain_of(stage.body, value, inner)
        return value

    def count(self, stage: ast.Repeat, scope: Scope):
        node = stage.count
        if isinstance(node, ast.Name) and scope.find(node.name) is None and re.fullmatch(r"x\d+", node.name):
            raise Fault("E136", f"`repeat` takes a plain number, not `{node.name}`", node,
                        f"write `repeat {node.name[1:]}`")
        return evaluate(node, scope.lookup)

    def when(self, stage: ast.When, value, scope: Scope):
        branch: ast.Body | ast.When | None = stage
        while isinstance(branch, ast.When):
            condition = evaluate(branch.condition, scope.lookup)
            if condition is UNKNOWN:
                return self.both(branch, value, scope)
            if not isinstance(condition, bool):
                text = source_of(branch.condition)
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
        if passed is UNKNOWN or (name in self.table.blocks and name in self.builder.signatures):
            return UNKNOWN      # an error that is reported already
        if isinstance(passed, BlockValue):
            name = passed.name
        elif not self.table.is_layer(name):
            raise unknown_layer(stage.callee, scope, stage, passed)
        signature = self.builder.signatures.get(name)
        merges = signature is not None and signature.merge
        if stage.branches is not None and not merges:
            raise no_branches(name, stage)
        if name == "input":
            stage = self.check_input(stage, value, scope)
        elif value is None:
            return self.no_input(stage)
        if merges:
            return self.merge(name, stage, value, scope)
        callee = self.callees[name]
        given = bind(callee, stage.args, scope, stage)
        if signature is None:
            return self.call(name, given, stage, value, scope)
        if name == "skip":
            if value is not UNKNOWN:
                self.levels[-1].steps.append(("skip", value, False))
            return value
        args = self.arguments(name, callee, given)
        if value is UNKNOWN or UNKNOWN in args.values():
            return UNKNOWN
        inputs = [] if name == "input" else [value]
        return self.build(name, args, inputs, stage, scope, given)

    def no_input(self, stage: ast.Layer):
        """The first layer is no `input`: there is none, or it stands further down, where that is reported."""
        if self.first is not None:
            return UNKNOWN
        raise Fault(NO_INPUT, "this net has no `input`", stage,
                     "start with `input 32x32 x3`, or give `--input \"32x32 x3\"`")

    def check_input(self, stage: ast.Layer, value, scope: Scope) -> ast.Layer:
        if scope is not self.file:
            raise Fault("E153", "`input` cannot stand inside braces", stage, "make it the first line of the net")
        if self.named_input:
            raise Fault("E153", "a net has one `input`, this is a second", stage, "remove it")
        self.named_input = True
        if self.first is not None and stage is not self.first:
            label = Label(*self.first.span, "this layer comes before it")
            raise Fault("E153", "`input` must be the first layer", stage, "move it up", (label,))
        given = self.given
        if given is None or stage is given:
            return stage
        args = merged_input(stage, given)
        return ast.Layer(given.source, given.start, given.end, given.callee, args, None, stage.alias)

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
            raise self.findings.bound(f"this net has more than {MAX_LAYERS} layers", stage, scope, "repeat less")
        try:
            value = self.builder.layer(name, args, inputs, stage.span, scope.trail)
        except LayerError as error:
            self.layer_error(error, stage, scope, given or {}, labels, inputs)
            return UNKNOWN
        sizes = [n for n in (*value.shape.spatial, value.shape.channels) if n is not None]
        if max(sizes) > MAX_SIZE:
            raise Fault("E105", f"the output of `{name}` is out of range: {value.shape}", stage,
                        f"sizes and channels go up to {MAX_SIZE:,}")
        self.levels[-1].steps.append((name, value, bool(stage.args) or stage.branches is not None))
        return value

    def layer_error(self, error: LayerError, stage: ast.Layer, scope: Scope, given: dict[str, Given], labels,
                    inputs) -> None:
        trace = chain_lines(scope.trail)
        if labels:
            odd = labels[odd_one([v.shape for v in inputs])]
            place = odd.file, odd.line, odd.column, odd.end_column
        else:
            node = given[error.param].arg if error.param in given else stage
            fault = at_origin(Fault(error.code, error.message, node), scope)
            place, labels = fault.node.span, fault.labels
            trace = shape_trace(self.levels, stage.callee.name) + trace
        self.findings.report(Diagnostic(error.code, error.message, *place, help=error.help, labels=tuple(labels),
                                        trace=trace))

    def call(self, name: str, given: dict[str, Given], stage: ast.Layer, value, scope: Scope):
        block = self.table.blocks[name]
        calls = [c.block for c in scope.trail]
        if name in calls:
            raise recursion(name, calls[calls.index(name):], stage.callee)
        if value is UNKNOWN:
            return UNKNOWN
        shown: dict[str, str] = {}
        call = Call(name, shown, stage.span)
        inner = self.file.call(value.shape.channels, call)
        inner.trail = (*scope.trail, call)
        for param in block.params:
            if param.name in given:
                item = given[param.name]
                inner.values[param.name] = item.value
                inner.origins[param.name] = passed_through(item.node, scope) or item.arg
            elif param.default is not None:
                inner.values[param.name] = evaluate(param.default, inner.lookup)
            else:       # a parameter that stands twice, which is reported already
                inner.values[param.name] = UNKNOWN
            shown[param.name] = show(inner.values[param.name])
        self.entered.add(name)
        self.levels.append(Level(value, name))
        result = self.chain_of(block.body, value, inner)
        self.levels.pop()
        if result is not UNKNOWN:
            self.levels[-1].steps.append((stage.callee.name, result, bool(stage.args)))
        return result

    def merge(self, name: str, stage: ast.Layer, value, scope: Scope):
        values, labels = branch_values(self, name, stage, value, scope)
        if any(v is UNKNOWN for v in values):
            return UNKNOWN
        args = {p.name: p.default for p in self.callees[name].params.values() if p.default is not REQUIRED}
        return self.build(name, args, values, stage, scope, labels=labels)


def check_count(stage: ast.Repeat, count) -> None:
    if not is_number(count):
        raise Fault("E136", f"`repeat` takes a number, not {kind_of(count)}", stage.count, "write it as in `repeat 3`")
    if not isinstance(count, int):
        raise Fault("E136", f"`repeat` takes a whole number, this is {show(count)}", stage.count,
                    f"write `round({source_of(stage.count)})`")
    if count < 0:
        raise Fault("E136", f"`repeat` cannot run {show(count)} times", stage.count, "0 times is the least")
