"""How much memory values take: most at once in inference, and what training keeps for the backward pass.

Layers record the same operations here as in a plan, on a tape that only counts. Plans may need a little more, since
what is free in between cannot always be used, or less, where operations are fused.
"""

from __future__ import annotations

from math import prod

from ..layers import LAYERS
from ..ops import OPS
from .graph import Graph

ITEM = {"float32": 4, "int32": 4, "uint8": 1}


class Buffer:
    """An array of one pass; the input and weights are not `temporary`."""

    __slots__ = ("id", "shape", "bytes", "temporary")

    def __init__(self, id: int, shape: tuple[int, ...], dtype: str, temporary: bool):
        self.id, self.shape, self.temporary = id, shape, temporary
        self.bytes = prod(shape) * ITEM[dtype]


class Tape:
    """What a layer's `forward` needs of a tape; keeps the steps as (operation, inputs, outputs)."""

    def __init__(self, training: bool):
        self.training = training
        self.layer = 0
        self.steps: list[tuple[str, tuple, tuple[Buffer, ...]]] = []
        self.count = 0

    def later(self, *_, **__) -> None:
        """Updates of running statistics take no memory."""

    def needs_grad(self, x: Buffer) -> bool:
        return True

    def buffer(self, shape, dtype: str = "float32", temporary: bool = True) -> Buffer:
        self.count += 1
        return Buffer(self.count, tuple(shape), dtype, temporary)

    def op(self, name: str, *inputs, **attrs):
        op = OPS[name]
        shapes = op.shapes(tuple(x.shape for x in inputs if x is not None), attrs)
        outputs = tuple(self.buffer(shape, attrs["index_dtype"] if o == "index" else op.dtype(i))
                        for i, (o, shape) in enumerate(zip(op.outputs, shapes)))
        self.steps.append((name, inputs, outputs))
        return outputs[0] if len(outputs) == 1 else outputs or None


def record(graph: Graph, training: bool) -> tuple[Tape, list[Buffer], list[object]]:
    """The forward pass for one sample: the tape, every node's output, and what every node keeps for backward."""
    tape = Tape(training)
    values: list[Buffer] = []
    saved: list[object] = []
    x = tape.buffer((1, *graph.input.spatial, graph.input.channels), temporary=False)
    for node in graph.nodes:
        tape.layer = node.index
        if node.head is not None and not training:
            values.append(x)        # heads are run in training only
            saved.append(None)
            continue
        layer = LAYERS[node.op]
        inputs = tuple(values[i] for i in node.inputs) or (x,)
        params = {w.name: tape.buffer(w.shape, temporary=False) for w in node.params}
        value, kept = layer.forward(tape, node.args, inputs if len(inputs) > 1 else inputs[0], params)
        values.append(value)
        saved.append(kept)
    return tape, values, saved


def kept_bytes(graph: Graph) -> int | None:
    """What layers keep of one sample between the forward and the backward pass; None where a size is free."""
    if None in graph.input.spatial:
        return None
    tape, _, saved = record(graph, training=True)
    # A reshape is the same memory under another shape.
    same = {outputs[0].id: inputs[0] for name, inputs, outputs in tape.steps if name == "reshape"}
    found: dict[int, int] = {}
    todo = list(saved)
    while todo:
        item = todo.pop()
        if isinstance(item, Buffer):
            while item.id in same:
                item = same[item.id]
            if item.temporary:
                found[item.id] = item.bytes
        elif isinstance(item, (tuple, list)):
            todo += item
        elif isinstance(item, dict):
            todo += item.values()
    return sum(found.values())


def peak_bytes(graph: Graph) -> int | None:
    """The most that is alive at once while one sample passes, weights apart; None where a size is free."""
    if None in graph.input.spatial:
        return None
    tape, values, _ = record(graph, training=False)
    last = {b.id: t for t, (_, inputs, outputs) in enumerate(tape.steps) for b in (*inputs, *outputs) if b is not None}
    last[values[graph.output_index].id] = len(tape.steps)
    root: dict[int, int] = {}
    end: dict[int, int] = {}
    size: dict[int, int] = {}
    change = [0] * (len(tape.steps) + 2)
    for t, (name, inputs, outputs) in enumerate(tape.steps):
        for i, out in enumerate(outputs):
            if i in OPS[name].optional:
                continue        # nobody reads it in inference
            source = next((inputs[j] for j in OPS[name].alias.get(i, ()) if inputs[j].id in root
                           and size[root[inputs[j].id]] == out.bytes
                           and (name == "reshape" or end[root[inputs[j].id]] == t)), None)
            root[out.id] = home = out.id if source is None else root[source.id]
            if source is None:
                size[home] = out.bytes
                change[t] += out.bytes
            end[home] = max(end.get(home, t), last[out.id])
    for home, t in end.items():
        change[t + 1] -= size[home]
    live = most = 0
    for step in change:
        live += step
        most = max(most, live)
    return most
