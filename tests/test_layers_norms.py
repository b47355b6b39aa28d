"""Normalisations, activations, shuffle and the drops in 0-D to 3-D: forward against formulas in double written here,
gradients against differences of the loss, both backends, any thread count, errors. Masks: test_layers_drops.py."""

import itertools
import math

import numpy as np
import pytest

import tinyconv
from tinyconv.errors import NetError, NonFiniteError
from tinyconv.runtime.backend import compiled

DEVICES = ["numpy", pytest.param("cpu", marks=pytest.mark.skipif(not compiled(), reason="not built"))]
SIZES = {"0-D": (), "1-D": (11,), "2-D": (5, 6), "3-D": (3, 4, 5)}
CHANNELS = 12

dimensions = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
devices = pytest.mark.parametrize("device", DEVICES)


def net_of(text, size, device, channels=CHANNELS, seed=3):
    shape = "x".join("?" if n is None else str(n) for n in size)
    net = tinyconv.compile(f"input {shape} x{channels}\n{text}", device=device, seed=seed)
    rng = np.random.default_rng(5)
    for name, value in net.weights.items():  # away from 0 and 1, which hide mistakes
        if value.ndim == 1:
            low = 0.4 if name.endswith("running_var") else -1.5
            net.weights[name] = rng.uniform(low, 1.5, value.shape).astype(np.float32)
    return net


def example(size, batch=4, channels=CHANNELS, centre=0.3):
    return np.random.default_rng(1).normal(centre, 1.2, (batch, *size, channels)).astype(np.float32)


def weights_in_double(net, *names):
    return [net.weights[name].astype(np.float64) for name in names]


# ---------------------------------------------------------------- formulas, one value or row at a time


def naive_ln(net, x):
    gamma, beta = weights_in_double(net, "ln1.weight", "ln1.bias")
    y = np.empty(x.shape)
    for at in np.ndindex(x.shape[:-1]):
        row = x[at].astype(np.float64)
        mean = sum(row) / len(row)
        var = sum((row - mean) ** 2) / len(row)
        y[at] = (row - mean) / math.sqrt(var + 1e-3) * gamma + beta
    return y


def naive_gn(net, x, groups=4):
    gamma, beta = weights_in_double(net, "gn1.weight", "gn1.bias")
    y, width = np.empty(x.shape), x.shape[-1] // groups
    for sample, group in itertools.product(range(len(x)), range(groups)):
        at = (sample, ..., slice(group * width, (group + 1) * width))
        values = x[at].astype(np.float64).ravel()
        mean = math.fsum(values) / len(values)
        var = math.fsum((values - mean) ** 2) / len(values)
        y[at] = (x[at] - mean) / math.sqrt(var + 1e-3) * gamma[at[-1]] + beta[at[-1]]
    return y


def naive_bn(net, x):
    names = ("bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var")
    gamma, beta, mean, var = weights_in_double(net, *names)
    return (x - mean) / np.sqrt(var + 1e-3) * gamma + beta


def naive_lrn(net, x, n=5, alpha=0.5, beta=0.75, k=2):
    y = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        window = x[at[:-1]][max(0, at[-1] - n // 2):at[-1] + n // 2 + 1].astype(np.float64)
        y[at] = x[at] / (k + alpha / n * sum(window**2)) ** beta
    return y


def naive_shuffle(net, x, groups=3):
    y, width = np.empty(x.shape), x.shape[-1] // groups
    for i, j in itertools.product(range(groups), range(width)):
        y[..., j * groups + i] = x[..., i * width + j]
    return y


def naive_softmax(net, x):
    e = np.exp(x.astype(np.float64))
    return e / e.sum(-1, keepdims=True)


def one_by_one(f):
    return lambda net, x: np.array([f(float(v)) for v in x.ravel()]).reshape(x.shape)


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


NORMS = {
    "scale v=-0.5": lambda net, x: x * weights_in_double(net, "scale1.weight")[0],
    "ln eps=1e-3": naive_ln,
    "gn 4 eps=1e-3": naive_gn,
    "bn eps=1e-3": naive_bn,
    "lrn 5 alpha=0.5": naive_lrn,
    "shuffle 3": naive_shuffle,
}
ACTIVATIONS = {
    "relu": one_by_one(lambda v: max(v, 0)),
    "relu6": one_by_one(lambda v: min(max(v, 0), 6)),
    "elu": one_by_one(lambda v: v if v > 0 else math.expm1(v)),
    "elu 0.5": one_by_one(lambda v: v if v > 0 else 0.5 * math.expm1(v)),
    "leaky": one_by_one(lambda v: v if v > 0 else 0.01 * v),
    "leaky 0.3": one_by_one(lambda v: v if v > 0 else 0.3 * v),
    "prelu": lambda net, x: np.where(x > 0, x, x * weights_in_double(net, "prelu1.weight")[0]),
    "gelu": one_by_one(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2),
    "silu": one_by_one(lambda v: v * sigmoid(v)),
    "hswish": one_by_one(lambda v: v * min(max(v + 3, 0), 6) / 6),
    "sigmoid": one_by_one(sigmoid),
    "hsigmoid": one_by_one(lambda v: min(max(v / 6 + 0.5, 0), 1)),
    "tanh": one_by_one(math.tanh),
    "softmax": naive_softmax,
}
FORMULAS = NORMS | ACTIVATIONS


@pytest.mark.parametrize("layer", FORMULAS)
@dimensions
@devices
def test_forward(layer, size, device):
    net, x = net_of(layer, size, device), example(size) * (3 if layer in ACTIVATIONS else 1)
    np.testing.assert_allclose(net(x), FORMULAS[layer](net, x), rtol=2e-6, atol=3e-6)
    assert net.graph.output.spatial == size and net.graph.output.channels == CHANNELS


@pytest.mark.parametrize("layer", ["ln eps=1e-3", "gn 4 eps=1e-3", "shuffle 3", "scale 2", "tanh", "softmax"])
@devices
def test_free_sizes(layer, device):
    net = net_of(layer, (None, None), device)
    for size in ((5, 6), (9, 2)):
        x = example(size)
        np.testing.assert_allclose(net(x), (FORMULAS | {"scale 2": NORMS["scale v=-0.5"]})[layer](net, x), rtol=2e-6,
                                   atol=3e-6)


@pytest.mark.parametrize("layer", ["ln", "gn 3"])
@devices
def test_no_cancellation(layer, device):
    """A mean ten thousand times the deviation: E[x^2] - E[x]^2 would have no digit left."""
    net, x = tinyconv.compile(f"input 40 x12\n{layer} eps=1e-12", device=device), example((40,), centre=0) * 0.01
    y = net(x + np.float32(100))
    moved = (x + np.float32(100)).astype(np.float64)
    rows = moved if layer == "ln" else moved.reshape(4, 40, 3, 4)
    axes = -1 if layer == "ln" else (1, 3)
    expected = (rows - rows.mean(axes, keepdims=True)) / rows.std(axes, keepdims=True)
    np.testing.assert_allclose(y, expected.reshape(x.shape), atol=2e-3)


@devices
def test_group_norm_between_its_limits(device):
    """`gn c` is instance normalisation; in 0-D with one group it is `ln`."""
    x = example((5, 6))
    instance = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(tinyconv.compile("input 5x6 x12\ngn 12", device=device)(x), instance, atol=3e-6)
    flat = example(())
    np.testing.assert_allclose(tinyconv.compile("input x12\ngn 1", device=device)(flat),
                               tinyconv.compile("input x12\nln", device=device)(flat), atol=2e-6)


def test_starting_values_and_decay():
    net = tinyconv.compile("input 4x4 x6\nscale 0.25 -> ln -> gn 2 -> scale")
    assert {n: (w.shape, set(w.tolist())) for n, w in net.weights.items()} == {
        "scale1.weight": ((6,), {0.25}), "ln1.weight": ((6,), {1.0}), "ln1.bias": ((6,), {0.0}),
        "gn1.weight": ((6,), {1.0}), "gn1.bias": ((6,), {0.0}), "scale2.weight": ((6,), {1.0})}
    assert not any(w.decay for node in net.graph.nodes for w in node.params)
    assert net.graph.params == 6 * 6


# ---------------------------------------------------------------- gradients

DROPS = ("dropout 0.3", "droppath 0.4", "dropblock 0.3 size=2")


def first_layer(size):
    """Makes the layer's input depend on weights that mix channels."""
    return "conv 1 x12" if size else "fc 12"


@pytest.mark.parametrize("layer", [*FORMULAS, *DROPS])
@dimensions
@devices
def test_gradients_are_those_of_the_loss(layer, size, device):
    """Along each weight's gradient the loss rises by its length; along a random direction by the product with it."""
    net = net_of(f"{first_layer(size)} -> {layer} -> tanh", size, device, channels=3)
    x, rng = example(size, channels=3), np.random.default_rng(9)
    labels = rng.normal(0, 1, (4, *size, CHANNELS)).astype(np.float32)
    _, gradients = net.gradients(x, labels, seed=2)
    assert gradients.keys() == {n for n in net.weights if "running" not in n}
    for name, gradient in gradients.items():
        start = net.weights[name]
        for way in (gradient, rng.normal(0, 1, gradient.shape)):
            way = way / np.linalg.norm(way)
            losses = []
            for h in (-8e-3, -4e-3, 4e-3, 8e-3):
                net.weights[name] = start + (h * way).astype(np.float32)
                losses.append(net.gradients(x, labels, seed=2)[0])
            slope = (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * 4e-3)
            room = float(4e-3 * np.linalg.norm(gradient) + 5e-5)  # a kink between the four, and rounding
            assert slope == pytest.approx((gradient * way).sum(), abs=room), name
        net.weights[name] = start


@pytest.mark.skipif(not compiled(), reason="not built")
@pytest.mark.parametrize("layer", [*FORMULAS, *DROPS])
@dimensions
def test_backends_agree(layer, size):
    text = f"{first_layer(size)} -> {layer} -> tanh"
    x, labels = example(size, channels=3), example(size)
    (loss, gradients), (twin, expected) = (net_of(text, size, device, channels=3).gradients(x, labels, seed=7)
                                           for device in ("cpu", "numpy"))
    assert loss == pytest.approx(twin, rel=1e-6)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-4, atol=2e-6, err_msg=name)


@pytest.mark.skipif(not compiled(), reason="not built")
@pytest.mark.parametrize("size, batch", [((), 70), ((301,), 5), ((30, 31), 1), ((30, 31), 7), ((5, 9, 11), 4)], ids=str)
def test_same_bits_for_any_thread_count(size, batch):
    from tinyconv.runtime import _cpu

    text = (f"{first_layer(size)} -> scale 0.5 -> ln -> gelu -> gn 3 -> shuffle 4\n"
            "dropblock 0.2 size=3 -> droppath 0.3 -> prelu -> bn -> lrn 3 -> softmax -> scale 3")
    x, labels = example(size, batch, channels=3), example(size, batch)
    before, results = _cpu.least_work(0), []
    try:
        for count in (1, 2, 3):
            net = net_of(text, size, "cpu", channels=3)
            with tinyconv.threads(count):
                trainer = net.trainer(lr=0.1, seed=4)
                losses = [trainer.step(x, labels) for _ in range(3)]
                results.append((losses, net(x).tobytes(), net.store.memory.tobytes()))
    finally:
        _cpu.least_work(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("merge", ["add", "concat", "mul"])
@devices
def test_forty_branches(merge, device):
    """More than one step of a program takes operands."""
    branches = " | ".join(["conv 1 x2 bias=1"] * 40)
    net = tinyconv.compile(f"input 3x2 x2\n{merge} {{ {branches} }} -> conv 1 x3", device=device, seed=1)
    small = 0.05 if merge == "mul" else 0.5
    for i in range(1, 41):
        net.weights[f"conv{i}.weight"] = small * net.weights[f"conv{i}.weight"]
    x = example((3, 2), channels=2)
    weights = {n: w.astype(np.float64) for n, w in net.weights.items()}
    values = [x.astype(np.float64) @ weights[f"conv{i}.weight"][:, 0, 0].T + weights[f"conv{i}.bias"]
              for i in range(1, 41)]
    merged = {"add": sum, "concat": lambda v: np.concatenate(v, -1), "mul": math.prod}[merge](values)
    expected = merged @ weights["conv41.weight"][:, 0, 0].T + weights["conv41.bias"]
    np.testing.assert_allclose(net(x), expected, rtol=1e-4, atol=1e-5)
    labels = example((3, 2), channels=3)
    _, gradients = net.gradients(x, labels)
    d_merged = 2 * (expected - labels) / labels.size @ weights["conv41.weight"][:, 0, 0]
    for i, value in enumerate(values, 1):
        own = slice(2 * i - 2, 2 * i) if merge == "concat" else slice(None)
        d = d_merged[..., own] * (merged / value if merge == "mul" else 1)
        np.testing.assert_allclose(gradients[f"conv{i}.bias"], d.sum((0, 1, 2)), rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- running statistics


@devices
def test_running_statistics_follow_a_step(device):
    net, x = net_of("bn momentum=0.25 -> fc 2", (5, 6), device), example((5, 6))
    before = {k: net.weights[f"bn1.running_{k}"] for k in ("mean", "var")}
    net.trainer(lr=0.01).step(x, np.zeros((4, 2), np.float32))
    flat = x.reshape(-1, CHANNELS).astype(np.float64)
    np.testing.assert_allclose(net.weights["bn1.running_mean"], 0.75 * before["mean"] + 0.25 * flat.mean(0), atol=1e-6)
    variance = 0.75 * before["var"] + 0.25 * flat.var(0, ddof=1)
    np.testing.assert_allclose(net.weights["bn1.running_var"], variance, atol=1e-6)


@pytest.mark.parametrize("spoil", ["batch", "weight", "labels"])
@devices
def test_a_step_that_fails_changes_nothing(spoil, device):
    """Neither weights nor running statistics nor momentum; the steps after it are those of a run without it."""
    text = ("conv 3 x4 -> bn -> relu as a -> conv 3 x4 -> bn -> fc 3\n"
            "head aux weight=0.3 { @a -> conv 1 x4 -> bn -> fc 3 }")
    x, labels = example((5, 6)), np.random.default_rng(3).normal(0, 1, (4, 3)).astype(np.float32)
    clean, net = (net_of(text, (5, 6), device) for _ in range(2))
    trainers = [n.trainer(lr=0.02, seed=1) for n in (clean, net)]
    for trainer in trainers:
        trainer.step(x, labels)
    bad_x, bad_labels = x.copy(), labels.copy()
    if spoil == "batch":
        bad_x[2, 1, 1, 3] = np.inf
    elif spoil == "labels":
        bad_labels[1, 1] = np.nan
    kept = net.weights["fc1.bias"]
    if spoil == "weight":
        net.weights["fc1.bias"] = np.full(3, 1e30, np.float32)
    before = dict(net.weights), trainers[1].state()
    with pytest.raises(NonFiniteError):
        trainers[1].step(bad_x, bad_labels)
    for was, now in zip(before, (dict(net.weights), trainers[1].state())):
        assert all(np.array_equal(was[k], now[k]) for k in was)
    net.weights["fc1.bias"] = kept
    assert trainers[0].step(x, labels) == trainers[1].step(x, labels)
    assert all(np.array_equal(clean.weights[k], net.weights[k]) for k in clean.weights)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("text, message, help_", [
    ("gn 5", "5 groups do not divide 12 channels", "write `gn 4`: g of 1, 2, 3, 4, 6, 12 would do"),
    ("gn 24", "24 groups do not divide 12 channels", "write `gn 12`"),
    ("gn 0", "`gn` needs at least 1 group", ""),
    ("gn 3 eps=0", "`eps` of `gn` must be above 0", "write `gn eps=1e-5`, or leave it out"),
    ("shuffle 7", "7 groups do not divide 12 channels", "write `shuffle 6`"),
    ("shuffle 0", "`shuffle` needs at least 1 group", ""),
    ("fc 999999937 -> shuffle 7", "7 groups do not divide 999999937 channels", "g of 1, 999999937 would do"),
    ("ln eps=0", "`eps` of `ln` must be above 0", "eps=1e-5"),
    ("bn eps=0", "`eps` of `bn` must be above 0", "eps=1e-5"),
    ("bn momentum=2", "`momentum` of `bn` is the share of the new batch", ""),
    ("lrn 0", "`lrn` needs at least 1 channel", ""),
    ("lrn 5 k=0", "`lrn` needs k above 0", ""),
    ("dropout 1", "`dropout` drops a share of at least 0 and below 1", "write `dropout 0.5`"),
    ("droppath 1", "`droppath` drops a share of at least 0 and below 1", "write `droppath 0.5`"),
    ("dropblock 1.5", "`dropblock` drops a share of at least 0 and below 1", "write `dropblock 0.5`"),
    ("dropblock 0.1 size=0", "`size` must be at least 1", ""),
    ("dropblock 0.1 size=3x3x3", "`size` 3x3x3 has 3 axes, but the input has 2 spatial axes", ""),
    ("leaky a=0-1", "the slope of `leaky` must be at least 0", ""),
    ("elu a=0-1", "the slope of `elu` must be at least 0", ""),
    ("gn", "`gn` needs `g`", ""),
    ("droppath", "`droppath` needs `p`", ""),
])
def test_errors(text, message, help_):
    with pytest.raises(NetError) as caught:
        tinyconv.compile(f"input 8x8 x12\n{text}")
    assert message in str(caught.value) and help_ in str(caught.value)
