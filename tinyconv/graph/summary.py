"""What a net costs, layer by layer: a table for people, plain data for programs. Needs no weights and no NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from .describe import axes, describe
from .graph import Graph, Node, add_known


@dataclass(frozen=True)
class Row:
    """A layer, or a block call folded into one line. Sizes for one sample; None where an axis is free."""

    name: str
    text: str
    output: str
    params: int
    macs: int | None
    field: tuple[int | None, ...]
    jump: tuple[int, ...] | None
    activation_bytes: int | None


class Summary:
    """The costs of a graph. `str()` is the table; `params`, `macs`, `activation_bytes` are totals without heads.

    graph: as `tinyconv.graph.build` gives it; a part of one, up to a layer that failed, is fine.
    batch: samples that the activation memory of the table is for.
    depth: levels of block calls to show; 0 folds every call into a line, None shows every layer.
    """

    def __init__(self, graph: Graph, *, batch: int = 1, depth: int | None = None):
        self.graph = graph
        self.batch = batch
        self.depth = depth
        self.params = graph.params
        self.macs = graph.macs
        self.activation_bytes = graph.activation_bytes

    @property
    def layers(self) -> list[dict]:
        """One dict a layer, heads left out: name, op, args, output, params, macs, receptive_field, jump, line."""
        return [self._layer(node) for node in self.graph.main]

    def to_json(self) -> dict:
        """The whole as plain data, for one sample."""
        heads = [{"name": head.name, "params": head.params, "macs": head.macs,
                  "layers": [self._layer(node) for node in head.nodes]} for head in self.graph.heads]
        return {"file": self._file, "input": _shape(self.graph.nodes[0]), "params": self.params, "macs": self.macs,
                "activation_bytes": self.activation_bytes, "layers": self.layers, "heads": heads}

    @property
    def _file(self) -> str:
        return getattr(self.graph.program, "file", "")

    def _layer(self, node: Node) -> dict:
        return {"name": node.name, "op": node.op, "args": {k: _plain(v) for k, v in node.args.items()},
                "output": _shape(node), "params": node.n_params, "macs": node.macs,
                "receptive_field": list(node.field), "jump": None if node.jump is None else list(node.jump),
                "line": self._line(node)}

    def _line(self, node: Node) -> int:
        """Where the layer stands in the net's own file; for one from an included file, where its block is called."""
        places = [node.span, *(call.span for call in reversed(node.trail))]
        return next((span.line for span in places if span.file == self._file), node.span.line)

    # -- the table

    def rows(self, nodes: list[Node]) -> list[Row]:
        """The lines for these nodes, block calls below `depth` folded."""
        if self.depth is None:
            return [self._row(node) for node in nodes]
        folded = []
        for call, group in groupby(nodes, key=lambda node: _Same(node, self.depth)):
            group = list(group)
            folded += [self._fold(call.call, group)] if call.call else [self._row(node) for node in group]
        return folded

    def _row(self, node: Node) -> Row:
        text = describe(node.op, node.args, [self.graph.nodes[i].shape for i in node.inputs])
        if node.owner != node.name:
            text += f" (weights of {node.owner})"
        return Row(node.name, text, str(node.shape), node.n_params, node.macs, node.field, node.jump,
                   node.activation_bytes)

    def _fold(self, call, nodes: list[Node]) -> Row:
        last = nodes[-1]
        given = " ".join(f"{name}={_value(value)}" for name, value in call.args.items())
        return Row(call.block, given, str(last.shape), sum(n.n_params for n in nodes),
                   add_known(n.macs for n in nodes), last.field, last.jump,
                   add_known(n.activation_bytes for n in nodes))

    def __str__(self) -> str:
        parts = [self._table(self.rows(self.graph.main)), self._totals()]
        for head in self.graph.heads:
            parts += [f"\nhead {head.name}, weight {head.weight:g}, in training only:",
                      self._table(self.rows(head.nodes)),
                      f"{head.params:,} parameters, {_count(head.macs, exact=True)} MACs"]
        return "\n".join(parts)

    def _table(self, rows: list[Row]) -> str:
        memory = "memory" if self.batch == 1 else f"memory, batch {self.batch}"
        lines = [("layer", "", "output", "params", "MACs", "field", "jump", memory)]
        for row in rows:
            size = None if row.activation_bytes is None else row.activation_bytes * self.batch
            lines.append((row.name, row.text, row.output, f"{row.params:,}", _count(row.macs),
                          axes(row.field, True) or "-", axes(row.jump or (), True) or "-", _bytes(size)))
        widths = [max(map(len, column)) for column in zip(*lines)]
        left = 3  # columns of text; the others are numbers
        return "\n".join("  ".join(cell.ljust(w) if i < left else cell.rjust(w)
                                   for i, (cell, w) in enumerate(zip(line, widths))).rstrip() for line in lines)

    def _totals(self) -> str:
        size = None if self.activation_bytes is None else self.activation_bytes * self.batch
        of = "" if self.batch == 1 else f" at batch {self.batch}"
        return (f"{self.params:,} parameters ({_bytes(4 * self.params)}), "
                f"{_count(self.macs, exact=True)} MACs a sample, {_bytes(size)} of activations{of}")


def summary(graph: Graph, **options) -> Summary:
    """The costs of a graph; the options are those of Summary."""
    return Summary(graph, **options)


class _Same:
    """Groups neighbours that come from one and the same block call, `depth` levels down."""

    def __init__(self, node: Node, depth: int):
        self.call = node.trail[depth] if len(node.trail) > depth else None
        self.node = node

    def __eq__(self, other) -> bool:
        return self.call is other.call


def _shape(node: Node) -> list[int | None]:
    return [*node.shape.spatial, node.shape.channels]


def _plain(value):
    """As JSON has it: tuples become lists, references the text that names them."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _value(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return axes(value) if isinstance(value, tuple) and all(isinstance(v, int) for v in value) else str(value)


def _count(n: int | None, exact: bool = False) -> str:
    """1,234,567 -> `1.23 M` (or in full)."""
    if n is None:
        return "?"
    if exact or n < 1000:
        return f"{n:,}"
    return _scaled(n, 1000, ("", " k", " M", " G", " T", " P"))


def _bytes(n: int | None) -> str:
    return "?" if n is None else _scaled(n, 1024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB"))


def _scaled(n: float, base: int, units: tuple[str, ...]) -> str:
    """Three significant digits at least, and the unit that keeps the number short."""
    power = 0
    while n >= base * 0.9995 and power < len(units) - 1:
        n, power = n / base, power + 1
    digits = 0 if power == 0 or n >= 100 else 1 if n >= 10 else 2
    return f"{n:.{digits}f}{units[power]}"
