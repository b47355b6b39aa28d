"""Training of real nets: batch norm, dropout, momentum, measured input and augmentation, stopped and gone on with."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tinyconv
from tinyconv import train, weights
from tinyconv.data import Dataset, Split

NET = """\
let classes = 3
input 8x8 x2 mean=data std=data
conv 3x3 x6 bias=off -> bn -> relu -> pool 2 -> dropout 0.3
conv 3x3 x8 -> relu -> pool global avg -> fc classes -> softmax
data { augment: pad 1 -> crop 8 -> flip }
train { epochs 3; batch 20; seed 5; optimizer sgd lr=0.1 momentum=0.9 decay=1e-3 nesterov; schedule step at=2 warmup=1 }
"""


def dataset():
    def split(n, seed):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, n)
        x = rng.integers(0, 120, (n, 8, 8, 2))
        x[..., 0] += 60 * labels[:, None, None]
        return Split(x.astype("u1"), labels)

    return Dataset(split(90, 0), split(30, 1), None, ["low", "middle", "high"], "greys")


def run_all(folder, device="numpy", text=NET, **callbacks):
    net, data = tinyconv.compile(text, device=device, seed=5), dataset()
    settings = train.Settings.of(net.sections["train"])
    with train.start(folder, stem="net", text=net.text, settings=settings, data={},
                     fingerprint=train.fingerprint(data)) as run:
        return train.train(net, data, run, **callbacks)


def go_on(folder, device="numpy", **callbacks):
    with train.resume(folder) as run:
        net = tinyconv.compile(run.text, device=device, seed=run.settings.seed)
        run.check_text(net.text)
        return train.train(net, dataset(), run, **callbacks)


def contents(folder):
    found = {name: (folder / name).read_bytes() for name in ("net.net", "config.json", "best.safetensors",
                                                             "last.safetensors")}
    found["log"] = [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_second")}
                    for line in (folder / "log.jsonl").read_text().splitlines()]
    return found


@pytest.fixture(scope="module", params=["numpy", "cpu"])
def whole(request, tmp_path_factory):
    """(device, contents of an uninterrupted run)."""
    if request.param == "cpu":
        pytest.importorskip("tinyconv.runtime._cpu")
    folder = tmp_path_factory.mktemp(request.param) / "run"
    events = []
    run_all(folder, request.param, on_event=events.append)
    assert events[2]["train_loss"] < events[0]["train_loss"] and events[2]["val_accuracy"] > 0.5
    return request.param, contents(folder)


def test_the_same_run_gives_the_same_files(tmp_path, whole):
    device, expected = whole
    run_all(tmp_path / "run", device)
    assert contents(tmp_path / "run") == expected


class Stopping:
    """Asks to stop after the n-th batch that is reported."""

    def __init__(self, n):
        self.left = n

    def __call__(self, *_):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("after", [1, 5, 6, 8, 13])
def test_interrupted_and_resumed(tmp_path, whole, after):
    device, expected = whole
    with pytest.raises(train.Interrupted):
        run_all(tmp_path / "run", device, on_batch=Stopping(after))
    go_on(tmp_path / "run", device)
    assert contents(tmp_path / "run") == expected


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import tinyconv
from pathlib import Path
from test_train_net import go_on, run_all
folder, device, threads = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
with tinyconv.threads(threads):
    show = dict(on_batch=lambda *a: print(*a, flush=True))
    (go_on if (folder / "config.json").exists() else run_all)(folder, device, **show)
"""


def test_killed_again_and_again_with_other_thread_counts(tmp_path, whole):
    device, expected = whole
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    kills = 0
    for threads in (1, 2, 3, 1, 2):
        command = [sys.executable, "-c", SCRIPT, os.path.dirname(__file__), str(tmp_path / "run"), device, str(threads)]
        child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        for _ in range(8):  # an epoch is 7 reports
            child.stdout.readline()
        time.sleep(0.002 * threads)
        child.kill()
        child.stdout.close()
        kills += child.wait() == -signal.SIGKILL
        if (tmp_path / "run" / "log.jsonl").read_bytes().count(b"\n") == 3:
            break
    go_on(tmp_path / "run", device)
    assert kills and contents(tmp_path / "run") == expected


def test_the_files_load_as_nets(tmp_path, whole):
    device, expected = whole
    (tmp_path / "best.safetensors").write_bytes(expected["best.safetensors"])
    (tmp_path / "last.safetensors").write_bytes(expected["last.safetensors"])
    best = tinyconv.load(tmp_path / "best.safetensors", device=device)
    assert best.class_names == ["low", "middle", "high"] and not best.needs_measuring
    result = train.evaluate([best], dataset().val, 20)
    row = max(expected["log"], key=lambda row: row["val_accuracy"])
    assert (result["accuracy"], result["loss"]) == (row["val_accuracy"], row["val_loss"])
    best.save(tmp_path / "saved.safetensors")
    assert (tmp_path / "saved.safetensors").read_bytes() == expected["best.safetensors"]
    last = tinyconv.load(tmp_path / "last.safetensors", device=device)
    assert train.evaluate([last], dataset().val, 20)["loss"] == expected["log"][-1]["val_loss"]
    both = train.evaluate([best, last], dataset().val, 20)
    assert len(both["members"]) == 2 and both["members"][0]["loss"] == result["loss"]
    assert weights.read(tmp_path / "last.safetensors")[0]["input1.mean"].shape == (2,)


@pytest.mark.parametrize("line", [
    "adam lr=0.01 clip=1", "adamw lr=0.01 decay=0.1 ema=0.9", "rmsprop lr=0.01 momentum=0.9 eps=1 decay_all",
    "sgd lr=0.1 clip=0.5 ema=0.7 nesterov"])
@pytest.mark.parametrize("after", [7, 12])
def test_each_optimizer_goes_on_bit_for_bit(tmp_path, line, after):
    text = NET.replace("sgd lr=0.1 momentum=0.9 decay=1e-3 nesterov", line)
    assert line in text
    run_all(tmp_path / "whole", None, text=text)
    with pytest.raises(train.Interrupted):
        run_all(tmp_path / "run", None, on_batch=Stopping(after), text=text)
    go_on(tmp_path / "run", None)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_what_is_measured_and_saved_as_best_is_the_average(tmp_path):
    text = NET.replace("nesterov", "nesterov ema=0.5")
    run_all(tmp_path / "run", None, text=text)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    best, last = (tinyconv.load(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "last"))
    epoch = max(log, key=lambda event: event["val_accuracy"])
    found = [train.evaluate([net], dataset().val, 20)["loss"] for net in (best, last)]
    assert found[0] == epoch["val_loss"] and found[1] != found[0]
    assert (best.weights["bn1.running_mean"] != last.weights["bn1.running_mean"]).all()


def test_the_weights_go_into_no_other_net(tmp_path, whole):
    (tmp_path / "w.safetensors").write_bytes(whole[1]["best.safetensors"])
    with pytest.raises(tinyconv.NetError, match="`fc1.weight` is 3x8, the net has 7x8"):
        tinyconv.load(tmp_path / "w.safetensors", classes=7)


def test_a_loss_that_is_not_finite_names_epoch_batch_and_layer(tmp_path, whole):
    data = dataset()
    net = tinyconv.compile(NET, device=whole[0])
    settings = train.Settings.of(net.sections["train"]).with_optimizer(lr=1e30)
    with train.start(tmp_path / "run", stem="net", text=net.text, settings=settings, data={},
                     fingerprint=train.fingerprint(data)) as run:
        with pytest.raises(tinyconv.NonFiniteError, match="epoch 1, batch [2345]: the loss is .* at step"):
            train.train(net, data, run)
    assert not run.last.exists()


def test_fit_and_nets_of_one_axis():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    x = rng.standard_normal((64, 16, 1)).astype("f4") + 2 * labels[:, None, None].astype("f4")
    net = tinyconv.compile("input 16 x1 mean=data\nconv 3 x4 -> relu -> pool global avg -> fc 2 -> softmax", seed=1)
    history = net.fit(x, labels, epochs=8, batch=16, validation=(x[:20], labels[:20]), seed=3, lr=0.1)
    assert [event["epoch"] for event in history] == list(range(1, 9))
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"] and history[-1]["val_accuracy"] > 0.8
    assert net.weights["input1.mean"] == pytest.approx(x.mean(), rel=1e-5)
    with pytest.raises(tinyconv.NetError, match="label 5; labels of this net go from 0 to 1"):
        net.fit(x, np.full(64, 5))
    assert pickle.loads(pickle.dumps(net)).weights["fc1.bias"].tolist() == net.weights["fc1.bias"].tolist()
