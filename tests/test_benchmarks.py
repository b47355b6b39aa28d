"""The benchmark scripts work; what they measure is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import tinyconv
import tinyconv.data
from tinyconv.runtime.backend import compiled

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.mark.skipif(not compiled(), reason="the peak is measured by the compiled kernels")
def test_a_pair_is_driven_in_turns():
    done = subprocess.run([sys.executable, FOLDER / "kernels.py", "--rounds", "2", "--only", "256x196", "--json"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (result,) = found["results"]
    assert found["fma_gflops"] > 0 and found["read_gbs"] > 0
    assert result["case"] == "product 256x196x2304" and set(result["ms"]) == {"tinyconv", "numpy"}
    assert result["ratio"] > 0 and result["fastest"] == "numpy" and result["peak_fraction"] > 0


@pytest.mark.parametrize("script", ["kernels", "nets"])
def test_options_are_explained(script):
    command = [sys.executable, FOLDER / f"{script}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--peer-python" in done.stdout


@pytest.fixture
def kernels(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import kernels

    return kernels


@pytest.mark.skipif(not compiled(), reason="it measures the compiled kernels")
@pytest.mark.parametrize("name", ["mobilenet dw 1024", "x3d dw 3-D", "unet up 128-64", "resnet50 2048-512"])
def test_layers_of_the_benchmark_compute_what_they_say(kernels, name):
    """A net's steps, packed before or in the call; of a transposed layer the passes of its adjoint."""
    for case in [case for found, case, _ in kernels.layer_cases() if found.rpartition(" ")[0] == name]:
        x, w, y = kernels.arrays(case)
        how = {key: case[key] for key in ("stride", "padding", "dilation", "groups")}
        if case["which"] == "dw":
            want = tinyconv.kernels.conv_dw(x, y, kernel=w.shape[1:-1], **how)
        elif (case["which"] == "dx") != case["transposed"]:
            want = tinyconv.kernels.conv_dx(y, w, size=x.shape[1:-1], **how)
        else:
            want = tinyconv.kernels.conv(x, w, **how)
        np.testing.assert_allclose(kernels.ours(case)()[2], want, atol=1e-5 * float(abs(want).max()))


def test_the_roofline_is_drawn(kernels, tmp_path):
    pytest.importorskip("matplotlib")
    ms = {"tinyconv": 1.0, "torch": 2.0}
    case = kernels.pairs.Result("a forward", ms, {"torch": 2.0}, 2.0, "torch", {}, gflops=10.0, peak_fraction=0.1)
    kernels.roofline([case], {"a forward": 10 ** 6}, 100.0, 20.0, str(tmp_path / "roofline.png"))
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")


def test_starts_are_measured_in_turns():
    command = [sys.executable, FOLDER / "startup.py", "--runs", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = {row["command"]: row for row in json.loads(done.stdout)}
    assert found["tinyconv summary resnet152"]["cpu_ms"] > found["python -c pass"]["cpu_ms"] > 0


def test_the_loader_is_measured():
    command = [sys.executable, FOLDER / "loader.py", "--only", "32x32 JPEG", "--seconds", "0.05", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["results"]
    assert found["images_per_second"] > 0


@pytest.fixture
def nets(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import nets

    return nets


def test_the_bound_of_a_net_is_its_multiply_adds_or_its_weights(nets):
    net = tinyconv.compile("conv 3x3 x4 bias=off -> conv 3x3 x4 bias=off -> pool global -> fc 1000 bias=off",
                           input="8x8 x4")
    conv, fc = 8 * 8 * 9 * 4 * 4, 4 * 1000
    found = nets.bounds(net, 10, False, peak=1.0, bandwidth=1e9)        # milliseconds at 1 GFLOP/s
    assert found["bound"] == pytest.approx(2 * 10 * (2 * conv + fc) / 1e6)
    assert found["Winograd"] == pytest.approx(2 * 10 * (2 * conv / 4 + fc) / 1e6)
    trained = nets.bounds(net, 10, True, peak=1.0, bandwidth=1e9)
    assert trained["bound"] == pytest.approx(2 * 10 * (2 * conv + 3 * conv + 3 * fc) / 1e6)
    reading = nets.bounds(net, 10, False, peak=1e9, bandwidth=1.0)
    assert reading["bound"] == pytest.approx(4 * (2 * 9 * 16 + 4000) / 1e6)


def test_a_side_has_the_instruction_set_it_is_held_to(nets, monkeypatch):
    """Of the variables that a user set for tuning it has none."""
    started = []
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "SSE4_2")
    monkeypatch.setattr(nets.pairs.subprocess, "Popen", lambda command, env, **_: started.append(env) or Mock())
    for settings in (nets.pairs.AVX2, None):
        nets.pairs.Side("torch", sys.executable, [], 2, settings)
    held, free = started
    assert held["MKL_ENABLE_INSTRUCTIONS"] == "AVX2" and held["OMP_NUM_THREADS"] == "2"
    assert "MKL_ENABLE_INSTRUCTIONS" not in free


def test_results_that_differ_are_found(nets, tmp_path):
    ours = np.linspace(-4, 2, 7, dtype=np.float32)
    np.save(tmp_path / "tinyconv.npy", ours)
    np.save(tmp_path / "good.npy", ours)
    np.save(tmp_path / "bad.npy", ours + np.float32(0.4))
    assert nets.disagreement(tmp_path) == {"bad": pytest.approx(0.1), "good": 0}


def test_nets_are_made_alike_for_all_sides(nets):
    """Without dropout; in inference without softmax; trained by the loss that the others take."""
    ops = [node.op for node in nets.made("alexnet", False).graph.nodes]
    assert "dropout" not in ops and "softmax" not in ops and ops.count("fc") == 3
    trained = [node.op for node in nets.made("alexnet", True).graph.nodes]
    assert "dropout" not in trained and trained[-1] == "softmax"
    assert tinyconv.load("unet").losses and not nets.made("unet", True).losses


@pytest.mark.parametrize("text", [
    "input 9x9 x3 mean=0.4 std=0.2\nconv 3x3 x8 bias=off -> bn -> relu -> pool 2 -> lrn 5 -> fc 5",
    "input 8x8 x2\nblock b { add { skip | conv 3x3 x=in g2 -> relu } -> pool 3 s2 p1 avg -> pad 0 channels=1 }\nb -> b",
    "input 8x8 x2\nconv 3x3 x4 as e -> pool 2 -> deconv 2x2 s2 x4 -> concat @e -> conv 3x3 x8 share=s -> relu "
    "-> conv 3x3 x8 share=s -> conv 1x1 x1 -> sigmoid",
    "input 8x8 x4\nmul { skip | pool global avg -> fc 4 -> sigmoid } -> tanh -> silu -> hswish -> softmax"])
def test_pytorch_runs_the_same_net(monkeypatch, text):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(FOLDER))
    from torchnet import TorchNet

    net, other = (tinyconv.compile(text, seed=seed) for seed in (0, 1))
    x = np.random.default_rng(0).random((3, *net.input_shape), np.float32)
    model = TorchNet(net)
    model.module.eval()
    with torch.inference_mode():
        found = model(torch.from_numpy(x).permute(0, 3, 1, 2))
        last = net.graph.nodes[net.graph.output_index].op
        found = {"sigmoid": torch.sigmoid, "softmax": lambda v: v.softmax(1)}.get(last, lambda v: v)(found)
    np.testing.assert_allclose(np.moveaxis(found.numpy(), 1, -1), net(x), rtol=1e-4, atol=1e-6)
    model.write_to(other)
    np.testing.assert_array_equal(other(x), net(x))


def test_learning_beside_pytorch(tmp_path):
    """Masks: both sides begin alike and learn the same; a run ends at the accuracy that was asked for."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.random((20, 8, 8, 1), np.float32)
    np.savez(tmp_path / "set.npz", x_train=x[:16], x_test=x[16:], y_train=(x[:16, ..., 0] > 0.5).astype(np.uint8),
             y_test=(x[16:, ..., 0] > 0.5).astype(np.uint8))
    (tmp_path / "a.net").write_text("input 16x16 x1\nconv 3x3 x4 bias=off -> bn -> relu -> conv 1x1 x1 -> sigmoid\n"
                                    "train { batch 8; loss bce weight=0.5; loss dice weight=0.5 }")
    command = [sys.executable, FOLDER / "learning.py", tmp_path / "a.net", "--data", tmp_path / "set.npz",
               "--epochs", "2", "--input", "8x8 x1", "--seeds", "1", "--log", tmp_path / "log.jsonl"]
    for more in ((), ("--seeds", "2", "--until", "0")):
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(e["side"], e["seed"], e["epoch"]) for e in events] == [
        ("tinyconv", 0, 1), ("tinyconv", 0, 2), ("torch", 0, 1), ("torch", 0, 2), ("tinyconv", 1, 1), ("torch", 1, 1)]
    ours, theirs = events[1], events[3]
    for key in ("train_loss", "val_loss"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-3)
    assert ours["dice"] == pytest.approx(theirs["dice"], abs=0.02)
    assert "0 % after so many epochs: 1 1" in done.stdout and "dice of class 1" in done.stdout


@pytest.fixture
def synthetic(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import synthetic

    return synthetic


@pytest.mark.parametrize("what, shape", [("sounds", (8000, 1)), ("volumes", (24, 24, 24, 1))])
def test_synthetic_sets_are_the_same_by_seed(synthetic, tmp_path, what, shape):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthetic.write(what, tmp_path / name, train=3, test=1, seed=seed)
    a, b, c = (tinyconv.data.open(tmp_path / name) for name in "abc")
    assert len(a.classes) == 8 and a.shape == shape and (len(a.train), len(a.test)) == (24, 8)
    assert (a.train.images == b.train.images).all() and (a.test.images == b.test.images).all()
    assert (a.train.images != c.train.images).any(axis=tuple(range(1, len(shape) + 1))).all()


def test_shapes_take_the_room_that_is_said(synthetic):
    """So that sizes can be drawn alike: otherwise brightness would tell the class."""
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (3, 1_000_000))
    for name, (inside, room) in synthetic.SHAPES.items():
        assert 27 * inside(*points).mean() == pytest.approx(room, rel=0.03), name


def test_the_curves_of_the_results_are_drawn(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(FOLDER))
    import curves

    found = curves.lists("# A\n\n- one, seed 0: 9.5, **10.0**\n- one, seed 1: 8.5,\n  9.0\n\n"
                         "## B\n\n- no figures: here\n")
    assert found == {"A": [("one, seed 0", [9.5, 10.0]), ("one, seed 1", [8.5, 9.0])]}
    curves.draw(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
