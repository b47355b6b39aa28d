"""`tinyconv runs`: training runs side by side."""

from __future__ import annotations

import click

from . import plots
from .common import json_option, note, print_json
from .progress import percent


@click.command()
@click.argument("folders", metavar="[DIR]...", nargs=-1)
@click.option("--plot", metavar="FILE", help="Draw the validation loss and accuracy of all (.png, .svg, .pdf).")
@json_option
def runs(folders, plot, as_json):
    """Compare runs: those in the folders given, or in `runs`.

    A line a run: epochs, loss and accuracy of the last epoch, the best accuracy, and the settings in which they differ.
    """
    from ..train import compare

    if plot:
        plots.check(plot)
    found = compare.find(folders or ["runs"])
    rows = [compare.overview(folder) for folder in found]
    if plot:
        plots.compare(plot, [(str(folder), compare.epochs(folder)) for folder in found])
        note(f"drawn into {plot}")
    if as_json:
        print_json(rows)
        return
    names = compare.differing(rows)
    cells = [["run", "epochs", "val loss", "val accuracy", "best", "seconds", *names]]
    for row in rows:
        settings = [as_written(row["settings"].get(name)) for name in names]
        cells.append([row["run"], f"{row['epochs']}/{row['of']}", number(row["val_loss"]), share(row["val_accuracy"]),
                      share(row["best_val_accuracy"]), f"{row['seconds']:.1f}", *settings])
    click.echo(table(cells))


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def share(value: float | None) -> str:
    return "-" if value is None else percent(value)


def as_written(value) -> str:
    """As a `.net` file has it."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "on", False: "off"}[value]
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def table(cells: list[list[str]]) -> str:
    """Columns as wide as their widest cell, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in cells)
