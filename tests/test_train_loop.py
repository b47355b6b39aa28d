"""The loop and the run folder on a net in NumPy: events, resuming, interruption, death at any moment, faults."""

import errno
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from train_fakes import FakeNet, FakeTrainer, dataset, images, settings

from tinyconv import files, train, weights
from tinyconv.data import Split
from tinyconv.errors import NetError, NonFiniteError
from tinyconv.train import runs


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
from test_train_loop import run_all, go_on
from pathlib import Path
step = train_fakes.FakeTrainer.step
def slow(self, x, labels, of=None):
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


def test_a_second_signal_ends_the_process_at_once(tmp_path):
    child = spawn(tmp_path / "run", 60)
    child.stdout.readline()
    while not (tmp_path / "run" / "config.json").exists():
        assert child.poll() is None, "the child has ended"
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)  # together with the first, as `timeout` sends them: still one
    time.sleep(0.4)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait(5) == 130
    child.stdout.close()


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


def test_folders_that_are_not_empty_or_in_use_or_hold_no_run(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(train.UsageError, match="is not empty\n.*--resume"):
        begin(tmp_path / "full")
    with pytest.raises(train.UsageError, match="holds no run"):
        train.resume(tmp_path / "full")
    with pytest.raises(train.UsageError, match="there is no folder"):
        train.resume(tmp_path / "none")
    with pytest.raises(train.UsageError, match="cannot make the folder"):
        begin(tmp_path / "full" / "notes.txt")
    with begin(tmp_path / "run"):
        for again in (lambda: begin(tmp_path / "run"), lambda: train.resume(tmp_path / "run")):
            with pytest.raises(train.UsageError, match=f"in use by another run .process {os.getpid()}"):
                again()
    train.resume(tmp_path / "run").close()
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_a_users_net_is_not_overwritten(tmp_path):
    (tmp_path / "net.net").write_text("input 8x8 x1\n")
    with pytest.raises(train.UsageError, match="not empty"):
        begin(tmp_path)
    assert (tmp_path / "net.net").read_text() == "input 8x8 x1\n"


def test_default_folders_count_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(begin(None).folder) for _ in range(3)] == ["runs/net", "runs/net-2", "runs/net-3"]


def test_damaged_config_and_other_nets(tmp_path):
    with begin(tmp_path / "run") as run:
        run.check_text(FakeNet().text)
        with pytest.raises(train.UsageError, match="net given differs"):
            run.check_text("input 3x3 x1")
        assert run.data == {"source": "fake"}
    (tmp_path / "run" / "config.json").write_text('{"format": 1')
    with pytest.raises(NetError, match="config.json is missing or damaged"):
        train.resume(tmp_path / "run")


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    run_all(tmp_path / "run")
    (tmp_path / "run" / ".last.safetensors.123.tmp").write_bytes(b"half")
    train.resume(tmp_path / "run").close()
    assert not [name for name in os.listdir(tmp_path / "run") if name.endswith(".tmp")]


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


@pytest.mark.parametrize("name", ["last.safetensors", "log.jsonl"])
def test_a_full_disk_while_saving_keeps_the_old_checkpoint(tmp_path, monkeypatch, whole, name):
    fsync, old = os.fsync, {}

    def full(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if name in path and old:
            raise OSError(errno.ENOSPC, "No space left on device")
        return fsync(descriptor)

    def remember(event):
        old.update(contents(tmp_path / "run"))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(NetError, match=f"cannot write .*{re.escape(name)}: No space left"):
        run_all(tmp_path / "run", on_event=remember)
    now = contents(tmp_path / "run")
    assert now["last.safetensors"] == old["last.safetensors"] and now["best.safetensors"] == old["best.safetensors"]
    monkeypatch.undo()
    go_on(tmp_path / "run")
    assert contents(tmp_path / "run") == whole


def test_checkpoints_that_are_damaged_or_of_another_net(tmp_path):
    run_all(tmp_path / "run")
    other = FakeNet()
    other.weights["fc1.weight"] = np.zeros((3, 25), "f4")
    with pytest.raises(NetError, match="`fc1.weight` is 3x16, the net has 3x25"):
        go_on(tmp_path / "run", net=other)
    last = tmp_path / "run" / "last.safetensors"
    whole = last.read_bytes()
    last.write_bytes(whole[:-50])
    with pytest.raises(NetError, match="cannot read .*last.safetensors.*damaged"):
        go_on(tmp_path / "run")
    last.write_bytes((tmp_path / "run" / "best.safetensors").read_bytes())
    with pytest.raises(NetError, match="no state of training"):
        go_on(tmp_path / "run")


def test_other_data_on_resume(tmp_path):
    run_all(tmp_path / "run")
    for data, words in ((dataset(n=51), "number of images of the `train` part: 50 then, 51 now"),
                        (dataset(seed=1), "checksum of the `train` part"),
                        (dataset(val=0), "`val` part was there then")):
        with pytest.raises(NetError, match=words):
            go_on(tmp_path / "run", data=data)
    data = dataset()
    data.classes[1] = "another"
    with pytest.raises(NetError, match="class names differ"):
        go_on(tmp_path / "run", data=data)


# Does it all fit together


def check(net=None, data=None, recipe=None):
    notes = []
    net = net or FakeNet()
    train.check(net, data or dataset(), recipe or settings(), train.Pipelines.of(net), notes.append)
    return notes


def test_class_counts():
    with pytest.raises(NetError, match="fake has 4 classes, the net has 3\n.*-D classes=4"):
        check(data=dataset(classes=4))
    with pytest.raises(NetError, match="help: `-D classes=4` sets it"):
        check(FakeNet(text="let classes = 3\nfc classes"), dataset(classes=4))


def test_labels_out_of_range():
    for label in (3, -1):
        data = dataset()
        data.train.labels[7] = label
        with pytest.raises(NetError, match=f"sample 7 has label {label}; labels of this net go from 0 to 2"):
            check(data=data)


def test_images_of_another_shape():
    data = dataset()
    data.train = Split(np.zeros((5, 2, 2, 1), "u1"), np.zeros(5))
    with pytest.raises(NetError, match="2x2 x1.*4x4 x1.*\n.*add `resize 4 -> crop 4`"):
        check(data=data)
    padded = FakeNet(sections={"data": {"augment": [("pad", {"n": 1}, None)]}})
    assert check(padded, data, settings(batch=5)) == []
    data.val = data.train
    with pytest.raises(NetError, match="2x2 x1.*4x4 x1"):
        check(padded, data)


def test_empty_parts_large_batches_and_plateaus_without_validation():
    data = dataset()
    data.train = Split(np.zeros((0, 4, 4, 1), "u1"), np.zeros(0))
    with pytest.raises(NetError, match="training part of fake is empty"):
        check(data=data)
    assert check(recipe=settings(batch=50)) == []
    assert "larger than the training part of 50" in check(recipe=settings(batch=51))[0]
    with pytest.raises(NetError, match="plateau.*\n.*validation 0.1"):
        check(data=dataset(val=0), recipe=settings(schedule=("plateau", {"factor": 0.1, "patience": 1, "warmup": 0})))


def test_a_batch_larger_than_the_data_trains(tmp_path):
    events = []
    run_all(tmp_path / "run", settings(batch=1000), on_event=events.append)
    assert events[0]["train_loss"] > 0


def test_training_uses_the_test_steps_where_there_is_no_augment():
    both = FakeNet(sections={"data": {"augment": [("flip", {})], "test": [("pad", {"n": 1})]}})
    assert train.Pipelines.of(both) == ([("flip", {})], True, [("pad", {"n": 1})])
    only = FakeNet(sections={"data": {"test": [("pad", {"n": 1})]}})
    assert train.Pipelines.of(only) == ([("pad", {"n": 1})], False, [("pad", {"n": 1})])


# Evaluation and arrays


def test_evaluation_counts_every_sample_once():
    net, split = FakeNet(), dataset(val=23).val
    loss, p = net.evaluate(split.images, split.labels)
    for batch in (1, 5, 23, 100):
        result = train.evaluate([net], split, batch)
        assert result["n"] == 23 and result["loss"] == pytest.approx(loss, rel=1e-6)
        assert result["accuracy"] == np.mean(p.argmax(1) == split.labels) and result["top5"] == 1.0
        assert result["members"] == [{key: result[key] for key in ("loss", "accuracy", "top5")}]


def test_top5_and_ties():
    output = np.array([[5, 4, 3, 2, 1, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [np.nan, 1, 2, 3, 4, 5]], "f4")
    net = FakeNet(classes=6)
    net.evaluate = lambda x, labels: (0.5, output)
    split = Split(np.zeros((4, 4, 4, 1), "u1"), [5, 0, 4, 5])
    result = train.evaluate([net], split, 4)
    assert (result["accuracy"], result["top5"]) == (0.25, 0.5)


def test_ensembles_average_probabilities():
    nets, split = [FakeNet(seed) for seed in (1, 2, 3)], dataset(val=30).val
    result = train.evaluate(nets, split, 7)
    mean = np.mean([net.evaluate(split.images, split.labels)[1].astype("f8") for net in nets], axis=0)
    assert result["loss"] == pytest.approx(-np.log(mean[np.arange(30), split.labels]).mean())
    assert result["accuracy"] == np.mean(mean.argmax(1) == split.labels)
    assert [m["loss"] for m in result["members"]] == pytest.approx(
        [net.evaluate(split.images, split.labels)[0] for net in nets])


def test_ensembles_need_equal_classes():
    with pytest.raises(NetError, match="differ in their classes: 3 and 4"):
        train.evaluate([FakeNet(), FakeNet(classes=4)], dataset().val, 4)


def test_logits_become_probabilities_in_ensembles():
    nets, split = [FakeNet(1), FakeNet(2)], dataset(val=30).val
    wanted = train.evaluate(nets, split, 30)["loss"]
    for net in nets:
        net.graph.nodes[0].op = "fc"
        net.evaluate = lambda x, labels, of=net.evaluate: (of(x, labels)[0], np.log(of(x, labels)[1]) + 3)
    assert train.evaluate(nets, split, 30)["loss"] == pytest.approx(wanted, rel=1e-5)


def test_empty_splits_cannot_be_evaluated():
    with pytest.raises(NetError, match="empty"):
        train.evaluate([FakeNet()], Split(np.zeros((0, 4, 4, 1), "u1"), []), 4)


def test_fit_trains_arrays_as_the_command_does(tmp_path):
    events = []
    run_all(tmp_path / "run", settings(epochs=2, schedule=("constant", {"warmup": 0})), on_event=events.append)
    data, net = dataset(), FakeNet()
    history = train.fit(net, data.train.images, data.train.labels, epochs=2, batch=16, seed=0, lr=0.5,
                        validation=(data.val.images, data.val.labels))
    for got, wanted in zip(history, events[:2], strict=True):
        assert {**got, "seconds": 0, "images_per_second": 0} == {**wanted, "seconds": 0, "images_per_second": 0}


def test_fit_takes_the_nets_recipe_and_says_what_is_wrong_with_arrays():
    net = FakeNet(sections={"train": {"epochs": 4}})
    x, labels = images(10, 0)
    history = train.fit(net, x.astype("f4") / 255, labels.astype("i8"))
    assert len(history) == 4 and history[0]["val_loss"] is None
    with pytest.raises(ValueError, match="10 samples and 9 labels"):
        train.fit(net, x, labels[:9])
    with pytest.raises(TypeError, match="float64.*integers"):
        train.fit(net, x, labels / 2)
    with pytest.raises(TypeError, match="`rate` is no parameter of sgd; it has lr, momentum"):
        train.fit(net, x, labels, rate=1)
    with pytest.raises(NetError, match="samples of 16 x1|16 x1, the net takes 4x4 x1"):
        train.fit(net, x.reshape(10, 16, 1), labels)
    with pytest.raises(NetError, match="training part of x is empty"):
        train.fit(net, x[:0], labels[:0])


def test_the_log_is_cut_to_the_checkpoint(tmp_path):
    with begin(tmp_path / "run") as run:
        for epoch in (1, 2, 3):
            run.log({"event": "epoch", "epoch": epoch})
        with open(run.folder / "log.jsonl", "ab") as file:
            file.write(b'{"event": "ep')
        assert [event["epoch"] for event in run.keep_log(2)] == [1, 2]
        assert (run.folder / "log.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_run_lock_is_dropped_with_the_process(tmp_path):
    child = os.fork()
    if child == 0:
        run = begin(tmp_path / "run")
        os.kill(os.getpid(), signal.SIGKILL)
        run.close()
    os.waitpid(child, 0)
    train.resume(tmp_path / "run").close()
    assert runs.FORMAT == 1
