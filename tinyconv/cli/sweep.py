"""`tinyconv sweep`: one recipe with several values of its settings, each by several seeds, one run after another."""

from __future__ import annotations

import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import click

from ..errors import NetError, NonFiniteError
from ..files import replacing
from . import progress
from .common import (BadInput, data_option, define, device, input_option, joined, json_option, load_program, note,
                     options, print_json, reading, settings, skip_bad, threads, use_device)
from .runs import share, table
from .sources import open_data
from .train import make_recipe, prepare, run_loop


def _varied(context, parameter, values) -> dict[str, list[str]]:
    """{"train.optimizer.lr": ["0.1", "0.01"]}."""
    found: dict[str, list[str]] = {}
    for value in values:
        name, _, listed = value.partition("=")
        words = [word.strip() for word in listed.split(",")]
        if not name or not all(words) or len(set(words)) < len(words) or name in found:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE,VALUE,… with a value or more, each once")
        if "." in name and not name.startswith("train.") or name in ("train.seed", "train.ensemble"):
            raise click.BadParameter(f"{name} cannot vary: give a `let` or a setting of `train`; seeds by --seeds")
        found[name] = words
    return found


@click.command()
@click.argument("net", metavar="[NET]", required=False)
@click.option("--vary", metavar="NAME=V,V,…", multiple=True, callback=_varied,
              help="Values of a setting (train.optimizer.lr=0.1,0.01) or of a `let` (width=16,32); all combinations "
                   "are trained.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True,
              help="Runs of each, by consecutive seeds.")
@options(data_option)
@click.option("--epochs", type=click.IntRange(1), help="In place of the net's `epochs`.")
@click.option("--seed", type=click.IntRange(0), help="The first seed, in place of the net's.")
@options(threads, device)
@click.option("--out", metavar="DIR", help="The folder of all runs.  [default: runs/<name of the net>-sweep]")
@click.option("--resume", metavar="DIR", help="Go on with the sweep in this folder.")
@options(skip_bad, define, settings, input_option, json_option)
def sweep(net, vary, seeds, data, epochs, seed, device, out, resume, skip_bad, define, settings, input_, as_json):
    """Train a net with several values of its settings, each by several seeds; Ctrl-C saves, --resume goes on.

    Every run has its folder in DIR, as `tinyconv train` makes it; what is done is not done again. At the end the mean
    and the standard deviation over the seeds of each combination, also in summary.json. A run whose loss is not finite
    counts as failed, and the others go on. Processes started together, `mpiexec -n 4 tinyconv sweep …`, share the runs
    out.
    """
    from .. import train as training
    if (net is None) == (resume is None):
        raise click.UsageError("give a NET to train, or --resume DIR")
    if resume is not None and (vary or data or epochs or seed or out or skip_bad or define or settings or input_):
        raise click.UsageError("--resume goes on with the sweep as it was begun: give no other settings")
    world = joined()
    device, folder = use_device(device), Path(resume or out or f"runs/{Path(net).stem}-sweep")
    if resume is None and (world is None or world.leads):
        ready = prepare(net, data, epochs, seed, device, None, skip_bad, define, settings, input_)
        new_plan(folder, ready, epochs, vary, seeds)
    if world is not None:
        world.wait()
    plan = read_plan(folder)
    dataset = open_data(plan["data"])
    cases = [Case(folder, plan, values, device) for values in combinations(plan["vary"])]
    for case in cases:  # mistakes before the first run
        with reading():
            training.check(*case.ready(plan["seed"], dataset))
    try:
        if world is not None:
            runs = [(case, seed) for case in cases for seed in case.seeds]
            for case, seed in runs[world.rank::world.size]:
                case.run(seed, dataset)
            world.wait()
            if not world.leads:
                return 0
        rows = [case.train(dataset, as_json) for case in cases]  # what is trained already is only read
    except training.UsageError as error:
        raise BadInput(error) from error
    except training.Interrupted as stop:
        note(f"{stop}; go on with: tinyconv sweep --resume {folder}")
        return 130
    with replacing(folder / "summary.json") as file:
        file.write((json.dumps(rows, indent=2) + "\n").encode())
    if as_json:
        print_json({"event": "summary", "rows": rows})
    else:
        click.echo(summary(rows))
    return 0


def new_plan(folder: Path, ready, epochs: int | None, vary: dict[str, list[str]], seeds: int) -> None:
    """Writes what a sweep is, as sweep.json keeps it beside the net's text. The folder must be empty or new."""
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInput(NetError(f"{folder} is not empty", help=f"`--resume {folder}` goes on with the sweep in it; or "
                                                               "give another folder by `--out`"))
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"vary": vary, "seeds": seeds, "seed": ready.recipe.seed, "epochs": epochs, "data": ready.how}
    with replacing(folder / "net.net") as file:
        file.write(ready.model.text.encode())
    with replacing(folder / "sweep.json") as file:  # last: a folder with it can be gone on with
        file.write((json.dumps(plan, indent=2) + "\n").encode())


def read_plan(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "sweep.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(NetError(f"{folder} holds no sweep to go on with ({error})")) from error


def combinations(vary: dict[str, list[str]]) -> list[dict[str, str]]:
    return [dict(zip(vary, values)) for values in itertools.product(*vary.values())]


class Case:
    """One combination of the values, {"train.optimizer.lr": "0.1", "width": "16"}: its runs, one a seed."""

    def __init__(self, folder: Path, plan: dict[str, Any], values: dict[str, str], device: str):
        self.folder, self.plan, self.values, self.device = folder, plan, values, device
        self.seeds = range(plan["seed"], plan["seed"] + plan["seeds"])

    def ready(self, seed: int, dataset) -> tuple:
        """(net, data set, settings, pipelines) of the run with this seed."""
        from ..train import Pipelines

        lets = {name: value for name, value in self.values.items() if "." not in name}
        given = {name: value for name, value in self.values.items() if "." in name}
        model, recipe = make_recipe(load_program(str(self.folder / "net.net")), lets, given, None, self.plan["epochs"],
                                    seed, self.device)
        return model, dataset, recipe, Pipelines.of(model)

    def train(self, dataset, as_json: bool) -> dict[str, Any]:
        """Trains what is not trained yet; the row of the summary."""
        done = []
        for seed in self.seeds:
            event = self.run(seed, dataset)
            done.append(event)
            if as_json:
                print_json(event)
            else:
                note(f"{event['run']}: {event['error'] if 'error' in event else share(event['val_accuracy'])}")
        return {"values": self.values, "seeds": list(self.seeds), "failed": sum("error" in event for event in done),
                **{key: spread([event[key] for event in done]) for key in ("val_accuracy", "best_val_accuracy")}}

    def run(self, seed: int, dataset) -> dict[str, Any]:
        """Trains the run with this seed, or what is left of it; its `done` event as one of "run"."""
        from .. import train as training

        model, _, recipe, _ = self.ready(seed, dataset)
        name = ",".join([*(f"{key.removeprefix('train.')}={v}" for key, v in self.values.items()), f"seed={seed}"])
        path = self.folder / name.replace("/", "_")
        if (path / "config.json").is_file():
            run = training.resume(path)
        else:
            run = training.start(path, stem="", text=model.text, settings=recipe, data=self.plan["data"],
                                 fingerprint=training.fingerprint(dataset))
        shown = progress.make(recipe.epochs, quiet=True)
        with run, shown:
            try:
                event = run_loop(model, dataset, run, shown, None, lambda event: None)
            except NonFiniteError as error:
                event = {"val_accuracy": None, "best_val_accuracy": None, "error": error.message}
        return {**event, "event": "run", "run": str(path), "values": self.values, "seed": seed}


def spread(values: list[float | None]) -> dict[str, Any]:
    """{"mean", "std", "each"}: std is that of a sample, None for fewer than two values."""
    known = [value for value in values if value is not None]
    return {"mean": statistics.fmean(known) if known else None,
            "std": statistics.stdev(known) if len(known) > 1 else None, "each": values}


def summary(rows: list[dict[str, Any]]) -> str:
    """A line a combination: mean and standard deviation of the last epoch's accuracy, and of the best."""

    def shown(found: dict[str, Any]) -> str:
        return share(found["mean"]) + (f" ± {share(found['std'])}" if found["std"] is not None else "")

    names = list(rows[0]["values"])
    cells = [[*names, "runs", "failed", "val accuracy", "best"]]
    cells += [[*row["values"].values(), str(len(row["seeds"])), str(row["failed"]), shown(row["val_accuracy"]),
               shown(row["best_val_accuracy"])] for row in rows]
    return table(cells)
