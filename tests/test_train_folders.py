"""The run folder on a net in NumPy: what may stand there, full disks, damage, other data."""

import errno
import os
import re
import signal

import numpy as np
import pytest
from train_fakes import FakeNet, begin, contents, dataset, go_on, run_all
from train_fakes import whole  # noqa: F401 -- a fixture

from tinyconv import files, train
from tinyconv.errors import NetError
from tinyconv.train import runs


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
