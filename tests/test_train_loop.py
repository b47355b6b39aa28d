"""The loop on a net in NumPy: events, resuming, interruption, death at any moment, losses that are not finite."""

import json
import math
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from train_fakes import FakeNet, FakeTrainer, contents, dataset, go_on, run_all, settings
from train_fakes import whole  # noqa: F401 -- a fixture

from tinyconv import train, weights
from tinyconv.errors import NonFiniteError
from tinyconv.train import signals


def test_events_log_and_files(tmp_path):
    events, batches = [], []
    done = run_all(tmp_path / "run", on_event=events.append, on_batch=lambda *a: batches.append(a))
    assert [event["event"] for event in events] == ["epoch"] * 3 + ["done"] and events[-1] == done
    assert list(events[0]) == ["event", "epoch", "train_loss", "val_loss", "val_accuracy", "lr", "seconds",
                               "images_per_second"]
    assert [event["epoch"] for event in events[:3]] == [1, 2, 3]
    assert list(done) == ["event", "val_accuracy", "best_val_accuracy", "epochs", "seconds", "weights"]
    assert done["val_accuracy"] == events[2]["val_accuracy"] and done["epochs"] == 3
    assert done["best_val_accuracy"] == max(event["val_accuracy"] for event in events[:3])
    assert done["weights"] == str(tmp_path / "run" / "best.safetensors")
    assert [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()] == events[:3]
    assert events[0]["train_loss"] > events[2]["train_loss"] and events[2]["val_accuracy"] > 0.8
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "best.safetensors", "config.json", "last.safetensors",
                                                    "log.jsonl", "net.net"]
    assert [b[:4] for b in batches if b[0] == "train" and b[1] == 2] == [("train", 2, i, 4) for i in (1, 2, 3, 4)]
    assert [b for b in batches if b[0] == "val" and b[1] == 2] == [("val", 2, 1, 2, None), ("val", 2, 2, 2, None)]
    assert batches[3][4] == events[0]["train_loss"]


def test_train_loss_is_the_mean_over_samples_a_short_batch_counting_less(tmp_path, monkeypatch):
    losses, step = [], FakeTrainer.step

    def recorded(self, x, labels, of=None):
        losses.append((step(self, x, labels, of), len(labels)))
        return losses[-1][0]

    monkeypatch.setattr(FakeTrainer, "step", recorded)
    events = []
    run_all(tmp_path / "run", settings(epochs=1), on_event=events.append)
    assert [n for _, n in losses] == [16, 16, 16, 2]
    assert events[0]["train_loss"] == pytest.approx(sum(loss * n for loss, n in losses) / 50, rel=1e-15)


def test_weights_files_describe_themselves(tmp_path):
    net = FakeNet(sections={"data": {"test": [("pad", {"n": 0}, None)]}})
    run_all(tmp_path / "run", net=net)
    for name in ("best", "last"):
        tensors, metadata = weights.read(tmp_path / "run" / f"{name}.safetensors")
        assert metadata["tinyconv.net"] == net.text and metadata["tinyconv.format"] == "1"
        assert weights.class_names(metadata, "the file") == ["class 0", "class 1", "class 2"]
        assert json.loads(metadata["tinyconv.test"]) == [["pad", {"n": 0}]]
        assert any(key.startswith("optimizer.") for key in tensors) == (name == "last")
    assert net.class_names == ["class 0", "class 1", "class 2"]


def test_best_is_the_first_of_the_best_epochs(tmp_path, monkeypatch):
    accuracies = iter([0.2, 0.7, 0.7, 0.1])
    saved = []
    monkeypatch.setattr(train.loop, "evaluate", lambda *a: {"loss": 1.0, "accuracy": next(accuracies)})
    monkeypatch.setattr(train.loop.checkpoint, "save_weights", lambda *a: saved.append(a))
    done = run_all(tmp_path / "run", settings(epochs=4))
    assert len(saved) == 2 and done["best_val_accuracy"] == 0.7 and done["val_accuracy"] == 0.1


def test_equal_runs_give_equal_bytes(tmp_path, whole):
    run_all(tmp_path / "run")
    assert contents(tmp_path / "run") == whole


def test_without_validation_data_the_last_epoch_is_the_best(tmp_path):
    events = []
    data = dataset(val=0)
    done = run_all(tmp_path / "run", data=data, on_event=events.append)
    assert events[0]["val_loss"] is None and events[0]["val_accuracy"] is None
    assert done["val_accuracy"] is None and done["best_val_accuracy"] is None
    best, _ = weights.read(tmp_path / "run" / "best.safetensors")
    last, _ = weights.read(tmp_path / "run" / "last.safetensors")
    assert all(np.array_equal(best[name], last[name]) for name in best)
    assert "NaN" not in (tmp_path / "run" / "log.jsonl").read_text()


# Interruption and resuming


class Signalled:
    """Sends this process a signal after the n-th batch that is reported."""

    def __init__(self, n, number=signal.SIGINT):
        self.left, self.number = n, number

    def __call__(self, *_):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("after", range(1, 18))
def test_interrupted_after_any_batch_resuming_gives_the_same_files(tmp_path, whole, after):
    """6 batches an epoch are reported, 4 of training and 2 of validation, in 3 epochs."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(train.Interrupted) as caught:
        run_all(tmp_path / "run", on_batch=Signalled(after, (signal.SIGINT, signal.SIGTERM)[after % 2]))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    epoch, batch = divmod(after, 6)
    assert (caught.value.epoch, caught.value.batch) == (epoch, min(batch, 4))
    go_on(tmp_path / "run")
    assert contents(tmp_path / "run") == whole


def test_interrupted_many_times(tmp_path, whole):
    with pytest.raises(train.Interrupted):
        run_all(tmp_path / "run", on_batch=Signalled(3))
    for _ in range(20):
        try:
            go_on(tmp_path / "run", on_batch=Signalled(3))
            break
        except train.Interrupted:
            continue
    assert contents(tmp_path / "run") == whole


def test_more_epochs_on_resume(tmp_path):
    recipe = settings(schedule=("plateau", {"factor": 0.5, "patience": 0, "warmup": 1}), epochs=6)
    run_all(tmp_path / "a", recipe)
    run_all(tmp_path / "b", settings(schedule=recipe.schedule, epochs=2))
    go_on(tmp_path / "b", epochs=6)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert any(event["lr"] < 0.5 for event in contents(tmp_path / "a")["log"])


def test_a_finished_run_says_so_and_changes_nothing(tmp_path, whole):
    done = run_all(tmp_path / "run")
    notes, events = [], []
    again = go_on(tmp_path / "run", on_note=notes.append, on_event=events.append)
    assert again == done and events == [done] and "nothing left to do" in notes[0]
    assert contents(tmp_path / "run") == whole


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child touches no thread of the parent
def test_killed_at_every_system_call_that_writes_then_resumed(tmp_path, whole):
    """The process kills itself with SIGKILL before its k-th fsync or rename, for every k; then one resumes."""
    counted = 0
    for k in range(1000):
        folder = tmp_path / f"run{k}"
        child = os.fork()
        if child == 0:
            _die_at(k)
            run_all(folder)
            os._exit(7)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 7
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        counted += 1
        if (folder / "config.json").exists():
            go_on(folder)
        else:  # killed before there was a run: the same command starts it
            run_all(folder)
        assert contents(folder) == whole, k
    assert counted > 20


def _die_at(k):
    """os.fsync and os.replace of the file writers end this process at their k-th call, before doing anything; every
    second time a fsync's data are cut off, as a torn write would leave them."""
    left = [k]

    def dying(call):
        def wrapped(*args):
            if left[0] == 0:
                if call is fsync and k % 2 and stat.S_ISREG(os.fstat(args[0]).st_mode):
                    os.truncate(args[0], os.fstat(args[0]).st_size - 7)
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*args)
        return wrapped

    fsync = os.fsync
    os.fsync, os.replace = dying(os.fsync), dying(os.replace)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import train_fakes
from train_fakes import run_all, go_on
from pathlib import Path
step = train_fakes.FakeTrainer.step
def slow(self, x, labels, of=None):
    print("step", flush=True)
    time.sleep({pause})
    return step(self, x, labels, of)
train_fakes.FakeTrainer.step = slow
print("go", flush=True)
run_all(Path(sys.argv[1]), on_batch=lambda *a: print(*a, flush=True))
"""


def spawn(folder, pause):
    script = SCRIPT.format(tests=os.path.dirname(__file__), pause=pause)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True, env=env)


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.04])
def test_killed_from_outside_then_resumed(tmp_path, whole, delay):
    child = spawn(tmp_path / "run", 0.01)
    while not (line := child.stdout.readline()).startswith("train"):
        assert line, "the child has ended"
    time.sleep(delay)
    child.kill()
    child.wait()
    child.stdout.close()
    go_on(tmp_path / "run")
    assert contents(tmp_path / "run") == whole


def test_outside_the_main_thread_signals_are_left_alone(tmp_path, whole):
    failures = []

    def work():
        try:
            run_all(tmp_path / "run")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures and contents(tmp_path / "run") == whole


def test_a_later_signal_ends_the_process_at_once(tmp_path):
    """In the middle of a step that takes an hour; a signal may be seen late, so it is sent until it is."""
    child = spawn(tmp_path / "run", 3600)
    while child.stdout.readline() != "step\n":
        assert child.poll() is None, "the child has ended"
    for _ in range(100):
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(2 * signals.TOGETHER)
            break
        except subprocess.TimeoutExpired:
            continue
    code = child.poll()
    child.kill()
    child.wait()
    child.stdout.close()
    assert code == 130


@pytest.mark.parametrize("seconds, ended", [(0.2, []), (0.4, [130])])
def test_signals_that_come_together_are_one(monkeypatch, seconds, ended):
    """As `timeout` sends them, to a process and to its group."""
    codes, times = [], iter([5.0, 5.0 + seconds])
    monkeypatch.setattr(signals.os, "_exit", codes.append)
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: next(times)))
    interruption = signals.Interruption()
    interruption._read, write = os.pipe()
    os.write(write, bytes([signal.SIGINT, signal.SIGTERM, 0]))
    interruption._watch()
    os.close(interruption._read)
    os.close(write)
    assert codes == ended


def test_measured_input_is_measured_once_and_kept(tmp_path):
    def net(seed=0):
        return FakeNet(seed, measured=True)

    run_all(tmp_path / "a", net=net())
    with pytest.raises(train.Interrupted):
        run_all(tmp_path / "b", net=net(), on_batch=Signalled(8))
    go_on(tmp_path / "b", net=net(5))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    tensors, _ = weights.read(tmp_path / "a" / "best.safetensors")
    x = dataset().train.images / 255
    assert tensors["input1.mean"] == pytest.approx(x.mean()) and tensors["input1.std"] == pytest.approx(x.std())


# The folder


# Faults


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    step = FakeTrainer.step

    def poisoned(self, x, labels, of=None):
        if self.steps == 9:
            self.net.weights["fc1.weight"] = self.net.weights["fc1.weight"] * np.float32(np.nan)
        return step(self, x, labels, of)

    run_all(tmp_path / "good", settings(epochs=2, schedule=("constant", {"warmup": 0})))
    monkeypatch.setattr(FakeTrainer, "step", poisoned)
    words = "epoch 3, batch 2: the loss is nan at step 10, first in fc1; .*last.safetensors holds .* after epoch 2"
    with pytest.raises(NonFiniteError, match=words):
        run_all(tmp_path / "bad", settings(schedule=("constant", {"warmup": 0})))
    good, bad = contents(tmp_path / "good"), contents(tmp_path / "bad")
    for name in ("last.safetensors", "best.safetensors", "log"):
        assert good[name] == bad[name]
    with pytest.raises(NonFiniteError, match="epoch 3, batch 2"):
        go_on(tmp_path / "bad")


def test_a_validation_loss_that_is_not_finite_stops_too(tmp_path, monkeypatch):
    monkeypatch.setattr(train.loop, "evaluate", lambda *a: {"loss": math.inf, "accuracy": 0.5})
    with pytest.raises(NonFiniteError, match="validation loss is inf; nothing was saved yet"):
        run_all(tmp_path / "run")
    assert not (tmp_path / "run" / "last.safetensors").exists()
