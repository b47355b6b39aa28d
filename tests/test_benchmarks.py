"""The benchmark scripts work; what they measure is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinyconv.runtime.backend import compiled

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.mark.skipif(not compiled(), reason="the peak is measured by the compiled kernels")
def test_a_pair_is_driven_in_turns():
    done = subprocess.run([sys.executable, FOLDER / "gemm.py", "--rounds", "2", "--only", "256x196", "--json"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["case"] == "256x196x2304" and set(result["ms"]) == {"tinyconv", "numpy"}
    assert result["ratio"] > 0 and result["fastest"] == "numpy" and result["peak_fraction"] > 0


@pytest.mark.parametrize("script", ["gemm", "layers", "training"])
def test_options_are_explained(script):
    command = [sys.executable, FOLDER / f"{script}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--peer-python" in done.stdout


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
