"""Beginning with the weights of another file, frozen weights, no epochs, and stopping early."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_cli import folder, lines, trained  # noqa: F401 -- fixtures
from train_fakes import FakeNet, dataset, settings

import tinyconv
from tinyconv import train, weights
from tinyconv.cli import main
from tinyconv.errors import NetError

TEXT = """\
let classes = 3
input 6x6 x1
conv 3x3 x4 bias=off -> bn -> relu as a
conv 3x3 x4 -> bn -> relu -> pool global avg -> fc classes -> softmax
head side weight=0.3 { @a -> pool global avg -> fc classes -> softmax }
"""


def batch(n=12, classes=3):
    rng = np.random.default_rng(0)
    return rng.random((n, 6, 6, 1), np.float32), np.arange(n) % classes


@pytest.fixture(params=["numpy", "cpu"])
def device(request):
    if request.param == "cpu":
        pytest.importorskip("tinyconv.runtime._cpu")
    return request.param


# -- weights of another file

def test_the_last_layers_start_anew_where_the_classes_differ(tmp_path):
    tinyconv.compile(TEXT, seed=1).save(tmp_path / "a.safetensors")
    tensors, _ = weights.read(tmp_path / "a.safetensors")
    net = tinyconv.compile(TEXT, seed=2, classes=5)
    before = dict(net.weights)
    taken = net.take_weights(tmp_path / "a.safetensors")
    anew = {"fc1.weight", "fc1.bias", "side.fc1.weight", "side.fc1.bias"}
    assert set(net.weights) - set(taken) == anew
    assert all(np.array_equal(net.weights[name], before[name] if name in anew else tensors[name]) for name in before)
    assert set(tinyconv.compile(TEXT, seed=2).take_weights(tmp_path / "a.safetensors")) == set(before)


@pytest.mark.parametrize("text, words", [
    (TEXT.replace("conv 3x3 x4 bias=off", "conv 3x3 x5 bias=off"), ["conv1.weight", "4x3x3x1", "5x3x3x1"]),
    (TEXT.replace("x4 -> bn", "x6 -> bn"), ["fc1.weight", "3x4", "5x6", "bn2.running_mean"]),
    (TEXT.replace("bias=off -> bn", ""), ["bn2.weight", "is not in the net", "conv1.bias", "missing in the file"]),
])
def test_anything_else_that_does_not_fit_is_listed(tmp_path, text, words):
    tinyconv.compile(TEXT, seed=1).save(tmp_path / "a.safetensors")
    net = tinyconv.compile(text, seed=2, classes=5)
    before = dict(net.weights)
    with pytest.raises(NetError) as error:
        net.take_weights(tmp_path / "a.safetensors")
    assert all(word in str(error.value) for word in words), error.value
    assert all(np.array_equal(before[name], value) for name, value in net.weights.items())


def test_measured_input_comes_with_the_weights(tmp_path):
    text = TEXT.replace("x1\n", "x1 mean=data std=data\n", 1)
    first = tinyconv.compile(text)
    first.set_input_statistics([0.25], [0.5])
    first.save(tmp_path / "a.safetensors")
    net = tinyconv.compile(text, classes=5)
    net.take_weights(tmp_path / "a.safetensors")
    assert not net.needs_measuring and net.weights["input1.mean"] == 0.25 and net.weights["input1.std"] == 0.5


# -- frozen weights

@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_frozen_weights_and_statistics_stay(device, optimizer):
    net = tinyconv.compile(TEXT, device=device, set={"train.freeze": '"conv1 bn* fc1.bias"'})
    before = dict(net.weights)
    trainer = net.trainer(optimizer, lr=0.1, decay=0.1, decay_all=True, clip=1, ema=0.9)
    for _ in range(3):
        trainer.step(*batch())
    changed = {name for name in before if not np.array_equal(before[name], net.weights[name])}
    assert changed == {"conv2.weight", "conv2.bias", "fc1.weight", "side.fc1.weight", "side.fc1.bias"}
    assert not any("bn" in name or "conv1" in name for name in trainer.state() if ".ema." not in name)


def test_gradients_through_a_frozen_normalisation_are_those_of_finite_differences(device):
    """The `bn` then is an affine map of running statistics, in training as well."""
    net = tinyconv.compile(TEXT.replace("relu", "silu"), device=device, set={"train.freeze": '"bn*"'})
    rng = np.random.default_rng(1)
    for name in ("bn1", "bn2"):
        net.weights[f"{name}.running_mean"] = rng.normal(0, 0.3, 4)
        net.weights[f"{name}.running_var"] = rng.uniform(0.5, 2, 4)
        net.weights[f"{name}.weight"] = rng.uniform(0.5, 2, 4)
    x, labels = batch()
    loss, gradients = net.gradients(x, labels)
    assert not any(name.startswith("bn") for name in gradients)
    for name in ("conv1.weight", "conv2.bias"):
        start, found = net.weights[name], []
        direction = gradients[name] / np.linalg.norm(gradients[name])
        for sign in (1, -1):
            net.weights[name] = start + sign * np.float32(2e-3) * direction
            found.append(net.gradients(x, labels)[0])
        net.weights[name] = start
        assert (found[0] - found[1]) / 4e-3 == pytest.approx(float((gradients[name] * direction).sum()), rel=0.02)
    plain = tinyconv.compile(TEXT.replace("head side", "# head side"), device=device)
    assert plain.gradients(x, labels)[0] != pytest.approx(plain.evaluate(x, labels)[0], rel=1e-3)
    still = tinyconv.compile(TEXT.replace("head side", "# head side"), device=device, set={"train.freeze": '"bn*"'})
    assert still.gradients(x, labels)[0] == pytest.approx(still.evaluate(x, labels)[0], rel=1e-5)


def test_patterns_that_fit_nothing_or_everything():
    with pytest.raises(NetError, match="`freeze` fits no weight: `cnv.`\n.*conv1, bn1, conv2, bn2, fc1, side.fc1"):
        tinyconv.compile(TEXT, set={"train.freeze": '"cnv*"'}).frozen  # noqa: B018
    with pytest.raises(NetError, match="nothing to train"):
        tinyconv.compile(TEXT, set={"train.freeze": '"*"'}).trainer()


# -- the command

def test_fine_tuning_on_other_classes(trained, capsys):
    rng = np.random.default_rng(0)
    np.savez("three.npz", x=rng.integers(0, 256, (30, 6, 6, 1), np.uint8), y=np.arange(30) % 3)
    command = ["train", "net.net", "--data", "three.npz", "-D", "classes=3", "--init", "run/best.safetensors",
               "--freeze", "conv*", "--device", "numpy"]
    assert main([*command, "--out", "fine"]) == 0
    err = capsys.readouterr().err
    assert "took 2 of 4 arrays of weights from run/best.safetensors; fc1.weight, fc1.bias start anew" in err
    before, after = (weights.read(f"{name}/best.safetensors")[0] for name in ("run", "fine"))
    assert np.array_equal(before["conv1.weight"], after["conv1.weight"]) and after["fc1.weight"].shape[0] == 3
    assert main(["train", "net.net", "--data", "three.npz", "--init", "run/best.safetensors", "-D", "classes=3",
                 "--set", "train.freeze=fc9"]) == 2
    assert "fits no weight" in capsys.readouterr().err
    assert main([*command, "--set", "train.freeze=conv1"]) == 2


def test_a_run_killed_before_its_first_checkpoint_begins_with_the_same_weights(trained, capsys):
    command = ["train", "net.net", "--data", "data.npz", "--init", "run/best.safetensors", "--device", "numpy"]
    for name in ("one", "two"):
        assert main([*command, "--out", name]) == 0
    for path in ("last", "best"):
        (trained.parent.parent / "two" / f"{path}.safetensors").unlink()
    (trained.parent / "best.safetensors").unlink()  # the folder has what it needs
    assert main(["train", "--resume", "two", "--device", "numpy"]) == 0
    assert [(trained.parent.parent / name / "last.safetensors").read_bytes() for name in ("one", "two")].count(
        (trained.parent.parent / "one" / "last.safetensors").read_bytes()) == 2


def test_every_member_of_an_ensemble_begins_with_them(trained, capsys):
    assert main(["train", "net.net", "--data", "data.npz", "--init", "run/best.safetensors", "--epochs", "0", "--out",
                 "e", "--set", "train.ensemble=2", "--json"]) == 0
    (done,) = lines(capsys.readouterr().out)
    assert [m["epochs"] for m in done["members"]] == [0, 0]
    first, second = (weights.read(path)[0] for path in done["weights"])
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_no_epochs_measure_the_weights(trained, capsys):
    assert main(["eval", "run/best.safetensors", "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    command = ["train", "net.net", "--data", "data.npz", "--init", "run/best.safetensors"]
    assert main([*command, "--epochs", "0", "--out", "zero", "--json"]) == 0
    (done,) = lines(capsys.readouterr().out)
    assert done["val_accuracy"] == done["best_val_accuracy"] == accuracy and done["epochs"] == 0
    assert weights.read(done["weights"])[0].keys() == weights.read("run/best.safetensors")[0].keys()
    # More epochs later are those of a run that had them from the start.
    assert main(["train", "--resume", "zero", "--epochs", "2"]) == 0
    assert main([*command, "--out", "two"]) == 0
    assert open("zero/last.safetensors", "rb").read() == open("two/last.safetensors", "rb").read()


# -- stopping early

def test_training_ends_when_the_validation_loss_stands_still(tmp_path, monkeypatch):
    losses = [3.0, 2.0, 2.0, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    left = iter(losses)
    monkeypatch.setattr(train.loop, "evaluate", lambda *a: {"loss": next(left), "accuracy": 0.5})

    def run(recipe):
        return train.start(tmp_path / "run", stem="", text=FakeNet().text, settings=recipe, data={},
                           fingerprint=train.fingerprint(dataset()))

    recipe = train.Settings(**{**settings(epochs=9).__dict__, "patience": 2})
    with run(recipe) as opened:
        done = train.train(FakeNet(), dataset(), opened)
    assert done["epochs"] == 8  # epochs 6, 7, 8 are more than 2 without a fall
    notes = []
    with train.resume(tmp_path / "run") as opened:
        assert opened.settings.patience == 2
        assert train.train(FakeNet(), dataset(), opened, on_note=notes.append)["epochs"] == 8
    assert "nothing left to do" in notes[0]
    with pytest.raises(NetError, match="`patience` needs validation data"):
        train.check(FakeNet(), dataset(val=0), recipe, train.Pipelines())
