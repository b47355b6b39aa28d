"""Gradients of whole nets against finite differences of the loss, in double precision: the array backend runs on
float64 weights and inputs, so that the differences are exact to many digits. The C backend is held to it by
test_twins."""

import numpy as np
import pytest

from test_twins import FLOAT_TARGETS, NETS
import tinyconv
from tinyconv.runtime import array
from tinyconv.runtime.plan import make_plan
from tinyconv.runtime.uses import unfused


def run(plan, weights, x, labels):
    """The plan on float64 arrays by name; (loss, gradients)."""
    arrays = {}
    for step in plan.steps:
        operands = [None if b is None else weights[b.name] if b.role == "weight" else arrays[b.id] if b.role == "temp"
                    else np.asarray(plan.constants[b.id]) if b.role == "constant" else x if b.name == "x" else labels
                    for b in step.inputs]
        extra = {"seed": 5, "step": 0} if "seed" in array.RUN_TIME.get(step.op, ()) else {}
        results = getattr(array, step.op)(np, step.attrs, *operands, **extra)
        for b, result in zip(step.outputs, results if isinstance(results, tuple) else (results,)):
            if b is not None:
                arrays[b.id] = result
    loss = sum(weight * arrays[b.id][0] for weight, b in plan.losses)
    return loss, {name: arrays[b.id] for name, b in plan.gradients.items()}


@pytest.mark.parametrize("name", NETS)
def test_finite_differences(name):
    size, text = NETS[name]
    net = tinyconv.compile(f"input {size}\n{text}", seed=2, device="numpy")
    rng = np.random.default_rng(11)
    x = rng.normal(0, 1, (4, *net.input_shape))
    output = net.graph.output
    if name in FLOAT_TARGETS:
        labels = rng.random((4, *output.spatial, output.channels))
    else:
        labels = rng.integers(0, output.channels, (4, *output.spatial))
    request = net.request("gradients", x.astype(np.float32), labels)
    plan = make_plan(net.graph, request, lambda steps, *_: unfused(steps))
    weights = {n: net.store.view(n).astype(np.float64) for n in net.store.specs}
    for n, w in weights.items():
        if n.endswith("bias") or w.ndim == 1 and n.endswith("weight"):  # away from 0 and 1, which hide mistakes
            w += rng.normal(0, 0.1, w.shape)
    _, gradients = run(plan, dict(weights), x, labels)
    for weight, gradient in gradients.items():
        direction = rng.normal(0, 1, gradient.shape)
        direction /= np.linalg.norm(direction)
        h, losses = 1e-6, []
        for sign in (1, -1):
            moved = {**weights, weight: weights[weight] + sign * h * direction}
            losses.append(run(plan, {n: w.copy() for n, w in moved.items()}, x, labels)[0])
        slope = (losses[0] - losses[1]) / (2 * h)
        assert slope == pytest.approx((gradient * direction).sum(), rel=1e-4, abs=1e-7), weight
