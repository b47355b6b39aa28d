"""The learning rate as a pure function of where training is: nothing to save, nothing to get out of step on resume.

Epochs and batches count from 0; time is measured in epochs, `t = epoch + batch / batches`, and read before each batch.
  constant  lr
  step      lr * factor^(how many of `at` are <= t): at=30,60 divides after 30 and after 60 whole epochs
  cosine    lr * (1 + cos(pi * (t - warmup) / (epochs - warmup))) / 2, changing with every batch, towards 0 at the end
            of the last epoch (Loshchilov and Hutter 2017, SGDR, without restarts)
  plateau   lr * factor^(how often it was reached): reached when the validation loss has not fallen by a share of
            1e-4 under its best for more than `patience` epochs; the count then starts again (as is usual)
Each with warmup=W epochs: batch i of the first W epochs takes (i + 1) / (W * batches) of it (Goyal et al. 2017).
"""

from __future__ import annotations

import math
from typing import Sequence

from .settings import Settings

THRESHOLD = 1e-4  # a fall of the validation loss by less than this share does not count


def learning_rate(settings: Settings, epoch: int, batch: int, batches: int, val_losses: Sequence[float] = ()) -> float:
    """The rate for batch `batch` of `batches` in epoch `epoch`; `val_losses` are those of the epochs before it."""
    kind, options = settings.schedule
    lr, warmup = settings.optimizer[1]["lr"], options["warmup"]
    done = epoch * batches + batch
    if done < warmup * batches:
        lr *= (done + 1) / max(warmup * batches, 1)
    if kind == "step":
        return lr * options["factor"] ** sum(done >= at * batches for at in options["at"])
    if kind == "cosine" and done > warmup * batches:
        share = (done - warmup * batches) / max((settings.epochs - warmup) * batches, 1)
        return lr * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    if kind == "plateau":
        return lr * options["factor"] ** plateaus(val_losses, options["patience"])
    return lr


def plateaus(losses: Sequence[float], patience: int) -> int:
    """How many times `losses` stood still for more than `patience` epochs."""
    best, still, count = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - THRESHOLD):
            best, still = loss, 0
        else:
            still += 1
        if still > patience:
            count, still = count + 1, 0
    return count
