"""One training step at a time: forward, backward, update."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ..errors import NetError, NonFiniteError
from ..sections import checked_seed
from . import budget
from .optimizers import AVERAGE, optimizer as make_optimizer, state_specs
from .plan import Plan, Request
from .ranks import Apart, part_of, run_range
from .session import Sessions
from .store import Block


@dataclass(frozen=True)
class Expected:
    """peak: resident bytes of the process. saved: bytes that computing again spares. repeated: share of the forward
    pass that is computed twice for it."""

    peak: int
    saved: int
    repeated: float

    def __str__(self) -> str:
        text = f"memory: about {budget.shown(self.peak)}"
        if self.repeated:
            text += (f", {budget.shown(self.saved)} less for {100 * self.repeated:.0f} % of the forward pass computed "
                     "twice")
        return text


class Trainer:
    """Steps of an optimiser; runtime/optimizers.py has the formulas and their sources.

    `lr` may be set between steps. Decay leaves biases, norms and PReLU's slopes alone unless `decay_all`.
    Made by `net.trainer(...)`; not to be used from two threads at once. memory: the most that the process should take,
    in bytes or as "1.5G"; values of the forward pass are then computed again where that must be (runtime/recompute.py),
    which changes no result. ranks: of a data parallel training (runtime/ranks.py), with batch norm over all of them
    where `sync_bn`; each steps with its part of the batch.
    """

    def __init__(self, net, sessions: Sessions, *, optimizer: str = "sgd", seed: int = 0,
                 memory: int | str | None = None, ranks=None, sync_bn: bool = False, **options):
        self.net, self.sessions = net, sessions
        self.ranks, self.sync_bn = ranks, sync_bn
        self.memory = None if memory is None else budget.parse(memory)
        self._within: dict[Request, Request] = {}  # requests by those without a limit
        self.lr, self.optimizer = make_optimizer(optimizer, options)
        self.seed, self.steps = checked_seed(seed), 0
        self.averages = bool(dict(self.optimizer[1])[AVERAGE])
        self.moments = Block(state_specs(sessions.store.specs, self.optimizer, net.frozen), sessions.store.device,
                             "the optimiser's values")

    def step(self, x, labels, layout: str = "NHWC", of: int | None = None) -> float:
        """Trains on one batch; the mean loss before the update (nats), heads counted by their weights, without decay.

        x: uint8 or float32 (N, *spatial, C); labels: integers (N,) or (N, *spatial), or floats of the output's shape
        for a net that ends in no softmax. NonFiniteError for a loss (where gradients are clipped, for a gradient) that
        is NaN or infinite: weights and running statistics stay as they are. of: with ranks, how many samples the batch
        has whose part x is (ranks.part_of).
        """
        if self.steps == 0:
            self._begin_averages()
        x, labels = self.net.batch(x, layout), np.asarray(labels)
        request = self._request(x, labels, of)
        with self.sessions.session(request) as session:
            plan = session.plan
            labels = self.net.labels(labels, plan.labels, layout)
            how = dict(lr=self.lr, seed=self.seed, step=self.steps)

            def run(first: int, last: int) -> None:
                session.run(first, last, x, labels, self.moments, **how)

            run_range(session, 0, plan.first_update, run, self.ranks)
            loss, norm = loss_and_norm(session, plan)
            if self.ranks is not None:
                loss, = self.ranks.sum(request.share * loss)
            if not np.isfinite(loss + norm):
                what = "norm of the gradients" if np.isfinite(loss) else "loss"
                where, help = first_not_finite(session, plan, x, labels, self.moments, how)
                raise NonFiniteError(f"the {what} is {norm if np.isfinite(loss) else loss} at step {self.steps + 1}: "
                                     f"{where}", help=help)
            run(plan.first_update, len(plan.steps))
        self.sessions.store.changed()
        self.steps += 1
        return loss

    def _request(self, x, labels, of: int | None = None) -> Request:
        request = self.net.request("train", x, labels, optimizer=self.optimizer)
        if self.ranks is not None:
            share = len(x) / of if of >= self.ranks.size else 1 / self.ranks.size
            first = part_of(of, self.ranks.rank, self.ranks.size).start
            request = replace(request, share=share, synced=of if self.sync_bn else 0, first=first)
        if self.memory is None:
            return request
        if request not in self._within:
            self._within[request] = self.sessions.within(request, self.memory)
        return self._within[request]

    def expects(self, x, labels, *, of: int | None = None, evaluating: bool = False) -> Expected:
        """The memory that steps on such batches take (with `evaluating`: and measuring such batches in between),
        before the first one; NetError where `memory` is too small for any plan, with the batch that would fit."""
        x, labels = self.net.batch(x), np.asarray(labels)
        request = self._request(x, labels, of)
        more = self.sessions.needs(request)
        if evaluating:
            more = max(more, self.sessions.needs(self.net.request("evaluate", x, labels)))
        peak = max(budget.peak() or 0, (budget.resident() or 0) + more)
        plain = self.sessions.plan(replace(request, arena=0)).arena_bytes
        plan = self.sessions.plan(request)
        return Expected(peak, plain - plan.arena_bytes, plan.repeated)

    def rest(self) -> None:
        """Gives the memory of steps back until the next one: whoever saves copies weights and state meanwhile."""
        self.sessions.release()

    def state(self) -> dict[str, np.ndarray]:
        """What has to be kept, beside the weights, to go on exactly: copies by name."""
        state = {f"optimizer.{name}": self.moments.read(name) for name in self.moments.specs}
        state["state.step"] = np.asarray(self.steps, np.int64)
        state["state.seed"] = np.asarray(self.seed, np.int64)
        return state

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        for name, w in self.moments.specs.items():
            value = state.get(f"optimizer.{name}")
            if value is None or value.shape != w.shape:
                found = "missing" if value is None else f"of shape {value.shape}"
                raise NetError(f"the state of the optimiser does not fit: optimizer.{name} is {found}, not {w.shape}")
            self.moments.put(name, value)
        self.steps, self.seed = int(state["state.step"]), int(state["state.seed"])

    def share_statistics(self) -> None:
        """Running statistics become the mean of those of the ranks, which each took its own part of the batches."""
        if self.ranks is None or self.sync_bn:
            return
        store = self.sessions.store
        for name in [n for n in store.names() if n.endswith((".running_mean", ".running_var"))]:
            for kept in [store.view(name), *([self.moments.view(f"{AVERAGE}.{name}")] if self.averages else [])]:
                kept[...] = self.ranks.sums(kept.astype(np.float64)) / self.ranks.size
        store.changed()

    # -- averaged weights

    def _begin_averages(self) -> None:
        """The averages begin at the weights, which may have been loaded after the trainer was made."""
        for average, name in self._averages():
            average[...] = self.sessions.store.view(name)

    def _averages(self) -> Iterator[tuple[np.ndarray, str]]:
        """Each average with the name of its weight."""
        if self.averages:
            for name in self.sessions.store.names():
                yield self.moments.view(f"{AVERAGE}.{name}"), name

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the net has the averaged weights; without `ema`, or before the first step, its own."""
        if not self.averages or self.steps == 0:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep_averages(self) -> None:
        """The averaged weights become the net's; nothing changes without `ema`, or before the first step."""
        if self.steps:
            for average, name in self._averages():
                self.sessions.store.view(name)[...] = average
            self.sessions.store.changed()

    def _swap(self) -> None:
        store = self.sessions.store
        for average, name in self._averages():
            weight = store.view(name)
            weight[...], average[...] = average.copy(), weight.copy()
        store.changed()


def mean_loss(session, plan: Plan) -> float:
    """The plan's losses by their weights."""
    return loss_and_norm(session, plan)[0]


def loss_and_norm(session, plan: Plan) -> tuple[float, float]:
    """The mean loss and the norm of the gradients, 0 where that is not asked for, at one look at the device."""
    asked = [loss for _, loss in plan.losses] + [plan.squares] * (plan.squares is not None)
    values = session.numbers(asked)
    loss = sum(weight * value for (weight, _), value in zip(plan.losses, values))
    return loss, 0.0 if plan.squares is None else math.sqrt(values[-1])


def first_not_finite(session, plan: Plan, x, labels, moments, how) -> tuple[str, str]:
    """Runs the steps again one by one; where the first NaN or infinity comes from, and what to do."""
    if x.dtype == np.float32 and not np.isfinite(x).all():
        return "the batch itself holds values that are not finite", "numpy.isfinite(x) finds them in the data"
    help = "lower the learning rate, warm it up, or look at the data"
    for i, step in enumerate(plan.steps[:plan.first_update]):
        for b in step.inputs:
            if b is not None and b.role == "weight":
                if not np.isfinite(session.store.read(b.name)).all():
                    return f"the weight {b.name} is not finite", help
        run_range(session, i, i + 1, lambda a, b: session.run(a, b, x, labels, moments, **how), Apart())
        for b in step.outputs:
            if b is not None and b.dtype == "float32" and not np.isfinite(session.read(b)).all():
                return f"first in layer {step.node} ({step.pass_})", help
    return "not found again when the step was repeated", help
