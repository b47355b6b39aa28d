"""`tinyconv train`: from a `.net` file and data to weights in a run folder."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ..errors import NetError
from . import progress
from .common import (BadInput, data_option, define, device, input_option, json_option, load_program, make_net, note,
                     options, print_json, reading, settings, skip_bad, threads, use_device)


@click.command()
@click.argument("net", metavar="[NET]", required=False)
@options(data_option)
@click.option("--epochs", type=click.IntRange(1), help="In place of the net's `epochs`.")
@click.option("--seed", type=click.IntRange(0), help="In place of the net's `seed`.")
@options(threads, device)
@click.option("--memory", metavar="LIMIT", help="The most memory to take, such as 900M or 1.5G, at the cost of time.")
@click.option("--out", metavar="DIR", help="The run folder.  [default: runs/<name of the net>]")
@click.option("--resume", metavar="DIR", help="Go on with the run in this folder; NET may then be left out.")
@options(skip_bad, define, settings, input_option)
@click.option("--sync-bn", is_flag=True, help="Under mpiexec: batch norm takes the statistics of the whole batch.")
@options(json_option)
def train(net, data, epochs, seed, device, memory, out, resume, skip_bad, define, settings, input_, sync_bn, as_json):
    """Train a net; Ctrl-C saves, and --resume goes on from there.

    The run folder holds net.net, config.json, log.jsonl, best.safetensors and last.safetensors. Several processes train
    one net together by `mpiexec -n 4 tinyconv train NET`, each on its part of every batch.
    """
    if net is None and resume is None:
        raise click.UsageError("give a NET to train, or --resume DIR")
    if resume is not None:
        _no_changes({"--data": data, "--seed": seed, "--out": out, "--skip-bad": skip_bad or None})
        if net is None:
            _no_changes({"-D": define or None, "--set": settings or None, "--input": input_})
    from .. import train as training
    from ..runtime import ranks, threads

    world = ranks.world()
    if sync_bn and world is None:
        raise click.UsageError("--sync-bn is for several processes: mpiexec -n 4 tinyconv train …")
    if memory is not None and world is not None:
        raise click.UsageError("--memory is for one process: use more of them, each takes a smaller part of the batch")
    if world is not None and not threads.chosen():
        threads.set_default(world.threads(threads.get()))

    def together(make):
        return make() if world is None else training.together(world, sync_bn, make)

    device, limit = use_device(device), None if memory is None else amount(memory)
    try:
        if resume is None:
            model, dataset, run = begin(net, data, epochs, seed, device, out, skip_bad, define, settings, input_, together)
        else:
            model, dataset, run = go_on(net, epochs, device, resume, define, settings, input_, together)
        shown = progress.make(run.settings.epochs, quiet=as_json) if run.leads else progress.Silent()
        with run, shown:
            shown.note(headline(model, dataset, run))
            loop, what = training.train, model
            if run.settings.ensemble > 1:
                loop, what = training.train_ensemble, model.fresh
            done = loop(what, dataset, run, on_event=lambda event: show(event, shown, as_json and run.leads),
                        on_batch=shown.on_batch, on_note=shown.note, memory=limit)
    except training.UsageError as error:
        raise BadInput(error) from error
    except training.Interrupted as stop:
        note(f"{stop}; go on with: tinyconv train --resume {stop.folder}")
        return 130
    except (NetError, BadInput):
        if world is not None and not world.leads:
            time.sleep(2)  # a mistake that all ranks see is told by rank 0, which then ends all
        raise
    if run.leads and not as_json:
        click.echo(result(done))
    return 0


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


def begin(net, data, epochs, seed, device, out, skip_bad, define, settings, input_, together):
    """(net, data set, run) of a new run; the folder is made when everything is known to fit. together(make): the run that
    make() gives, on every rank."""
    from .. import lang
    from ..sections import SECTIONS
    from ..train import Pipelines, Settings, check, fingerprint, start
    from .sources import chosen, measured, open_data

    program = load_program(net)
    with reading(program.files):
        sections = lang.sections(program, SECTIONS, settings, define)
        recipe = Settings.of(sections["train"], epochs=epochs, seed=seed)
    model = make_net(program, define, input_, settings, device, recipe.seed)
    with reading(program.files):
        text = model.text
        how = chosen(model, data, program.file, skip_bad, recipe.seed)
    dataset = open_data(how)
    check(model, dataset, recipe, Pipelines.of(model))
    how = measured(how, dataset, Pipelines.of(model).train)
    run = together(lambda: start(out, stem=Path(program.file).stem.strip("<>"), text=text, settings=recipe, data=how,
                                 fingerprint=fingerprint(dataset)))
    return model, dataset, run


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


def show(event: dict, shown, as_json: bool) -> None:
    if event["event"] == "epoch":
        shown.epoch(event)
    if as_json:
        print_json(event)


def result(done: dict) -> str:
    """The last line of text: what came out, and where it is."""
    members, weights = done.get("members", ()), done["weights"]
    times = f"{done['epochs']} epochs, {done['seconds']:.1f} s; {' '.join(weights) if members else weights}"
    if done["val_accuracy"] is None:
        return f"trained {times}"
    text = f"accuracy {progress.percent(done['val_accuracy'])} (best {progress.percent(done['best_val_accuracy'])})"
    if members:
        alone = [member["val_accuracy"] for member in members]
        text += (f", {len(members)} members {progress.percent(min(alone))} to {progress.percent(max(alone))}, "
                 f"mean {progress.percent(sum(alone) / len(alone))}")
    return f"{text} after {times}"
