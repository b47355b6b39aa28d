"""Where the time goes: each step of a plan, timed alone, against what the machine reaches."""

from __future__ import annotations

import statistics
import time
from math import prod

import numpy as np

from ..errors import NetError
from . import threads
from .store import Block
from .tape import Step

PRODUCTS = ("conv", "conv_post", "conv_dx", "conv_dw")


def flops(step: Step) -> int:
    """Floating-point operations of a convolution step, two a multiply-add; 0 for others."""
    if step.op not in PRODUCTS:
        return 0
    if step.op in ("conv", "conv_post"):
        y, weight = step.outputs[0].shape, step.attrs.get("weight", step.inputs[1].shape)
    elif step.op == "conv_dx":
        y, weight = step.inputs[0].shape, step.attrs.get("weight", step.inputs[1].shape)
    else:
        y, weight = step.inputs[1].shape, step.attrs["shape"]
    return 2 * prod(y) * prod(weight[1:])


def traffic(step: Step) -> int:
    """Bytes of all operands, each read or written once."""
    return sum(b.bytes for b in (*step.inputs, *step.outputs) if b is not None)


def profile(net, batch: int = 1, train: bool = False, repeats: int = 15, spatial: tuple | None = None) -> list[dict]:
    """One dict a step, in order: layer, op, kernel, pass, ms (median), gflops, peak_fraction, bytes.

    gflops and peak_fraction are None where a step multiplies nothing; the peak is the FMA rate of as many threads,
    measured before and after. The input is random, the labels are 0.
    """
    if net.device != "cpu":
        raise NetError("`bench` times the compiled backend, and this net runs on NumPy")
    from . import _cpu

    spatial = spatial or net.input_shape[:-1]
    if None in spatial:
        raise NetError("the input has an axis of free size", help="give one: --input '224x224 x3'")
    x = np.random.default_rng(0).random((batch, *spatial, net.input_shape[-1]), np.float32)
    labels = None
    if train:
        labels = np.zeros((batch, *(n or 1 for n in net.graph.output.spatial)), np.int32)
    optimizer = ("sgd", (("decay", 5e-4), ("decay_all", False), ("momentum", 0.9), ("nesterov", False)))
    request = net.request("train" if train else "predict", x, labels, optimizer if train else ())
    count = threads.get()
    peaks = [_cpu.measure_fma(count, 0.1)]
    with net.sessions.session(request) as session:
        plan = session.plan
        if plan.labels is not None:
            labels = np.zeros(plan.labels.shape, plan.labels.dtype)
        moments = Block(net.store.specs)
        times: list[list[float]] = [[] for _ in plan.steps]
        for turn in range(repeats + 2):
            for i in range(len(plan.steps)):
                begin = time.perf_counter()
                session.run(i, i + 1, x, labels, moments)
                if turn >= 2:
                    times[i].append(time.perf_counter() - begin)
    peaks.append(_cpu.measure_fma(count, 0.1))
    rows = []
    for step, taken in zip(plan.steps, times):
        seconds, work = statistics.median(taken), flops(step)
        rate = work / seconds / 1e9 if work else None
        rows.append({"layer": step.node, "op": step.op, "kernel": net.backend.kernel(step), "pass": step.pass_,
                     "ms": seconds * 1e3, "gflops": rate, "peak_fraction": rate and rate / max(peaks),
                     "bytes": traffic(step)})
    return rows
