"""Run folders beside each other, sweeps, plots and event files."""

from __future__ import annotations

import json
import os
import statistics
import sys
from types import SimpleNamespace

import pytest
from test_cli import folder, lines  # noqa: F401 -- a fixture

from tinyconv.cli import main
from tinyconv.train import compare

TRAIN = ["train", "net.net", "--data", "data.npz", "--device", "numpy"]
SWEEP = ["sweep", "net.net", "--data", "data.npz", "--device", "numpy", "--seeds", "2", "--out", "s"]


def test_a_run_notes_its_machine_and_draws_its_curves(folder):  # noqa: F811
    assert main([*TRAIN, "--out", "r"]) == 0
    noted = json.load(open("r/environment.json"))
    assert {"version", "cpu", "isa", "threads", "python", "numpy"} <= set(noted)
    pytest.importorskip("matplotlib")
    assert open("r/curves.png", "rb").read(4) == b"\x89PNG"


def test_runs_are_compared(folder, capsys):  # noqa: F811
    assert main([*TRAIN, "--out", "r/a"]) == 0
    assert main([*TRAIN, "--out", "r/b", "--set", "train.optimizer.lr=0.01", "--epochs", "1"]) == 0
    capsys.readouterr()
    assert main([*TRAIN, "--out", "r/c", "--set", "train.ensemble=2", "--json"]) == 0
    *_, done = lines(capsys.readouterr().out)
    assert main(["runs", "r", "--json"]) == 0
    (rows,) = lines(capsys.readouterr().out)
    assert [row["run"] for row in rows] == ["r/a", "r/b", "r/c"]
    logged = [json.loads(line) for line in open("r/a/log.jsonl")]
    assert [rows[0][key] for key in ("epochs", "of")] == [2, 2]
    assert all(rows[0][key] == logged[-1][key] for key in ("train_loss", "val_loss", "val_accuracy"))
    assert rows[0]["best_val_accuracy"] == max(event["val_accuracy"] for event in logged)
    assert rows[1]["settings"]["optimizer.lr"] == 0.01 and rows[1]["settings"]["optimizer"] == "sgd"
    assert rows[2]["val_accuracy"] == done["val_accuracy"]
    assert compare.differing(rows) == ["optimizer.lr", "ensemble"]
    assert main(["runs", "r/a", "r/b"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.endswith("optimizer.lr") and first.split()[:2] == ["r/a", "2/2"] and second.split()[-1] == "0.01"
    assert main(["runs", "empty"]) == 1 and "there is no folder" in capsys.readouterr().err
    os.mkdir("empty")
    assert main(["runs", "empty"]) == 1 and "no runs" in capsys.readouterr().err
    pytest.importorskip("matplotlib")
    assert main(["runs", "r", "--plot", "all.png"]) == 0 and open("all.png", "rb").read(4) == b"\x89PNG"


def test_a_run_that_has_just_begun_is_shown(folder, capsys):  # noqa: F811
    assert main([*TRAIN, "--out", "r/a"]) == 0
    with open("r/a/log.jsonl", "ab") as file:
        file.write(b'{"event": "ep')  # killed in the middle of a line
    os.remove("r/a/best.safetensors")
    assert main(["runs", "r"]) == 0
    assert "2/2" in capsys.readouterr().out
    os.remove("r/a/log.jsonl")
    assert main(["runs", "r"]) == 0
    assert "0/2" in capsys.readouterr().out


# -- sweeps

def test_a_sweep_trains_all_combinations_by_all_seeds(folder, capsys):  # noqa: F811
    assert main([*SWEEP, "--vary", "train.optimizer.lr=0.1,0.01", "--vary", "train.batch=8,20", "--json"]) == 0
    *runs, last = lines(capsys.readouterr().out)
    assert [(run["values"]["train.optimizer.lr"], run["values"]["train.batch"], run["seed"]) for run in runs] == [
        (lr, batch, seed) for lr in ("0.1", "0.01") for batch in ("8", "20") for seed in (0, 1)]
    assert last["event"] == "summary" and last["rows"] == json.load(open("s/summary.json"))
    for i, row in enumerate(last["rows"]):
        each = [run["val_accuracy"] for run in runs[2 * i:2 * i + 2]]
        assert row["val_accuracy"] == {"mean": statistics.mean(each), "std": statistics.stdev(each), "each": each}
    # A run of a sweep is the run that `train` makes of the same settings.
    changed = ["--set", "train.optimizer.lr=0.01", "--set", "train.batch=20", "--seed", "1"]
    assert main([*TRAIN, *changed, "--out", "r"]) == 0
    swept = "s/optimizer.lr=0.01,batch=20,seed=1/"
    assert json.load(open(swept + "config.json"))["settings"] == json.load(open("r/config.json"))["settings"]
    assert [json.loads(line)["train_loss"] for line in open(swept + "log.jsonl")] == [
        json.loads(line)["train_loss"] for line in open("r/log.jsonl")]


def test_a_sweep_goes_on_and_counts_failures(folder, capsys, monkeypatch):  # noqa: F811
    from tinyconv import train

    monkeypatch.setattr(train, "train", lambda *a, of=train.train, **k: left.append(1) or stop(left) or of(*a, **k))

    def stop(left):
        if len(left) == 4:
            raise train.Interrupted("s/x", 0, 0)

    left: list[int] = []
    vary = ["--vary", "train.optimizer.lr=1e15,0.1"]
    assert main([*SWEEP, *vary]) == 130
    assert "tinyconv sweep --resume s" in capsys.readouterr().err
    (folder / "net.net").unlink()  # the sweep has its own copy
    assert main(["sweep", "--resume", "s", "--device", "numpy", "--json"]) == 0
    *runs, last = lines(capsys.readouterr().out)
    assert [row["failed"] for row in last["rows"]] == [sum("error" in run for run in runs[:2]), 0] != [0, 0]
    assert last["rows"][0]["val_accuracy"]["each"] == [run["val_accuracy"] for run in runs[:2]]
    assert None in last["rows"][0]["val_accuracy"]["each"] and last["rows"][1]["val_accuracy"]["mean"] > 0.5
    assert main(["sweep", "--resume", "s", "--device", "numpy"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split()[:2] == ["1e15", "2"] and "±" in out[2]


@pytest.mark.parametrize("arguments, words", [
    (["--vary", "train.optimizer.lr=0.1,"], "VALUE"), (["--vary", "data.validation=0.1,0.2"], "cannot vary"),
    (["--vary", "train.seed=1,2"], "--seeds"), (["--vary", "train.optimizer.rate=1,2"], "rate"),
    (["--vary", "width=1,2"], "width"),
])
def test_what_cannot_vary_is_told_before_the_first_run(folder, capsys, arguments, words):  # noqa: F811
    assert main([*SWEEP, *arguments]) == 2
    assert words in capsys.readouterr().err and not [name for name in os.listdir() if "seed=" in name]


# -- TensorBoard

def test_event_files_have_every_epoch_once(folder, capsys, monkeypatch):  # noqa: F811
    written: dict[str, list] = {}

    class Writer:
        def __init__(self, place):
            self.scalars = written.setdefault(place, [])

        def add_scalar(self, tag, value, step):
            self.scalars.append((tag, value, step))

        flush = close = lambda self: None

    monkeypatch.setitem(sys.modules, "tensorboard.summary", SimpleNamespace(Writer=Writer))
    monkeypatch.setattr("tinyconv.cli.tensorboard.find_spec", lambda name: True)
    assert main([*TRAIN, "--out", "r", "--tensorboard"]) == 0
    written.clear()  # as if the files were gone: what is in the log is written anew
    assert main(["train", "--resume", "r", "--epochs", "3", "--tensorboard", "--device", "numpy"]) == 0
    logged = [json.loads(line) for line in open("r/log.jsonl")]
    assert written == {"r/tensorboard": [(tag, event[key], event["epoch"]) for event in logged for key, tag in (
        ("train_loss", "loss/train"), ("val_loss", "loss/validation"), ("val_accuracy", "accuracy/validation"),
        ("lr", "lr"))]}
    assert main([*TRAIN, "--out", "e", "--tensorboard", "--set", "train.ensemble=2"]) == 0
    assert set(written) == {"r/tensorboard", "e/tensorboard/member-1", "e/tensorboard/member-2"}
    monkeypatch.setattr("tinyconv.cli.tensorboard.find_spec", lambda name: None)
    assert main([*TRAIN, "--out", "f", "--tensorboard"]) == 1 and not os.path.exists("f")
    assert "pip install 'tinyconv[tensorboard]'" in capsys.readouterr().err


def test_files_that_tensorboard_reads(folder):  # noqa: F811
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main([*TRAIN, "--out", "r", "--tensorboard"]) == 0
    found = EventAccumulator("r/tensorboard").Reload()
    assert "loss/train" in found.Tags()["scalars"] + found.Tags()["tensors"]
