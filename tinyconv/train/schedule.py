"""The learning rate as a pure function of where training is: nothing to save, nothing to get out of step on resume.

Epochs and batches count from 0; time is measured in epochs, `t = epoch + batch / batches`, and read before each batch.
  constant     lr
  step         lr * factor^(how many of `at` are <= t): at=30,60 divides after 30 and after 60 whole epochs
  exponential  lr * factor^floor(t / every): every=2 after each second epoch
  plateau      lr * factor^(how often it was reached): reached when the validation loss has not fallen by a share of
               1e-4 under its best for more than `patience` epochs; the count then starts again (as is usual)
Three change with every batch, over the share s = (t - warmup) / (epochs - warmup) of the training done; `begin` and
`end` are shares of lr:
  polynomial   lr * (end + (1 - end) * (1 - s)^power), linear by default
  cosine       lr * (end + (1 - end) * (1 + cos(pi * s)) / 2)  (Loshchilov and Hutter 2017, SGDR, without restarts)
  onecycle     a half cosine up from lr * begin to lr over the share `rise`, then one down to lr * end
               (Smith and Topin 2018, whose lines are cosines here as is usual; the momentum stays as it is)
Each with warmup=W epochs: batch i of the first W epochs takes (i + 1) / (W * batches) of it (Goyal et al. 2017).
"""

from __future__ import annotations

import math
from typing import Mapping, Sequence

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
    if kind == "exponential":
        return lr * options["factor"] ** math.floor(done / (options["every"] * batches))
    if kind == "plateau":
        return lr * options["factor"] ** plateaus(val_losses, options["patience"])
    if kind == "constant":
        return lr
    begun = done - warmup * batches
    share = min(max(begun, 0) / max((settings.epochs - warmup) * batches, 1), 1.0)
    return lr * share_of_rate(kind, options, share)


def share_of_rate(kind: str, options: Mapping[str, float], share: float) -> float:
    """What polynomial, cosine and onecycle make of the rate when `share` of the training is done."""
    end = options["end"]
    if kind == "polynomial":
        return end + (1 - end) * (1 - share) ** options["power"]
    if kind == "cosine":
        return half_cosine(1, end, share)
    rise, begin = options["rise"], options["begin"]
    if share < rise:
        return half_cosine(begin, 1, share / rise)
    return half_cosine(1, end, (share - rise) / (1 - rise))


def half_cosine(first: float, last: float, share: float) -> float:
    """From `first` to `last`, flat at both ends."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


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
