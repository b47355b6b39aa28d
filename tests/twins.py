"""Runs a plan on the C backend step by step and each step's NumPy twin on the same operands."""

from __future__ import annotations

import numpy as np

from tinyconv.runtime import array
from tinyconv.runtime.cpu import CpuBackend
from tinyconv.runtime.optimizers import state_specs
from tinyconv.runtime.plan import make_plan
from tinyconv.runtime.store import Block
from tinyconv.runtime.uses import unfused

LR, SEED, STEP = 0.05, 12345678901, 3


def run_both_ways(net, request, x, labels, wanted=lambda step: True):
    """For the wanted steps, yields (step, what C wrote, what NumPy makes of the same operands, the size of the terms
    summed up for it), a list of arrays each."""
    backend = CpuBackend()
    plan = make_plan(net.graph, request, backend.lower)
    session = backend.prepare(plan, net.store)
    moments = Block(state_specs(net.store.specs, request.optimizer, request.frozen))
    packed = {}  # buffer -> the weight as it was when it was packed

    def value(b):
        if b is None:
            return None
        if b.id in packed:
            return packed[b.id]
        if b.role == "packed":
            return net.store.view(b.name).copy()
        if b.role == "input":
            return x if b.name == "x" else labels
        if b.role == "constant":
            return np.asarray(plan.constants[b.id], np.float32)
        if b.role == "weight":
            return net.store.view(b.name).copy()
        return moments.view(b.name).copy() if b.role == "state" else session.read(b)

    def twin(step, operands):
        """What NumPy makes of a step: of a fused one's parts, one after another."""
        arrays = {b.id: operand for b, operand in zip(step.inputs, operands) if b is not None}
        for part in unfused([step]):
            extra = {k: {"lr": np.float32(LR), "seed": SEED, "step": STEP}[k] for k in array.RUN_TIME.get(part.op, ())}
            own = [None if b is None else arrays[b.id] if b.id in arrays else value(b) for b in part.inputs]
            results = getattr(array, part.op)(np, part.attrs, *own, **extra)
            results = results if isinstance(results, tuple) else (results,)
            arrays.update({b.id: result for b, result in zip(part.outputs, results) if b is not None})
        return [None if b is None else arrays[b.id] for b in step.outputs]

    for i, step in enumerate(plan.steps):
        if step.op != "pack" and not wanted(step):
            session.run(i, i + 1, x, labels, moments, lr=LR, seed=SEED, step=STEP)
            continue
        operands = [value(b) for b in step.inputs]
        session.run(i, i + 1, x, labels, moments, lr=LR, seed=SEED, step=STEP)
        if step.op == "pack":
            packed[step.outputs[0].id] = operands[0]
            continue
        expected = twin(step, operands)
        found = [None if b is None else value(b) for b in step.outputs]
        for j in array_updates(step.op):
            found.append(value(step.inputs[j]))
            expected.append(operands[j])
        yield step, found, expected, sizes(step, operands, expected, value)


LINEAR = ("bias_add", "resize", "resize_grad", "conv", "conv_dx", "conv_dw", "bias_grad", "mul_reduce", "avgpool",
          "maxpool_grad", "avgpool_grad", "add")


def sizes(step, operands, expected, value) -> list[float]:
    """An error is measured against the largest sum of magnitudes, not against a sum that may cancel."""
    if step.op == "conv_post":
        x, w, _, add = operands
        size = array.conv(np, step.attrs, np.abs(x), np.abs(w)).max()
        for part in step.parts:
            if part.op == "bn_apply":
                _, _, var, gamma, _ = part.inputs
                size *= (np.abs(value(gamma)) / np.sqrt(value(var))).max()
        return [size + (0.0 if add is None else np.abs(add).max())]
    if step.op in LINEAR:
        rest = operands[1:] if step.op != "maxpool_grad" else []
        sums = getattr(array, step.op)(np, step.attrs, np.abs(operands[0]),
                                       *(b if b is None else np.abs(b) for b in rest),
                                       *(operands[1:] if step.op == "maxpool_grad" else ()))
        return [sums.max()]
    if step.op in ("bn_grad", "bn_act_grad", "ln_grad", "gn_grad", "prelu_grad", "scale_grad"):
        normed = step.op not in ("prelu_grad", "scale_grad")
        x, dy = operands[0], operands[1 if normed else 2]
        rows = dy.size // dy.shape[-1]
        spread = 10.0 if normed else np.abs(x).max()
        total = np.abs(dy).reshape(rows, -1).sum(0).max()
        return [np.abs(dy).max() * 100] + [total * spread] * (len(expected) - 1)
    return [0.0 if e is None else np.abs(e.astype(np.float64)).max() for e in expected]


def array_updates(op: str) -> tuple[int, ...]:
    from tinyconv.ops import OPS

    return OPS[op].updates
