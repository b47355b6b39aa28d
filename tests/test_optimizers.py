"""The optimisers against their papers' formulas in double precision, over 20 steps, on both backends."""

import numpy as np
import pytest

import tinyconv
from tinyconv.errors import NetError, NonFiniteError

NET = "input 6x6 x2\nconv 3 x5 bias=off -> bn -> relu -> scale 0.7 -> conv 3 x3 bias=0.2 -> prelu -> fc 4 -> softmax"
DECAYED = {"conv1.weight", "conv2.weight", "fc1.weight"}
STEPS = 20


@pytest.fixture(params=["cpu", "numpy"])
def device(request):
    if request.param == "cpu":
        pytest.importorskip("tinyconv.runtime._cpu")
    return request.param


def batches(n=STEPS, size=6):
    rng = np.random.default_rng(3)
    return [(rng.standard_normal((size, 6, 6, 2), np.float32), rng.integers(0, 4, size)) for _ in range(n)]


def sgd(w, g, s, t, lr, decay, momentum=0.9, nesterov=False):
    g = g + decay * w
    s["v"] = momentum * s.get("v", 0) + g
    return w - lr * (g + momentum * s["v"] if nesterov else s["v"])


def adam(w, g, s, t, lr, decay, beta1=0.9, beta2=0.999, eps=1e-8):
    """Algorithm 1 of Kingma and Ba 2015."""
    g = g + decay * w
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g ** 2
    return w - lr * (s["m"] / (1 - beta1 ** t)) / (np.sqrt(s["v"] / (1 - beta2 ** t)) + eps)


def adamw(w, g, s, t, lr, decay, **how):
    """Algorithm 2 of Loshchilov and Hutter 2019."""
    return adam(w, g, s, t, lr, 0, **how) - lr * decay * w


def rmsprop(w, g, s, t, lr, decay, rho=0.9, momentum=0.0, eps=1e-8):
    g = g + decay * w
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g ** 2
    s["v"] = momentum * s.get("v", 0) + lr * g / np.sqrt(s["s"] + eps)
    return w - s["v"]


CASES = [
    (sgd, dict(lr=0.05, momentum=0.0)), (sgd, dict(lr=0.05, decay=0.01)),
    (sgd, dict(lr=0.05, decay=0.01, nesterov=True, decay_all=True)),
    (adam, dict(lr=0.01)), (adam, dict(lr=0.01, decay=0.05, beta1=0.8, beta2=0.95, eps=1e-3)),
    (adamw, dict(lr=0.01, decay=0.1)), (adamw, dict(lr=0.01, decay=0.1, decay_all=True, eps=0.1)),
    (rmsprop, dict(lr=0.01)), (rmsprop, dict(lr=0.02, decay=0.01, rho=0.8, momentum=0.9, eps=1.0)),
]


@pytest.mark.parametrize("clip", [0, 0.3])
@pytest.mark.parametrize("formula, options", CASES, ids=[f"{f.__name__} {len(o)}" for f, o in CASES])
def test_formula_over_20_steps(formula, options, clip, device):
    net = tinyconv.compile(NET, seed=1, device=device)
    trainer = net.trainer(formula.__name__, **options, clip=clip)
    how = {k: v for k, v in options.items() if k not in ("decay", "decay_all")}
    wanted = {n: net.weights[n].astype(np.float64) for n in net.weights if "running" not in n}
    start, state, clipped = dict(wanted), {n: {} for n in wanted}, 0
    for t, (x, labels) in enumerate(batches(), 1):
        _, gradients = net.gradients(x, labels)
        assert set(gradients) == set(wanted)
        norm = np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradients.values()))
        clipped += bool(clip) and norm > clip
        for n, g in gradients.items():
            g = g.astype(np.float64) * (clip / max(norm, clip) if clip else 1)
            decay = options.get("decay", 0) if n in DECAYED or options.get("decay_all") else 0
            wanted[n] = formula(wanted[n], g, state[n], t, decay=decay, **how)
        trainer.step(x, labels)
    assert bool(clip) == (clipped > 5)
    for n in wanted:
        moved = np.abs(wanted[n] - start[n]).max()
        assert moved > 1e-3, n
        size = max(1, np.abs(wanted[n]).max())
        np.testing.assert_allclose(net.weights[n], wanted[n], rtol=0, atol=2e-5 * size, err_msg=n)


def test_averages_follow_the_formula(device):
    net = tinyconv.compile(NET.replace("x2", "x2 mean=data", 1), seed=1, device=device)
    trainer = net.trainer("adam", lr=0.01, ema=0.6)
    net.set_input_statistics(0.3, 1)  # after the trainer was made, as training does
    with trainer.averaged():
        assert net.weights["input1.mean"] == pytest.approx(0.3)
    average = {n: w.astype(np.float64) for n, w in net.weights.items()}
    for t, (x, labels) in enumerate(batches(), 1):
        trainer.step(x, labels)
        d = min(0.6, (1 + t) / (10 + t))
        average = {n: d * e + (1 - d) * net.weights[n] for n, e in average.items()}
    own, y = dict(net.weights), net(batches(1)[0][0])
    with trainer.averaged():
        for n, e in average.items():
            np.testing.assert_allclose(net.weights[n], e, rtol=1e-4, atol=1e-5, err_msg=n)
        assert np.abs(net(batches(1)[0][0]) - y).max() > 1e-3  # what is packed follows
        assert net.weights["input1.mean"] == pytest.approx(0.3)
    assert all((net.weights[n] == own[n]).all() for n in own) and (net(batches(1)[0][0]) == y).all()
    assert not (net.weights["bn1.running_mean"] == average["bn1.running_mean"]).all()
    trainer.keep_averages()
    np.testing.assert_allclose(net.weights["fc1.weight"], average["fc1.weight"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_state_goes_on_bit_for_bit(name, device):
    options = dict(lr=0.01, clip=0.5, ema=0.9, seed=2)
    whole = tinyconv.compile(NET, seed=1, device=device)
    trainer = whole.trainer(name, **options)
    data = batches(6)
    for i, batch in enumerate(data):
        if i == 3:
            kept = {**whole.weights, **trainer.state()}
        trainer.step(*batch)
    again = tinyconv.compile(NET, seed=9, device=device)
    again.load_weights({n: w for n, w in kept.items() if n in again.weights})
    other = again.trainer(name, **options)
    other.load_state(kept)
    for batch in data[3:]:
        other.step(*batch)
    for n in whole.weights:
        assert (whole.weights[n] == again.weights[n]).all(), n
    states = trainer.state(), other.state()
    assert states[0].keys() == states[1].keys() and all((states[0][n] == states[1][n]).all() for n in states[0])
    with pytest.raises(NetError, match="optimizer.*is missing"):
        other.load_state({n: a for n, a in kept.items() if not n.endswith("fc1.weight")})


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_same_bits_for_any_thread_count(name):
    cpu = pytest.importorskip("tinyconv.runtime._cpu")
    before, results = cpu.least_work(0), []
    try:
        for count in (1, 2, 5):
            net = tinyconv.compile(NET, seed=1, device="cpu")
            trainer = net.trainer(name, lr=0.01, decay=0.1, clip=0.3, ema=0.9)
            with tinyconv.threads(count):
                losses = [trainer.step(*batch) for batch in batches(4)]
            results.append((losses, {**net.weights, **trainer.state()}))
    finally:
        cpu.least_work(before)
    for losses, arrays in results[1:]:
        assert losses == results[0][0]
        assert all((arrays[n] == results[0][1][n]).all() for n in arrays)


def test_clipping_stops_at_gradients_that_are_not_finite(device):
    """A loss near the largest float has finite value and infinite gradient norm."""
    net = tinyconv.compile("input x2\nfc 1", device=device)
    x, target = np.full((1, 2), 1e25, np.float32), np.zeros((1, 1), np.float32)
    net.weights["fc1.weight"] = np.full((1, 2), 1e-7)
    before = net.weights["fc1.weight"]
    with pytest.raises(NonFiniteError, match="norm of the gradients is inf at step 1: first in layer fc1"):
        net.trainer(lr=0.1, clip=1).step(x, target)
    assert (net.weights["fc1.weight"] == before).all()


def test_unknown_names_and_options():
    net = tinyconv.compile(NET, device="numpy")
    with pytest.raises(NetError, match="there is no optimizer 'adm'\n.*did you mean 'adam'"):
        net.trainer("adm")
    with pytest.raises(TypeError, match="adam takes lr, beta1, .*not momentum"):
        net.trainer("adam", momentum=0.9)
    with pytest.raises(NetError, match="`lr` of `sgd` is nan; it must be 0 or more"):
        net.trainer(lr=float("nan"))
    with pytest.raises(NetError, match="`beta1` of `adam` is 1; it must be 0 or more, below 1"):
        net.trainer("adam", beta1=1)
    assert net.trainer("adam").lr == 1e-3 and net.trainer().lr == 0.01
