"""`tinyconv bench`: JSON, the lines about the whole, the picture."""

from __future__ import annotations


import pytest
from PIL import Image

from tinyconv.cli import main
from test_cli import folder, lines  # noqa: F401 -- a fixture


@pytest.mark.parametrize("arguments", [[], ["--train"]])
def test_bench_json(folder, capsys, monkeypatch, arguments):
    monkeypatch.setattr("tinyconv.runtime.profile.SECONDS", 0)
    assert main(["bench", "net.net", "--batch", "2", "--json", *arguments]) == 0
    (rows,) = lines(capsys.readouterr().out)
    assert all(set(r) == {"layer", "op", "kernel", "pass", "ms", "gflops", "peak_fraction", "bytes", "gbs", "bound_ms",
                          "parts"} for r in rows)
    assert {"conv1", "pool1", "fc1"} <= {r["layer"] for r in rows}
    assert all(r["gflops"] > 0 for r in rows if r["op"].startswith("conv"))
    assert ("update" in {r["pass"] for r in rows}) == bool(arguments)


def test_bench_tells_the_whole_and_what_fusion_gains(folder, capsys, monkeypatch):
    monkeypatch.setattr("tinyconv.runtime.profile.SECONDS", 0)
    assert main(["bench", "net.net"]) == 0
    fused, told = capsys.readouterr()
    assert "ms for 1 sample" in told and "unfused" not in told
    assert main(["bench", "net.net", "--unfused"]) == 0
    plain, told = capsys.readouterr()
    assert "times as fast" in told and len(plain.splitlines()) >= len(fused.splitlines())


def test_bench_draws(folder, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("tinyconv.runtime.profile.SECONDS", 0)
    assert main(["bench", "net.net", "--plot", "steps.png"]) == 0
    assert Image.open("steps.png").width > 300
    capsys.readouterr()
    for command in (["bench", "net.net"], ["runs"], ["train", "net.net", "--data", "data.npz", "--find-lr"]):
        assert main([*command, "--plot", "steps.nothing"]) == 1
        out, err = capsys.readouterr()
        assert "cannot draw into steps.nothing" in err and "name a .png" in err and not out.strip()
