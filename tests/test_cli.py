"""The commands as scripts see them: exit codes, JSON, and what goes to which stream."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tinyconv import __version__, zoo
from tinyconv.cli import main

NET = """\
let classes = 2
input 6x6 x1
conv 3x3 x4 -> relu -> pool 2 -> fc classes -> softmax
train { epochs 2; batch 8; optimizer sgd lr=0.1 momentum=0.9 }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a net and two classes that are easy to tell apart: dark left, dark right."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (60, 6, 6, 1), np.uint8)
    y = np.arange(60) % 2
    x[y == 0, :, :3] += 150
    x[y == 1, :, 3:] += 150
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:],
             classes=np.array(["left", "right"]))
    for name, image in (("left.png", x[0]), ("right.png", x[1])):
        Image.fromarray(image[:, :, 0]).save(tmp_path / name)
    (tmp_path / "net.net").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(folder, capsys):
    assert main(["train", "net.net", "--data", "data.npz", "--epochs", "8", "--out", "run"]) == 0
    capsys.readouterr()
    return folder / "run" / "best.safetensors"


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


# -- train

def test_train_json_has_an_event_an_epoch_and_a_last_one(folder, capsys):
    assert main(["train", "net.net", "--data", "data.npz", "--json"]) == 0
    out, _ = capsys.readouterr()
    *epochs, done = lines(out)
    assert [e["epoch"] for e in epochs] == [1, 2]
    assert all(set(e) == {"event", "epoch", "train_loss", "val_loss", "val_accuracy", "lr", "seconds",
                          "images_per_second"} for e in epochs)
    assert set(done) == {"event", "val_accuracy", "best_val_accuracy", "epochs", "seconds", "weights"}
    assert done["event"] == "done" and done["epochs"] == 2 and done["val_accuracy"] == epochs[-1]["val_accuracy"]
    assert os.path.isfile(done["weights"]) and os.path.samefile(os.path.dirname(done["weights"]), "runs/net")
    assert [json.loads(line) for line in open("runs/net/log.jsonl")] == epochs


def test_an_ensemble_tells_its_members_and_one_done(folder, capsys):
    command = ["train", "net.net", "--data", "data.npz", "--set", "train.ensemble=2", "--out", "e", "--device", "numpy"]
    assert main([*command, "--json"]) == 0
    *epochs, done = lines(capsys.readouterr().out)
    assert [(e["member"], e["epoch"]) for e in epochs] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert done["weights"] == ["e/member-1/best.safetensors", "e/member-2/best.safetensors"]
    assert main(["eval", *done["weights"], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == done["best_val_accuracy"]
    assert [m["accuracy"] for m in found["members"]] == [m["best_val_accuracy"] for m in done["members"]]
    assert main(["train", "--resume", "e"]) == 0
    out, err = capsys.readouterr()
    assert "2 members" in out and err.count("nothing left to do") == 2


def test_train_without_a_terminal_prints_one_line_an_epoch_on_stderr(folder, capsys):
    assert main(["train", "net.net", "--data", "data.npz"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 and "best.safetensors" in out
    _, memory, *epochs = err.splitlines()
    assert memory.startswith("memory: about ") and [e.split("  ")[0] for e in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert "\x1b" not in out + err and "\r" not in out + err


def test_a_second_run_takes_the_next_folder(folder):
    for expected in ("runs/net", "runs/net-2"):
        assert main(["train", "net.net", "--data", "data.npz", "--epochs", "1"]) == 0
        assert os.path.isfile(f"{expected}/last.safetensors")


def test_train_refuses_a_folder_with_a_run_and_resume_goes_on(trained, capsys):
    assert main(["train", "net.net", "--data", "data.npz", "--out", "run"]) == 2
    assert "--resume run" in capsys.readouterr().err
    assert main(["train", "--resume", "run", "--epochs", "9", "--json"]) == 0
    assert [e["event"] for e in lines(capsys.readouterr().out)] == ["epoch", "done"]
    assert main(["train", "--resume", "run"]) == 0  # finished: nothing to do
    assert "nothing left to do" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--seed", "3"], ["--data", "data.npz"], ["--out", "x"], ["-D", "classes=2"],
                                    ["--set", "train.batch=4"]])
def test_resume_takes_everything_from_the_run(trained, capsys, option):
    assert main(["train", "--resume", "run", *option]) == 2
    assert "--resume" in capsys.readouterr().err


def test_resume_with_another_net_is_refused(trained, capsys):
    (trained.parent.parent / "other.net").write_text(NET.replace("x4", "x5"))
    assert main(["train", "other.net", "--resume", "run"]) == 2
    assert "differs" in capsys.readouterr().err
    assert main(["train", "net.net", "--resume", "run"]) == 0


def test_interrupting_saves_and_exits_130(folder):
    command = [sys.executable, "-m", "tinyconv", "train", "net.net", "--data", "data.npz", "--epochs", "100000",
               "--out", "r"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "tinyconv train --resume r" in err
    assert os.path.isfile("r/last.safetensors")


def test_seed_and_settings_reach_the_run(folder):
    assert main(["train", "net.net", "--data", "data.npz", "--epochs", "1", "--seed", "7", "--set", "train.batch=5",
                 "--out", "r"]) == 0
    config = json.load(open("r/config.json"))
    assert config["settings"]["seed"] == 7 and config["settings"]["batch"] == 5
    assert "batch 5" in open("r/net.net").read()


def test_data_with_other_classes_names_the_option(folder, capsys):
    assert main(["train", "net.net", "--data", "data.npz", "-D", "classes=3"]) == 1
    assert "-D classes=2" in capsys.readouterr().err
    assert not os.path.exists("runs")


def test_a_net_without_data_says_so(folder, capsys):
    assert main(["train", "net.net"]) == 2
    assert "--data" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, code, word", [
    (["train"], 2, "NET"),
    (["train", "missing.net"], 2, "missing.net"),
    (["train", "net.net", "--data", "missing"], 1, "missing"),
    (["train", "net.net", "--data", "data.npz", "-D", "width=2"], 2, "width"),
    (["train", "net.net", "--data", "data.npz", "-D", "width"], 2, "NAME=VALUE"),
    (["train", "net.net", "--data", "data.npz", "--set", "train.epoch=2"], 2, "epochs"),
    (["train", "net.net", "--data", "data.npz", "--set", "batch=2"], 2, "SECTION.KEY"),
    (["train", "net.net", "--epochs", "-1"], 2, "epochs"),
    (["train", "net.net", "--nonsense"], 2, "nonsense"),
    (["nonsense"], 2, "nonsense"),
    (["summary", "vgg61"], 2, "vgg16"),
])
def test_exit_codes(folder, capsys, arguments, code, word):
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and word in err and "Traceback" not in err


# -- eval and predict

def test_eval_json(trained, capsys):
    assert main(["eval", "run/best.safetensors", "--json"]) == 0  # the run's own data
    (found,) = lines(capsys.readouterr().out)
    assert set(found) == {"n", "loss", "accuracy", "top5", "members", "precision", "recall", "iou", "dice", "confusion"}
    assert found["n"] == 20 and found["accuracy"] == 1.0 and len(found["members"]) == 1
    assert main(["eval", "run/best.safetensors", "run/last.safetensors", "--data", "data.npz", "--json"]) == 0
    (both,) = lines(capsys.readouterr().out)
    assert len(both["members"]) == 2 and both["n"] == 20


def test_eval_of_a_set_without_a_test_split_takes_all_of_it(trained, capsys):
    data = np.load("data.npz")
    np.savez("all.npz", x=data["x_train"], y=data["y_train"])
    assert main(["eval", "run/best.safetensors", "--data", "all.npz", "--json"]) == 0
    assert lines(capsys.readouterr().out)[0]["n"] == 40


def test_eval_with_images_of_another_size(trained, capsys):
    np.savez("big.npz", x=np.zeros((4, 8, 8, 1), np.uint8), y=np.array([0, 1, 0, 1]))
    assert main(["eval", "run/best.safetensors", "--data", "big.npz"]) == 1
    assert "8x8" in capsys.readouterr().err


def test_eval_wants_weights_files(folder, capsys):
    assert main(["eval", "net.net"]) == 2
    open("broken.safetensors", "wb").write(b"\x10\0\0\0\0\0\0\0{}")
    assert main(["eval", "broken.safetensors"]) == 1
    assert "broken.safetensors" in capsys.readouterr().err


def test_predict_names_the_class(trained, capsys):
    assert main(["predict", "run/best.safetensors", "left.png", "right.png"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(" ")[:2] for line in out.splitlines()] == [["left.png:", "left"], ["right.png:", "right"]]
    assert err == ""


def test_predict_json_goes_on_after_a_bad_file(trained, capsys):
    open("bad.png", "w").write("no image")
    Image.new("RGB", (6, 6)).save("rgb.png")
    Image.new("L", (7, 7)).save("large.png")
    files = ["bad.png", "rgb.png", "large.png", "missing.png", "right.png"]
    assert main(["predict", "run/best.safetensors", *files, "--json", "--top", "2"]) == 1
    *bad, good = lines(capsys.readouterr().out)
    assert [set(b) for b in bad] == [{"file", "error"}] * 4 and [b["file"] for b in bad] == files[:4]
    assert set(good) == {"file", "class", "index", "probability", "top"}
    assert good["class"] == "right" and good["index"] == 1
    assert [t["class"] for t in good["top"]] == ["right", "left"]
    assert sum(t["probability"] for t in good["top"]) == pytest.approx(1, abs=1e-5)


# -- summary and check

def test_summary_json_of_the_zoo(capsys):
    assert main(["summary", "vgg16", "--json"]) == 0
    (found,) = lines(capsys.readouterr().out)
    assert set(found) == {"file", "input", "params", "macs", "activation_bytes", "layers", "heads"}
    assert found["params"] == 138_357_544 and found["macs"] == 15_470_264_320 and found["input"] == [224, 224, 3]
    assert sum(layer["params"] for layer in found["layers"]) == found["params"]
    first = next(layer for layer in found["layers"] if layer["name"] == "conv1")
    assert set(first) == {"name", "op", "args", "output", "params", "macs", "receptive_field", "jump", "line"}
    assert first["output"] == [224, 224, 64] and first["receptive_field"] == [3, 3] and first["jump"] == [1, 1]
    assert open(found["file"]).read().splitlines()[first["line"] - 1].startswith("plain 2 2 3 3 3")
    assert found["layers"][-1]["jump"] is None and found["layers"][-1]["receptive_field"] == [224, 224]


def test_summary_table_is_aligned_and_ends_in_totals(capsys):
    assert main(["summary", "resnet18"]) == 0
    *rows, folded, totals, activations, training = capsys.readouterr().out.splitlines()
    assert totals.startswith("11,689,512 parameters") and "--depth all" in folded
    assert activations.startswith("activations, batch 1: ") and training.startswith("training, batch 1, about ")
    column = rows[0].index("output")
    assert all(row[column - 2:column].strip() == "" for row in rows)
    assert all(row[column] != " " for row in rows if len(row) > column)     # headings of open blocks have no figures
    assert all(row == row.rstrip() for row in rows)


def test_summary_depth_folds_blocks_but_keeps_totals(capsys):
    tables = []
    for arguments in (["--depth", "0"], ["--depth", "1"], [], ["--depth", "all"]):
        assert main(["summary", "resnet50", *arguments]) == 0
        tables.append(capsys.readouterr().out.splitlines())
    assert len(tables[0]) < len(tables[1]) < len(tables[2]) < 60 < 177 < len(tables[3])
    assert tables[0][-3:] == tables[1][-3:] == tables[2][-3:] == tables[3][-3:]


def test_summary_of_a_failing_net_shows_the_rows_before_the_error(folder, capsys):
    (folder / "bad.net").write_text("input 6x6 x1\nconv 3x3 x4 -> pool 2\nconv 9x9 p0 x4\n")
    assert main(["summary", "bad.net"]) == 2
    out, err = capsys.readouterr()
    assert re.search(r"^pool1 +pool 2x2 +3x3 x4", out, re.MULTILINE)
    assert "bad.net:3:1" in err and "^^^^" in err


def test_summary_with_input_and_overrides(folder, capsys):
    (folder / "part.net").write_text("let width = 4\nconv 3x3 x=width\n")
    assert main(["summary", "part.net", "--input", "8x8 x3", "-D", "width=16", "--json"]) == 0
    found = lines(capsys.readouterr().out)[0]
    assert found["input"] == [8, 8, 3] and found["layers"][-1]["output"] == [8, 8, 16]


def test_summary_of_a_weights_file(trained, capsys):
    assert main(["summary", str(trained)]) == 0
    assert "conv1" in capsys.readouterr().out


def test_check_reports_all_with_codes(folder, capsys):
    (folder / "bad.net").write_text("input 6x6 x1\ncnv 3x3 x4\nfc 10 -> sofmax\ntrain { epoch 3 }\n")
    assert main(["check", "bad.net", "--json"]) == 2
    (found,) = lines(capsys.readouterr().out)
    assert all(set(d) == {"code", "message", "file", "line", "column", "end_column", "help"} for d in found)
    assert [(d["line"], d["help"]) for d in found] == [
        (2, "did you mean `conv`?"), (3, "did you mean `softmax`?"), (4, "write `epochs 3`")]


@pytest.mark.parametrize("net", zoo.names())
def test_the_zoo_checks_clean(net, capsys):
    assert main(["check", net, "--json"]) == 0
    assert lines(capsys.readouterr().out) == [[]]


def test_a_warning_does_not_fail_a_check(folder, capsys):
    (folder / "unused.net").write_text("block b x { conv 3x3 x }\ninput 6x6 x1\nfc 2 -> softmax\n")
    assert main(["check", "unused.net", "--json"]) == 0
    (found,) = lines(capsys.readouterr().out)
    assert [d["code"][0] for d in found] == ["W"]


def test_a_part_of_a_net_checks_with_a_warning(folder, capsys):
    (folder / "part.net").write_text("conv 3x3 x4 -> relu\n")
    assert main(["check", "part.net", "--json"]) == 0
    assert [d["code"] for d in lines(capsys.readouterr().out)[0]] == ["W150"]
    assert main(["check", "part.net", "--input", "8x8 x1", "--json"]) == 0
    assert lines(capsys.readouterr().out) == [[]]
    assert main(["summary", "part.net"]) == 2  # which needs shapes


@pytest.mark.parametrize("command", [["summary"], ["summary", "--json"], ["train"], ["bench"]])
def test_a_file_of_blocks_is_no_net(capsys, command):
    assert main([*command, "residual"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "has no layers" in err


# -- info, and the streams

def test_info_json(capsys):
    assert main(["info", "--json", "--threads", "3"]) == 0
    (found,) = lines(capsys.readouterr().out)
    assert set(found) == {"version", "cpu", "isa", "isas", "threads", "openmp", "gpu"}
    assert found["version"] == __version__ and found["threads"] == 3
    assert found["isa"] in [*found["isas"], "numpy"]


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tinyconv {__version__}\n"
    for command in ("train", "eval", "predict", "summary", "check", "fmt", "bench", "info"):
        assert main([command, "--help"]) == 0
        assert command in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m tinyconv summary vgg16 | true"
    done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.stderr == ""


def test_a_net_from_standard_input():
    done = subprocess.run([sys.executable, "-m", "tinyconv", "summary", "-", "--json"], capture_output=True, text=True,
                          input="input 4x4 x1\nconv 3x3 x2\n", timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout)["params"] == 20


def test_colour_only_on_a_terminal_without_no_color(monkeypatch):
    from tinyconv.cli.common import colour

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour(Terminal())


def test_the_bar_of_a_terminal(folder):
    """Under a pseudo-terminal the epoch lines stand above a bar, and the bar is gone at the end."""
    script = ("import os, pty, sys\n"
              "status = pty.spawn([sys.executable, '-m', 'tinyconv', 'train', 'net.net', '--data', 'data.npz'])\n"
              "sys.exit(os.waitstatus_to_exitcode(status))\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"})
    assert done.returncode == 0
    assert "epoch 2/2  loss" in done.stdout and "accuracy" in done.stdout.splitlines()[-1]


def test_without_the_kernels_a_warning_says_how_to_get_them(folder, capsys, monkeypatch):
    monkeypatch.setattr("tinyconv.runtime.backend.compiled", lambda: False)
    assert main(["train", "net.net", "--data", "data.npz", "--epochs", "1", "--out", "r"]) == 0
    err = capsys.readouterr().err
    assert "apt-get install python3-dev build-essential" in err and "pip install --force-reinstall" in err
    assert main(["eval", "r/best.safetensors", "--device", "numpy"]) == 0
    assert "apt-get" not in capsys.readouterr().err  # asked for: no warning
    assert main(["eval", "r/best.safetensors", "--device", "cpu"]) == 1
