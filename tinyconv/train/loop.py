"""The training loop. One loop serves `tinyconv train`, with a run folder, and `net.fit`, without."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator

import numpy as np

from .. import weights
from ..data import Batches, Dataset, Split, measure
from ..errors import NonFiniteError
from ..runtime.losses import label_help
from . import checkpoint
from .checkpoint import Progress, Row
from .evaluate import evaluate
from .fitness import Pipelines, check, check_same, fingerprint
from .runs import Run
from .schedule import learning_rate, plateaus
from .settings import Settings
from .signals import Interruption

Event = dict[str, Any]
OnBatch = Callable[[str, int, int, int, "float | None"], None]


class Interrupted(Exception):
    """Training stopped because it was asked to, and its state is saved. folder: the run folder; epoch, batch: how many
    epochs, and batches of the next one, are done; member: of an ensemble, from 1."""

    def __init__(self, folder, epoch: int, batch: int, member: int | None = None):
        place = f"epoch {epoch + 1}" if member is None else f"epoch {epoch + 1} of member {member}"
        super().__init__(f"interrupted in {place}; saved in {folder}")
        self.folder, self.epoch, self.batch, self.member = folder, epoch, batch, member


class Stop(Exception):
    """Raised between two batches; the progress says which."""


def train(net, dataset: Dataset, run: Run, *, on_event: Callable[[Event], None] = lambda event: None,
          on_batch: OnBatch | None = None, on_note: Callable[[str], None] = lambda message: None,
          memory: int | None = None) -> Event:
    """Trains `net` on `dataset` by `run.settings` in an open run folder, to the end, and returns the `done` event.

    Where `run.resumed`, it goes on from the folder's last checkpoint, bit for bit as if it had never stopped; a run
    with nothing left to do says so through `on_note`. Without a checkpoint it begins, with the weights that `net` has,
    or where the folder has some to begin with, with those. With 0 epochs they are measured and kept as the best.
    The net ends with the weights that its last epoch was measured with (with `ema` the averaged ones).
    on_event(event): each `epoch` event once its checkpoint is on the disk, then `done`. on_note(message): remarks for
    people. on_batch(phase, epoch, done, total, loss): after each batch; phase is "train" or "val", epoch counts from 1,
    loss is the mean so far of the epoch, None while validating. memory: the most bytes that the process should take,
    at the cost of time; what is expected is noted before the first step.
    Raises Interrupted after SIGINT or SIGTERM; NetError (a NonFiniteError for a loss that is not finite) for whatever
    goes wrong, the last good checkpoint kept.
    """
    with Interruption() as interruption:
        return train_within(interruption, net, dataset, run, on_event, on_batch, on_note, memory)


def train_within(interruption: Interruption, net, dataset: Dataset, run: Run, on_event: Callable[[Event], None],
                 on_batch: OnBatch | None, on_note: Callable[[str], None], memory: int | None = None) -> Event:
    """`train` where signals are already waited for."""
    settings, pipelines = run.settings, Pipelines.of(net)
    check(net, dataset, settings, pipelines, on_note)
    if run.resumed:
        check_same(run.fingerprint, fingerprint(dataset), run.folder)
    net.class_names = dataset.classes
    metadata = weights.describe(run.text, dataset.classes, pipelines.test)
    trainer = make_trainer(net, settings, memory, run.ranks, run.sync_bn)
    progress = _begin(run, net, trainer, metadata, on_note)
    measure_for(net, settings, dataset.train)
    if run.ranks is not None:
        _copy_state(run.ranks, net, trainer)
        on_note(f"{run.ranks.size} processes: each batch of {settings.batch} in as many parts; the learning rate is "
                "that of the whole batch")
    seconds = sum(event.get("seconds", 0.0) for event in run.keep_log(progress.epoch)) if run.leads else 0.0

    def stopping() -> bool:
        asked = interruption.requested
        return asked if run.ranks is None else run.ranks.any(asked)

    loop = Loop(net, trainer, dataset, settings, pipelines, progress, on_batch, stopping, on_note)
    try:
        for event in loop.epochs():
            # The log before the checkpoint, `best` after it: then both follow from the checkpoint whenever the
            # process dies. `keep_log` drops a line too many, `_restore` writes `best` again.
            trainer.rest()
            if run.ranks is not None:
                run.ranks.check_same(net.store.memory)
            if run.leads:
                run.log(event)
                checkpoint.save_training(run.last, net, trainer, progress, metadata)
                if progress.best == progress.epoch - 1:
                    _save_best(run, net, trainer, metadata)
            seconds += event["seconds"]
            on_event(event)
        accuracies = [row.val_accuracy for row in progress.rows]
        if not accuracies:  # no epochs
            accuracies = [loop.validate().get("accuracy")]
            if run.leads:
                _save_best(run, net, trainer, metadata)
    except Stop:
        trainer.rest()
        if run.leads:
            checkpoint.save_training(run.last, net, trainer, progress, metadata)
        raise Interrupted(run.folder, progress.epoch, progress.batch) from None
    except NonFiniteError as error:
        raise _located(error, run, progress) from error
    trainer.keep_averages()
    best = accuracies[progress.best or 0]
    done = {"event": "done", "val_accuracy": known(accuracies[-1]), "best_val_accuracy": known(best),
            "epochs": progress.epoch, "seconds": round(seconds, 4), "weights": str(run.best)}
    on_event(done)
    return done


def fit(net, x, labels, *, epochs: int | None = None, batch: int | None = None, validation: tuple | None = None,
        seed: int | None = None, on_event: Callable[[Event], None] = lambda event: None, optimizer: str | None = None,
        memory: int | str | None = None, **options: Any) -> list[Event]:
    """`net.fit`: trains on arrays, without a run folder, and returns the epoch events.

    x: uint8 or float32 (N, *spatial, C), or a Split that holds its labels. labels: integers (N,), masks (N,
    *spatial), or floats where the net does not end in softmax. validation: (x, labels) that each epoch is measured on.
    epochs, batch, seed and the optimiser's keywords (lr, momentum, …; `optimizer="adam"` for another one than the
    net's) stand before the net's `train` section, which stands before the defaults. The pipelines of the `data` section
    are not used: arrays are taken as they are. memory: the most that the process should take. With `ema` the net ends
    with the averaged weights.
    """
    settings = Settings.of(net.sections.get("train"), epochs=epochs, batch=batch, seed=seed)
    settings = settings.with_optimizer(optimizer, **options)
    val = None if validation is None else _split(net, *validation)
    dataset = Dataset(_split(net, x, labels), val, None, None, "x")
    check(net, dataset, settings, Pipelines())
    measure_for(net, settings, dataset.train)
    history, trainer = [], make_trainer(net, settings, memory)
    for event in Loop(net, trainer, dataset, settings, Pipelines(), Progress()).epochs():
        history.append(event)
        on_event(event)
    trainer.keep_averages()
    return history


def make_trainer(net, settings: Settings, memory: int | str | None = None, ranks=None, sync_bn: bool = False):
    """The net's trainer for these settings; the losses are those of the net's own text."""
    name, options = settings.optimizer
    together = {} if ranks is None else {"ranks": ranks, "sync_bn": sync_bn}
    return net.trainer(optimizer=name, **options, seed=settings.seed, memory=memory, **together)


def _begin(run: Run, net, trainer, metadata: dict[str, str], on_note: Callable[[str], None]) -> Progress:
    """Where training stands: the last checkpoint, loaded, or the beginning, with the folder's initial weights."""
    progress = _restore(run, net, trainer, metadata) if run.leads else None
    if run.ranks is not None:
        progress = _tell_progress(run.ranks, trainer, progress)
    if progress is None:
        if run.initial.exists():
            for name, value in weights.read(run.initial)[0].items():
                net.weights[name] = value
        return Progress()
    if ended(progress, run.settings):
        on_note(f"nothing left to do: {run.folder} is trained for {progress.epoch} of {run.settings.epochs} epochs")
    return progress


def _tell_progress(ranks, trainer, progress: Progress | None) -> Progress | None:
    """Rank 0's progress on every rank, with the trainer's place in it; None where nothing was done yet."""
    have = progress and [progress.rows, progress.batch, progress.samples, progress.loss_sum,
                         trainer.steps, trainer.seed]
    told = ranks.tell(have)
    if told is None:
        return None
    rows, *place, trainer.steps, trainer.seed = told
    return Progress([Row(*row) for row in rows], *place)


def _copy_state(ranks, net, trainer) -> None:
    """Rank 0's weights and optimiser on every rank."""
    ranks.copy(net.store.memory)
    ranks.copy(trainer.moments.memory)
    net.load_weights(dict(net.weights))  # packed copies are made anew, and the input counts as measured


@dataclass
class Loop:
    """Epochs of training and validation from wherever `progress` stands; `progress` is kept up to date with every
    batch, and `stopping` is asked between batches."""

    net: Any
    trainer: Any
    dataset: Dataset
    settings: Settings
    pipelines: Pipelines
    progress: Progress
    on_batch: OnBatch | None = None
    stopping: Callable[[], bool] = lambda: False
    on_note: Callable[[str], None] | None = None

    def epochs(self) -> Iterator[Event]:
        """Yields the event of each epoch; raises Stop between two batches when asked to stop, NonFiniteError when a
        loss is not finite (the progress then stands before the failing batch)."""
        while not ended(self.progress, self.settings):
            trained, seconds, lr = self._train_epoch()
            self.trainer.share_statistics()
            val = self.validate()
            progress = self.progress
            train_loss = progress.loss_sum / progress.samples
            measured = [math.nan if val.get(key) is None else val[key] for key in ("loss", "accuracy")]
            progress.rows.append(Row(train_loss, *measured, lr))
            progress.batch, progress.samples, progress.loss_sum = 0, 0, 0.0
            yield {"event": "epoch", "epoch": progress.epoch, "train_loss": train_loss, "val_loss": val.get("loss"),
                   "val_accuracy": val.get("accuracy"), "lr": lr, "seconds": round(seconds, 4),
                   "images_per_second": round(trained / seconds, 1) if trained else 0.0}

    def _train_epoch(self) -> tuple[int, float, float]:
        """Trains the rest of the epoch; (images, seconds, learning rate of the last batch). What an interrupted process
        did of the epoch is not in the first two."""
        progress, settings, ranks = self.progress, self.settings, self.trainer.ranks
        batches = Batches(self.dataset.train, settings.batch, self.pipelines.train, seed=settings.seed,
                          epoch=progress.epoch, shuffle=True, augment=self.pipelines.augment,
                          shape=self.net.input_shape, part=(ranks.rank, ranks.size) if ranks else (0, 1))
        total, trained, begin = len(batches), 0, time.perf_counter()
        losses, validated = [row.val_loss for row in progress.rows], self.dataset.val is not None
        self._stop_if_asked()
        for x, labels in batches.start(at=progress.batch):
            self.trainer.lr = learning_rate(settings, progress.epoch, progress.batch, total, losses)
            count = batches.count(progress.batch)
            if self.on_note:
                self.on_note(str(self.trainer.expects(x, labels, of=count, evaluating=validated)))
                self.on_note = None
            loss = self.trainer.step(x, labels, of=count)
            progress.loss_sum += loss * count
            progress.samples += count
            progress.batch += 1
            trained += count
            if self.on_batch:
                self.on_batch("train", progress.epoch + 1, progress.batch, total, progress.loss_sum / progress.samples)
            self._stop_if_asked()
        seconds = time.perf_counter() - begin
        return trained, seconds, learning_rate(settings, progress.epoch, total - 1, total, losses)

    def validate(self) -> dict[str, Any]:
        """What `evaluate` says of the validation split; empty without one."""
        if self.dataset.val is None:
            return {}

        def after(done: int, total: int) -> None:
            if self.on_batch:
                self.on_batch("val", self.progress.epoch + 1, done, total, None)
            # With the last batch the epoch is complete: it is saved as such. Ranks may have different numbers of
            # batches.
            if done < total and self.trainer.ranks is None:
                self._stop_if_asked()

        with self.trainer.averaged():
            result = evaluate([self.net], self.dataset.val, self.settings.batch, self.pipelines.test, after,
                              self.trainer.ranks)
        if not math.isfinite(result["loss"]):
            raise NonFiniteError(f"the validation loss is {result['loss']}")
        return result

    def _stop_if_asked(self) -> None:
        if self.stopping():
            raise Stop


def _restore(run: Run, net, trainer, metadata: dict[str, str]) -> Progress | None:
    """Loads the run's last checkpoint; None where there is none yet."""
    if not run.resumed or not run.last.exists():
        return None
    progress = checkpoint.load_training(run.last, net, trainer)
    if progress.batch == 0 and progress.best == progress.epoch - 1:
        _save_best(run, net, trainer, metadata)  # the process may have died before it did
    return progress


def _save_best(run: Run, net, trainer, metadata: dict[str, str]) -> None:
    """The weights that were measured: the averaged ones, where there are."""
    with trainer.averaged():
        checkpoint.save_weights(run.best, net, metadata)


def measure_for(net, settings: Settings, split: Split) -> None:
    """Puts numbers, where there are none yet, in the place of `data`: `input mean=data`, `loss ce weights=data`."""
    if net.needs_measuring:
        net.set_input_statistics(*measure(split))
    if any(options.get("weights") == "data" for _, options in settings.loss):
        net.set_class_weights(class_weights(split, net.classes))


def class_weights(split: Split, classes: int) -> np.ndarray:
    """Samples / (classes * samples of the class), so that each class counts alike and the mean over the samples is 1; 0
    for a class without samples, which the number of classes then leaves out."""
    counts = sum(np.bincount(np.ravel(labels), minlength=classes) for labels in split.label_arrays)
    return np.where(counts > 0, counts.sum() / (np.maximum(counts, 1) * np.count_nonzero(counts)), 0.0)


def _split(net, x, labels) -> Split:
    if isinstance(x, Split):
        return x
    x, labels = np.asarray(x), np.atleast_1d(labels)
    if len(x) != len(labels):
        raise ValueError(f"{len(x)} samples and {len(labels)} labels: give as many of each")
    classes = net.graph.nodes[net.graph.output_index].op == "softmax"
    if labels.dtype.kind not in ("iub" if classes else "iubf"):
        one_hot = label_help(labels.shape[1:], net.classes) if labels.dtype.kind == "f" else ""
        raise TypeError(f"labels hold {labels.dtype}: {one_hot or 'give integers counted from 0'}")
    return Split(x, labels)


def _located(error: NonFiniteError, run: Run, progress: Progress) -> NonFiniteError:
    """The error with the place in the training and what is left of it."""
    kept = f"{run.last} holds the state after epoch {progress.epoch}" if progress.epoch else "nothing was saved yet"
    return NonFiniteError(f"epoch {progress.epoch + 1}, batch {progress.batch + 1}: {error.message}; {kept}",
                          help=error.help or "a lower learning rate or a warmup often helps")


def known(value: float | None) -> float | None:
    """None for the NaN that a row has where nothing was measured."""
    return None if value is None or math.isnan(value) else value


def ended(progress: Progress, settings: Settings) -> bool:
    """Whether all epochs are done, or so many since the validation loss last fell that `patience` is at its end."""
    if settings.patience is not None and plateaus([row.val_loss for row in progress.rows], settings.patience):
        return True
    return progress.epoch >= settings.epochs
