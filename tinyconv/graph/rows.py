"""The lines of a summary: layers as leaves of a tree of block calls, open down to some depth, folded below."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..layers import LAYERS
from .describe import describe
from .graph import Graph, Node, add_known

MAX_ROWS = 60           # what the depth is chosen for where none is given: a table that can be taken in
Labels = dict[int, tuple[str, int]]     # node -> the row it stands in, and its level
MAX_SOURCES = 5         # branches of a merge that are named one by one


class Row(NamedTuple):
    """A layer, a folded block call (or several alike, one after another), or the heading of an open block call.

    `level`: block calls around it. Figures are for one sample, None where an axis is free; those of several calls are
    their sum, output, field and jump those of the last. A heading (`is_open`) has none: its layers follow.
    """

    name: str
    text: str
    level: int = 0
    is_block: bool = False
    is_open: bool = False
    output: str = ""
    params: int = 0
    macs: int | None = 0
    field: tuple[int | None, ...] = ()
    jump: tuple[int, ...] | None = None
    activation_bytes: int | None = 0
    through: str = ""       # the number of the last of several calls


class Block:
    """A block call that built layers: its nodes, and what they are made of, layers (Node) and calls (Block)."""

    __slots__ = ("name", "number", "call", "level", "items", "nodes")

    def __init__(self, number: int, call, level: int, head: str | None):
        self.number, self.call, self.level = str(number), call, level
        self.name = f"{head}.{call.block}{number}" if head else f"{call.block}{number}"
        self.items: list[Node | Block] = []
        self.nodes: list[Node] = []

    @property
    def text(self) -> str:
        return " ".join(f"{name}={_value(value)}" for name, value in self.call.args.items())


def tree(nodes: list[Node]) -> list[Node | Block]:
    """The nodes under the block calls that built them; calls are named and counted as layers are: `group3`."""
    root: list[Node | Block] = []
    counts: Counter = Counter()
    path: list[Block] = []
    for node in nodes:
        shared = 0
        while shared < min(len(path), len(node.trail)) and path[shared].call is node.trail[shared]:
            shared += 1
        del path[shared:]
        for level in range(shared, len(node.trail)):
            call = node.trail[level]
            counts[call.block] += 1
            block = Block(counts[call.block], call, level, node.head)
            (path[-1].items if path else root).append(block)
            path.append(block)
        for block in path:
            block.nodes.append(node)
        (path[-1].items if path else root).append(node)
    return root


def deepest(items: list[Node | Block]) -> int:
    """Levels of block calls in a tree; 0 where there are none."""
    return max((1 + deepest(item.items) for item in items if isinstance(item, Block)), default=0)


class Rows:
    """The rows of a graph at one depth: 0 folds every call into a line, None opens them all."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.main = tree(graph.main)
        self.heads = [tree(list(head.nodes)) for head in graph.heads]
        self.levels = max(map(deepest, [self.main, *self.heads]), default=0)

    def fitting(self) -> int:
        """The largest depth at which the net without heads fits into MAX_ROWS lines, at least 0."""
        for depth in range(self.levels, 0, -1):
            if self._count(self.main, depth) <= MAX_ROWS:
                return depth
        return 0

    def _count(self, items: list[Node | Block], depth: int) -> int:
        return sum(1 + (self._count(part[0].items, depth) if _opens(part[0], depth) else 0)
                   for part in self._parts(items, depth))

    def at(self, items: list[Node | Block], depth: int) -> list[Row]:
        """The rows of `main` or of one of `heads`."""
        labels: Labels = {}
        self._label([*self.main, *(item for head in self.heads for item in head)], depth, labels)
        return self._rows(items, depth, labels)

    def _rows(self, items, depth, labels) -> list[Row]:
        rows = []
        for part in self._parts(items, depth):
            item = part[0]
            if not isinstance(item, Block):
                rows.append(self._layer(item, labels))
            elif _opens(item, depth):
                text = self._join(item.text, self._alias(item.nodes[-1], item.level))
                rows.append(Row(item.name, text, item.level, True, True))
                rows += self._rows(item.items, depth, labels)
            else:
                rows.append(self._folded(part, labels))
        return rows

    def _parts(self, items, depth) -> list[list[Node | Block]]:
        """The items, folded calls put together where they are alike and each works on the output of the one before."""
        parts: list[list[Node | Block]] = []
        for item in items:
            last = parts[-1][-1] if parts else None
            if isinstance(item, Block) and isinstance(last, Block) and not _opens(item, depth) \
                    and self._repeats(last, item):
                parts[-1].append(item)
            else:
                parts.append([item])
        return parts

    def _repeats(self, a: Block, b: Block) -> bool:
        before, first = a.nodes[-1].index, b.nodes[0].index
        return (a.call.block == b.call.block and a.call.args == b.call.args and len(a.nodes) == len(b.nodes)
                and before not in self.graph.names
                and all(i >= first or i == before for node in b.nodes for i in node.inputs)
                and all(x.op == y.op and x.shape == y.shape and x.n_params == y.n_params and x.macs == y.macs
                        for x, y in zip(a.nodes, b.nodes)))

    def _layer(self, node: Node, labels: Labels) -> Row:
        text = describe(node.op, node.args, [self.graph.nodes[i].shape for i in node.inputs])
        if LAYERS[node.op].signature.merge:
            text = f"{text} {_merged(node.op, [self._called(i, len(node.trail), labels) for i in node.inputs])}"
        else:
            for i in node.inputs[1:]:       # `crop @e4`
                name = self._called(i, len(node.trail), labels).removeprefix("@")
                text = text.replace(f"@{self.graph.nodes[i].name}", f"@{name}")
            if node.inputs and node.inputs[0] != node.index - 1:
                text += f" from {self._called(node.inputs[0], len(node.trail), labels)}"
        if node.owner != node.name:
            text += f" (weights of {node.owner})"
        return Row(node.name, self._join(text, self._alias(node, len(node.trail))), len(node.trail), False, False,
                   str(node.shape), node.n_params, node.macs, node.field, node.jump, node.activation_bytes)

    def _folded(self, blocks: list[Block], labels: Labels) -> Row:
        first, last = blocks[0], blocks[-1]
        nodes = [node for block in blocks for node in block.nodes]
        end = nodes[-1]
        text = self._join(first.text, self._origin(first, labels))
        if len(blocks) > 1:
            text = f"{len(blocks)} times: {text}" if text else f"{len(blocks)} times"
        text = self._join(text, self._alias(end, first.level))
        return Row(first.name, text, first.level, True, False, str(end.shape), sum(n.n_params for n in nodes),
                   add_known(n.macs for n in nodes), end.field, end.jump, add_known(n.activation_bytes for n in nodes),
                   last.number if len(blocks) > 1 else "")

    # -- where values come from

    def _origin(self, block: Block, labels: Labels) -> str:
        """`from @e4` where a call does not work on the output of the layer before it."""
        first = block.nodes[0].index
        outside = sorted({i for node in block.nodes for i in node.inputs if i < first})
        return "" if not outside or first - 1 in outside else f"from {self._called(outside[0], block.level, labels)}"

    def _alias(self, node: Node, level: int) -> str:
        """`as e4`, for names given at this level of block calls."""
        return " ".join(f"as {name}" for name, depth in self.graph.names.get(node.index, ()) if depth == level)

    def _called(self, index: int, level: int, labels: Labels) -> str:
        """What a row at this level of block calls calls a node: by the innermost name (`as`) that is shown, else by the
        row it stands in."""
        row, shown = labels[index]
        names = [(depth, name) for name, depth in self.graph.names.get(index, ()) if depth <= min(level, shown)]
        return f"@{max(names)[1]}" if names else row

    def _label(self, items, depth: int, labels: Labels) -> None:
        """Notes for each node the name of the row that it stands in at this depth, and that row's level."""
        for part in self._parts(items, depth):
            for item in part:
                if isinstance(item, Block) and _opens(item, depth):
                    self._label(item.items, depth, labels)
                else:
                    for node in item.nodes if isinstance(item, Block) else [item]:
                        level = item.level if isinstance(item, Block) else len(item.trail)
                        labels[node.index] = part[0].name, level

    @staticmethod
    def _join(*parts: str) -> str:
        return " ".join(part for part in parts if part)


def _opens(item: Node | Block, depth: int) -> bool:
    return isinstance(item, Block) and item.level < depth


def _merged(op: str, sources: list[str]) -> str:
    if len(sources) > MAX_SOURCES:
        sources = [*sources[:2], "…", sources[-1], f"({len(sources)} in all)"]
        return " ".join(sources)
    return (" * " if op == "mul" else " + ").join(sources)


def _value(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
