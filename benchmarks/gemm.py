"""tinyconv.kernels.gemm against NumPy's matrix product (OpenBLAS), packing of both sides included.

    python benchmarks/gemm.py [--json] [--threads 2]
"""

from __future__ import annotations

import pairs

SHAPES = [(512, 3136, 576), (64, 12544, 576), (256, 196, 2304), (2048, 2048, 2048)]  # m, n, k


def operands(case: dict):
    import numpy as np

    rng = np.random.default_rng(0)
    m, n, k = case["m"], case["n"], case["k"]
    return rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)


def ours(case: dict):
    from tinyconv.kernels import gemm

    a, b = operands(case)
    return lambda: gemm(a, b)


def numpy(case: dict):
    a, b = operands(case)
    return lambda: a @ b


def cases():
    return [(f"{m}x{n}x{k}", {"m": m, "n": n, "k": k}, 2.0 * m * n * k) for m, n, k in SHAPES]


if __name__ == "__main__":
    pairs.run(__doc__, {"tinyconv": ours, "numpy": numpy}, cases)
