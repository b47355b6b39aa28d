"""`tinyconv train`: from a `.net` file and data to weights in a run folder."""

from __future__ import annotations

import platform
import time
from contextlib import closing, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..errors import NetError
from . import progress
from .common import (BadInput, data_option, define, device, input_option, joined, json_option, load_program, make_net,
                     note, options, print_json, reading, settings, skip_bad, threads, use_device)


@click.command()
@click.argument("net", metavar="[NET]", required=False)
@options(data_option)
@click.option("--epochs", type=click.IntRange(0), help="In place of the net's `epochs`; 0 only measures.")
@click.option("--seed", type=click.IntRange(0), help="In place of the net's `seed`.")
@options(threads, device)
@click.option("--memory", metavar="LIMIT", help="The most memory that a process takes, such as 900M or 1.5G, at the "
                                                "cost of time.")
@click.option("--out", metavar="DIR", help="The run folder.  [default: runs/<name of the net>]")
@click.option("--resume", metavar="DIR", help="Go on with the run in this folder; NET may then be left out.")
@click.option("--init", metavar="WEIGHTS", help="Begin with the weights of this file; with another number of classes "
                                                "the last layer starts anew.")
@click.option("--freeze", metavar="PATTERN", multiple=True,
              help="Leave the weights of these layers as they are: 'conv*'. Can be given several times.")
@click.option("--find-lr", is_flag=True, help="Try rates from 1e-6 to 10 on 120 batches, suggest one, train nothing.")
@click.option("--plot", metavar="FILE", help="Of --find-lr: draw the losses into this file (.png, .svg, .pdf).")
@click.option("--tensorboard", is_flag=True, help="Write event files into DIR/tensorboard, too.")
@options(skip_bad, define, settings, input_option)
@click.option("--sync-bn", is_flag=True, help="Under mpiexec: batch norm takes the statistics of the whole batch.")
@options(json_option)
def train(net, data, epochs, seed, device, memory, out, resume, init, freeze, find_lr, plot, tensorboard, skip_bad,
          define, settings, input_, sync_bn, as_json):
    """Train a net; Ctrl-C saves, and --resume goes on from there.

    The run folder holds net.net, config.json, environment.json, log.jsonl, best.safetensors, last.safetensors, and
    where matplotlib is installed curves.png. Several processes train one net together by `mpiexec -n 4 tinyconv train
    NET`, each on its part of every batch.
    """
    settings = with_freeze(settings, freeze)
    if net is None and resume is None:
        raise click.UsageError("give a NET to train, or --resume DIR")
    if find_lr and (out or resume) or plot and not find_lr:
        raise click.UsageError("--find-lr makes no run: it goes with neither --out nor --resume; --plot goes with it")
    if resume is not None:
        _no_changes({"--data": data, "--seed": seed, "--out": out, "--skip-bad": skip_bad or None, "--init": init})
        if net is None:
            _no_changes({"-D": define or None, "--set": settings or None, "--input": input_})
    if tensorboard:
        from . import tensorboard as events

        events.check()
    from .. import train as training

    world = several(sync_bn, device)

    def together(make):
        return make() if world is None else training.together(world, sync_bn, make)

    device, limit = use_device(device), None if memory is None else amount(memory)
    try:
        if resume is None:
            ready = prepare(net, data, epochs, seed, device, init, skip_bad, define, settings, input_)
            if find_lr:
                from .find_lr import find_rate

                return find_rate(ready.model, ready.dataset, ready.recipe, plot, as_json)
            model, dataset, run = ready.model, ready.dataset, begin(ready, out, together)
        else:
            model, dataset, run = go_on(net, epochs, device, resume, define, settings, input_, together)
        shown = progress.make(run.settings.epochs, quiet=as_json) if run.leads else progress.Silent()
        with run, shown:
            shown.note(headline(model, dataset, run))
            with boards(tensorboard and run.leads, run) as board:
                done = run_loop(model, dataset, run, shown, limit,
                                lambda event: show(event, shown, as_json and run.leads, board))
    except training.UsageError as error:
        raise BadInput(error) from error
    except training.Interrupted as stop:
        if world is None or world.leads:
            note(f"{stop}; go on with: tinyconv train --resume {stop.folder}")
        return 130
    except (NetError, BadInput):
        if world is not None and not world.leads:
            time.sleep(5)  # a mistake that all ranks see is told by rank 0, which then ends all
        raise
    if run.leads and not as_json:
        click.echo(result(done))
    return 0


def with_freeze(settings: dict, patterns: tuple[str, ...]) -> dict:
    """The settings with what --freeze was given."""
    if not patterns:
        return settings
    if "train.freeze" in settings:
        raise click.UsageError("--freeze and --set train.freeze say the same: give one of them")
    return {**settings, "train.freeze": f'"{" ".join(patterns)}"'}


def several(sync_bn: bool, device: str | None):
    """The processes that mpiexec started, or None for one alone."""
    world = joined()
    if sync_bn and world is None:
        raise click.UsageError("--sync-bn is for several processes: mpiexec -n 4 tinyconv train …")
    if device == "gpu" and world is not None:
        raise click.UsageError("several processes train on processors: leave --device gpu out, or mpiexec")
    return world


def amount(text: str) -> int:
    """Bytes."""
    from ..errors import NetError
    from ..runtime import budget

    try:
        return budget.parse(text)
    except NetError as error:
        raise click.BadParameter(f"{error.message}; {error.help}", param_hint="--memory") from error


def _no_changes(given: dict) -> None:
    for option, value in given.items():
        if value is not None:
            raise click.UsageError(f"{option} cannot be given with --resume: the run goes on as it was begun")


class Ready(NamedTuple):
    """What a run is made of, everything known to fit. how: the data, as `sources.open_data` takes them; initial: the
    weights to begin with, or None; stem: what the run is called."""

    model: Any
    dataset: Any
    recipe: Any
    how: dict
    initial: dict | None
    stem: str


def prepare(net, data, epochs, seed, device, init, skip_bad, define, settings, input_) -> Ready:
    """Reads and checks what the options name; no file is written."""
    from ..train import Pipelines, check
    from .sources import chosen, measured, open_data

    program = load_program(net)
    model, recipe = make_recipe(program, define, settings, input_, epochs, seed, device)
    with reading(program.files):
        how = chosen(model, data, program.file, skip_bad, recipe.seed)
    initial = None if init is None else taken(model, init)
    dataset = open_data(how)
    check(model, dataset, recipe, Pipelines.of(model))
    how = measured(how, dataset, Pipelines.of(model).train)
    return Ready(model, dataset, recipe, how, initial, Path(program.file).stem.strip("<>"))


def make_recipe(program, define, settings, input_, epochs, seed, device):
    """(net, settings of its training) of a program, every error of the text told."""
    from .. import lang
    from ..sections import SECTIONS
    from ..train import Settings

    with reading(program.files):
        sections = lang.sections(program, SECTIONS, settings, define)
        recipe = Settings.of(sections["train"], epochs=epochs, seed=seed)
    model = make_net(program, define, input_, settings, device, recipe.seed)
    with reading(program.files):
        model.text, model.frozen  # noqa: B018 -- so that an error in them is one of the text
    return model, recipe


def begin(ready: Ready, out: str | None, together):
    """The run in a new folder. together(make): the run that make() gives, on every rank."""
    from ..train import fingerprint, start
    from .info import machine

    noted = {**machine(), "python": platform.python_version(), "numpy": metadata.version("numpy")}
    return together(lambda: start(out, stem=ready.stem, text=ready.model.text, settings=ready.recipe, data=ready.how,
                                  fingerprint=fingerprint(ready.dataset), initial=ready.initial, environment=noted))


def taken(model, file: str) -> dict:
    """The weights to begin with, which `model` then has; says which those are."""
    found = model.take_weights(file)
    anew = [name for name in model.weights if name not in found]
    note(f"took {len(found)} of {len(model.weights)} arrays of weights from {file}"
         + (f"; {', '.join(anew)} start{'s' if len(anew) == 1 else ''} anew" if anew else ""))
    return found


def go_on(net, epochs, device, folder, define, settings, input_, together):
    """(net, data set, run) of a run folder."""
    from .. import lang
    from ..net import Net
    from ..train import resume
    from .sources import open_data

    run = together(lambda: resume(folder, epochs=epochs))
    try:
        if net is not None:
            program = load_program(net)
            run.check_text(make_net(program, define, input_, settings, device).text)
        model = Net(lang.parse(run.text, str(run.folder / "net.net")), seed=run.settings.seed, device=device)
        dataset = open_data(run.data)
    except BaseException:
        run.close()
        raise
    return model, dataset, run


def headline(model, dataset, run) -> str:
    """What is trained on what, into which folder."""
    macs = model.graph.macs
    work = "" if macs is None else f", {macs:,} MACs a sample"
    return (f"{model.graph.params:,} parameters{work}; {dataset.description or dataset.name}; "
            f"device {model.device}; into {run.folder}")


def boards(wanted: bool, run):
    """A context that gives the writer of event files, or None."""
    if not wanted:
        return nullcontext()
    from .tensorboard import Board

    return closing(Board(run.folder))


def run_loop(model, dataset, run, shown, memory: int | None, on_event) -> dict:
    """Trains a net or the members of an ensemble, draws curves.png where matplotlib is, returns the `done` event."""
    from .. import train as training
    from ..train import compare
    from . import plots

    loop, what = training.train, model
    if run.settings.ensemble > 1:
        loop, what = training.train_ensemble, model.fresh
    done = loop(what, dataset, run, on_event=on_event, on_batch=shown.on_batch, on_note=shown.note, memory=memory)
    if not (run.leads and plots.installed() and done["epochs"]):
        return done
    folders = [Path(member["weights"]).parent for member in done["members"]] if "members" in done else [run.folder]
    for folder in folders:
        plots.curves(folder / "curves.png", compare.epochs(folder))
    return done


def show(event: dict, shown, as_json: bool, board) -> None:
    if event["event"] == "epoch":
        shown.epoch(event)
        if board:
            board.epoch(event)
    if as_json:
        print_json(event)


def result(done: dict) -> str:
    """The last line of text: what came out, and where it is."""
    members, weights = done.get("members", ()), done["weights"]
    times = (f"{done['epochs']} epoch{'s' * (done['epochs'] != 1)}, {done['seconds']:.1f} s; "
             f"{' '.join(weights) if members else weights}")
    if done["val_accuracy"] is None:
        return f"trained {times}"
    text = f"accuracy {progress.percent(done['val_accuracy'])} (best {progress.percent(done['best_val_accuracy'])})"
    if members:
        alone = [member["val_accuracy"] for member in members]
        text += (f", {len(members)} members {progress.percent(min(alone))} to {progress.percent(max(alone))}, "
                 f"mean {progress.percent(sum(alone) / len(alone))}")
    return f"{text} after {times}"
