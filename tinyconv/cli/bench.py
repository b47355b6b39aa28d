"""`tinyconv bench`: the time of every step of a net, against the machine's peak."""

from __future__ import annotations

import time
from statistics import median

import click

from ..errors import NetError
from .common import (define, device, input_option, json_option, load_program, make_net, note, options, print_json,
                     settings, threads, use_device)

WARMUP, ROUNDS, SECONDS = 2, 5, 2.0  # at least so many rounds, and rounds for so many seconds


@click.command()
@click.argument("net", metavar="NET")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples at a time.")
@click.option("--train", "training", is_flag=True, help="A training step: forward, backward and update.")
@options(threads, device, define, settings, input_option, json_option)
def bench(net, batch, training, device, define, settings, input_, as_json):
    """Time every step of a net: milliseconds, GFLOP/s, share of the measured peak, bytes moved."""
    model = make_net(load_program(net), define, input_, settings, use_device(device))
    if None in model.input_shape:
        raise NetError(f"the input {model.graph.input} has a free size",
                       help="give one by --input, such as '224x224 x3'")
    rows = measure(model, batch, training)
    if as_json:
        print_json(rows)
        return
    click.echo(table(rows))
    total = sum(row["ms"] for row in rows)
    note(f"{total:.2f} ms for {batch} sample{'s' * (batch > 1)}, {1000 * batch / total:,.1f} a second")


def measure(model, batch: int, training: bool) -> list[dict]:
    """One row a step: layer, op, kernel, pass, ms (median), gflops, peak_fraction, bytes; None where there is nothing
    to count (only convolution and fc have gflops) or no peak is known."""
    import numpy as np

    x = np.random.default_rng(0).random((batch, *model.input_shape), np.float32)
    labels, moments, optimizer = None, None, ()
    if training:
        trainer = model.trainer(lr=0.0)
        moments, optimizer = trainer.moments, trainer.optimizer
        spatial = tuple(n for n in model.graph.output.spatial if n != 1)
        labels = np.zeros((batch, *spatial), np.int32)
    request = model.request("train" if training else "predict", x, labels, optimizer)
    peak = fma_peak(model.device)
    with model.sessions.session(request) as session:
        plan = session.plan
        if labels is not None:
            labels = model.labels(labels, plan.labels)
        times = [[] for _ in plan.steps]
        begin = time.perf_counter()
        for turn in range(10_000):
            if turn >= WARMUP + ROUNDS and time.perf_counter() - begin > SECONDS:
                break
            for i in range(len(plan.steps)):
                start = time.perf_counter()
                session.run(i, i + 1, x, labels, moments, lr=0.0)
                if turn >= WARMUP:
                    times[i].append(time.perf_counter() - start)
    if peak is not None:
        peak = max(peak, fma_peak(model.device))  # whatever else the machine does lowers a measurement, never raises it
    kernel = getattr(model.backend, "kernel", lambda step: "array")
    return [row(step, median(taken), kernel(step), peak) for step, taken in zip(plan.steps, times)]


def fma_peak(device: str) -> float | None:
    """GFLOP/s of the machine with the threads in use; None on NumPy."""
    if device != "cpu":
        return None
    from ..runtime import _cpu, threads

    return _cpu.measure_fma(threads.get(), 0.3)


def row(step, seconds: float, kernel: str, peak: float | None) -> dict:
    work = flops(step)
    rate = None if work is None else work / seconds / 1e9
    return {"layer": step.node, "op": step.op, "kernel": kernel, "pass": step.pass_, "ms": round(1000 * seconds, 4),
            "gflops": rate and round(rate, 4), "peak_fraction": rate and peak and round(rate / peak, 6),
            "bytes": sum(b.bytes for b in (*step.inputs, *step.outputs) if b is not None)}


def flops(step) -> int | None:
    """Two for each multiply-add of the direct convolution, whatever the algorithm does; None for other operations."""
    from math import prod

    if step.op in ("conv", "conv_post"):
        y, w = step.outputs[0].shape, step.attrs.get("weight", step.inputs[1].shape)
    elif step.op == "conv_dx":
        y, w = step.inputs[0].shape, step.attrs.get("weight", step.inputs[1].shape)
    elif step.op == "conv_dw":
        y, w = step.inputs[1].shape, step.attrs["shape"]
    else:
        return None
    return 2 * prod(y) * prod(w[1:])


def table(rows: list[dict]) -> str:
    lines = [("layer", "op", "kernel", "pass", "ms", "GFLOP/s", "of peak", "GB/s")]
    for row in rows:
        rate = "" if row["gflops"] is None else f"{row['gflops']:.1f}"
        share = "" if row["peak_fraction"] is None else f"{100 * row['peak_fraction']:.0f} %"
        moved = f"{row['bytes'] / row['ms'] / 1e6:.1f}" if row["ms"] else ""
        lines.append((row["layer"], row["op"], row["kernel"], row["pass"], f"{row['ms']:.3f}", rate, share, moved))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(w) if i < 4 else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(line, widths))).rstrip() for line in lines)
