"""A net of one layer in NumPy (softmax regression) with the interface that training uses, and data it can learn."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from tinyconv import train, weights
from tinyconv.data import Dataset, Split
from tinyconv.errors import NonFiniteError
from tinyconv.train import Settings

TEXT = "input 4x4 x1\nfc 3 -> softmax\n"


class FakeNet:
    """`input 4x4 x1 -> fc 3 -> softmax`, in float32, its weights drawn by seed; `noise` imitates dropout, so that the
    trainer has a state of its own that resuming must restore."""

    def __init__(self, seed=0, classes=3, measured=False, sections=None, text=TEXT):
        rng = np.random.default_rng(seed)
        self.weights = {"fc1.weight": rng.normal(0, 0.3, (classes, 16)).astype("f4"),
                        "fc1.bias": np.zeros(classes, "f4")}
        self.measured = measured
        if measured:
            self.weights.update({"input1.mean": np.zeros(1, "f4"), "input1.std": np.zeros(1, "f4")})
        self.classes, self.input_shape, self.text, self.class_names = classes, (4, 4, 1), text, None
        self.sections = sections or {}
        self.graph = SimpleNamespace(nodes=[SimpleNamespace(op="softmax", inputs=(0,))], output_index=0, heads=[])
        self.losses = ()

    @property
    def needs_measuring(self):
        return self.measured and not self.weights["input1.std"].any()

    def set_input_statistics(self, mean, std):
        self.weights["input1.mean"], self.weights["input1.std"] = mean.astype("f4"), std.astype("f4")

    def load_weights(self, tensors, source):
        self.weights.update(weights.fit({name: a.shape for name, a in self.weights.items()}, tensors, source))

    def features(self, x):
        x = x.astype("f4") / 255 if x.dtype == np.uint8 else x
        if self.measured:
            x = (x - self.weights["input1.mean"]) / self.weights["input1.std"]
        return x.reshape(len(x), -1)

    def forward(self, features, labels):
        logits = features @ self.weights["fc1.weight"].T + self.weights["fc1.bias"]
        logits = logits - logits.max(1, keepdims=True)
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return p, float(-np.log(p[np.arange(len(labels)), labels]).mean())

    def evaluate(self, x, labels):
        p, loss = self.forward(self.features(x), labels)
        return loss, p

    def trainer(self, **options):
        return FakeTrainer(self, **options)


class FakeTrainer:
    ranks = None

    def __init__(self, net, optimizer, lr, momentum, decay, nesterov, decay_all, clip, ema, seed, memory):
        self.net, self.lr, self.momentum, self.decay, self.seed, self.steps = net, lr, momentum, decay, seed, 0
        self.velocity = {name: np.zeros_like(net.weights[name]) for name in ("fc1.weight", "fc1.bias")}

    def expects(self, x, labels, of, evaluating):
        return "memory: about 1 MB"

    def rest(self):
        pass

    def step(self, x, labels, of=None):
        features = self.net.features(x)
        kept = np.random.default_rng((self.seed, self.steps)).random(features.shape) < 0.9
        features = features * kept.astype("f4")
        p, loss = self.net.forward(features, labels)
        if not np.isfinite(loss):
            raise NonFiniteError(f"the loss is {loss} at step {self.steps + 1}, first in fc1")
        p[np.arange(len(labels)), labels] -= 1
        gradients = {"fc1.weight": p.T @ features / len(x), "fc1.bias": p.mean(0)}
        for name, gradient in gradients.items():
            v = self.velocity[name] = np.float32(self.momentum) * self.velocity[name] + gradient
            self.net.weights[name] = self.net.weights[name] - np.float32(self.lr) * v
        self.steps += 1
        return loss

    def averaged(self):
        return nullcontext()

    def share_statistics(self):
        """It has none."""

    def keep_averages(self):
        """It keeps none."""

    def state(self):
        return {**{"optimizer." + name: v for name, v in self.velocity.items()}, "state.steps": np.array(self.steps)}

    def load_state(self, state):
        self.steps = int(state.pop("state.steps"))
        self.velocity = {name.removeprefix("optimizer."): v for name, v in state.items()}


def images(n, seed, classes=3):
    """Grey 4x4 images of which a row per class is brighter."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    x = rng.integers(0, 160, (n, 4, 4, 1))
    x[np.arange(n), labels] += 60
    return x.astype("u1"), labels.astype("i4")


def dataset(n=50, val=20, classes=3, seed=0):
    return Dataset(Split(*images(n, seed, classes)), Split(*images(val, seed + 1, classes)) if val else None, None,
                   [f"class {i}" for i in range(classes)], "fake")


def settings(epochs=3, batch=16, lr=0.5, schedule=("cosine", {"end": 0, "warmup": 0}), seed=0):
    return Settings(epochs=epochs, batch=batch, seed=seed, schedule=schedule).with_optimizer(lr=lr)


def begin(folder, recipe=None, data=None, net=None):
    net, data = net or FakeNet(), data or dataset()
    return train.start(folder, stem="net", text=net.text, settings=recipe or settings(), data={"source": "fake"},
                       fingerprint=train.fingerprint(data))


def run_all(folder, recipe=None, data=None, net=None, **callbacks):
    with begin(folder, recipe, data, net) as run:
        return train.train(net or FakeNet(), data or dataset(), run, **callbacks)


def go_on(folder, epochs=None, data=None, net=None, **callbacks):
    # Another seed where there is a checkpoint: everything must come from it. Before the first one, the run's own.
    net = net or FakeNet(seed=99 if (folder / "last.safetensors").exists() else 0)
    with train.resume(folder, epochs=epochs) as run:
        return train.train(net, data or dataset(), run, **callbacks)


def contents(folder):
    """Everything that equal runs have in common: all files, the log without its times."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (".lock", "log.jsonl")}
    found["log"] = [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_second")}
                    for line in (folder / "log.jsonl").read_text().splitlines()]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run to compare with."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_all(folder)
    return contents(folder)
