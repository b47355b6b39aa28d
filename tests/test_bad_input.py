"""What users give by mistake, in Python and on the command line: each is an error that says what to do."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import tinyconv
from tinyconv import files, weights
from tinyconv.cli import main
from tinyconv.errors import NetError, NonFiniteError
from tinyconv.runtime import budget

X = np.random.default_rng(0).random((6, 8, 8, 1), np.float32)
Y = np.arange(6) % 3


@pytest.fixture
def net():
    return tinyconv.compile("conv 3x3 x4 -> pool 2 -> fc 3 -> softmax", input="8x8 x1")


def calls(net):
    return net.fit, net.evaluate, net.gradients, net.trainer().step


# -- in Python

@pytest.mark.parametrize("x, help", [(X[0], r"x\[None\]"), (X[..., 0], r"x\[\.\.\., None\]"),
                                     (X.transpose(0, 3, 1, 2), "NCHW")])
def test_a_missing_axis_is_told(net, x, help):
    with pytest.raises(NetError, match=help):
        net(x)


@pytest.mark.parametrize("labels, help", [(np.eye(3)[Y], "argmax"), (np.eye(3, dtype=int)[Y], "argmax"),
                                          (Y[:, None], r"labels\[\.\.\., 0\]"), (Y + 0.5, "integers (counted )?from 0"),
                                          (Y[:4], r"4 labels|\(4,\)"), (1, r"1 labels|\(\)"), (Y - 1, "-1"),
                                          (Y + 1, "label 3")])
def test_labels_that_do_not_fit(net, labels, help):
    before = net.weights["fc1.weight"]
    for call in calls(net):
        with pytest.raises((NetError, TypeError, ValueError), match=help):
            call(X, labels)
    assert (net.weights["fc1.weight"] == before).all()


def test_labels_of_any_whole_type_are_the_same(net):
    wanted = net.evaluate(X, Y > 0)
    for labels in ((Y > 0).astype(int), (Y > 0).tolist(), (Y > 0).astype(np.uint64)):
        assert net.evaluate(X, labels)[0] == wanted[0]
    assert net.fit(X, Y > 0, epochs=1)[0]["train_loss"] == pytest.approx(wanted[0], rel=1e-6)


def test_memory_layout_does_not_matter(net):
    wanted = net(X)
    twice = np.repeat(X, 2, 0)
    for x in (np.asfortranarray(X), twice[::2], X[::-1][::-1], np.ma.masked_array(X, X > 0.5)):
        np.testing.assert_array_equal(net(x), wanted)
    np.testing.assert_array_equal(net(np.broadcast_to(X[:1], X.shape))[3], wanted[0])


@pytest.mark.parametrize("given, words", [
    (dict(epochs=1.5), "`epochs` is 1.5; it must be a whole number"), (dict(epochs=-1), "0 or more"),
    (dict(batch="3"), "`batch` is '3'; it must be a whole number"), (dict(batch=0), "at least 1"),
    (dict(seed=-1), "`seed` is -1"), (dict(lr="0.1"), "`lr` of `sgd` is '0.1'; it must be a number"),
    (dict(lr=None), "a number"), (dict(nesterov=1), "`nesterov` of `sgd` is 1; it must be True or False"),
    (dict(validation=(X,)), r"\(x, labels\).*1"), (dict(validation=0.1), "pairs"), (dict(validation=X), "pairs")])
def test_settings_of_a_wrong_kind(net, given, words):
    with pytest.raises((NetError, TypeError), match=words):
        net.fit(X, Y, **given)


def test_numbers_of_numpy_are_numbers(net):
    event, = net.fit(X, Y, epochs=np.int64(1), batch=np.int32(3), lr=np.float32(0.25), seed=np.uint8(3))
    assert json.loads(json.dumps(event))["lr"] == 0.25
    assert tinyconv.load("lenet5", seed=np.int64(3)).seed == 3


@pytest.mark.parametrize("call, words", [
    (lambda: tinyconv.load("lenet5", seed=1.5), "`seed` is 1.5; it must be a whole number"),
    (lambda: tinyconv.load("lenet5").trainer(seed="a"), "`seed` is 'a'; it must be a whole number"),
    (lambda: tinyconv.load("lenet5", input=(32, 32, 1)), '"32x32 x3", not as'),
    (lambda: tinyconv.compile(None), "as text"), (lambda: tinyconv.compile(b"fc 3"), "as text")])
def test_arguments_of_a_wrong_kind(call, words):
    with pytest.raises((NetError, TypeError), match=words):
        call()


def test_weights_are_saved_under_a_name_that_loads(net, tmp_path):
    with pytest.raises(NetError, match=r"let the name end in \.safetensors"):
        net.save(tmp_path / "net.bin")
    assert not list(tmp_path.iterdir())


def test_a_batch_that_is_not_finite_is_named(net):
    with pytest.raises(NonFiniteError, match=r"the batch itself.*\n.*numpy.isfinite\(x\)"):
        net.trainer().step(np.where(X > 0.9, np.nan, X).astype(np.float32), Y)


def test_more_threads_than_a_process_can_have(net):
    for count in (0, 1.5, True, 10 ** 6):
        with pytest.raises(ValueError, match="whole number of 1 to 1024"), tinyconv.threads(count):
            net(X)
    code = "import tinyconv; print(tinyconv.runtime.threads.get())"
    done = subprocess.run([sys.executable, "-c", f"import tinyconv.runtime.threads; {code}"], capture_output=True,
                          text=True, env={"OMP_NUM_THREADS": "1000000"}, timeout=60)
    assert done.stdout.strip() == "1024", done.stderr


def test_weights_that_no_machine_holds(monkeypatch):
    monkeypatch.setattr(budget, "available", lambda: 1 << 20)
    with pytest.raises(NetError, match="the weights need 4 MB of memory, and the machine has 1 MB left"):
        tinyconv.compile("fc 1000 -> fc 3", input="x1000")
    monkeypatch.undo()
    net = tinyconv.compile("fc 1000 -> fc 3", input="x1000")
    monkeypatch.setattr(budget, "available", lambda: 1 << 20)
    with pytest.raises(NetError, match="the optimiser's values need 4 MB of memory"):
        net.trainer()


# -- files and folders

def text_file(path, text):
    path.write_text(text)
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text_file(tmp_path / "n.net", "let classes = 3\ninput 8x8 x1\nfc classes -> softmax\ntrain { epochs 1; batch 4 }\n")
    np.savez(tmp_path / "good.npz", x=X, y=Y)
    return tmp_path


@pytest.mark.parametrize("labels, help", [(Y * 1.0, "save y.astype(int)"), (np.eye(3)[Y], "save y.argmax(-1)"),
                                          (np.eye(3, dtype=int)[Y], "save y.argmax(-1)"),
                                          (np.array(list("abcabc")), "numpy.unique(y")])
def test_labels_in_a_file_that_do_not_fit(folder, capsys, labels, help):
    np.savez("bad.npz", x=X, y=labels)
    assert main(["train", "n.net", "--data", "bad.npz"]) == 1
    assert help in capsys.readouterr().err


def test_one_class_alone(folder, capsys):
    (folder / "pictures" / "cat").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(folder / "pictures" / "cat" / f"{i}.png")
    assert main(["train", "n.net", "--data", "pictures"]) == 1
    assert "one class, 'cat': there is nothing to tell apart\n  = help: give each class a folder" in \
        capsys.readouterr().err


def test_a_known_data_set_misspelt(folder, capsys):
    assert main(["train", "n.net", "--data", "fashion-mnist-smal"]) == 1
    assert "did you mean `fashion-mnist-small`?" in capsys.readouterr().err


@pytest.mark.parametrize("metadata, words", [
    ({}, "holds no net"), ({"tinyconv.net": "input x2\nfc 3", "tinyconv.classes": "{oops"}, "class names is damaged"),
    ({"tinyconv.net": "input x2\nfc 3", "tinyconv.classes": "[1, 2, 3]"}, "class names is damaged")])
def test_metadata_that_is_damaged(folder, capsys, metadata, words):
    arrays = {"fc1.weight": np.zeros((3, 2), np.float32), "fc1.bias": np.zeros(3, np.float32)}
    safetensors.numpy.save_file(arrays, "w.safetensors", metadata=metadata)
    with pytest.raises(NetError, match=words):
        tinyconv.load("w.safetensors")
    assert main(["eval", "w.safetensors", "--data", "good.npz"]) == 1
    assert words in capsys.readouterr().err


def test_a_weights_file_without_a_net_has_no_summary(folder, capsys):
    weights.write("w.safetensors", {"a": np.zeros(3)})
    assert main(["summary", "w.safetensors"]) == 2
    assert "holds no net" in capsys.readouterr().err


def test_fewer_class_names_than_classes(folder, capsys):
    arrays = {"fc1.weight": np.zeros((3, 64), np.float32), "fc1.bias": np.array([0, 5, 0], np.float32)}
    weights.write("w.safetensors", arrays, weights.describe("input 8x8 x1\nfc 3 -> softmax", ["one"]))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
    assert main(["predict", "w.safetensors", "a.png"]) == 0
    assert capsys.readouterr().out.startswith("a.png: 1 ")


def test_a_full_disk_says_what_to_do(tmp_path):
    with pytest.raises(NetError, match="No space left.*\n.*make room"), files.replacing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("arguments, words", [
    (["--set", "train.optimizer.lr=0.1"], "give it whole: `--set 'train.optimizer=sgd lr=0.1'`"),
    (["--threads", "2000"], "1 to 1024")])
def test_options_that_cannot_be(folder, capsys, arguments, words):
    assert main(["train", "n.net", "--data", "good.npz", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_the_suggested_rate_is_an_option_that_works(folder, capsys):
    assert main(["train", "n.net", "--data", "good.npz", "--find-lr"]) == 0
    option = capsys.readouterr().out.rpartition("--set ")[2].strip("`\n").strip("'")
    assert main(["train", "n.net", "--data", "good.npz", "--set", option]) == 0
