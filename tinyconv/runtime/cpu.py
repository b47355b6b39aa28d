"""The C backend: steps become an array of kernels, operands and attributes; one call runs a range of them."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ..layers import Weight
from ..ops import ACTIVATIONS, TOGETHER
from . import _cpu, threads
from .optimizers import state_specs
from .plan import Plan
from .host import HOST
from .memory import place_scratch
from .store import Block, Store, aligned, layout
from .tape import Buffer, Step

address = _cpu.address

ARENA, WEIGHTS, X, LABELS, MOMENTS, CONSTANTS = range(6)  # bases; packed weights follow
# the numbers of tinyconv.h; a shape has one direct algorithm
ALGORITHMS = {None: 0, "igemm": 1, "gemm": 1, "dwconv": 1, "groupconv": 1, "winograd2x2": 2, "winograd4x4": 3,
              "winograd2x1": 2, "winograd4x1": 3, "unpacked": 4}
PASSES = {"conv": _cpu.FORWARD, "conv_post": _cpu.FORWARD, "conv_dx": _cpu.DATA_GRAD, "conv_dw": _cpu.WEIGHT_GRAD}


def three(size, fill: int = 1) -> tuple[int, ...]:
    """C knows three axes: those missing stand in front."""
    return (fill,) * (3 - len(size)) + tuple(size)


def conv_shape(x, y, kernel, a, algorithm=None) -> list[int]:
    """tc_conv_shape from the shapes of x and y; algorithm: a name of `ALGORITHMS`, None leaves the choice to C."""
    return [x[0], *three(x[1:-1]), x[-1], *three(y[1:-1]), y[-1], *three(kernel), *three(a["stride"]),
            *three(a["padding"], 0), *three(a["dilation"]), a["groups"], ALGORITHMS[algorithm]]


def _conv_of(step: Step) -> list[int]:
    a = step.attrs
    algorithm = a.get("algorithm")  # noted by `lower`
    if step.op in ("conv", "conv_post"):
        return conv_shape(step.inputs[0].shape, step.outputs[0].shape, _kernel(step), a, algorithm)
    if step.op == "conv_dx":
        return conv_shape(a["shape"], step.inputs[0].shape, _kernel(step), a, algorithm)
    if step.op == "conv_dw":
        return conv_shape(step.inputs[0].shape, step.inputs[1].shape, a["shape"][1:-1], a)
    return conv_shape(a["x"], a["y"], step.inputs[0].shape[1:-1], a)


def _kernel(step: Step) -> tuple[int, ...]:
    # packed weights have lost their shape: `lower` notes it
    return step.attrs.get("weight", step.inputs[1].shape)[1:-1]


def _pool_of(step: Step) -> list[int]:
    a = step.attrs
    x, y = (step.inputs[0].shape, step.outputs[0].shape)
    if step.op.endswith("_grad"):
        x, y = a["shape"], x
    return [x[0], *three(x[1:-1]), x[-1], *three(y[1:-1]), *three(a["kernel"]), *three(a["stride"]),
            *three(a["padding"], 0), int(a["adaptive"])]


def _resize(step):
    """tc_resize_shape."""
    x, y = step.inputs[0].shape, step.outputs[0].shape
    if step.op.endswith("_grad"):
        x, y = y, x
    return [x[0], *three(x[1:-1]), x[-1], *three(y[1:-1]), int(step.attrs["mode"] == "linear")], []


def _rows(buffer: Buffer) -> list[int]:
    return [prod(buffer.shape[:-1]), buffer.shape[-1]]


def _mul_of(a: Buffer, shape) -> list[int]:
    inner = shape[1:-1]
    return [a.shape[0], prod(a.shape[1:-1]), a.shape[-1], prod(inner), shape[-1]]


def _window_of(step: Step) -> list[int]:
    x, y = step.inputs[0].shape, step.attrs["shape"]
    before = step.attrs["before"]
    return [x[0], *three(x[1:-1]), x[-1], *three(y[1:-1]), y[-1], *three(before[1:-1], 0), before[-1]]


def _conv_pass(step):
    return _conv_of(step), []


def _conv_post(step):
    return [*_conv_of(step), _act_kind(step)], [step.attrs["a"]]


def _pool(step):
    return _pool_of(step), []


def _normed(step):
    return _rows(step.inputs[0]), [step.attrs["eps"]] if "eps" in step.attrs else []


def _lrn(step):
    a = step.attrs
    return [*_rows(step.inputs[0]), a["size"]], [a["alpha"], a["beta"], a["k"]]


def _samples(shape) -> list[int]:
    """Samples, positions, channels."""
    return [shape[0], prod(shape[1:-1]), shape[-1]]


def _groups(step):
    return [*_samples(step.inputs[0].shape), step.attrs["groups"]], [step.attrs["eps"]]


def _dropblock(step):
    x, a = step.inputs[0].shape, step.attrs
    return [x[0], *three(x[1:-1]), x[-1], *three(a["size"]), *_draw(step)], [a["p"], a["rate"]]


def _draw(step):
    """Number of the layer and of the first of the values that are drawn for."""
    return [step.attrs["layer"], step.attrs["first"] * prod(step.inputs[0].shape[1:])]


def _act(step):
    a = step.attrs
    return [_act_kind(step), prod(step.inputs[0].shape)], [a["a"]]


def _act_kind(step):
    kind = step.attrs["kind"]
    return -1 if kind is None else ACTIVATIONS.index(kind)


def _rows_and_act(step):
    """Rows, channels, the activation (-1: none); its slope last among the floats."""
    return [*_rows(step.inputs[0]), _act_kind(step)], [step.attrs[name] for name in ("eps", "a") if name in step.attrs]


def _values(step):
    return [prod(step.inputs[0].shape)], [step.attrs["scale"]] if "scale" in step.attrs else []


def _update(*floats, switch=None):
    """Values of the weight, then the switch if there is one."""
    def attributes(step):
        size = [prod(step.inputs[0].shape)]
        return size + ([int(step.attrs[switch])] if switch else []), [step.attrs[name] for name in floats]
    return attributes


# op -> (integers, floats), in the order in which csrc/program.c reads them
ATTRIBUTES = {
    "conv": _conv_pass, "conv_post": _conv_post, "conv_dx": _conv_pass, "conv_dw": _conv_pass,
    "pack": lambda s: ([*_conv_of(s), PASSES[s.attrs["pass_"]]], []),
    "maxpool": _pool, "maxpool_grad": _pool, "avgpool": _pool, "avgpool_grad": _pool,
    "resize": _resize, "resize_grad": _resize,
    "bias_add": _normed,
    "bn_stats": _normed, "bn_apply": _normed, "bn_grad": _normed, "bias_grad": _normed,
    "bn_fold": lambda s: ([s.inputs[0].shape[0], prod(s.inputs[0].shape[1:])], [s.attrs["eps"]]),
    "bn_running": lambda s: ([s.attrs["rows"], s.inputs[0].shape[0]], [s.attrs["momentum"]]),
    "ln": _normed, "ln_grad": _normed, "gn": _groups, "gn_grad": _groups,
    "scale": _normed, "scale_grad": _normed,
    "lrn": _lrn, "lrn_grad": _lrn,
    "act": _act, "act_grad": _act,
    "bn_act": _rows_and_act, "bn_act_grad": _rows_and_act, "act_bias_grad": _rows_and_act,
    "bn_act_pool": lambda s: ([*_pool_of(s), _act_kind(s)], [s.attrs["eps"], s.attrs["a"]]),
    "add_act": _act, "add_act_grad": _act,
    "prelu": _normed, "prelu_grad": _normed,
    "add": _values,
    "mul": lambda s: (_mul_of(s.inputs[0], s.inputs[1].shape), []),
    "mul_reduce": lambda s: (_mul_of(s.inputs[1], s.attrs["shape"]), []),
    "concat": lambda s: ([*_rows(s.outputs[0]), *(x.shape[-1] for x in s.inputs)], []),
    "window": lambda s: (_window_of(s), []),
    "reshape": lambda s: ([s.outputs[0].bytes], []),
    "input": lambda s: ([*_rows(s.inputs[0]), int(s.inputs[0].dtype == "uint8")], []),
    "dropout": lambda s: ([prod(s.inputs[0].shape), *_draw(s)], [s.attrs["p"]]),
    "droppath": lambda s: ([s.inputs[0].shape[0], prod(s.inputs[0].shape[1:]), s.attrs["layer"], s.attrs["first"]],
                           [s.attrs["p"]]),
    "dropblock": _dropblock,
    "shuffle": lambda s: ([*_rows(s.inputs[0]), s.attrs["groups"]], []),
    "softmax": _normed, "softmax_grad": _normed,
    "xent": lambda s: (_rows(s.inputs[0]), [s.attrs[name] for name in ("scale", "smoothing", "gamma")]),
    "bce": _values, "mse": _values,
    "focal": lambda s: ([prod(s.inputs[0].shape)], [s.attrs[name] for name in ("scale", "gamma", "alpha")]),
    "dice": lambda s: ([*_samples(s.inputs[0].shape), int(s.inputs[1].dtype == "int32")],
                       [s.attrs["scale"], s.attrs["smooth"]]),
    "square_sum": lambda s: ([prod(s.inputs[1].shape)], []),
    "sgd": _update("momentum", "decay", "clip", switch="nesterov"),
    "adam": _update("beta1", "beta2", "eps", "decay", "clip", switch="decoupled"),
    "rmsprop": _update("rho", "momentum", "eps", "decay", "clip"),
    "ema": _update("ema"),
}


class CpuBackend:
    """`--device cpu`: the kernels of csrc/."""

    name = "cpu"
    device = HOST

    def lower(self, steps: list[Step], tape, training: bool) -> list[Step]:
        """Convolutions read packed weights: kept by the store, but in training, where each packing serves one step,
        packed by another step before it or read as they stand. A normalisation by running statistics goes into the
        weights and the bias before."""
        out: list[Step] = []
        for step in steps:
            if step.op not in ("conv", "conv_post", "conv_dx"):
                out.append(step)
                continue
            x, weight, *rest = step.inputs
            unpacked = weight
            if step.op == "conv_post":
                bias, add, *moments = rest
                if moments[0] is not None:
                    unpacked = tape.buffer(weight.shape, role="packed", name=weight.name)
                    shift = tape.buffer(weight.shape[:1], role="packed", name=weight.name)
                    out.append(Step("bn_fold", (weight, bias, *moments), (unpacked, shift), {"eps": step.attrs["eps"]},
                                    step.node, step.pass_))
                    bias = shift
                rest = bias, add
            if training and _cpu.conv_unpacked(_conv_of(step), PASSES[step.op]):
                out.append(replace(step, inputs=(x, unpacked, *rest), attrs={**step.attrs, "algorithm": "unpacked"}))
                continue
            floats = _cpu.conv_packed(_conv_of(step), PASSES[step.op])
            shapes = step.inputs[0].shape, step.outputs[0].shape
            packed = tape.buffer((floats,), role="temp" if training else "packed", name=weight.name)
            geometry = {k: step.attrs[k] for k in ("stride", "padding", "dilation", "groups")}
            attrs = dict(geometry, shape=packed.shape, pass_=step.op,
                         **dict(zip("yx" if step.op == "conv_dx" else "xy", shapes)))
            out.append(Step("pack", (unpacked,), (packed,), attrs, step.node, step.pass_))
            out.append(replace(step, inputs=(x, packed, *rest), attrs={**step.attrs, "weight": weight.shape}))
        return out

    def prepare(self, plan: Plan, store: Store) -> "CpuSession":
        return CpuSession(plan, store)

    def kernel(self, step: Step) -> str:
        """The name of what runs a step."""
        return _cpu.conv_algorithm(_conv_of(step), PASSES[step.op]) if step.op in PASSES else step.op


class CpuSession:
    """A plan's program, and the memory it runs in: `use` brings a block for the arena and the kernels' scratch."""

    def __init__(self, plan: Plan, store: Store):
        self.plan, self.store = plan, store
        self.constants = constants(plan)
        self.states, _ = layout(state_specs(store.specs, plan.request.optimizer, plan.request.frozen))
        self.makers = {b.id: step for step in plan.derived for b in step.outputs}
        self.packed: dict[int, Buffer] = {}  # those that the steps read
        self.program = _cpu.Program([self._lowered(s) for s in plan.steps])
        self.keys = [(b, self._key(b)) for b in self.packed.values()]
        self.block: np.ndarray | None = None
        self.count = 0
        self._scratch: dict[int, tuple[list[int], int]] = {}  # by number of threads: each step's offset, bytes in all
        self._views: dict[int, np.ndarray] = {}  # by number of the buffer
        self._version: int | None = None  # of the weights that the addresses are for

    def bytes(self, count: int) -> int:
        """Of a block, with so many threads."""
        if count not in self._scratch:
            self._scratch[count] = place_scratch(self.program.scratch(count), self.plan.spans, self.plan.arena_bytes)
        return self._scratch[count][1]

    def other_bytes(self) -> int:
        """That packed weights will take which the store has not yet."""
        return sum(b.bytes for b, key in self.keys if not self.store.has_packed(key))

    def use(self, block: np.ndarray | None, count: int) -> None:
        """Runs in this memory, with so many threads, until told otherwise; None: it holds none."""
        if block is not self.block or count != self.count:
            if block is not None and count != self.count:
                self.program.place_scratch(self._scratch[count][0])
            self.block, self.count, self._version = block, count, None
            self._views.clear()

    def _operand(self, b: Buffer | None) -> tuple[int, int]:
        if b is None:
            return -1, 0
        if b.role == "temp":
            return ARENA, self.plan.offsets[b.id]
        if b.role == "weight":
            return WEIGHTS, self.store.offsets[b.name] + b.begin
        if b.role == "state":
            return MOMENTS, self.states[b.name] + b.begin
        if b.role == "constant":
            return CONSTANTS, self.constants.offsets[b.id]
        if b.role == "packed":
            return self._packed_base(b), 0
        return (X, 0) if b.name == "x" else (LABELS, 0)

    def _packed_base(self, b: Buffer) -> int:
        self.packed[b.id] = b
        return CONSTANTS + 1 + list(self.packed).index(b.id)

    def _lowered(self, step: Step):
        if step.op in TOGETHER:  # run by Python: a view of nothing stands for it
            return "reshape", [(-1, 0), (-1, 0)], [0], []
        ints, floats = ATTRIBUTES[step.op](step)
        return step.op, [self._operand(b) for b in (*step.inputs, *step.outputs)], ints, floats

    def _key(self, b: Buffer | None):
        """What tells packed weights from others in all plans: the weights' names and what was done to them."""
        if b is None or b.role != "packed":
            return b and b.name
        step = self.makers[b.id]
        ints, floats = ATTRIBUTES[step.op](step)
        if step.op == "pack":
            # Does not depend on batch or map size, but for the algorithm chosen by them, and a data gradient's blocks
            # of neighbours, which the size of what is packed tells.
            ints = [_cpu.conv_algorithm(ints[:-1], ints[-1]), *b.shape, *ints[9:]]
        return step.op, step.outputs.index(b), tuple(map(self._key, step.inputs)), tuple(ints), tuple(floats)

    def _chain(self, b: Buffer | None) -> list[Step]:
        """The steps that make packed weights, in order."""
        if b is None or b.role != "packed":
            return []
        step = self.makers[b.id]
        return [*(before for i in step.inputs for before in self._chain(i)), step]

    def _make(self, b: Buffer, count: int) -> np.ndarray:
        steps = self._chain(b)
        arrays = {out.id: aligned(out.bytes) for step in steps for out in step.outputs if out.id != b.id}
        arrays[b.id] = self.store.piece_for_packed(b.bytes)
        bases = {key: 1 + i for i, key in enumerate(arrays)}

        def operand(b):
            if b is None:
                return -1, 0
            return (bases[b.id], 0) if b.role == "packed" else (0, self.store.offsets[b.name])

        program = _cpu.Program([(step.op, [operand(b) for b in (*step.inputs, *step.outputs)],
                                 *ATTRIBUTES[step.op](step)) for step in steps])
        program.run(0, len(steps), [address(self.store.memory), *map(address, arrays.values())], 0, count)
        return arrays[b.id]

    def run(self, first: int, last: int, x, labels=None, moments=None, *, lr=0.0, seed=0, step=0) -> None:
        """Runs steps; x, labels: C-contiguous arrays of the plan's types; moments: the optimiser's block of memory."""
        if self.block is None:
            count = threads.get()
            self.use(aligned(self.bytes(count)), count)
        if self._version != self.store.version:
            self._version = self.store.version
            self._bases = self._addresses()
        bases = self._bases
        bases[X] = address(x)
        bases[LABELS] = 0 if labels is None else address(labels)
        bases[MOMENTS] = 0 if moments is None else address(moments.memory)
        self.program.run(first, last, bases, bases[ARENA], self.count, lr, seed, step)

    def _addresses(self) -> list[int]:
        """Of all bases but the caller's, with the weights packed as they are now."""
        self._packed = [self.store.packed(key, lambda b=b: self._make(b, self.count)) for b, key in self.keys]
        return [*map(address, (self.block, self.store.memory)), 0, 0, 0, address(self.constants.memory),
                *map(address, self._packed)]

    def read(self, buffer: Buffer) -> np.ndarray:
        """A copy of a buffer's values."""
        return self._view(buffer).copy()

    def write(self, buffer: Buffer, value: np.ndarray) -> None:
        """Puts other values into a buffer, between two ranges of steps."""
        self._view(buffer)[...] = value

    def _view(self, buffer: Buffer) -> np.ndarray:
        view = self._views.get(buffer.id)
        if view is None:
            at = self.plan.offsets[buffer.id]
            view = self.block[at:at + buffer.bytes].view(buffer.dtype).reshape(buffer.shape)
            self._views[buffer.id] = view
        return view

    def numbers(self, buffers) -> list[float]:
        """The values of buffers of one number each."""
        return [float(self.read(b)[0]) for b in buffers]

    def wait(self) -> None:
        """Returns when the steps that were started are done: here they are."""


def constants(plan: Plan) -> Block:
    """The plan's constants, by number of their buffer."""
    block = Block({key: Weight(str(key), (len(values),), ("constant", 0)) for key, values in plan.constants.items()})
    for key, values in plan.constants.items():
        block.view(key)[...] = values
    return block
