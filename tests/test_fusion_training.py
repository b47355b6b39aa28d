"""Fused training against unfused, on every net of the zoo; and the order of updates."""

import numpy as np
import pytest

import tinyconv
from test_twins import NETS, example
from test_zoo import LONG, SMALL
from tinyconv import zoo
from tinyconv.runtime import fuse_training
from tinyconv.runtime import plan as plans
from tinyconv.runtime.fuse import FUSIONS
from tinyconv.runtime.optimizers import optimizer
from tinyconv.runtime.plan import make_plan

pytest.importorskip("tinyconv.runtime._cpu", reason="the compiled backend is not built")


def small(name):
    """A net of the zoo and a batch for it, small."""
    lets = {"base": 8} if name == "unet" else {"classes": 5}
    net = tinyconv.load(name, input=SMALL.get(name), **lets, device="cpu")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, *net.input_shape), np.float32)
    return net, x, np.arange(3) + 1 if net.classes > 1 else (x > 0).astype(np.float32)


def run(net, request, x, labels, rewrites):
    """(plan, its losses and gradients)"""
    plan = make_plan(net.graph, request, net.backend.lower, rewrites)
    session = net.backend.prepare(plan, net.store)
    session.run(0, len(plan.steps), x, labels)
    found = {f"loss {i}": session.read(b) for i, (_, b) in enumerate(plan.losses)}
    found |= {name: session.read(b) for name, b in plan.gradients.items()}
    return plan, found


SLOW = LONG | {"vgg13", "vgg16", "vgg19", "c3d", "resnet34"}


@pytest.mark.parametrize("name", zoo.nets())
def test_every_plan_of_the_zoo(name, request):
    if name in SLOW and request.config.getoption("--hypothesis-profile") != "full":
        pytest.skip("takes seconds: tests/full.sh runs it")
    net, x, labels = small(name)
    labels = labels.astype(np.int32) if labels.ndim == 1 else labels
    wanted = net.request("gradients", x, labels)
    _, expected = run(net, wanted, x, labels, ())
    _, found = run(net, wanted, x, labels, FUSIONS)
    norm = max(np.linalg.norm(e) for e in expected.values())
    for key, want in expected.items():
        assert np.linalg.norm(found[key] - want) <= 2e-5 * np.linalg.norm(want) + 1e-6 * norm, key


def test_what_stands_between_the_convolutions_of_a_residual_net():
    """Nothing is left of the parts: one step forward, one back."""
    net, x, labels = small("resnet18")
    plan, _ = run(net, net.request("gradients", x, labels), x, labels.astype(np.int32), FUSIONS)
    ops = [step.op for step in plan.steps]
    assert not {"act", "add", "act_grad"} & set(ops)
    # before the pool the slope is taken at the maxima; three shortcuts have a norm of their own beside the sum's
    assert ops.count("bn_grad") == 1 + 3
    assert ops.count("bn_act") == 17 and ops.count("bn_apply") == 3 and ops.count("bn_act_grad") == 16


@pytest.mark.parametrize("kind, a", [("relu", 0), ("tanh", 0), ("leaky", 0.2)])
def test_slopes_are_taken_at_the_maxima(kind, a):
    """Overlapping windows with padding, and a bias whose gradient is summed up before they are spread."""
    act = f"{kind} a={a}" if a else kind
    net = tinyconv.compile(f"input 9x8 x3\nconv 3 x6 bias=0.1 -> {act} -> pool 3 s2 p1 -> fc 4 -> softmax", seed=3,
                           device="cpu")
    rng = np.random.default_rng(4)
    x, labels = rng.standard_normal((5, 9, 8, 3), np.float32), np.array([0, 1, 2, 3, 1], np.int32)
    request = net.request("gradients", x, labels)
    _, expected = run(net, request, x, labels, ())
    plan, found = run(net, request, x, labels, FUSIONS)
    backward = [step for step in plan.steps if step.pass_ == "backward"]
    at = [step.op for step in backward].index("maxpool_grad")
    assert backward[at - 1].op == "act_bias_grad" and backward[at - 1].inputs[0].shape == (5, 5, 4, 6)
    for name, want in expected.items():
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-6 * np.abs(want).max(), err_msg=name)


POOLS = [("8x12", "2", True), ("8x12", "4x3", True), ("12", "3", True), ("3x4x6", "1x2x3", True), ("9x8", "2", False),
         ("8x8", "3 s2 p1", False), ("8x8", "2 s1", False), ("4x4x6", "2", False)]


@pytest.mark.parametrize("size, pool, fused", POOLS)
@pytest.mark.parametrize("act", ["-> relu", ""])
def test_max_pooling_behind_a_norm_gives_the_same_bits(size, pool, act, fused):
    net = tinyconv.compile(f"input {size} x3\nconv 3 x6 bias=off -> bn {act} -> pool {pool} -> fc 4 -> softmax", seed=3,
                           device="cpu")
    rng = np.random.default_rng(4)
    x, labels = rng.standard_normal((5, *net.input_shape), np.float32), np.array([0, 1, 2, 3, 1], np.int32)
    request = net.request("gradients", x, labels)
    _, expected = run(net, request, x, labels, [f for f in FUSIONS if f is not fuse_training.pooled_norms])
    plan, found = run(net, request, x, labels, FUSIONS)
    assert ("bn_act_pool" in [step.op for step in plan.steps]) == fused
    for name, want in expected.items():
        np.testing.assert_array_equal(found[name], want, err_msg=name)


UPDATES = [("sgd", {"momentum": 0.9, "decay": 5e-4}), ("adamw", {"decay": 0.01, "ema": 0.99}), ("rmsprop", {})]


@pytest.mark.parametrize("name", ["vgg", "residual", "shared", "u-net", "heads"])
@pytest.mark.parametrize("optimizer_name, options", UPDATES)
def test_updates_give_the_same_bits_wherever_they_stand(name, optimizer_name, options, monkeypatch):
    results = []
    for early in (True, False):
        if not early:
            monkeypatch.setattr(plans, "update_early", lambda steps: steps)
        net, x, labels = example(name)
        trainer = net.trainer(optimizer=optimizer_name, lr=0.01, seed=2, **options)
        losses = [trainer.step(x, labels) for _ in range(3)]
        plan = net.sessions.plan(net.request("train", x, labels, trainer.optimizer))
        last_of_backward = max(i for i, step in enumerate(plan.steps) if step.pass_ == "backward")
        assert (plan.first_update < last_of_backward) == early
        results.append((losses, net.store.memory.copy(), trainer.moments.memory.copy()))
    assert results[0][0] == results[1][0]
    assert (results[0][1] == results[1][1]).all() and (results[0][2] == results[1][2]).all()


@pytest.mark.parametrize("optimizer_name, options", UPDATES)
def test_updates_in_slices_give_the_same_bits_in_less_memory(optimizer_name, options, monkeypatch):
    """Slices of unequal numbers of outputs; two layers are large enough, the last one is not."""
    text = "input 6x6 x8\nconv 3 x16 -> relu -> fc 903 -> relu -> dropout 0.2 -> fc 703 -> relu -> fc 10 -> softmax"
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((16, 6, 6, 8), np.float32), rng.integers(0, 10, 16)
    results = []
    for size in (1 << 19, 1 << 30):
        monkeypatch.setattr(fuse_training, "SLICE", size)
        net = tinyconv.compile(text, seed=1, device="cpu")
        trainer = net.trainer(optimizer=optimizer_name, lr=0.01, seed=2, **options)
        losses = [trainer.step(x, labels) for _ in range(3)]
        plan = net.sessions.plan(net.request("train", x, labels, trainer.optimizer))
        made = [step.node for step in plan.steps if step.op == "conv_dw"]
        results.append((losses, net.store.memory.copy(), trainer.moments.memory.copy(), plan.arena_bytes))
        assert [made.count(name) for name in ("fc1", "fc2", "fc3")] == ([4, 5, 1] if size == 1 << 19 else [1, 1, 1])
    sliced, whole = results
    assert sliced[0] == whole[0] and all((a == b).all() for a, b in zip(sliced[1:3], whole[1:3]))
    assert sliced[3] < 0.7 * whole[3]


@pytest.mark.parametrize("name", NETS)
def test_no_update_before_the_losses_are_known_or_the_norm_where_gradients_are_clipped(name):
    net, x, labels = example(name)
    for clip in (0, 1.0):
        plan = net.sessions.plan(net.request("train", x, labels, optimizer("sgd", {"clip": clip})[1]))
        last = max(i for i, step in enumerate(plan.steps) if step.pass_ == "loss" or step.op == "square_sum")
        assert last < plan.first_update
        assert all(step.pass_ == "update" for step in plan.steps[plan.first_update:]) or not clip
