"""Where the time goes: each step of a plan timed by itself, and the whole, against what the machine reaches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from . import threads
from .cost import flops, traffic
from .fuse import FUSIONS
from .plan import make_plan
from .tape import Step

WARMUP, ROUNDS, SECONDS = 2, 5, 2.0  # at least so many rounds, and rounds for so many seconds


class Machine(NamedTuple):
    """fma: GFLOP/s of multiply-adds, read: GB/s from memory, with the threads in use; None where it is not known."""

    fma: float | None
    read: float | None


@dataclass(frozen=True)
class Profile:
    """rows: one dict a step, see `row`. seconds: of a whole run. bounds: seconds that the multiply-adds take at the
    machine's peak, and that reading the weights takes; no program that multiplies as often, or finds no weight in a
    cache, is faster."""

    rows: list[dict]
    seconds: float
    bounds: tuple[float, float] | None


class Prepared:
    """The plan of a batch, ready to run: random input, labels 0, nothing is learned."""

    def __init__(self, net, batch: int, training: bool, fused: bool):
        self.x = np.random.default_rng(0).random((batch, *net.input_shape), np.float32)
        self.labels, self.moments, optimizer = None, None, ()
        if training:
            trainer = net.trainer(lr=0.0)
            self.moments, optimizer = trainer.moments, trainer.optimizer
            self.labels = np.zeros((batch, *(n for n in net.graph.output.spatial if n != 1)), np.int32)
        request = net.request("train" if training else "predict", self.x, self.labels, optimizer)
        self.plan = make_plan(net.graph, request, net.backend.lower, FUSIONS if fused else ())
        self.session = net.backend.prepare(self.plan, net.store)
        if training:
            self.labels = net.labels(self.labels, self.plan.labels)

    def seconds(self, first: int = 0, last: int | None = None) -> float:
        """Of the steps first to last (exclusive); of all."""
        last = len(self.plan.steps) if last is None else last
        begin = time.perf_counter()
        self.session.run(first, last, self.x, self.labels, self.moments, lr=0.0)
        self.session.wait()
        return time.perf_counter() - begin

    def steps(self) -> list[float]:
        return [self.seconds(i, i + 1) for i in range(len(self.plan.steps))]


def profile(net, batch: int, training: bool, fused: bool = True) -> Profile:
    """Times the plan of a batch, with `fused` false the one without fusions."""
    prepared = Prepared(net, batch, training, fused)
    steps, before = prepared.plan.steps, measured(net.device)
    seconds, taken = _rounds(prepared.seconds), _rounds(prepared.steps)
    # whatever else the machine does lowers a measurement, never raises it
    machine = Machine(*(m and max(m, n) for m, n in zip(before, measured(net.device))))
    rows = [row(step, median(times), net.backend.kernel(step), machine) for step, times in zip(steps, zip(*taken))]
    bounds = None
    if machine.fma:
        bounds = sum(map(flops, steps)) / machine.fma / 1e9, 4 * net.graph.params / machine.read / 1e9
    return Profile(rows, median(seconds), bounds)


def gain(net, batch: int, training: bool) -> tuple[float, float]:
    """Seconds of the plan without fusions and with them, run in turns."""
    sides = [Prepared(net, batch, training, fused) for fused in (False, True)]
    unfused, fused = zip(*_rounds(lambda: [side.seconds() for side in sides]))
    return median(unfused), median(fused)


def _rounds(once) -> list:
    """What `once` gives, called for a while; the first calls are left out."""
    begin, found = time.perf_counter(), []
    while len(found) < WARMUP + ROUNDS or time.perf_counter() - begin < SECONDS and len(found) < 10_000:
        found.append(once())
    return found[WARMUP:]


def measured(device: str) -> Machine:
    """The machine with the threads in use; nothing is known of other devices than the processor."""
    if device != "cpu":
        return Machine(None, None)
    from . import _cpu

    return Machine(_cpu.measure_fma(threads.get(), 0.3), _cpu.measure_read(threads.get(), 0.2))


def row(step: Step, seconds: float, kernel: str, machine: Machine) -> dict:
    """layer, op, kernel, pass, ms, gflops, peak_fraction (None for steps that multiply nothing), bytes (each operand
    once), gbs, bound_ms (the larger of multiply-adds at the peak and bytes at the speed of memory; a cache may beat the
    second), parts (the operations that were fused into it)."""
    work, moved = flops(step), traffic(step)
    rate = work / seconds / 1e9 if work else None
    bound = machine.fma and max(work / machine.fma, moved / machine.read) / 1e6
    return {"layer": step.node, "op": step.op, "kernel": kernel, "pass": step.pass_, "ms": round(1000 * seconds, 4),
            "gflops": rate and round(rate, 4), "peak_fraction": rate and machine.fma and round(rate / machine.fma, 6),
            "bytes": moved, "gbs": round(moved / seconds / 1e9, 4), "bound_ms": bound and round(bound, 5),
            "parts": [part.op for part in step.parts]}
