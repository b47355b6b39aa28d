"""Plans: the steps of one mode, batch and size, and where their buffers lie in one arena. Immutable, shared by
threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ..errors import NetError
from ..graph import Graph
from ..layers import LAYERS, LayerError
from ..layers.base import Shape
from ..ops import OPS, TOGETHER
from .fuse import FUSIONS, Rewrite, fuse
from .fuse_training import slice_updates, update_early
from .memory import Span, arrange
from .losses import Term, default_loss, terms
from .optimizers import record_norm, record_update
from .ranks import record_sums
from .recompute import make_again, shrink
from .tape import Buffer, Step, Tape


@dataclass(frozen=True)
class Request:
    """What a plan is for: the key of a net's cache of plans.

    `mode`: "predict" gives the output; "evaluate" the output and the loss; "gradients" the loss and all gradients;
    "train" the same and the update. `integer_labels`: class numbers rather than arrays of the output's shape.
    `losses`: the net's `loss` lines, as in losses.py. `arena`: the most bytes that its temporary values should take
    (0: any number), see recompute.py. `share`: the part of a batch that is this process's, where several train together
    (1: it is alone), `synced`: its samples in all, where the statistics of batch norm are taken over them (0: over this
    process's), `first`: the number of its first sample among them. `frozen`: names of weights that get no gradient.
    """

    mode: str
    batch: int
    spatial: tuple[int, ...]
    dtype: str = "float32"
    integer_labels: bool = True
    optimizer: tuple = ()
    losses: tuple = ()
    arena: int = 0
    share: float = 1.0
    synced: int = 0
    first: int = 0
    frozen: frozenset[str] = frozenset()

    @property
    def training(self) -> bool:
        return self.mode in ("gradients", "train")


@lru_cache(maxsize=256)
def prediction(batch: int, spatial: tuple[int, ...], dtype: str) -> Request:
    """The request of a call in inference; the same object for the same arguments, which makes looking it up cheap."""
    return Request("predict", batch, spatial, dtype)


@dataclass(frozen=True)
class Plan:
    request: Request
    steps: tuple[Step, ...]
    derived: tuple[Step, ...]  # what makes packed weights, run when weights have changed
    x: Buffer
    labels: Buffer | None
    output: Buffer | None
    losses: tuple[tuple[float, Buffer], ...]  # (weight, mean loss)
    gradients: dict[str, Buffer]
    constants: dict[int, tuple[float, ...]]  # buffer id -> its values
    squares: Buffer | None  # the sum of all gradients' squares, where they are clipped
    first_update: int  # steps from here on may change weights; the losses are known before
    offsets: dict[int, int]  # buffer id -> byte offset in the arena
    spans: tuple[Span, ...]  # when which bytes of it are taken
    arena_bytes: int
    repeated: float = 0.0  # share of the forward pass that is computed twice, to need less memory


def make_plan(graph: Graph, request: Request, lower: Callable[[list[Step], Tape, bool], list[Step]],
              rewrites: Sequence[Rewrite] = FUSIONS) -> Plan:
    """Records, fuses, lets the backend insert what it needs (`lower`), and lays out the memory."""
    recording = _Recording(graph, request)
    recording.forward()
    if request.mode != "predict":
        recording.losses()
    if request.training:
        recording.backward()
        if request.mode == "train":
            recording.update()
    tape = recording.tape
    keep, repeated = {b.id for b in recording.keep}, 0.0
    steps = lower(fuse(tape.steps, keep, rewrites), tape, request.training)
    derived = tuple(s for s in steps if _is_derived(s))
    steps = _drop_unread([s for s in steps if not _is_derived(s)], recording.keep)

    def order(steps: list[Step]) -> list[Step]:
        if request.training:
            steps = make_again(steps, keep, tape)
        return slice_updates(update_early(steps), tape) if _may_update_early(recording) else steps

    if request.arena:
        # What ranks made together is not computed again: one of them may do so, and another not.
        shared = {b.id for s in steps if s.op in TOGETHER for b in s.inputs}
        steps, repeated = shrink(steps, keep | shared, tape, lambda some: arrange(order(some), keep)[2], request.arena)
    steps = order(steps)
    offsets, spans, size = arrange(steps, keep)
    first_update = next((i for i, s in enumerate(steps) if s.pass_ == "update"), len(steps))
    return Plan(request, tuple(steps), derived, recording.x, recording.labels, recording.output, tuple(recording.found),
                dict(tape.gradients), tape.constants, recording.squares, first_update, offsets, spans, size, repeated)


def _may_update_early(recording: "_Recording") -> bool:
    """Not where the norm of all gradients is wanted first, or where other processes have a share in them."""
    return recording.squares is None and recording.request.share == 1


class _Recording:
    """One pass over the graph, on a tape."""

    def __init__(self, graph: Graph, request: Request):
        self.graph, self.request = graph, request
        self.tape = Tape(request.training, request.share, request.synced, request.first)
        self.values: dict[int, Buffer] = {}
        self.saved: dict[int, object] = {}
        self.params: dict[int, dict[str, Buffer]] = {}
        self.weights: dict[str, Buffer] = {}
        self.grads: dict[int, Buffer] = {}
        self.found: list[tuple[float, Buffer]] = []
        self.labels: Buffer | None = None
        self.output: Buffer | None = None
        self.squares: Buffer | None = None
        self.keep: list[Buffer] = []
        shape = (request.batch, *request.spatial, graph.input.channels)
        self.x = self.tape.buffer(shape, request.dtype, "input", "x")

    def _ends(self) -> list[tuple[float, int]]:
        ends = [(1.0, self.graph.output_index)]
        if self.request.training:
            ends += [(head.weight, head.output) for head in self.graph.heads]
        return ends

    def _wanted(self) -> set[int]:
        """The nodes the results depend on. In training a softmax that only the loss stands for is not run."""
        todo = [end for _, end in self._ends()]
        if self.request.training:
            todo = [term.node for end in todo for term in self._terms(end)]
        wanted: set[int] = set()
        while todo:
            index = todo.pop()
            if index not in wanted:
                wanted.add(index)
                todo.extend(self.graph.nodes[index].inputs)
        return wanted

    def forward(self) -> None:
        wanted = self._wanted()
        for node in self.graph.nodes:
            if node.index not in wanted:
                continue
            layer = LAYERS[node.op]
            inputs = tuple(self.values[i] for i in node.inputs) or (self.x,)
            params = {w.name: self._weight(node, w) for w in node.params}
            self.tape.node, self.tape.layer = node.name, node.index
            if self.tape.training:
                self.tape.watch(*(params[w.name] for w in node.params
                                  if w.trainable and params[w.name].name not in self.request.frozen))
            self._check(node, layer, inputs)
            x = inputs[0] if len(inputs) == 1 else inputs
            self.values[node.index], self.saved[node.index] = layer.forward(self.tape, node.args, x, params)
            self.params[node.index] = params
        if not self.request.training:
            self.output = self.values[self.graph.output_index]
            if self.output.role != "temp":  # nothing is done: the caller's own array
                self.output = self.tape.op("reshape", self.output, shape=self.output.shape)
            self.keep.append(self.output)

    def _check(self, node, layer, inputs: tuple[Buffer, ...]) -> None:
        """The layer's own rules on the sizes at hand, where the net has axes of free size."""
        if None not in self.graph.input.spatial:
            return
        try:
            layer.shape(node.args, tuple(Shape(b.shape[1:-1], b.shape[-1]) for b in inputs))
        except LayerError as error:
            size = "x".join(map(str, self.request.spatial))
            raise NetError(f"an input of {size} does not fit `{node.name}` in line {node.span.line}: {error.message}",
                           help=error.help) from None

    def _weight(self, node, weight) -> Buffer:
        name = f"{node.owner}.{weight.name}"
        if name not in self.weights:
            self.weights[name] = self.tape.buffer(weight.shape, "float32", "weight", name)
        return self.weights[name]

    def losses(self) -> None:
        self.tape.pass_ = "loss"
        for head_weight, end in self._ends():
            self.tape.node = self.graph.nodes[end].name
            for term in self._terms(end):
                value = self.values[term.node]
                labels = self._labels(value, term.op == "xent" or term.op == "dice" and self._numbered(end))
                operands = [value, labels]
                if term.op == "xent":
                    operands.append(self.tape.constant(term.class_weights) if term.class_weights else None)
                weight = head_weight * term.weight
                loss, gradient = self.tape.op(term.op, *operands, scale=weight * self.request.share, **term.attrs)
                self.found.append((weight, loss))
                self.keep.append(loss)
                if self.request.training:
                    self._add_gradient(term.node, gradient)

    def _terms(self, end: int) -> list[Term]:
        return terms(self.graph, end, self.request.integer_labels, self.request.losses)

    def _numbered(self, end: int) -> bool:
        return default_loss(self.graph, end, self.request.integer_labels) == "ce"

    def _labels(self, value: Buffer, numbers: bool) -> Buffer:
        """The labels, which the output and all heads share: class numbers, or targets of the value's shape."""
        wanted = value.shape[:-1] if numbers else value.shape
        if self.labels is None:
            self.labels = self.tape.buffer(wanted, "int32" if numbers else "float32", "input", "labels")
        if self.labels.shape != wanted:
            raise NetError(f"head `{self.tape.node}` wants labels of shape {wanted}, the output of {self.labels.shape}",
                           help="a head and the output are trained on the same labels")
        return self.labels

    def _add_gradient(self, index: int, gradient: Buffer) -> None:
        have = self.grads.get(index)
        self.grads[index] = gradient if have is None else self.tape.op("add", have, gradient)

    def backward(self) -> None:
        self.tape.pass_ = "backward"
        for node in reversed(self.graph.nodes):
            dy = self.grads.pop(node.index, None)
            if dy is None or not self.tape.needs_grad(self.values[node.index]):
                continue
            layer = LAYERS[node.op]
            self.tape.node, self.tape.layer = node.name, node.index
            dx = layer.backward(self.tape, node.args, dy, self.saved[node.index], self.params[node.index])
            for index, gradient in zip(node.inputs, dx if layer.signature.merge else (dx,)):
                if gradient is not None:
                    self._add_gradient(index, gradient)
        if self.request.mode == "gradients":
            self.keep.extend(self.tape.gradients.values())

    def update(self) -> None:
        if self.request.share < 1:
            record_sums(self.tape)
        options = dict(self.request.optimizer[1])
        decays = {f"{n.owner}.{w.name}" for n in self.graph.nodes for w in n.params if w.decay or options["decay_all"]}
        if options["clip"] and self.tape.gradients:
            self.squares = record_norm(self.tape)
            self.keep.append(self.squares)
        self.tape.pass_ = "update"
        self.tape.release()
        record_update(self.tape, self.request.optimizer, self.weights, decays, self.squares)


def _is_derived(step: Step) -> bool:
    return bool(step.outputs) and step.outputs[0] is not None and step.outputs[0].role == "packed"


def _drop_unread(steps: list[Step], keep: list[Buffer]) -> list[Step]:
    """Takes away optional outputs that nobody reads."""
    read = {b.id for s in steps for b in s.inputs if b is not None} | {b.id for b in keep}
    out = []
    for step in steps:
        optional = OPS[step.op].optional
        outputs = tuple(None if i in optional and b.id not in read else b for i, b in enumerate(step.outputs))
        out.append(replace(step, outputs=outputs) if outputs != step.outputs else step)
    return out
