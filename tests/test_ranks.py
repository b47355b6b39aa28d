"""Data parallel training: several ranks against one process, and what becomes of them when one fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinyconv import weights
from tinyconv.data.batches import Batches
from tinyconv.data.dataset import Split
from tinyconv.runtime.plan import Request, make_plan
from tinyconv.runtime.ranks import BUCKET, part_of
import tinyconv

pytest.importorskip("mpi4py")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
together = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")

NET = """
input 8x8 x1 mean=data
conv 3x3 x8 bias=off -> bn -> relu -> conv 3x3 x8 s2 bias=off -> bn -> relu
dropblock 0.1 size=2 -> droppath 0.1 -> dropout 0.2 -> fc 4 -> softmax
train { epochs 3; batch 16; optimizer sgd lr=0.05 momentum=0.9 decay=1e-3 clip=2 }
"""


@pytest.fixture
def place(tmp_path):
    """A folder with a net and data for it; 49 training samples leave a last batch of one."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 68)
    x = (rng.integers(0, 100, (68, 8, 8, 1)) + y[:, None, None, None] * 30).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x_train=x[:49], y_train=y[:49], x_test=x[49:], y_test=y[49:])
    (tmp_path / "net.net").write_text(NET)
    return tmp_path


def command(ranks, *arguments):
    start = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    return [*start, sys.executable, "-m", "tinyconv", "train", *arguments]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def train(place, ranks, *arguments, code=0):
    done = subprocess.run(command(ranks, *arguments), cwd=place, capture_output=True, text=True, timeout=120,
                          env=environment())
    assert done.returncode == code, done.stderr
    return done


def begin(place, ranks, out, *more):
    return train(place, ranks, "net.net", "--data", "data.npz", "--out", out, *more)


def tensors(folder):
    return weights.read(folder / "last.safetensors")[0]


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_alike(one, other, tolerance):
    """Weights, statistics and momentum, by the largest deviation over the largest value."""
    assert one.keys() == other.keys()
    for name in one:
        if one[name].dtype == np.float32:
            assert np.abs(one[name] - other[name]).max() <= tolerance * np.abs(one[name]).max(), name


@together
@pytest.mark.parametrize("ranks, device", [(2, "cpu"), (3, "cpu"), (2, "numpy")])
def test_ranks_with_synchronised_batch_norm_train_what_one_process_trains(place, ranks, device):
    begin(place, 1, "one")
    begin(place, ranks, "many", "--sync-bn", "--device", device)
    assert_alike(tensors(place / "one"), tensors(place / "many"), 1e-3)
    for one, many in zip(log(place / "one"), log(place / "many"), strict=True):
        assert many["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        assert many["val_loss"] == pytest.approx(one["val_loss"], rel=1e-3)
        assert many["val_accuracy"] == one["val_accuracy"]


@together
def test_the_same_ranks_give_the_same_bytes_also_across_a_resume_and_others_may_go_on(place):
    begin(place, 2, "whole")
    begin(place, 2, "parts", "--epochs", "1")
    shutil.copytree(place / "parts", place / "alone")
    train(place, 2, "--resume", "parts", "--epochs", "3")
    assert (place / "whole/last.safetensors").read_bytes() == (place / "parts/last.safetensors").read_bytes()
    train(place, 1, "--resume", "alone", "--epochs", "3")
    assert len(log(place / "alone")) == 3
    assert_alike({"loss": np.float32([e["train_loss"] for e in log(place / "whole")])},
                 {"loss": np.float32([e["train_loss"] for e in log(place / "alone")])}, 0.3)


@together
def test_a_limit_of_memory_is_one_of_each_process(place):
    begin(place, 2, "plain")
    done = begin(place, 2, "limited", "--memory", "2G")
    assert done.stderr.count("memory: about") == 1
    assert (place / "plain/last.safetensors").read_bytes() == (place / "limited/last.safetensors").read_bytes()
    done = train(place, 2, "net.net", "--data", "data.npz", "--memory", "1M", code=1)
    assert done.stderr.count("needs at least") == 1


@together
def test_one_line_each_of_output(place):
    done = begin(place, 2, "run", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["event"] for e in events] == ["epoch"] * 3 + ["done"]
    assert done.stderr.count("2 processes") == 1


@together
def test_mistakes_are_told_once_with_their_code(place):
    done = train(place, 2, "net.net", "--data", "nothing.npz", code=1)
    assert done.stderr.count("no such file") == 1
    done = train(place, 2, "nothing.net", code=2)
    assert done.stderr.count("nothing.net") == 1


@together
def test_members_of_an_ensemble_are_shared_out(place):
    begin(place, 2, "spread", "--set", "train.ensemble=3")
    begin(place, 1, "row", "--set", "train.ensemble=3")
    for number in (1, 2, 3):
        name = f"member-{number}/best.safetensors"
        assert (place / "spread" / name).read_bytes() == (place / "row" / name).read_bytes()
    spread, row = (json.loads((place / name / "log.jsonl").read_text()) for name in ("spread", "row"))
    assert spread["val_accuracy"] == row["val_accuracy"]


@together
def test_the_runs_of_a_sweep_are_shared_out(place):
    varied = ["net.net", "--data", "data.npz", "--vary", "train.optimizer.lr=0.1,0.01", "--seeds", "2", "--epochs", "1"]
    for ranks, out in ((1, "row"), (2, "spread")):
        swept = ["sweep" if word == "train" else word for word in command(ranks, *varied)]
        done = subprocess.run([*swept, "--out", out], cwd=place, capture_output=True, text=True, timeout=120,
                              env=environment())
        assert done.returncode == 0, done.stderr
    row, spread = (json.loads((place / out / "summary.json").read_text()) for out in ("row", "spread"))
    assert row == spread


def until_saved(folder):
    limit = time.monotonic() + 300
    while not (folder / "last.safetensors").exists():
        assert time.monotonic() < limit, "nothing was saved"
        time.sleep(0.05)


def children(process):
    """Processes below this one, by /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == process:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


@together
def test_ctrl_c_saves_and_ends_all(place):
    """A terminal sends the signal to mpiexec and to every rank."""
    process = subprocess.Popen(command(2, "net.net", "--data", "data.npz", "--out", "run", "--epochs", "100000"),
                               cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env=environment(), start_new_session=True)
    try:
        until_saved(place / "run")
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and told.count("tinyconv train --resume run") == 1
    saved = len(log(place / "run"))
    train(place, 2, "--resume", "run", "--epochs", str(saved + 1))
    assert len(log(place / "run")) == saved + 1


@together
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the ranks by /proc")
def test_a_rank_that_dies_ends_all_and_what_was_saved_goes_on(place):
    epochs = ("--epochs", "100000")
    process = subprocess.Popen(command(2, "net.net", "--data", "data.npz", "--out", "run", *epochs), cwd=place,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        until_saved(place / "run")
        ranks = [p for p in children(process.pid) if b"tinyconv" in Path(f"/proc/{p}/cmdline").read_bytes()
                 and b"mpiexec" not in Path(f"/proc/{p}/cmdline").read_bytes()]
        os.kill(max(ranks), signal.SIGKILL)
        assert process.wait(timeout=120) != 0
    finally:
        process.kill()
    done = len(log(place / "run"))
    train(place, 2, "--resume", "run", "--epochs", str(done + 1))
    assert len(log(place / "run")) == done + 1


def test_parts_make_the_batch():
    for n in range(1, 20):
        for size in range(1, 6):
            taken = [range(n)[part_of(n, rank, size)] for rank in range(size)]
            if n >= size:
                assert [i for part in taken for i in part] == list(range(n))
                assert max(map(len, taken)) - min(map(len, taken)) <= 1
            else:
                assert all(list(part) == list(range(n)) for part in taken)


def test_batches_of_ranks_are_parts_of_the_whole_batches():
    split = Split(np.arange(22, dtype=np.uint8).reshape(22, 1, 1, 1), np.arange(22))
    whole = list(Batches(split, 8, seed=3))
    parts = [list(Batches(split, 8, seed=3, part=(rank, 3))) for rank in range(3)]
    for number, (x, labels) in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[number][0] for part in parts]), x)
        np.testing.assert_array_equal(np.concatenate([part[number][1] for part in parts]), labels)


def test_sums_begin_during_the_backward_pass():
    net = tinyconv.compile("fc 2048 -> relu -> fc 2048 -> relu -> fc 10 -> softmax", input="x512", device="numpy")
    optimizer = net.trainer().optimizer
    plan = make_plan(net.graph, Request("train", 2, (), optimizer=optimizer, share=0.5), net.backend.lower)
    ops = [s.op for s in plan.steps]
    sums = [s for s in plan.steps if s.op == "allreduce"]
    assert len(sums) == 2 and ops.index("allreduce") < ops.index("allreduce_wait") - 2
    assert sum(b.bytes for b in sums[0].inputs) >= BUCKET
    reduced = {b.id for s in sums for b in s.inputs}
    assert reduced == {b.id for b in plan.gradients.values()}
    assert ops.index("allreduce_wait") < min(i for i, op in enumerate(ops) if op == "sgd")
