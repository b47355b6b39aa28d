"""Checkpoints: the weights, and the exact state from which training goes on as if it had never stopped."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .. import weights
from ..errors import NetError

LOOP = "state.loop."  # names of what the loop itself keeps; the trainer's own are `optimizer.*` and other `state.*`


class Row(NamedTuple):
    """What is kept of a finished epoch; the validation figures are NaN where there was no validation data."""

    train_loss: float
    val_loss: float
    val_accuracy: float
    lr: float


@dataclass
class Progress:
    """Where training is: `len(rows)` epochs are done, and of the next one `batch` batches with `samples` samples, whose
    losses add up to `loss_sum`. No times are kept: equal runs give equal checkpoints."""

    rows: list[Row] = field(default_factory=list)
    batch: int = 0
    samples: int = 0
    loss_sum: float = 0.0

    @property
    def epoch(self) -> int:
        """Epochs done; also the number, from 0, of the epoch under way."""
        return len(self.rows)

    @property
    def best(self) -> int | None:
        """The epoch (from 0) with the best validation accuracy, or where there is none with the lowest validation loss,
        the first of equals; the last where nothing was measured; None before the first."""
        if not self.rows:
            return None
        for worth in ([row.val_accuracy for row in self.rows], [-row.val_loss for row in self.rows]):
            if not np.isnan(worth).any():
                return int(np.argmax(worth))
        return len(self.rows) - 1

    def tensors(self) -> dict[str, np.ndarray]:
        """As arrays for a weights file; doubles, so nothing is rounded."""
        return {LOOP + "rows": np.array(self.rows, np.float64).reshape(-1, len(Row._fields)),
                LOOP + "batch": np.array(self.batch, np.int64), LOOP + "samples": np.array(self.samples, np.int64),
                LOOP + "loss_sum": np.array(self.loss_sum, np.float64)}

    @classmethod
    def of(cls, tensors: dict[str, np.ndarray]) -> Progress:
        """The inverse of `tensors`; KeyError where one is missing."""
        rows = [Row(*map(float, row)) for row in tensors[LOOP + "rows"]]
        batch, samples, loss_sum = (tensors[LOOP + name].item() for name in ("batch", "samples", "loss_sum"))
        return cls(rows, batch, samples, loss_sum)


def save_weights(path: str | os.PathLike, net, metadata: dict[str, str]) -> None:
    """Writes the weights alone."""
    weights.write(path, dict(net.weights), metadata)


def save_training(path: str | os.PathLike, net, trainer, progress: Progress, metadata: dict[str, str]) -> None:
    """Writes the weights, the trainer's state and the progress."""
    weights.write(path, {**net.weights, **trainer.state(), **progress.tensors()}, metadata)


def load_training(path: str | os.PathLike, net, trainer) -> Progress:
    """Puts `net` and `trainer` where the checkpoint was and returns the progress; NetError where the file is no
    checkpoint or does not fit the net."""
    tensors, _ = weights.read(path)
    net.load_weights(tensors, os.fspath(path))
    state = {name: array for name, array in tensors.items() if name.startswith(weights.TRAINING)}
    try:
        progress = Progress.of(state)
        trainer.load_state({name: array for name, array in state.items() if not name.startswith(LOOP)})
    except (KeyError, TypeError, ValueError) as error:
        raise NetError(f"cannot resume from {os.fspath(path)}: it holds weights but no state of training") from error
    return progress
