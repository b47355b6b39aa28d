"""What a net costs, layer by layer: a table for people, plain data for programs. Needs no weights and no NumPy."""

from __future__ import annotations

from .graph import Graph, Node, add_known
from .memory import inference_bytes, training_bytes
from .rows import Rows
from .table import count, size_text, table


class Summary:
    """The costs of a graph. `str()` is the table; `params`, `macs`, `activation_bytes` are totals without heads.

    graph: as `tinyconv.graph.build` gives it; a part of one, up to a layer that failed (`complete=False`), is fine.
    batch: samples that the memory of the table is for.
    depth: levels of block calls to open; 0 folds every call into a line. None opens as many as make a table of at most
    60 lines. `levels` is the depth that shows every layer.
    """

    def __init__(self, graph: Graph, *, batch: int = 1, depth: int | None = None, complete: bool = True):
        self.graph = graph
        self.batch = batch
        self.complete = complete
        self.params = graph.params
        self.macs = graph.macs
        self.activation_bytes = graph.activation_bytes
        self._rows = Rows(graph)
        self.levels = self._rows.levels
        self.depth = self._rows.fitting() if depth is None else min(depth, self.levels)

    @property
    def layers(self) -> list[dict]:
        """One dict a layer, heads left out: name, op, args, output, params, macs, receptive_field, jump, line."""
        return [self.layer(node, self._file) for node in self.graph.main]

    def to_json(self) -> dict:
        """The whole as plain data, for one sample."""
        heads = [{"name": head.name, "params": head.params, "macs": head.macs,
                  "layers": [self.layer(node, self._file) for node in head.nodes]} for head in self.graph.heads]
        return {"file": self._file, "input": shape_list(self.graph.nodes[0]), "params": self.params, "macs": self.macs,
                "activation_bytes": self.activation_bytes, "layers": self.layers, "heads": heads}

    @property
    def _file(self) -> str:
        return getattr(self.graph.program, "file", "")

    @staticmethod
    def layer(node: Node, file: str) -> dict:
        """One layer as plain data."""
        return {"name": node.name, "op": node.op, "args": {k: plain(v) for k, v in node.args.items()},
                "output": shape_list(node), "params": node.n_params, "macs": node.macs,
                "receptive_field": list(node.field), "jump": None if node.jump is None else list(node.jump),
                "line": line_of(node, file)}

    # -- memory

    def training_memory(self) -> dict[str, int | None]:
        """An estimate in bytes, by what it is for: weights, momentum (of SGD), activations, total.

        Heads are counted, as they are trained. Activations are those kept for the backward pass, their gradients and
        those of weights, where most is alive at once: a weight is updated, and its gradient gone, as soon as the
        backward pass has passed it.
        """
        nodes = self.graph.nodes
        weights = 4 * sum(w.size for n in nodes if n.owner == n.name for w in n.params)
        parts = {"weights": weights, "momentum": 4 * sum(n.n_params for n in nodes),
                 "activations": training_bytes(self.graph, self.batch)}
        return parts | {"total": add_known(parts.values())}

    def inference_memory(self) -> int | None:
        """Bytes of activations that are alive at once at most; None where a size is free."""
        return inference_bytes(self.graph, self.batch)

    # -- the table

    def rows(self) -> list:
        """The lines of the table, heads left out."""
        return self._rows.at(self._rows.main, self.depth)

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None, color: bool = False) -> str:
        """The table and the totals; width: columns there are room for; color: with ANSI colours."""
        parts = [table(self.rows(), self.batch, width, color)]
        if not self.complete:
            return parts[0]
        if self.depth < self.levels:
            parts += [f"blocks opened to depth {self.depth} of {self.levels}; --depth all lists every layer"]
        parts += [self._totals()]
        for head, items in zip(self.graph.heads, self._rows.heads):
            parts += [f"\nhead {head.name}, weight {head.weight:g}, in training only:",
                      table(self._rows.at(items, self.depth), self.batch, width, color),
                      f"{head.params:,} parameters, {exact(head.macs)} MACs"]
        return "\n".join(parts)

    def _totals(self) -> str:
        batch = f"batch {self.batch}"
        size = None if self.activation_bytes is None else self.activation_bytes * self.batch
        memory = self.training_memory()
        parts = " + ".join(f"{size_text(memory[part])} {part}" for part in list(memory)[:-1])
        heads = ", heads included" if self.graph.heads else ""
        return "\n".join((
            f"{self.params:,} parameters ({size_text(4 * self.params)}), {exact(self.macs)} MACs a sample",
            f"activations, {batch}: {size_text(size)}, "
            f"of them {size_text(self.inference_memory())} at once in inference",
            f"training, {batch}, about {size_text(memory['total'])}: {parts} and gradients{heads}",
        ))


def line_of(node: Node, file: str) -> int:
    """Where the layer stands in the net's own file; for one from an included file, where its block is called."""
    places = [node.span, *(call.span for call in reversed(node.trail))]
    return next((span.line for span in places if span.file == file), node.span.line)


def shape_list(node: Node) -> list[int | None]:
    return [*node.shape.spatial, node.shape.channels]


def plain(value):
    """As JSON has it: tuples become lists, references the text that names them."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return [plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def exact(n: int | None) -> str:
    return count(n) if n is None else f"{n:,}"
