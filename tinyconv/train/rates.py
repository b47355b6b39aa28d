"""The learning-rate range test: at which rates does this net learn? (Smith 2017, "Cyclical learning rates".)

The rate grows from batch to batch, here by a constant factor, so that all magnitudes are tried alike. The loss first
falls faster and faster, then rises. Where it is lowest the rate is about to be too high; a tenth of that one is a usual
choice, and for schedules that rise and fall the highest rate lies between the two.
"""

from __future__ import annotations

import math
from typing import Any, Iterator

import numpy as np

from ..data import Batches, Dataset
from ..errors import NetError, NonFiniteError
from .fitness import Pipelines, check
from .loop import make_trainer, measure_for
from .settings import Settings

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 120
MEMORY = 0.9  # of the running mean of the losses
BLOWN = 4.0  # times the lowest mean: the test ends


def rate_test(net, dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """{"rates": [...], "losses": [...], "smoothed": [...], "suggested": rate}: the loss of each batch before its update
    and the running mean of the losses, by rates from 1e-6 to 10, or to where the mean is 4 times its lowest.

    Trains by the optimiser, batch, losses and augmentation of the settings, over as many epochs as 120 batches take.
    The net's weights are in the end what they were, but that the input's statistics are measured.
    `suggested` is a tenth of the rate at which the mean is lowest. NetError where it never falls.
    """
    pipelines = Pipelines.of(net)
    check(net, dataset, settings, pipelines)
    measure_for(net, settings, dataset.train)
    before, trainer = dict(net.weights), make_trainer(net, settings)
    rates, losses, smoothed, mean = [], [], [], 0.0
    try:
        for i, (x, labels) in enumerate(_batches(net, dataset, settings, pipelines)):
            trainer.lr = LOWEST * (HIGHEST / LOWEST) ** (i / (STEPS - 1))
            try:
                loss = trainer.step(x, labels)
            except NonFiniteError:
                break
            mean = MEMORY * mean + (1 - MEMORY) * loss
            rates.append(trainer.lr)
            losses.append(loss)
            smoothed.append(mean / (1 - MEMORY ** (i + 1)))  # as if it had begun at the first loss
            if smoothed[-1] > BLOWN * min(smoothed):
                break
    finally:
        for name, value in before.items():
            net.weights[name] = value
    return {"rates": rates, "losses": losses, "smoothed": smoothed, "suggested": suggested(rates, smoothed)}


def suggested(rates: list[float], smoothed: list[float]) -> float:
    """A tenth of the rate of the lowest loss."""
    lowest = int(np.argmin(smoothed)) if smoothed else 0
    if lowest == 0:
        raise NetError("the loss falls at no rate of the test", help="look at the data, and at the net's last layer")
    return rates[lowest] / 10


def _batches(net, dataset: Dataset, settings: Settings, pipelines: Pipelines) -> Iterator[tuple]:
    """STEPS batches, an epoch after another."""
    left = STEPS
    for epoch in range(math.ceil(STEPS / math.ceil(len(dataset.train) / settings.batch))):
        for batch in Batches(dataset.train, settings.batch, pipelines.train, seed=settings.seed, epoch=epoch,
                             shuffle=True, augment=pipelines.augment, shape=net.input_shape):
            yield batch
            left -= 1
            if not left:
                return
