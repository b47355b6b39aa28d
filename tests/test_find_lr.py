"""The learning-rate range test: what it computes, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from test_cli import folder  # noqa: F401 -- a fixture
from train_fakes import FakeNet, FakeTrainer, dataset, settings

from tinyconv import train
from tinyconv.cli import main
from tinyconv.errors import NetError, NonFiniteError
from tinyconv.train import rates


def test_rates_grow_by_a_factor_and_weights_stay(monkeypatch):
    seen, step = [], FakeTrainer.step

    def recorded(self, x, labels, of=None):
        seen.append((self.lr, step(self, x, labels, of)))
        return seen[-1][1]

    monkeypatch.setattr(FakeTrainer, "step", recorded)
    net = FakeNet(measured=True)
    before = {name: value.copy() for name, value in net.weights.items()}
    found = train.rate_test(net, dataset(), settings())
    assert all(np.array_equal(before[name], value) for name, value in net.weights.items() if name.startswith("fc1"))
    assert seen == list(zip(found["rates"], found["losses"])) and len(seen) <= rates.STEPS
    assert found["rates"][0] == pytest.approx(1e-6)
    factors = np.array(found["rates"][1:]) / found["rates"][:-1]
    np.testing.assert_allclose(factors, 1e7 ** (1 / (rates.STEPS - 1)), rtol=1e-12)
    for i in range(len(seen)):
        parts = 0.9 ** np.arange(i, -1, -1)
        assert found["smoothed"][i] == pytest.approx((parts * found["losses"][:i + 1]).sum() / parts.sum())
    assert found["suggested"] == found["rates"][int(np.argmin(found["smoothed"]))] / 10


def test_it_ends_where_the_loss_explodes_or_is_not_finite(monkeypatch):
    losses = iter([2.0, 1.5, 1.0, 50.0, 1.0])
    monkeypatch.setattr(FakeTrainer, "step", lambda self, x, labels: next(losses))
    assert len(train.rate_test(FakeNet(), dataset(), settings())["losses"]) == 4

    def poisoned(self, x, labels, of=None):
        self.steps += 1
        if self.steps == 3:
            raise NonFiniteError("the loss is nan")
        return 3.0 - self.steps

    monkeypatch.setattr(FakeTrainer, "step", poisoned)
    assert train.rate_test(FakeNet(), dataset(), settings())["losses"] == [2.0, 1.0]
    monkeypatch.setattr(FakeTrainer, "step", lambda self, x, labels: 1e3 * self.lr)
    with pytest.raises(NetError, match="falls at no rate"):
        train.rate_test(FakeNet(), dataset(), settings())


def test_the_command_prints_draws_and_makes_no_run(folder, capsys):  # noqa: F811
    command = ["train", "net.net", "--data", "data.npz", "--find-lr", "--device", "numpy"]
    before = set(os.listdir())
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 1e-7 < found["suggested"] <= 1 and len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    assert main(command) == 0
    out = capsys.readouterr().out
    assert f"--set train.optimizer.lr={found['suggested']:.2g}" in out and 20 < len(out.splitlines()) < 70
    assert set(os.listdir()) == before
    for wrong in (["--out", "x"], ["--resume", "x"]):
        assert main([*command, *wrong]) == 2
    assert main(["train", "net.net", "--plot", "a.png"]) == 2


def test_the_plot(folder, monkeypatch, capsys):  # noqa: F811
    command = ["train", "net.net", "--data", "data.npz", "--find-lr", "--plot", "a.png", "--device", "numpy"]
    monkeypatch.setattr("tinyconv.cli.plots.installed", lambda: False)
    assert main(command) == 1 and "pip install 'tinyconv[plot]'" in capsys.readouterr().err
    monkeypatch.setattr("tinyconv.cli.plots.installed", lambda: True)
    pytest.importorskip("matplotlib")
    assert main(command) == 0
    assert open("a.png", "rb").read(4) == b"\x89PNG"
