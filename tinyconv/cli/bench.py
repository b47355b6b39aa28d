"""`tinyconv bench`: the time of every step of a net, against the machine's peak."""

from __future__ import annotations

import click

from ..errors import NetError
from . import plots
from .common import (define, device, input_option, json_option, load_program, make_net, note, options, print_json,
                     settings, threads, use_device)


@click.command()
@click.argument("net", metavar="NET", required=False)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples at a time.")
@click.option("--train", "training", is_flag=True, help="A training step: forward, backward and update.")
@click.option("--unfused", is_flag=True, help="The steps before fusion, and what fusion gains.")
@click.option("--plot", metavar="FILE", help="Draw the times of the steps beside their bounds (.png, .svg, .pdf).")
@click.option("--calibrate", is_flag=True, help="Instead: the costs by which convolutions' algorithms are chosen, "
                                               "measured here on one thread. Changes nothing.")
@options(threads, device, define, settings, input_option, json_option)
def bench(net, batch, training, unfused, plot, calibrate, device, define, settings, input_, as_json):
    """Time every step of a net: milliseconds, GFLOP/s, share of the measured peak, bytes moved; and the whole."""
    from ..runtime.profile import gain, profile

    if calibrate:
        click.echo(costs())
        return
    if net is None:
        raise NetError("there is no net to measure", help="name one: tinyconv bench lenet5")
    model = make_net(load_program(net), define, input_, settings, use_device(device))
    if None in model.input_shape:
        raise NetError(f"the input {model.graph.input} has a free size",
                       help="give one by --input, such as '224x224 x3'")
    if plot:
        plots.check(plot)
    found = profile(model, batch, training, not unfused)
    if plot:
        plots.steps(plot, found.rows, found.bounds is not None, f"{net}, batch {batch}{', training' * training}")
    if as_json:
        print_json(found.rows)
        return
    click.echo(table(found.rows))
    for line in whole(found, batch):
        note(line)
    if unfused:
        before, after = gain(model, batch, training)
        note(f"in turns: {1000 * before:.3g} ms unfused, {1000 * after:.3g} ms fused, "
             f"{before / after:.2f} times as fast")


def costs() -> str:
    """The table of `--calibrate`."""
    from ..runtime import threads
    from ..runtime.backend import compiled
    from .calibrate import table

    if not compiled():
        raise NetError("there are no C kernels to measure", help="install a C compiler and tinyconv again")
    with threads.threads(1):
        return table()


def whole(found, batch: int) -> list[str]:
    """The run as a whole, and the bounds of the machine."""
    ms = 1000 * found.seconds
    lines = [f"{ms:.3g} ms for {batch} sample{'s' * (batch > 1)}, {batch / found.seconds:,.1f} a second; "
             f"{sum(row['ms'] for row in found.rows):.3g} ms step by step"]
    if found.bounds:
        work, weights = (1000 * b for b in found.bounds)
        lines.append(f"bounds: {work:.3g} ms of multiply-adds at the peak, {weights:.3g} ms to read the weights once; "
                     f"{100 * max(work, weights) / ms:.0f} % of the roofline (above 100 %: Winograd multiplies less, "
                     "caches keep weights)")
    return lines


def table(rows: list[dict]) -> str:
    lines = [("layer", "op", "kernel", "pass", "ms", "GFLOP/s", "of peak", "MB", "GB/s", "fused")]
    for row in rows:
        rate = "" if row["gflops"] is None else f"{row['gflops']:.1f}"
        share = "" if row["peak_fraction"] is None else f"{100 * row['peak_fraction']:.0f} %"
        lines.append((row["layer"], row["op"], row["kernel"], row["pass"], f"{row['ms']:.3f}", rate, share,
                      f"{row['bytes'] / 1e6:.2f}", f"{row['gbs']:.1f}", " + ".join(row["parts"])))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.rjust(w) if 4 <= i <= 8 else cell.ljust(w)
                               for i, (cell, w) in enumerate(zip(line, widths))).rstrip() for line in lines)
