"""What layers record on: operations with numbered buffers, in order. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..errors import NetError
from ..ops import OPS

ITEM = {"float64": 8, "float32": 4, "int32": 4, "uint8": 1}


@dataclass(frozen=True)
class Buffer:
    """One array of a plan. `role` tells where it lives: `input` is the caller's, `weight` and `state` the store's
    (by `name`), `packed` is derived from weights, a `constant` belongs to the plan, `temp` lies in the arena. Of a
    weight or state it may be a piece: so many bytes of it from `begin` on."""

    id: int
    shape: tuple[int, ...]
    dtype: str = "float32"
    role: str = "temp"
    name: str = ""
    begin: int = 0

    @property
    def bytes(self) -> int:
        return prod(self.shape) * ITEM[self.dtype]


@dataclass(frozen=True)
class Step:
    """One operation with its buffers (None: an operand left out). `parts` are the steps it was fused from."""

    op: str
    inputs: tuple[Buffer | None, ...]
    outputs: tuple[Buffer, ...]
    attrs: Mapping[str, object]
    node: str = ""
    pass_: str = "forward"
    parts: tuple["Step", ...] = ()


class Tape:
    """Records steps. `training` says whether a backward pass will follow (layers then keep what it needs); `share`,
    what part of the samples are this process's, where several train together, `synced`, of how many batch norm takes
    the statistics, where it is not of this process's alone, and `first`, which of them is the first of this
    process's."""

    def __init__(self, training: bool, share: float = 1.0, synced: int = 0, first: int = 0):
        self.training, self.share, self.synced, self.first = training, share, synced, first
        self.steps: list[Step] = []
        self.buffers: list[Buffer] = []
        self.node = ""
        self.pass_ = "forward"
        self.layer = 0  # number of the node being recorded: tells dropout masks apart
        self.constants: dict[int, tuple[float, ...]] = {}
        self._later: list[Step] = []
        self._needs_grad: set[int] = set()
        self._grads: dict[str, Buffer] = {}

    def buffer(self, shape, dtype="float32", role="temp", name="") -> Buffer:
        new = Buffer(len(self.buffers), tuple(shape), dtype, role, name)
        self.buffers.append(new)
        return new

    def constant(self, values: tuple[float, ...]) -> Buffer:
        """An array whose values are known now."""
        new = self.buffer((len(values),), "float32", "constant")
        self.constants[new.id] = values
        return new

    def op(self, name: str, *inputs: Buffer | None, **attrs):
        """Records one step; returns its output, or a tuple of outputs where there are several (None for none)."""
        op = OPS[name]
        if set(attrs) != set(op.attrs):
            raise TypeError(f"{name} takes attributes {', '.join(op.attrs)}, not {', '.join(attrs)}")
        shapes = op.shapes(tuple(x.shape for x in inputs if x is not None), attrs)
        if any(n < 1 for shape in shapes for n in shape):
            raise NetError(f"the input is too small for {self.node}: nothing is left after it")
        dtypes = [attrs["index_dtype"] if o == "index" else op.dtype(i) for i, o in enumerate(op.outputs)]
        outputs = tuple(self.buffer(shape, dtype) for shape, dtype in zip(shapes, dtypes))
        self.steps.append(Step(name, inputs, outputs, attrs, self.node, self.pass_))
        if any(x is not None and x.id in self._needs_grad for x in inputs):
            self._needs_grad.update(o.id for o in outputs)
        return outputs[0] if len(outputs) == 1 else outputs or None

    def later(self, name: str, *inputs: Buffer | None, **attrs) -> None:
        """Notes a step without outputs that changes a layer's state (running statistics): it belongs to the update, so
        that a step of training whose loss is not finite leaves the net as it was."""
        self._later.append(Step(name, inputs, (), attrs, self.node, "update"))

    def release(self) -> None:
        """Records what `later` noted."""
        self.steps += self._later

    # -- gradients

    def watch(self, *buffers: Buffer) -> None:
        """Marks what needs a gradient; all that is computed from it does too."""
        self._needs_grad.update(b.id for b in buffers)

    def needs_grad(self, x: Buffer) -> bool:
        return x.id in self._needs_grad

    def gradient(self, weight: Buffer, dw: Buffer) -> None:
        """Adds a contribution to a weight's gradient (a shared weight gets several); a frozen weight has none."""
        if not self.needs_grad(weight):
            return
        have = self._grads.get(weight.name)
        self._grads[weight.name] = dw if have is None else self.op("add", have, dw)

    @property
    def gradients(self) -> dict[str, Buffer]:
        return self._grads
