"""The Python interface: what it takes, what it gives, what it says when it cannot."""

import copy
import pickle
import threading

import numpy as np
import pytest

import tinyconv

TEXT = "conv 3x3 x8 -> bn -> relu -> pool 2 -> fc 10 -> softmax"


@pytest.fixture
def net():
    return tinyconv.compile(TEXT, input="8x8 x3", seed=0)


@pytest.fixture
def x():
    return np.random.default_rng(0).random((6, 8, 8, 3), np.float32)


def test_probabilities(net, x):
    y = net(x)
    assert y.shape == (6, 10) and y.dtype == np.float32
    np.testing.assert_allclose(y.sum(1), 1, atol=1e-6)


def test_layouts_and_types(net, x):
    y = net(x)
    assert (net(np.moveaxis(x, -1, 1), layout="NCHW") == y).all()
    assert (net(np.ascontiguousarray(np.moveaxis(x, -1, 1)), layout="NCHW") == y).all()
    images = (x * 255).astype(np.uint8)
    np.testing.assert_allclose(net(images), net(images.astype(np.float32) / np.float32(255)), atol=1e-6)
    assert net(x[:0]).shape == (0, 10)


@pytest.mark.parametrize("change, error, words", [
    (lambda x: x[0], tinyconv.NetError, r"x\[None\]"),
    (lambda x: x.astype(np.float64), TypeError, "astype"),
    (lambda x: x.astype(np.int32), TypeError, "float32"),
    (lambda x: x[:, :7], tinyconv.NetError, r"\(N, 8, 8, 3\)"),
    (lambda x: np.moveaxis(x, -1, 1), tinyconv.NetError, "NCHW"),
    (lambda x: x[None, None], tinyconv.NetError, r"\(N, 8, 8, 3\)"),
])
def test_wrong_input(net, x, change, error, words):
    with pytest.raises(error, match=words):
        net(change(x))


@pytest.mark.parametrize("labels, words", [
    (np.arange(6) + 5, "label 10 is out of range"),
    (np.arange(6) - 1, "label -1 is out of range"),
    (np.zeros(5, int), r"take|shape"),
    (np.zeros((6, 10), np.float32), "integers"),
])
def test_wrong_labels(net, x, labels, words):
    for call in (net.gradients, net.evaluate, net.trainer().step):
        with pytest.raises(tinyconv.NetError, match=words):
            call(x, labels)


def test_weights(net, x):
    assert list(net.weights) == ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean",
                                 "bn1.running_var", "fc1.weight", "fc1.bias"]
    assert net.weights["conv1.weight"].shape == (8, 3, 3, 3) and net.weights["fc1.weight"].shape == (10, 128)
    before, w = net(x), net.weights["conv1.weight"]
    w += 1
    assert (net(x) == before).all()  # reads give copies
    net.weights["conv1.weight"] = w
    assert not np.allclose(net(x), before)  # writes are seen by plans made before
    with pytest.raises(tinyconv.NetError, match="shape"):
        net.weights["conv1.weight"] = w[:4]
    with pytest.raises(KeyError, match="conv9"):
        net.weights["conv9.weight"] = w
    with pytest.raises(KeyError):
        net.weights["input1.mean"]  # written in the text, not measured


def test_fc_reads_channels_last():
    net = tinyconv.compile("input 2x3 x4\nfc 1", seed=0)
    x = np.random.default_rng(0).random((1, 2, 3, 4), np.float32)
    expected = x.reshape(1, -1) @ net.weights["fc1.weight"].T + net.weights["fc1.bias"]
    np.testing.assert_allclose(net(x), expected, rtol=1e-5)


def test_seeds():
    a, b, c = (tinyconv.compile(TEXT, input="8x8 x3", seed=s).weights["conv1.weight"] for s in (0, 0, 1))
    assert (a == b).all() and not (a == c).any()
    assert abs(tinyconv.compile("input 9x9 x64\nconv 3 x64", seed=3).weights["conv1.weight"].std()
               / np.sqrt(2 / 576) - 1) < 0.02


def test_training_lowers_the_loss(net, x):
    labels = np.arange(6)
    trainer = net.trainer(lr=0.05, momentum=0.9)
    losses = [trainer.step(x, labels) for _ in range(40)]
    assert losses[-1] < 0.1 * losses[0]
    assert net.evaluate(x, labels)[1].argmax(1).tolist() == labels.tolist()


def test_sgd_by_hand(x):
    net = tinyconv.compile("input 8x8 x3\nfc 10 -> softmax", seed=0)
    labels, lr, momentum, decay = np.arange(6), 0.1, 0.9, 0.01
    w, b = (net.weights[n].astype(np.float64) for n in ("fc1.weight", "fc1.bias"))
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    trainer = net.trainer(lr=lr, momentum=momentum, decay=decay)
    rows = x.reshape(6, -1).astype(np.float64)
    for _ in range(3):
        logits = rows @ w.T + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(6), labels]).mean()
        assert trainer.step(x, labels) == pytest.approx(loss, rel=1e-5)
        d = (p - np.eye(10)[labels]) / 6
        vw = momentum * vw + d.T @ rows + decay * w  # decay is no part of the bias's gradient
        vb = momentum * vb + d.sum(0)
        w, b = w - lr * vw, b - lr * vb
    np.testing.assert_allclose(net.weights["fc1.weight"], w, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(net.weights["fc1.bias"], b, rtol=1e-4, atol=1e-6)


def test_running_statistics_are_unbiased(x):
    net = tinyconv.compile("input 8x8 x3\nbn -> fc 10", seed=0)
    net.trainer(lr=0.0).step(x, np.arange(6))
    rows = x.reshape(-1, 3)
    np.testing.assert_allclose(net.weights["bn1.running_mean"], 0.1 * rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(net.weights["bn1.running_var"], 0.9 + 0.1 * rows.var(0, ddof=1), rtol=1e-5)


def test_loss_that_is_not_finite(net, x):
    before = dict(net.weights)
    x[2, 3, 3, 1] = np.nan
    with pytest.raises(tinyconv.NonFiniteError, match="step 1"):
        net.trainer().step(x, np.arange(6))
    for name in ("conv1.weight", "fc1.weight", "bn1.weight"):
        assert (net.weights[name] == before[name]).all()
    net = tinyconv.compile(TEXT, input="8x8 x3", seed=0)
    net.weights["conv1.weight"] = np.full((8, 3, 3, 3), 3e38, np.float32)
    with pytest.raises(tinyconv.NonFiniteError, match="conv1"):
        net.trainer().step(np.ones((2, 8, 8, 3), np.float32), np.arange(2))


def test_dropout_is_drawn_anew_each_step_and_only_in_training(x):
    net = tinyconv.compile("input 8x8 x3\ndropout 0.5 -> fc 10", seed=0)
    labels = np.arange(6)
    assert (net(x) == net(x)).all()
    losses = {net.gradients(x, labels, seed=s)[0] for s in range(4)}
    assert len(losses) == 4
    trainer = net.trainer(lr=0.0, seed=1)
    assert len({trainer.step(x, labels) for _ in range(4)}) == 4


def test_several_threads_at_once(net, x):
    batches = [np.roll(x, i, axis=0)[:1 + i % 6] for i in range(12)]
    expected = [net(b) for b in batches]
    wrong = []

    def work(i):
        for _ in range(20):
            with tinyconv.threads(1 + i % 3):
                if not (net(batches[i]) == expected[i]).all():
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_number_of_threads():
    from tinyconv.runtime import threads

    before = threads.get()
    with tinyconv.threads(5):
        assert threads.get() == 5
        with tinyconv.threads(2):
            assert threads.get() == 2
        assert threads.get() == 5
    assert threads.get() == before
    for bad in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="threads"):
            with tinyconv.threads(bad):
                pass


def test_save_and_load(tmp_path, net, x):
    net.trainer(lr=0.1).step(x, np.arange(6))
    net.class_names = [f"class {i}" for i in range(10)]
    net.save(tmp_path / "a.safetensors")
    again = tinyconv.load(tmp_path / "a.safetensors")
    assert (again(x) == net(x)).all() and again.class_names == net.class_names
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_are_by_value(net, x, twin):
    net.trainer(lr=0.1).step(x, np.arange(6))
    other, before = twin(net), net(x)
    assert (other(x) == before).all()
    other.weights["fc1.bias"] = np.arange(10)
    assert (net(x) == before).all() and not np.allclose(other(x), before)


def test_free_sizes():
    net = tinyconv.compile("input ?x? x3\nconv 3x3 s2 x8 -> relu -> pool global avg -> fc 4", seed=0)
    for size in ((5, 7), (16, 9), (32, 32)):
        x = np.random.default_rng(1).random((2, *size, 3), np.float32)
        np.testing.assert_allclose(net(x), tinyconv.compile(net.text, seed=0, device="numpy")(x), atol=1e-5)
    with pytest.raises(tinyconv.NetError, match="kernel 5 is larger than its padded input 3"):
        tinyconv.compile("input ?x? x3\nconv 5x5 p0 x8", seed=0)(np.zeros((1, 3, 9, 3), np.float32))


def test_lets_and_zoo():
    net = tinyconv.load("resnet18", classes=7)
    assert net.classes == 7 and net.input_shape == (224, 224, 3)
    with pytest.raises(tinyconv.NetError, match="clases|classes"):
        tinyconv.load("resnet18", clases=7)
    with pytest.raises(tinyconv.NetError, match="no layers"):
        tinyconv.load("residual")
    with pytest.raises(tinyconv.NetError, match="resnet18"):
        tinyconv.load("resnet81")


def test_logits_with_integer_labels(x):
    """Without softmax, integer labels mean cross-entropy on the output."""
    plain, soft = (tinyconv.compile(f"input 8x8 x3\nfc 10{end}", seed=0) for end in ("", " -> softmax"))
    labels = np.arange(6)
    (a, ga), (b, gb) = plain.gradients(x, labels), soft.gradients(x, labels)
    assert a == b and (ga["fc1.weight"] == gb["fc1.weight"]).all()


def test_devices(x):
    slow = tinyconv.compile(TEXT, input="8x8 x3", seed=0, device="numpy")
    fast = tinyconv.compile(TEXT, input="8x8 x3", seed=0)
    np.testing.assert_allclose(slow(x), fast(x), atol=1e-6)
    with pytest.raises(tinyconv.NetError, match="device"):
        tinyconv.compile(TEXT, input="8x8 x3", device="tpu")


def test_registered_layers():
    from tinyconv.layers import LAYERS
    from tinyconv.layers.base import Layer
    from tinyconv.lang.signature import Signature

    class Double(Layer):
        signature = Signature("double")

        def forward(self, tape, args, x, params):
            return tape.op("add", x, x), None

        def backward(self, tape, args, dy, saved, params):
            return tape.op("add", dy, dy)

    with pytest.raises(ValueError, match="name"):
        tinyconv.register(LAYERS["relu"])
    tinyconv.register(Double())
    try:
        x = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
        plain, doubled = (tinyconv.compile(f"input 4x4 x3\nconv 1 x2{t}", seed=0) for t in ("", " -> double"))
        assert (doubled(x) == 2 * plain(x)).all()
        g, h = (n.gradients(x, np.zeros((2, 4, 4, 2), np.float32))[1]["conv1.weight"] for n in (plain, doubled))
        np.testing.assert_allclose(h, 4 * g, rtol=1e-5)
    finally:
        del LAYERS["double"]


def test_masks_as_targets_of_a_sigmoid():
    net = tinyconv.compile("input 4x4 x3\nconv 1 x1 -> sigmoid", seed=0)
    rng = np.random.default_rng(0)
    x, mask = rng.random((2, 4, 4, 3), np.float32), rng.integers(0, 2, (2, 4, 4))
    loss, grads = net.gradients(x, mask[..., None].astype(np.float32))
    y = net(x)[..., 0].astype(float)
    assert loss == pytest.approx(-np.where(mask, np.log(y), np.log(1 - y)).mean(), rel=1e-5)
    for same in (mask, mask.astype(bool), mask.astype(np.uint8)[..., None]):
        other_loss, other = net.gradients(x, same)
        assert other_loss == loss and all((other[name] == grads[name]).all() for name in grads)
    with pytest.raises(tinyconv.NetError, match=r"lie in 0\.\.1; these go from 0 to 255"):
        net.gradients(x, 255 * mask)
