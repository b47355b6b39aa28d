"""`tinyconv bench --calibrate`: the table of costs by which C chooses a convolution's algorithm, measured on this
machine.

The model (csrc/conv_choice.c) is linear in its costs: each algorithm's time is a sum of how often it does what. So
costs come out of least squares over layers that differ in what weighs most. Printed, for review; nothing is changed.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

# images, height and width, channels in and out: 3x3, padding 1; no layer whose weights are read at memory's pace
LAYERS = ((8, 56, 64, 64), (8, 28, 128, 128), (2, 28, 256, 256), (16, 16, 64, 256), (16, 16, 256, 64),
          (32, 32, 32, 32), (64, 32, 16, 16), (64, 16, 16, 64), (32, 8, 64, 64), (4, 14, 128, 128), (8, 14, 32, 256),
          (8, 14, 256, 32), (2, 56, 64, 24), (2, 56, 24, 64), (2, 8, 128, 128), (1, 7, 192, 192))
GEOMETRY = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
ROUNDS, SECONDS = 7, 0.004  # turns over all layers, each for so long

SIZES = ("winograd2x2", "winograd4x4")
KINDS = tuple((which, algorithm) for which in ("conv", "conv_dw") for algorithm in SIZES)
STEPS, INPUTS, OUTPUTS, WEIGHTS = range(4)  # what tc_conv_terms counts


def table() -> str:
    """The costs in the order of conv_choice.c, and how far the model is off."""
    cases = [Case(layer, which, algorithm) for layer in LAYERS for which in ("conv", "conv_dw")
             for algorithm in ("igemm", "winograd2x2", "winograd4x4")]
    for _ in range(ROUNDS):
        for case in cases:
            case.measure()
    direct = {which: median(c.cost / c.terms[STEPS] for c in cases if (c.which, c.algorithm) == (which, "igemm"))
              for which in ("conv", "conv_dw")}
    winograd = [c for c in cases if c.algorithm != "igemm"]
    columns = ["product"] + [(c, i) for c in KINDS for i in (INPUTS, OUTPUTS)]
    columns += [(c, WEIGHTS) for c in KINDS if c[0] == "conv_dw"]
    counts = np.array([[c.count(column) for column in columns] for c in winograd])
    took = np.array([c.cost for c in winograd])
    costs = dict(zip(columns, least_squares(counts / took[:, None])))
    off = np.abs(counts @ [costs[c] for c in columns] / took - 1)
    weights = [median(c.packing / c.terms[WEIGHTS] for c in cases if (c.which, c.algorithm) == ("conv", a))
               for a in SIZES] + [costs[("conv_dw", a), WEIGHTS] for a in SIZES]
    rows = (("direct", [direct["conv"], direct["conv_dw"]]), ("product", [costs["product"]]),
            ("transform", [costs[kind, i] for kind in KINDS for i in (INPUTS, OUTPUTS)]), ("weights", weights))
    lines = [f"{name:10}" + "".join(f"{value:9.3g}" for value in values) for name, values in rows]
    lines.append(f"the model is off by {100 * median(off):.0f} % (median), {100 * max(off):.0f} % at most")
    return "\n".join(lines)


class Case:
    """One layer, pass and algorithm on one thread; costs in steps, a row's along a panel at the peak."""

    def __init__(self, layer, which, algorithm):
        from ..runtime import _cpu
        from ..runtime.cpu import PASSES, conv_shape

        n, size, c, k = layer
        self.which, self.algorithm = which, algorithm
        shapes = [(n, size, size, c), (n, size, size, k), (k, 3, 3, c)]
        ints = conv_shape(*shapes[:2], (3, 3), GEOMETRY, algorithm)
        self.terms, self.step = _cpu.conv_terms(ints, PASSES[which])
        self.arrays = [np.random.default_rng(0).random(shape, np.float32) for shape in shapes]
        self.taken, self.packed, self.rates = [], [], []

    def measure(self) -> None:
        """One more turn. Other work on the machine only ever slows one down: the best of all counts."""
        from .. import kernels
        from ..runtime import _cpu

        x, y, w = self.arrays
        operands, out = ((x, w), y) if self.which == "conv" else ((x, y), w)
        call, steps = kernels._call(self.which, GEOMETRY, x.shape, y.shape, w.shape, operands, out, self.algorithm)
        self.rates.append(_cpu.measure_fma(1, SECONDS) * 1e9 / self.step)
        self.packed.append(best(lambda: call(0, 1)))
        self.taken.append(best(lambda: call(steps - 1, steps)))

    @property
    def cost(self) -> float:
        return min(self.taken) * max(self.rates)

    @property
    def packing(self) -> float:
        return min(self.packed) * max(self.rates)

    def count(self, column) -> float:
        """How often this case pays a cost."""
        if column == "product":
            return self.terms[STEPS]
        kind, term = column
        return self.terms[term] * (kind == (self.which, self.algorithm))


def best(call) -> float:
    """The shortest of several calls, in seconds."""
    least, end = float("inf"), time.perf_counter() + SECONDS
    while least == float("inf") or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - begin)
    return least


def least_squares(a: np.ndarray) -> np.ndarray:
    """The x >= 0 with a x nearest to 1: costs that come out negative are 0, the others fitted again."""
    keep = np.ones(a.shape[1], bool)
    while True:
        x = np.zeros(a.shape[1])
        x[keep] = np.linalg.lstsq(a[:, keep], np.ones(len(a)), rcond=None)[0]
        if (x >= 0).all():
            return x
        keep &= x > 0
