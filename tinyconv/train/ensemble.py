"""Ensembles: nets of one text trained by consecutive seeds, whose mean of probabilities counts (as in table 1 of
Krizhevsky et al. 2012, AlexNet's).

The folder of the run has a run folder for each member, `member-1`, `member-2`, …; each is trained, and goes on, like
any other run. When all are done their `done` event is the one line of the folder's own log.jsonl.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from .. import weights
from ..data import Dataset
from . import runs
from .evaluate import evaluate
from .fitness import Pipelines
from .loop import Event, Interrupted, OnBatch, train_within
from .runs import Run
from .signals import Interruption


def train_ensemble(make_net: Callable[[int], Any], dataset: Dataset, run: Run, *,
                   on_event: Callable[[Event], None] = lambda event: None, on_batch: OnBatch | None = None,
                   on_note: Callable[[str], None] = lambda message: None, memory: int | None = None) -> Event:
    """Trains `run.settings.ensemble` nets, `make_net(seed)` each, one after another, and returns the `done` event.

    Where the process stopped before, members that are done stay as they are and the next goes on, bit for bit.
    Callbacks and errors are those of `train`; an epoch's event has also "member", from 1. In `done`, val_accuracy is
    that of all members together after their last epochs, best_val_accuracy of their best ones, "weights" the list of
    their best weights files, and "members" has the `val_accuracy`, `best_val_accuracy`, `epochs` and `weights` of each.
    Several ranks share the members out, in a folder that all of them see; then rank 0 has the event, the others {}.
    """
    numbers = range(1, run.settings.ensemble + 1)
    with Interruption() as interruption:

        def train_member(number: int) -> tuple[Any, Event]:
            if interruption.requested:  # when the member before was just done
                raise Interrupted(run.folder, 0, 0, number)
            with member_run(run, number) as member:
                net = make_net(member.settings.seed)
                on_note(f"member {number} of {run.settings.ensemble}, seed {member.settings.seed}")
                try:
                    return net, train_within(interruption, net, dataset, member, of_member(number, on_event), on_batch,
                                             on_note, memory)
                except Interrupted as stop:
                    raise Interrupted(run.folder, stop.epoch, stop.batch, number) from None

        if run.ranks is not None:
            for number in numbers[run.ranks.rank::run.ranks.size]:
                train_member(number)
            run.ranks.wait()
            if not run.leads:
                return {}
        nets, members = zip(*map(train_member, numbers))  # what is trained already is only read
        done = _done(nets, members, dataset, run)
    run.keep_log(0)
    run.log(done)
    on_event(done)
    return done


def member_run(run: Run, number: int) -> Run:
    """The run of a member, from 1: begun now, or gone on with where its folder holds one."""
    folder = run.folder / f"member-{number}"
    if (folder / "config.json").is_file():
        return runs.resume(folder, epochs=run.settings.epochs)
    settings = dataclasses.replace(run.settings, ensemble=1, seed=run.settings.seed + number - 1)
    initial = weights.read(run.initial)[0] if run.initial.exists() else None
    return runs.start(folder, stem="", text=run.text, settings=settings, data=run.data, fingerprint=run.fingerprint,
                      initial=initial)


def of_member(number: int, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
    """Passes epochs on with their member; `done` is told once, for all."""

    def tell(event: Event) -> None:
        if event["event"] == "epoch":
            on_event({"event": "epoch", "member": number, **event})

    return tell


def _done(nets: list, members: list[Event], dataset: Dataset, run: Run) -> Event:
    """The event of all together. `train` left each net with the weights of its last epoch."""

    def accuracy() -> float | None:
        if dataset.val is None:
            return None
        return evaluate(nets, dataset.val, run.settings.batch, Pipelines.of(nets[0]).test)["accuracy"]

    last = accuracy()
    for net, member in zip(nets, members):
        net.load_weights(weights.read(member["weights"])[0], member["weights"])
    kept = ("val_accuracy", "best_val_accuracy", "epochs", "weights")
    return {"event": "done", "val_accuracy": last, "best_val_accuracy": accuracy(),
            "epochs": max(member["epochs"] for member in members),
            "seconds": round(sum(member["seconds"] for member in members), 4),
            "weights": [member["weights"] for member in members],
            "members": [{key: member[key] for key in kept} for member in members]}
