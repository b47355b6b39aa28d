"""The array backend: every operation once, against an array namespace `xp`. With NumPy it is the readable reference
of the C kernels, with CuPy it runs on a GPU. What differs between the two is in host.py and cupy_device.py."""

from __future__ import annotations

import math

import numpy as np

from .array_conv import conv, conv_dw, conv_dx  # noqa: F401
from .array_drop import dropblock, dropout, droppath  # noqa: F401
from .array_loss import bce, dice, focal, mse, xent  # noqa: F401
from .array_norm import (bn_apply, bn_grad, bn_running, bn_stats, gn, gn_grad, ln, ln_grad, lrn,  # noqa: F401
                         lrn_grad, scale, scale_grad)
from . import array_optim
from .array_optim import adam, ema, rmsprop, sgd, square_sum  # noqa: F401
from .array_pool import avgpool, avgpool_grad, maxpool, maxpool_grad  # noqa: F401
from .array_resize import resize, resize_grad  # noqa: F401
from .host import HOST
from .plan import Plan
from .store import Store
from .tape import Step
from .uses import unfused

# ---------------------------------------------------------------- elementwise


def bias_grad(xp, a, dy):
    return dy.sum(axis=tuple(range(dy.ndim - 1)), dtype=dy.dtype)


def bias_add(xp, a, x, bias):
    return x + bias


_erf = np.vectorize(math.erf, otypes=[np.float64])  # neither namespace has it: on a GPU a kernel stands for `act`


def _sigmoid(xp, x):
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, small) / (1 + small)


def _phi(xp, x):
    return ((1 + _erf(x / math.sqrt(2))) / 2).astype(x.dtype)


def act(xp, attrs, x):
    kind, a = attrs["kind"], attrs["a"]
    if kind == "relu":
        return xp.maximum(x, 0)
    if kind == "relu6":
        return xp.clip(x, 0, 6)
    if kind == "leaky":
        return xp.where(x > 0, x, a * x)
    if kind == "elu":
        return xp.where(x > 0, x, a * xp.expm1(xp.minimum(x, 0)))
    if kind == "gelu":
        return x * _phi(xp, x)
    if kind == "silu":
        return x * _sigmoid(xp, x)
    if kind == "hswish":
        return x * xp.clip(x / 6 + 0.5, 0, 1)
    if kind == "sigmoid":
        return _sigmoid(xp, x)
    if kind == "hsigmoid":
        return xp.clip(x / 6 + 0.5, 0, 1)
    return xp.tanh(x)


def act_grad(xp, attrs, v, dy):
    """v is the output for those of ops.SAVES_OUTPUT, else the input."""
    kind, a = attrs["kind"], attrs["a"]
    if kind == "relu":
        slope = v > 0
    elif kind == "relu6":
        slope = (v > 0) & (v < 6)
    elif kind == "leaky":
        slope = xp.where(v > 0, 1, a)
    elif kind == "elu":
        slope = xp.where(v > 0, 1, v + a)
    elif kind == "gelu":
        slope = _phi(xp, v) + v * xp.exp(-v * v / 2) / math.sqrt(2 * math.pi)
    elif kind == "silu":
        s = _sigmoid(xp, v)
        slope = s * (1 + v * (1 - s))
    elif kind == "hswish":
        slope = xp.where(v <= -3, 0, xp.where(v >= 3, 1, v / 3 + 0.5))
    elif kind == "sigmoid":
        slope = v * (1 - v)
    elif kind == "hsigmoid":
        slope = ((v > 0) & (v < 1)) / 6
    else:
        slope = 1 - v * v
    return (dy * slope).astype(dy.dtype)


def prelu(xp, attrs, x, a):
    return xp.where(x > 0, x, a * x)


def prelu_grad(xp, attrs, x, a, dy):
    axes = tuple(range(x.ndim - 1))
    return xp.where(x > 0, dy, a * dy), (dy * xp.minimum(x, 0)).sum(axis=axes)


def add(xp, a, x, y):
    return x + y


def _stretch(x, like):
    """b of `mul` with the axes it lacks: (n, c) or (n, 1, …, c) over (n, *s, c)."""
    return x if x.ndim == like.ndim else x.reshape(x.shape[0], *(1,) * (like.ndim - 2), x.shape[-1])


def mul(xp, a, x, y):
    return x * _stretch(y, x)


def mul_reduce(xp, a, dy, x):
    product, shape = dy * x, a["shape"]
    wide = shape if len(shape) == product.ndim else (shape[0], *(1,) * (product.ndim - 2), shape[-1])
    axes = tuple(i for i, n in enumerate(wide) if n == 1 and product.shape[i] != 1)
    return product.sum(axis=axes, keepdims=True).reshape(shape)


def shuffle(xp, a, x):
    """The channels as a (g, c/g) matrix, transposed."""
    return xp.swapaxes(x.reshape(*x.shape[:-1], a["groups"], -1), -1, -2).reshape(x.shape)


def concat(xp, a, *parts):
    return xp.concatenate(parts, axis=-1)


def window(xp, a, x):
    """y[o] = x[o - before] inside, 0 outside."""
    y = xp.zeros(a["shape"], x.dtype)
    source, target = [], []
    for n, o, before in zip(x.shape, a["shape"], a["before"]):
        begin, end = max(0, before), min(o, n + before)
        target.append(slice(begin, max(end, begin)))
        source.append(slice(begin - before, max(end, begin) - before))
    y[tuple(target)] = x[tuple(source)]
    return y


def reshape(xp, a, x):
    return x.reshape(a["shape"])


def input(xp, a, x, mean, std):
    values = x.astype("float32") / np.float32(255) if x.dtype == "uint8" else x
    return (values - mean) / std


# ---------------------------------------------------------------- softmax


def softmax(xp, a, x):
    e = xp.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_grad(xp, a, y, dy):
    return y * (dy - (y * dy).sum(axis=-1, keepdims=True))


# what an operation takes from the run
RUN_TIME = dict.fromkeys(("dropout", "droppath", "dropblock"), ("seed", "step")) | array_optim.RUN_TIME


class ArrayBackend:
    """`--device numpy`, readable, single calls of NumPy an operation; `--device gpu`, the same calls of CuPy, and a
    kernel here and there."""

    def __init__(self, device=HOST):
        self.device, self.name = device, device.name

    def lower(self, steps, tape, training):
        return unfused(steps)

    def prepare(self, plan: Plan, store: Store):
        return ArraySession(self.device, plan, store)

    def kernel(self, step: Step) -> str:
        return "CUDA" if step.op in self.device.ops else "array"


class ArraySession:
    """A plan's arrays while it runs: each from the step that writes it to the last that reads it. Weights are the
    store's own memory."""

    block = None  # arrays are allocated one by one

    def __init__(self, device, plan: Plan, store: Store):
        self.device, self.plan, self.store = device, plan, store
        self.arrays: dict[int, object] = {}
        self.constants = {key: device.xp.asarray(values, "float32") for key, values in plan.constants.items()}
        self.feed = device.feeder()
        self.dead = last_readers(plan)

    def bytes(self, count: int) -> int:
        return 0

    def other_bytes(self) -> int:
        """About what its arrays take of the host's memory."""
        return self.plan.arena_bytes if self.device.xp is np else 0

    def use(self, block, count: int) -> None:
        """It needs no block."""

    def run(self, first: int, last: int, x, labels=None, moments=None, *, lr=0.0, seed=0, step=0) -> None:
        values = {"lr": float(lr), "seed": seed, "step": step}
        steps = self.plan.steps[first:last]
        given = {"x": x, "labels": labels}
        read = {b.name for s in steps for b in s.inputs if b is not None and b.role == "input"}
        with self.feed({name: given[name] for name in read}) as inputs, np.errstate(all="ignore"):
            for i, s in enumerate(steps, first):
                self._step(s, inputs, moments, values)
                for buffer in self.dead[i]:
                    self.arrays.pop(buffer, None)

    def _step(self, s: Step, inputs, moments, values) -> None:
        operands = [None if b is None else self._operand(b, inputs, moments) for b in s.inputs]
        op = self.device.ops.get(s.op) or globals()[s.op]
        results = op(self.device.xp, s.attrs, *operands, **{k: values[k] for k in RUN_TIME.get(s.op, ())})
        for b, result in zip(s.outputs, results if isinstance(results, tuple) else (results,)):
            if b is not None:
                self.arrays[b.id] = result.astype(b.dtype, copy=False)

    def _operand(self, b, inputs, moments):
        if b.role == "temp":
            return self.arrays[b.id]
        if b.role == "constant":
            return self.constants[b.id]
        return inputs[b.name] if b.role == "input" else (moments if b.role == "state" else self.store).piece(b)

    def read(self, buffer) -> np.ndarray:
        """A copy of a buffer's values."""
        return self.device.read(self.arrays[buffer.id])

    def write(self, buffer, value: np.ndarray) -> None:
        """Puts other values into a buffer, between two ranges of steps."""
        self.arrays[buffer.id] = self.device.xp.asarray(value)

    def numbers(self, buffers) -> list[float]:
        """The values of buffers of one number each, in one transfer."""
        xp = self.device.xp
        return self.device.read(xp.concatenate([self.arrays[b.id].astype("float64") for b in buffers])).tolist()

    def wait(self) -> None:
        """Returns when the steps that were started are done."""
        self.device.wait()


def last_readers(plan: Plan) -> list[tuple[int, ...]]:
    """For each step the buffers that nobody reads after it, but for those that make up the result."""
    kept = [plan.output, plan.squares, *(loss for _, loss in plan.losses)]
    if plan.request.mode == "gradients":
        kept += plan.gradients.values()
    results = {b.id for b in kept if b is not None}
    last = {b.id: i for i, s in enumerate(plan.steps) for b in s.inputs if b is not None and b.role == "temp"}
    dead: list[list[int]] = [[] for _ in plan.steps]
    for buffer, i in last.items():
        if buffer not in results:
            dead[i].append(buffer)
    return [tuple(buffers) for buffers in dead]
