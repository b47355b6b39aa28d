"""One layer's arithmetic with its numbers written out: output size, weights, multiply-adds, receptive field, memory."""

from __future__ import annotations

import re
from math import prod

from ..errors import NetError
from ..lang.suggest import nearest
from ..layers import GLOBAL, LAYERS
from ..layers.equations import EQUATIONS, Equation, axes_of, times
from .describe import axes, describe
from .graph import Graph, Node
from .rows import Block, tree
from .summary import Summary, line_of, plain
from .table import BOLD, RESET, size_text

WIDTH = 100             # beyond it a line is broken before each `=`


class Explanation:
    """How the figures of one layer come about. `str()` is the text, `equations` the same as data.

    layer: its name (`conv3`, `HEAD.conv1`) or `@name`, given by `as`. batch: samples the memory is for. Raises NetError
    for a name that the graph has not.
    """

    def __init__(self, graph: Graph, layer: str, *, batch: int = 1):
        self.graph, self.batch = graph, batch
        self.node = find(graph, layer)
        self.sources = [graph.nodes[i] for i in self.node.inputs]
        shapes = tuple(n.shape for n in self.sources)
        self.text_of_layer = describe(self.node.op, self.node.args, shapes)
        own = EQUATIONS.get(self.node.op)
        self.equations: list[Equation] = [
            *(own(self.node.args, shapes, self.node.shape) if own else ()),
            *self._params(), *self._field(shapes), *self._memory()]

    def to_json(self) -> dict:
        """The layer as `Summary` has it, with `inputs` and `equations`: what, formula, worked, value."""
        file = getattr(self.graph.program, "file", "")
        return {"file": file, **Summary.layer(self.node, file),
                "inputs": [{"name": n.name, "output": [*n.shape.spatial, n.shape.channels]} for n in self.sources],
                "equations": [dict(e._asdict(), value=plain(e.value)) for e in self.equations]}

    # -- what holds for every layer

    def _params(self) -> list[Equation]:
        node = self.node
        if not any(w.trainable for w in node.params):
            return []
        if node.owner != node.name:
            return [Equation("parameters", f"those of {node.owner}, counted there", "0", 0)]
        counts = [w.size for w in node.params if w.trainable]
        found = [Equation("parameters", "all of these", " + ".join(map(str, counts)), sum(counts))]
        running = [w.size for w in node.params if not w.trainable]
        return found + [Equation("kept, not trained", "running mean and variance", " + ".join(map(str, running)),
                                 sum(running))] * bool(running)

    def _field(self, shapes) -> list[Equation]:
        """Receptive field r and jump j, from those of the inputs."""
        node, layer = self.node, LAYERS[self.node.op]
        if not self.sources or not self.graph.input.spatial:
            return []
        before = [self.graph.nodes[i] for i in node.flowing]
        field, jump = node.exact_field, node.exact_jump
        reach = layer.reach(node.args, shapes)
        if reach == GLOBAL or jump is None:
            return axes_of("receptive field", "the whole input", [("" if f is None else str(f), f) for f in field])
        found = []
        if len(before) > 1:
            found += axes_of("receptive field", "the largest of the branches", [
                ("" if None in fs else f"max({', '.join(map(str, fs))})", None if None in fs else max(fs))
                for fs in zip(*(b.exact_field for b in before))])
            jumps = [b.exact_jump for b in before if b.exact_jump is not None]
            return found + axes_of("jump", "the largest of the branches", [
                (f"max({', '.join(map(str, js))})" if len(js) > 1 else str(js[0]), max(js)) for js in zip(*jumps)])
        r, j = before[0].exact_field, before[0].exact_jump
        if reach is None:
            found += axes_of("receptive field", "as before", [("" if f is None else str(f), f) for f in field])
            return found + axes_of("jump", "as before", [(str(n), n) for n in jump])
        extents, strides = reach
        letter = "k" if extents == node.args.get("k") else "e"
        found += axes_of("receptive field", f"r + ({letter} - 1)*j", [
            ("" if f is None else f"{n} + ({e} - 1)*{a}", f) for n, e, a, f in zip(r, extents, j, field)])
        return found + axes_of("jump", "j * s", [(f"{a} * {s}", b) for a, s, b in zip(j, strides, jump)])

    def _memory(self) -> list[Equation]:
        shape, batch = self.node.shape, self.batch
        values = [*shape.spatial, shape.channels]
        if None in values:
            return [Equation("memory", "values * 4 bytes")]
        more = ("", "") if batch == 1 else (" * batch", f" * {batch}")
        return [Equation("memory", f"values * 4 bytes{more[0]}", f"{times(values)} * 4{more[1]}",
                         4 * prod(values) * batch)]

    # -- as text

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None, color: bool = False) -> str:
        """The board. width: columns before lines are broken; color: with ANSI colours."""
        node = self.node
        file = getattr(self.graph.program, "file", "")
        title = f"{node.name}: {self.text_of_layer}"
        names = [name for name, _ in self.graph.names.get(node.index, ())]
        head = [f"{BOLD}{title}{RESET}" if color else title, f"line {line_of(node, file)} of {file}"]
        lines = [("in" if i == 0 else "", f"{c.block} {' '.join(f'{k}={v}' for k, v in c.args.items())}".rstrip())
                 for i, c in enumerate(node.trail)]
        lines += [("input" if len(self.sources) < 2 else f"input {n}", f"{source.shape} of {source.name}")
                 for n, source in enumerate(self.sources, 1)]
        lines += [("output", str(node.shape) + "".join(f", named @{name}" for name in names))]
        used = {word for e in self.equations for word in re.findall(r"[a-z]+", e.formula)}
        known = node.args | {"c": self.sources[0].shape.channels} if self.sources else node.args
        given = [f"{name}={_argument(value)}" for name, value in sorted(known.items()) if name in used]
        if given and self.sources:
            lines += [("with", " ".join(given))]
        what = max(len(name) for name, _ in [*lines, *((e.what, 0) for e in self.equations)]) + 2
        board = [f"  {name.ljust(what)}{text}" for name, text in lines]
        for equation in self.equations:
            parts = [equation.formula, *_results(equation)]
            one = " = ".join(parts)
            if len(one) + what + 2 > (width or WIDTH):
                one = f"\n{' ' * (what + 2)}= ".join(parts)
            board.append(f"  {equation.what.ljust(what)}{one}")
        return "\n".join([*head, *board])


def _results(equation: Equation) -> list[str]:
    """What stands behind the formula: the numbers, and the result where it says more."""
    value = equation.value
    if value is None:
        return [equation.worked] if equation.worked else []
    shown = f"{value:,}" if isinstance(value, int) else f"{float(value):g}"
    if equation.what == "memory":
        shown = f"{value:,} bytes = {size_text(value)}" if value >= 1024 else f"{value:,} bytes"
    return [shown] if equation.worked in ("", str(value)) else [equation.worked, shown]


def _argument(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        if value and all(isinstance(v, int) for v in value):
            return axes(value, fold=True)
        return ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def find(graph: Graph, name: str) -> Node:
    """The layer of this name, or the one that `as` names so (`@name`). Where there is none, NetError suggests one."""
    alias = name.removeprefix("@")
    aliases: dict[str, list[int]] = {}
    for index, found in graph.names.items():
        for given, _ in found:
            aliases.setdefault(given, []).append(index)
    by_name = {node.name: node for node in graph.nodes}
    if name in by_name:
        return by_name[name]
    if alias in aliases:
        nodes = [graph.nodes[i] for i in sorted(aliases[alias])]
        if len(nodes) > 1:
            several = ", ".join(n.name for n in nodes[:6]) + (", …" if len(nodes) > 6 else "")
            raise NetError(f"`@{alias}` names {len(nodes)} layers: {several}", help="give one of these")
        return nodes[0]
    for part in _blocks([*tree(graph.main), *(item for head in graph.heads for item in tree(list(head.nodes)))]):
        if part.name == name:
            names = ", ".join(n.name for n in part.nodes[:6]) + (", …" if len(part.nodes) > 6 else "")
            raise NetError(f"`{name}` is a block of {len(part.nodes)} layers", help=f"explain one of them: {names}")
    near = nearest(alias, aliases) if name.startswith("@") else nearest(name, [*by_name, *aliases])
    near = f"@{near}" if near in aliases and near not in by_name else near
    file = getattr(graph.program, "file", "") or "this net"
    raise NetError(f"there is no layer `{name}` in {file}",
                   help=f"did you mean `{near}`?" if near else "`tinyconv summary` with --depth all lists their names")


def _blocks(items):
    for item in items:
        if isinstance(item, Block):
            yield item
            yield from _blocks(item.items)
