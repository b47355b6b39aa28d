"""tinyconv.kernels against loops in double precision, over shapes that hypothesis draws."""

import itertools
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinyconv
from tinyconv import kernels
from tinyconv.runtime.backend import compiled

EPS = np.finfo(np.float32).eps


def naive(x, w, stride, padding, dilation, groups):
    """y[n, o, k] = sum over taps t and channels c of x[n, o s - p + t d, c] w[k, t, c]; also the sum of magnitudes."""
    spatial, kernel = x.shape[1:-1], w.shape[1:-1]
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(spatial, kernel, stride, padding, dilation)]
    y, size = np.zeros((len(x), *out, len(w))), np.zeros((len(x), *out, len(w)))
    per, outs = w.shape[-1], len(w) // groups
    for o in itertools.product(*map(range, out)):
        for t in itertools.product(*map(range, kernel)):
            at = [i * s - p + j * d for i, s, p, j, d in zip(o, stride, padding, t, dilation)]
            if not all(0 <= i < n for i, n in zip(at, spatial)):
                continue
            for g in range(groups):
                pixel = x[(slice(None), *at)][:, g * per:(g + 1) * per].astype(np.float64)
                taps = w[(slice(g * outs, (g + 1) * outs), *t)].astype(np.float64)
                y[(slice(None), *o, slice(g * outs, (g + 1) * outs))] += pixel @ taps.T
                size[(slice(None), *o, slice(g * outs, (g + 1) * outs))] += abs(pixel) @ abs(taps).T
    return y, size


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    per = 1 if groups == 8 else draw(st.sampled_from([1, 2, 3, 7, 8, 16, 17]))
    outs = draw(st.sampled_from([1, 3, 7, 8, 15, 16, 17, 33])) if groups == 1 else draw(st.integers(1, 3))
    kernel = [draw(st.sampled_from([1, 2, 3, 5])) for _ in range(axes)]
    stride = [draw(st.sampled_from([1, 1, 2, 4])) for _ in range(axes)]
    dilation = [draw(st.sampled_from([1, 1, 2])) for _ in range(axes)]
    padding = [draw(st.integers(0, k)) for k in kernel]
    sizes = [draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 9 if axes < 3 else 6))
             if d * (k - 1) + 1 - 2 * p <= 6 else d * (k - 1) + 1 for k, d, p in zip(kernel, dilation, padding)]
    return draw(st.integers(1, 3)), sizes, per, outs, groups, kernel, stride, padding, dilation


def arrays(case, seed=0):
    n, sizes, per, outs, groups, kernel, *_ = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *sizes, per * groups)).astype(np.float32)
    return x, rng.normal(size=(outs * groups, *kernel, per)).astype(np.float32)


@contextmanager
def small_work_is_shared():
    """Inside, all threads take part however little there is to do."""
    if not compiled():
        yield
        return
    from tinyconv.runtime import _cpu

    before = _cpu.least_work(0)
    yield
    _cpu.least_work(before)


AMPLIFIED = 5  # Winograd's errors, in those of direct sums; they are those of a whole tile


def bound(size, terms, algorithm):
    size = AMPLIFIED * size.max(initial=0) if algorithm.startswith("winograd") else size
    return (terms + 2) * EPS * size + 1e-30


def geometry(case):
    return dict(stride=case[6], padding=case[7], dilation=case[8], groups=case[4])


@given(convolutions(), st.integers(1, 3))
def test_conv(case, threads):
    x, w = arrays(case)
    expected, size = naive(x, w, case[6], case[7], case[8], case[4])
    with tinyconv.threads(threads):
        y = kernels.conv(x, w, **geometry(case))
    assert (abs(y - expected) <= bound(size, w[0].size, kernels.algorithm_of(x.shape, w.shape, **geometry(case)))).all()


@pytest.mark.skipif(not compiled(), reason="NumPy has one algorithm")
@pytest.mark.parametrize("algorithm, kernel", [("igemm", (3, 3)), ("winograd2x2", (3, 3)), ("winograd4x4", (3, 3)),
                                               ("winograd2x1", (1, 3)), ("winograd4x1", (3, 1))])
@pytest.mark.parametrize("size, padding", [((9, 14), 1), ((4, 3), 2), ((7, 30), 0)])
def test_algorithms(algorithm, kernel, size, padding):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, *size, 17)).astype(np.float32), rng.normal(size=(24, *kernel, 17)).astype(np.float32)
    padding = tuple(padding * (taps == 3) for taps in kernel)
    expected, terms = naive(x, w, (1, 1), padding, (1, 1), 1)
    y = kernels.conv(x, w, padding=padding, algorithm=algorithm)
    assert (abs(y - expected) <= bound(terms, w[0].size, algorithm)).all()
    dx = kernels.conv_dx(y, w, padding=padding, algorithm=algorithm)
    exact = (y.astype(np.float64) ** 2).sum()
    assert abs((dx.astype(np.float64) * x).sum() - exact) <= 1e-5 * exact
    with pytest.raises(tinyconv.NetError, match="no algorithm"):
        kernels.conv(x, w, padding=padding, stride=2, algorithm="winograd4x4")


@pytest.mark.skipif(not compiled(), reason="NumPy has one algorithm")
def test_what_runs_as_a_product_is_called_so():
    """1x1 kernels, and those as large as the map, whose data gradient is none."""
    names = [kernels.algorithm_of((4, 7, 7, 24), (32, k, k, 24), which=which) for k in (1, 7, 5)
             for which in ("conv", "conv_dx")]
    assert names == ["gemm", "gemm", "gemm", "igemm", "igemm", "igemm"]


@pytest.mark.skipif(not compiled(), reason="NumPy has one algorithm")
@pytest.mark.parametrize("rows", [1, 8, 17, 40])
def test_weights_as_they_stand(rows):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=size).astype(np.float32) for size in ((rows, 1, 333), (70, 1, 333)))
    y = kernels.conv(x, w, algorithm="unpacked")
    expected, size = naive(x, w, (1,), (0,), (1,), 1)
    assert (abs(y - expected) <= bound(size, 333, "unpacked")).all()
    dx = kernels.conv_dx(y, w, algorithm="unpacked")
    expected, size = naive(y, w.transpose(2, 1, 0), (1,), (0,), (1,), 1)
    assert (abs(dx - expected) <= bound(size, 70, "unpacked")).all()
    with pytest.raises(tinyconv.NetError, match="no algorithm"):
        kernels.conv(x, w, padding=1, algorithm="unpacked")


@pytest.mark.skipif(not compiled(), reason="NumPy has one algorithm")
@pytest.mark.parametrize("n, size, c, k, kernel, stride, padding, groups", [
    (1, 7, 70, 40, 3, 1, 1, 1), (2, 9, 48, 40, 5, 2, 2, 1), (3, 8, 64, 64, 3, 1, 1, 2), (1, 14, 130, 36, 1, 2, 0, 1),
    (16, 20, 32, 32, 3, 2, 1, 1), (1, 11, 33, 36, 2, 3, 0, 1)])
def test_data_gradients_by_weights_as_they_stand(n, size, c, k, kernel, stride, padding, groups):
    """The same sums in the same order as by weights packed before, for any number of threads."""
    rng = np.random.default_rng(0)
    outputs = (size + 2 * padding - kernel) // stride + 1
    dy = rng.normal(size=(n, outputs, outputs, k)).astype(np.float32)
    w = rng.normal(size=(k, kernel, kernel, c // groups)).astype(np.float32)
    how = dict(stride=stride, padding=padding, groups=groups, size=size)
    expected = kernels.conv_dx(dy, w, algorithm="igemm", **how)
    for threads in 1, 2, 3:
        with tinyconv.threads(threads):
            np.testing.assert_array_equal(kernels.conv_dx(dy, w, algorithm="unpacked", **how), expected)


@given(convolutions(), st.integers(1, 3))
def test_gradients_are_the_adjoint(case, threads):
    """<dy, conv(x)> = <conv_dx(dy), x> = <conv_dw(x, dy), w>, the convolution being linear in both."""
    x, w = arrays(case)
    y, size = naive(x, w, case[6], case[7], case[8], case[4])
    dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    with tinyconv.threads(threads):
        dx = kernels.conv_dx(dy, w, **geometry(case), size=tuple(case[1]))
        dw = kernels.conv_dw(x, dy, **geometry(case), kernel=tuple(case[5]))
    assert dx.shape == x.shape and dw.shape == w.shape
    exact, bound = (dy * y).sum(), 4 * (w[0].size + 64) * EPS * (abs(dy) * size).sum() + 1e-30
    assert abs((dx.astype(np.float64) * x).sum() - exact) <= bound
    assert abs((dw.astype(np.float64) * w).sum() - exact) <= bound


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 300), st.integers(1, 3))
def test_gemm(m, n, k, threads):
    rng = np.random.default_rng(m * n * k)
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    with tinyconv.threads(threads):
        c = kernels.gemm(a, b)
    assert (abs(c - a.astype(np.float64) @ b) <= (k + 2) * EPS * (abs(a) @ abs(b)) * 1.01).all()


@given(st.sampled_from([1, 1, 2, 3, 8]), st.integers(1, 300), st.sampled_from([1, 3, 8]), st.sampled_from([1, 2, 5]))
def test_kernels_as_large_as_the_map(n, outs, channels, size):
    """They are products of whole rows, of one row alone for a single image; with several threads to the same bits."""
    rng = np.random.default_rng(outs)
    x = rng.normal(size=(n, size, size, channels)).astype(np.float32)
    w = rng.normal(size=(outs, size, size, channels)).astype(np.float32)
    rows, weights, results = x.reshape(n, -1).astype(np.float64), w.reshape(outs, -1).T, []
    with small_work_is_shared():
        for threads in (1, 2, 3):
            with tinyconv.threads(threads):
                results.append(kernels.conv(x, w).reshape(n, outs))
    assert len({y.tobytes() for y in results}) == 1
    assert (abs(results[0] - rows @ weights) <= (w[0].size + 2) * EPS * (abs(rows) @ abs(weights)) * 1.01).all()


def test_sizes_worked_out():
    x, w = np.ones((1, 9, 9, 4), np.float32), np.ones((8, 3, 3, 4), np.float32)
    y = kernels.conv(x, w, padding=1)
    assert kernels.conv_dx(y, w, padding=1).shape == x.shape
    assert kernels.conv_dw(x, y, padding=1).shape == w.shape
    y = kernels.conv(x, w, stride=2)
    assert kernels.conv_dx(y, w, stride=2).shape == x.shape
    with pytest.raises(tinyconv.NetError, match="kernel="):
        kernels.conv_dw(x, y, stride=2)


@pytest.mark.parametrize("call", [
    lambda: kernels.conv(np.ones((1, 5, 5, 4), np.float32), np.ones((8, 3, 3, 3), np.float32)),
    lambda: kernels.conv(np.ones((1, 5, 5, 4), np.float32), np.ones((8, 3, 4), np.float32)),
    lambda: kernels.conv(np.ones((1, 2, 2, 4), np.float32), np.ones((8, 3, 3, 4), np.float32)),
    lambda: kernels.conv(np.ones((1, 5, 5, 4), np.float32), np.ones((8, 3, 3, 4), np.float32), stride=0),
    lambda: kernels.conv(np.ones((1, 5, 5, 4), np.float32), np.ones((8, 3, 3, 4), np.float32), algorithm="magic"),
    lambda: kernels.gemm(np.ones((2, 3), np.float32), np.ones((4, 2), np.float32)),
])
def test_wrong_arguments(call):
    with pytest.raises(tinyconv.NetError):
        call()


def test_wrong_types():
    with pytest.raises(TypeError, match="float32"):
        kernels.gemm(np.ones((2, 2)), np.ones((2, 2)))
