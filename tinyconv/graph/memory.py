"""How much memory values take: the most that is alive at once, in inference and in a step of training.

Layers record the same operations here as for a plan, on a tape that only counts. A plan may need a little more, since
what is free in between cannot always be used, or less, where operations are fused: in all a training takes within some
10 % of it.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from math import prod

from ..layers import LAYERS
from ..ops import OPS
from .again import FLOPS_A_BYTE, SHARE, made_again
from .graph import Graph

ITEM = {"float32": 4, "int32": 4, "uint8": 1}
ON_LOGITS = ("softmax", "sigmoid")      # a loss is computed on what enters these
PACKED = ("conv", "conv_dx")    # of these a step of training copies most weights, in the order of their reading
SLICE = 8 << 20     # bytes of a larger matrix's gradient that stand in memory at once, in L3 until they are used up


class Buffer:
    """An array of one pass. `watched`: whether a gradient of it is wanted."""

    __slots__ = ("id", "shape", "dtype", "bytes", "watched")

    def __init__(self, id: int, shape: tuple[int, ...], dtype: str, watched: bool):
        self.id, self.shape, self.dtype, self.watched = id, shape, dtype, watched
        self.bytes = prod(shape) * ITEM[dtype]


class Tape:
    """What layers need of a tape; keeps the steps as (operation, inputs, outputs)."""

    synced = first = 0  # one process

    def __init__(self, training: bool):
        self.training = training
        self.layer = 0
        self.steps: list[tuple[str, tuple, tuple[Buffer, ...]]] = []
        self.gradients: dict[int, Buffer] = {}      # of weights, by the weight's buffer
        self._count = 0

    def buffer(self, shape, dtype: str = "float32", watched: bool = False) -> Buffer:
        self._count += 1
        return Buffer(self._count, tuple(shape), dtype, watched)

    def op(self, name: str, *inputs, **attrs):
        op, shapes, watched = OPS[name], [], False
        for x in inputs:
            if x is not None:
                shapes.append(x.shape)
                watched = watched or x.watched
        outputs = tuple([self.buffer(shape, attrs["index_dtype"] if op.outputs[i] == "index" else op.dtype(i), watched)
                         for i, shape in enumerate(op.shapes(tuple(shapes), attrs))])
        self.steps.append((name, inputs, outputs))
        return outputs[0] if len(outputs) == 1 else outputs or None

    def later(self, *_, **__) -> None:
        """Updates of running statistics take no memory."""

    def needs_grad(self, x: Buffer) -> bool:
        return x.watched

    def gradient(self, weight: Buffer, dw: Buffer) -> None:
        have = self.gradients.get(weight.id)
        self.gradients[weight.id] = dw if have is None else self.op("add", have, dw)


def inference_bytes(graph: Graph, batch: int) -> int | None:
    """The most that is alive at once while a batch passes, weights apart; None where a size is free."""
    if None in graph.input.spatial:
        return None
    tape = Tape(training=False)
    values, _, _ = _forward(graph, tape, batch)
    return max(_alive(tape, {values[graph.output_index].id: len(tape.steps)}))


def training_bytes(graph: Graph, batch: int) -> int | None:
    """The same for forward and backward pass, heads included. Gradients of weights live until the weights are read no
    more, when they are updated."""
    if None in graph.input.spatial:
        return None
    tape = Tape(training=True)
    values, saved, params = _forward(graph, tape, batch)
    grads: dict[int, Buffer] = {}

    def add(index: int, gradient: Buffer) -> None:
        grads[index] = tape.op("add", grads[index], gradient) if index in grads else gradient

    for end in [graph.output_index, *(head.output for head in graph.heads)]:
        node = graph.nodes[end]
        end = node.inputs[0] if node.op in ON_LOGITS else end
        # Of a loss only its gradient takes memory, and it stands beside the value that it is computed on.
        gradient = tape.buffer(values[end].shape)
        tape.steps.append(("xent", (values[end],), (gradient,)))
        add(end, gradient)
    for node in reversed(graph.nodes):
        dy = grads.pop(node.index, None)
        if dy is None or not tape.needs_grad(values[node.index]):
            continue
        layer = LAYERS[node.op]
        tape.layer = node.index
        dx = layer.backward(tape, node.args, dy, saved[node.index], params[node.index])
        for index, gradient in zip(node.inputs, dx if layer.signature.merge else (dx,)):
            if gradient is not None:
                add(index, gradient)
    _take_slopes_at_maxima(tape.steps)
    tape.steps = _with_activations(tape.steps)
    read = {b.id: t for t, (_, inputs, _) in enumerate(tape.steps) for b in inputs if b is not None}
    for b in tape.gradients.values():
        if _is_matrix(b) and b.bytes > 2 * SLICE:
            b.bytes = SLICE
    alive = _alive(tape, {b.id: read[weight] for weight, b in tape.gradients.items()}, PACKED)
    flops = 6 * batch * sum(node.macs or 0 for node in graph.nodes)     # forward, and both gradients
    moved = sum(b.bytes for _, inputs, outputs in tape.steps for b in (*inputs, *outputs) if b is not None)
    made_again(tape.steps, alive, SHARE * (moved + flops / FLOPS_A_BYTE), ())
    return max(alive)


def _take_slopes_at_maxima(steps: list) -> None:
    """As plans do where nothing else reads an activation than max pooling: its slope is taken from the pooled values,
    and they are what is kept."""
    pooled = {inputs[0].id: outputs[0] for name, inputs, outputs in steps if name == "maxpool"}
    readers = Counter(b.id for _, inputs, _ in steps for b in inputs if b is not None)
    for t in range(len(steps) - 1):
        (name, inputs, outputs), (next_name, next_inputs, dx) = steps[t:t + 2]
        if (name, next_name) == ("maxpool_grad", "act_grad") and next_inputs[1] is outputs[0]:
            saved, (dy, index) = next_inputs[0], inputs
            if saved.id in pooled and readers[saved.id] == 2 and readers[outputs[0].id] == 1:
                small = Buffer(outputs[0].id, dy.shape, dy.dtype, True)
                steps[t:t + 2] = [("act_grad", (pooled[saved.id], dy), (small,)), ("maxpool_grad", (small, index), dx)]


def _with_activations(steps: list) -> list:
    """As plans do: a normalisation with the activation behind it, where nothing else reads what is between them."""
    readers = Counter(b.id for _, inputs, _ in steps for b in inputs if b is not None)
    norms = {outputs[0].id: inputs for name, inputs, outputs in steps if name == "bn_apply"}
    fused = {inputs[0].id for name, inputs, _ in steps
             if name == "act" and inputs[0].id in norms and readers[inputs[0].id] == 1}
    return [("bn_act", (*norms[inputs[0].id], None), outputs) if name == "act" and inputs[0].id in fused else
            (name, inputs, outputs) for name, inputs, outputs in steps if not (outputs and outputs[0].id in fused)]


def _is_matrix(weight: Buffer) -> bool:
    return prod(weight.shape[1:-1]) == 1


def _copy_bytes(weight: Buffer) -> int:
    """Of the copy of a weight for one step. A large matrix is read in place, unless it meets so many rows that it is
    little beside them."""
    return 0 if _is_matrix(weight) else weight.bytes


def _forward(graph: Graph, tape: Tape, batch: int) -> tuple[list[Buffer], list, list[dict[str, Buffer]]]:
    """Records the pass of a batch: every node's output, what it keeps for backward, and its weights."""
    x = tape.buffer((batch, *graph.input.spatial, graph.input.channels), "uint8")  # the input layer makes floats of it
    values: list[Buffer] = []
    saved: list[object] = []
    params: list[dict[str, Buffer]] = []
    weights: dict[str, Buffer] = {}
    for node in graph.nodes:
        tape.layer = node.index
        if node.head is not None and not tape.training:
            values.append(x)        # heads are run in training only
            continue
        own = {}
        for weight in node.params:
            name = f"{node.owner}.{weight.name}"
            if name not in weights:
                weights[name] = tape.buffer(weight.shape, watched=weight.trainable)
            own[weight.name] = weights[name]
        inputs = tuple([values[i] for i in node.inputs]) or (x,)
        value, kept = LAYERS[node.op].forward(tape, node.args, inputs if len(inputs) > 1 else inputs[0], own)
        values.append(value)
        saved.append(kept)
        params.append(own)
    return values, saved, params


def _alive(tape: Tape, keep: dict[int, int], packed: tuple[str, ...] = ()) -> list[int]:
    """Bytes of temporary buffers alive at each step; an output takes over an input's memory as in a plan.

    keep: {buffer: the step until which it lives at the least}. packed: operations that copy their second operand.
    """
    last = {b.id: t for t, (_, inputs, outputs) in enumerate(tape.steps) for b in (*inputs, *outputs) if b is not None}
    last.update({b: max(t, last.get(b, t)) for b, t in keep.items()})
    read = {b.id for _, inputs, _ in tape.steps for b in inputs if b is not None}
    home: dict[int, int] = {}       # buffer -> the one whose memory it is in
    end: dict[int, int] = {}
    size: dict[int, int] = {}
    change = [0] * (len(tape.steps) + 2)
    copies = [_copy_bytes(inputs[1]) if name in packed else 0 for name, inputs, _ in tape.steps] + [0, 0]
    for t, (name, inputs, outputs) in enumerate(tape.steps):
        op, taken = OPS[name], set()
        for i, out in enumerate(outputs):
            if i in op.optional and out.id not in read and out.id not in keep:
                continue            # a plan leaves it out
            for source in (inputs[j] for j in op.alias.get(i, ())):
                root = home.get(source.id) if source is not None else None
                if root is not None and source.bytes == out.bytes and (
                        name == "reshape" or end[root] == t and root not in taken):
                    break
            else:
                root, size[out.id] = out.id, out.bytes
                change[t] += out.bytes
            home[out.id] = root
            taken.add(root)
            end[root] = max(end.get(root, t), last[out.id])
    for root, t in end.items():
        change[t + 1] -= size[root]
    return [live + copy for live, copy in zip(accumulate(change), copies)]
