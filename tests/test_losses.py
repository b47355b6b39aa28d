"""The `loss` lines: values against the papers' formulas in double precision, what goes with which net, class weights.
Their gradients are in test_gradients and csrc/tests/test_loss.c, by finite differences."""

import numpy as np
import pytest

import tinyconv
from tinyconv.errors import NetError


@pytest.fixture(params=["cpu", "numpy"])
def device(request):
    if request.param == "cpu":
        pytest.importorskip("tinyconv.runtime._cpu")
    return request.param


CLASSES = "input 5x4 x2\nconv 3 x3 -> relu -> conv 1 x4 -> softmax\n"
MASKS = "input 5x4 x2\nconv 3 x3 -> relu -> conv 1 x2 -> sigmoid\n"


def example(text, line, device, floats=False, n=3):
    net = tinyconv.compile(f"{text}train {{ {line} }}" if line else text, seed=1, device=device)
    rng = np.random.default_rng(5)
    x = 3 * rng.standard_normal((n, *net.input_shape), np.float32)
    out = net.graph.output
    labels = (rng.random((n, *out.spatial, out.channels)) < 0.4).astype(np.float32) if floats else \
        rng.integers(0, out.channels, (n, *out.spatial))
    return net, x, labels, net(x).astype(np.float64)


def ce(p, labels, smoothing=0.0, weights=None):
    logs = np.log(p)
    own = np.take_along_axis(logs, labels[..., None], -1)[..., 0]
    losses = -(1 - smoothing) * own - smoothing * logs.mean(-1)
    return (losses * (1 if weights is None else np.asarray(weights)[labels])).mean()


def bce(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def dice(p, t, smooth=1.0):
    total = 0.0
    for i in range(len(p)):
        for c in range(p.shape[-1]):
            a, b = p[i, ..., c], t[i, ..., c]
            total += 1 - (2 * (a * b).sum() + smooth) / ((a ** 2).sum() + (b ** 2).sum() + smooth)
    return total / (len(p) * p.shape[-1])


@pytest.mark.parametrize("line, wanted", [
    ("", lambda p, y: ce(p, y)),
    ("loss ce smoothing=0.1", lambda p, y: ce(p, y, 0.1)),
    ("loss ce weights=1,0.5,0,2 smoothing=0.2", lambda p, y: ce(p, y, 0.2, [1, 0.5, 0, 2])),
    ("loss focal gamma=3", lambda p, y: -((1 - own(p, y)) ** 3 * np.log(own(p, y))).mean()),
    ("loss ce weight=0.3; loss dice smooth=0.5 weight=0.7",
     lambda p, y: 0.3 * ce(p, y) + 0.7 * dice(p, np.eye(4)[y], 0.5)),
])
def test_classes(line, wanted, device):
    net, x, labels, p = example(CLASSES, line, device)
    assert net.gradients(x, labels)[0] == pytest.approx(wanted(p, labels), rel=1e-5)
    assert net.trainer(lr=0).step(x, labels) == pytest.approx(wanted(p, labels), rel=1e-5)
    measured = wanted(p, labels) if "focal" in line or "dice" in line else ce(p, labels)
    assert net.evaluate(x, labels)[0] == pytest.approx(measured, rel=1e-5)


def own(p, labels):
    return np.take_along_axis(p, labels[..., None], -1)[..., 0]


@pytest.mark.parametrize("line, wanted", [
    ("", bce), ("loss bce weight=0.5; loss dice weight=0.5", lambda p, t: bce(p, t) / 2 + dice(p, t) / 2),
    ("loss focal", lambda p, t: -(t * 0.25 * (1 - p) ** 2 * np.log(p)
                                  + (1 - t) * 0.75 * p ** 2 * np.log(1 - p)).mean()),
    ("loss focal gamma=0 alpha=0.5", lambda p, t: bce(p, t) / 2),
    ("loss mse weight=2", lambda p, t: 2 * ((p - t) ** 2).mean()),
])
def test_masks(line, wanted, device):
    net, x, target, p = example(MASKS, line, device, floats=True)
    assert net.gradients(x, target)[0] == pytest.approx(wanted(p, target), rel=1e-5)
    assert net.evaluate(x, target)[0] == pytest.approx(wanted(p, target), rel=1e-5)


def test_heads_have_the_lines_losses_too(device):
    text = "input 5x4 x2\nconv 3 x3 as a -> relu -> fc 4 -> softmax\nhead h weight=0.3 { @a -> fc 4 -> softmax }\n"
    net, x, labels, p = example(text, "loss ce smoothing=0.1", device)
    plain = tinyconv.compile(text.split("head")[0].replace("relu -> fc 4", "fc 4"), seed=1, device=device)
    plain.weights.update({"conv1.weight": net.weights["conv1.weight"], "fc1.weight": net.weights["h.fc1.weight"]})
    wanted = ce(p, labels, 0.1) + 0.3 * ce(plain(x).astype(np.float64), labels, 0.1)
    assert net.gradients(x, labels)[0] == pytest.approx(wanted, rel=1e-5)


def test_nothing_there_and_nothing_found_is_no_loss(device):
    net = tinyconv.compile("input 3x3 x1\nrelu -> sigmoid\ntrain { loss dice smooth=0; loss mse }", device=device)
    x = np.full((1, 3, 3, 1), -200, np.float32)  # relu makes it 0, sigmoid 0.5
    assert net.evaluate(x, np.zeros((1, 3, 3, 1)))[0] == pytest.approx(1.25)
    net = tinyconv.compile("input 3x3 x1\nsigmoid\ntrain { loss dice smooth=0 }", device=device)
    assert net.evaluate(x, np.zeros((1, 3, 3, 1)))[0] == 0
    assert net.evaluate(-x, np.ones((1, 3, 3, 1)))[0] == 0


@pytest.mark.parametrize("text, line, words", [
    (MASKS, "loss ce", "`loss ce` does not go with a net that ends in `sigmoid`.*\n.*write `loss bce`"),
    (CLASSES, "loss bce", "`loss bce`.*`softmax`.*\n.*write `loss ce`, or end the net in `sigmoid`"),
    (CLASSES, "loss mse", "`loss mse`.*`softmax`"),
    ("input 5x4 x2\nfc 2 -> sigmoid\n", "loss dice", "`loss dice`.*with x2.*\n.*with positions"),
    (CLASSES, "loss ce weights=1,2", "has 2 numbers, the net 4 classes"),
    (CLASSES, "loss focal alpha=0.3", "`alpha`.*sigmoid"),
    (CLASSES, "loss ce weights=data", "waits for training data"),
    (CLASSES, "loss dise", "there is no loss `dise`.*\n(.*\n)*.*did you mean `dice`"),
])
def test_what_does_not_go_together(text, line, words):
    with pytest.raises(NetError, match=words):
        net, x, labels, _ = example(text, line, "numpy", floats="sigmoid" in text)
        net.gradients(x, labels)


def test_weights_from_the_data():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], [60, 30, 10])
    x = rng.standard_normal((100, 5, 2), np.float32)
    text = "input 5 x2\nfc 4 -> softmax\ntrain { epochs 1; batch 100; loss ce weights=data; optimizer sgd lr=0 }"
    net = tinyconv.compile(text, seed=1, device="numpy")
    p = net(x).astype(np.float64)
    history = net.fit(x, labels)
    weights = np.array([100 / (3 * 60), 100 / (3 * 30), 0, 100 / (3 * 10)])
    assert dict(net.losses[0][1])["weights"] == pytest.approx(weights)
    assert weights[labels].mean() == pytest.approx(1)
    assert history[0]["train_loss"] == pytest.approx(ce(p, labels, 0, weights), rel=1e-5)


def test_regression_learns_a_line():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3), np.float32)
    target = x @ np.array([[1.0, 2], [-1, 0], [0.5, 3]], np.float32) + 1
    net = tinyconv.compile("input x3\nfc 2\ntrain { loss mse; optimizer adam lr=0.1; schedule cosine }", seed=0)
    history = net.fit(x, target, epochs=60, batch=16)
    assert history[-1]["train_loss"] < 1e-4 < history[0]["train_loss"]
    np.testing.assert_allclose(net(x), target, atol=0.05)
