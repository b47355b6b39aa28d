"""`bench --calibrate`: its fit, the terms it is fitted to, its table."""

import numpy as np
import pytest
from click.testing import CliRunner

from tinyconv.cli import calibrate
from tinyconv.cli.bench import bench
from tinyconv.runtime.backend import compiled

needs_c = pytest.mark.skipif(not compiled(), reason="there are no C kernels")


def test_least_squares_recovers_costs_and_has_none_below_zero():
    rng = np.random.default_rng(0)
    counts, costs = rng.random((40, 4)), np.array([3.0, 0.5, 20.0, 7.0])
    assert calibrate.least_squares(counts / (counts @ costs)[:, None]) == pytest.approx(costs)
    below = calibrate.least_squares(counts / (counts @ [3.0, -0.01, 20.0, 7.0])[:, None])
    assert below[1] == 0 and below == pytest.approx([3, 0, 20, 7], rel=0.02)


@needs_c
def test_terms_count_what_the_algorithms_do():
    direct, winograd = (calibrate.Case((2, 32, 64, 32), "conv", a) for a in ("igemm", "winograd4x4"))
    multiply_adds = 2 * 32 * 32 * 9 * 64 * 32
    assert direct.terms[calibrate.STEPS] * direct.step == 2 * multiply_adds
    tiles, halves = 2 * 8 * 8, direct.step / 4
    assert winograd.terms[calibrate.INPUTS] == tiles * 64 / halves
    assert winograd.terms[calibrate.OUTPUTS] == tiles * 32 / halves
    assert winograd.terms[calibrate.STEPS] * winograd.step >= 2 * 36 * tiles * 64 * 32


@needs_c
def test_table_is_printed_and_nothing_changes(monkeypatch):
    for name, value in (("LAYERS", ((1, 8, 16, 24), (2, 6, 24, 16))), ("ROUNDS", 1), ("SECONDS", 1e-4)):
        monkeypatch.setattr(calibrate, name, value)
    result = CliRunner().invoke(bench, ["--calibrate"])
    assert result.exit_code == 0, result.output
    *lines, error = result.output.splitlines()
    assert {line.split()[0]: len(line.split()) - 1 for line in lines} == {"direct": 2, "product": 1, "transform": 8,
                                                                        "weights": 4}
    assert all(float(value) >= 0 for line in lines for value in line.split()[1:]) and "%" in error
