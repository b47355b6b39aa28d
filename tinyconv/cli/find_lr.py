"""`tinyconv train NET --find-lr`: the learning-rate range test."""

from __future__ import annotations

import click

from .common import note, print_json

SHOWN = 24  # lines of the table


def find_rate(model, dataset, recipe, plot: str | None, as_json: bool) -> int:
    """Runs the test, prints its table or JSON and draws it where a file is given."""
    from ..train import rate_test
    from . import plots

    if plot:
        plots.check(plot)
    found = rate_test(model, dataset, recipe)
    if plot:
        plots.rates(plot, found)
        note(f"drawn into {plot}")
    if as_json:
        print_json(found)
        return 0
    click.echo(f"{'lr':>9}  {'loss':>8}  running mean")
    rows = list(zip(found["rates"], found["losses"], found["smoothed"]))
    for rate, loss, mean in rows[::max(1, len(rows) // SHOWN)]:
        click.echo(f"{rate:9.3g}  {loss:8.4f}  {mean:12.4f}")
    name, rate = recipe.optimizer[0], f"lr={found['suggested']:.2g}"
    written = "optimizer" in model.sections.get("train", {})
    option = f"train.optimizer.{rate}" if written else f"'train.optimizer={name} {rate}'"
    click.echo(f"suggested: {rate} for {name}, `--set {option}`")
    return 0
