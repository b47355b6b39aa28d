"""deconv in 1-D, 2-D and 3-D: sizes, values against loops in double precision, gradients against differences of the
loss."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from spatial import DEVICES, check_gradients, draw, draw_x, error_of, graph_of, net_of, shown

import tinyconv
from tinyconv import zoo


def naive_deconv(x, w, bias, out, s, p, d, groups):
    """y[i s - p + d t] += x[i] w[t]; w is (in, *k, out/groups)."""
    n_in, per = w.shape[0] // groups, w.shape[-1]
    y = np.zeros((len(x), *out, per * groups))
    for i in itertools.product(*map(range, x.shape[1:-1])):
        for t in itertools.product(*map(range, w.shape[1:-1])):
            o = [a * b - c + e * f for a, b, c, e, f in zip(i, s, p, d, t)]
            if not all(0 <= a < n for a, n in zip(o, out)):
                continue
            for g in range(groups):
                pixel = x[(slice(None), *i, slice(g * n_in, (g + 1) * n_in))].astype(np.float64)
                taps = w[(slice(g * n_in, (g + 1) * n_in), *t)].astype(np.float64)
                y[(slice(None), *o, slice(g * per, (g + 1) * per))] += pixel @ taps
    return y + bias


@st.composite
def deconvs(draw):
    axes = draw(st.integers(1, 3))
    most = 5 if axes < 3 else 3

    def each(strategy):
        return [draw(strategy) for _ in range(axes)]

    k, s, d = each(st.integers(1, most)), each(st.integers(1, 4)), each(st.integers(1, 3))
    p = None if draw(st.booleans()) else [draw(st.integers(0, (b * (a - 1) + 1) // 2)) for a, b in zip(k, d)]
    op = [draw(st.integers(0, max(a, b) - 1)) for a, b in zip(s, d)]
    n = each(st.integers(1, most))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    return draw(st.integers(1, 3)), n, k, s, p, d, op, groups, draw(st.integers(1, 3)), draw(st.integers(1, 3))


@pytest.mark.parametrize("device", DEVICES)
@given(case=deconvs())
def test_deconv_is_the_sum_over_taps(device, case):
    batch, n, k, s, p, d, op, groups, per_in, per_out = case
    text = (f"input {shown(n)} x{per_in * groups}\ndeconv {shown(k)} s{shown(s)} d{shown(d)} op={shown(op)} g{groups} "
            f"x{per_out * groups}" + ("" if p is None else f" p{shown(p)}"))
    used = [(b * (a - 1) + 2 - c) // 2 for a, b, c in zip(k, d, s)] if p is None else p
    out = [(m - 1) * c - 2 * q + b * (a - 1) + e + 1 for m, a, c, q, b, e in zip(n, k, s, used, d, op)]
    if min(out) < 1:
        assert "leaves nothing" in error_of(text).message
        return
    net = net_of(text, device=device)
    assert net.graph.output == (tuple(out), per_out * groups)
    x, w = draw_x(net, batch), net.weights["deconv1.weight"]
    assert w.shape == (per_in * groups, *k, per_out)
    expected = naive_deconv(x, w, net.weights["deconv1.bias"], out, s, used, d, groups)
    np.testing.assert_allclose(net(x), expected, rtol=1e-5, atol=1e-5)
    if groups * per_out < 4:
        check_gradients(net, x)


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 3))
def test_deconv_multiplies_sizes_by_its_stride(n, s, axes):
    """2x2 s2, 4x4 s2 and k = s by themselves; odd kernels with op=1."""
    size = shown([n] * axes)
    for k, more in ((s, ""), (s + 2, ""), (s + 4, ""), (s + 1, " op=1"), (s + 3, " op=1")):
        if s == 1 and more:
            continue  # op must be below the stride
        graph = graph_of(f"input {size} x2\ndeconv {k} s{s}{more} x3")
        assert graph.output.spatial == (n * s,) * axes


def test_deconv_undoes_the_size_of_a_convolution():
    graph = graph_of("input 30x30 x3\nconv 7x7 s3 p2 x8 -> deconv 7x7 s3 p2 x3")
    assert graph.nodes[1].shape.spatial == (10, 10) and graph.output.spatial == (30, 30)


@pytest.mark.parametrize("device", DEVICES)
def test_deconv_is_the_adjoint_of_the_convolution_with_its_weights(device):
    up = net_of("input 5x4 x6\ndeconv 3x2 s2x1 p1x0 op=1x0 g2 x4 bias=off", device=device)
    down = net_of("input 10x5 x4\nconv 3x2 s2x1 p1x0 g2 x6 bias=off", device=device)
    assert up.graph.output.spatial == (10, 5) and down.graph.output.spatial == (5, 4)
    down.weights["conv1.weight"] = up.weights["deconv1.weight"]
    x, y = draw_x(up, 3), draw_x(down, 3, seed=2)
    assert (up(x).astype(np.float64) * y).sum() == pytest.approx((x.astype(np.float64) * down(y)).sum(), rel=1e-5)


def test_deconv_counts():
    (node,) = graph_of("input 8x6 x12\ndeconv 4x3 s2 op=1 g3 x15").nodes[1:]
    assert node.n_params == 12 * 4 * 3 * 5 + 15
    assert node.macs == 8 * 6 * 12 * (4 * 3) * 5  # every input value meets each tap of its group's 5 outputs
    assert node.activation_bytes == 4 * 17 * 12 * 15


def test_deconv_starts_as_documented():
    weights = net_of("input 8x8 x128\ndeconv 4x4 s2 g2 x96").weights["deconv1.weight"]
    assert weights.std() == pytest.approx(math.sqrt(2 / (64 * 16)), rel=0.02)
    weights = net_of("input 8x8 x128\ndeconv 4x4 s2 g2 x96 init=xavier").weights["deconv1.weight"]
    bound = math.sqrt(6 / (64 * 16 + 48 * 16))
    assert 0.99 * bound < abs(weights).max() <= bound
    net = tinyconv.compile("input 2x2 x1\ndeconv 2 s2 x3 bias=0.25 init=zeros", device="numpy")
    assert (net(np.ones((1, 2, 2, 1), np.float32)) == 0.25).all()


def test_deconv_without_bias_and_shared():
    net = net_of("input 4x4 x3\ndeconv 2 s2 x3 bias=off share=up -> deconv 2 s2 x3 bias=off share=up")
    assert list(net.weights) == ["deconv1.weight"] and net.graph.params == 3 * 4 * 3
    check_gradients_by_parts(net)


def check_gradients_by_parts(net):
    """A shared weight's gradient is the sum of those of two weights that are equal."""
    apart = net_of("input 4x4 x3\ndeconv 2 s2 x3 bias=off -> deconv 2 s2 x3 bias=off")
    for name in apart.weights:
        apart.weights[name] = net.weights["deconv1.weight"]
    x, target = draw_x(net, 2), draw(2, 16, 16, 3)
    parts = apart.gradients(x, target)[1]
    np.testing.assert_allclose(net.gradients(x, target)[1]["deconv1.weight"], sum(parts.values()), rtol=1e-4, atol=1e-6)


UNET = (zoo.folder() / "unet.net").read_text().partition("\ntrain ")[0]  # its loss is that of the sigmoid alone then


def test_unet_comes_back_to_its_input_size():
    graph = graph_of(UNET)
    assert graph.params == 31_036_481 and str(graph.output) == "256x256 x1"
    assert graph.nodes[-1].jump == (1, 1)


def test_small_unet_learns():
    net = tinyconv.compile(UNET.replace("256x256", "?x?"), base=2, device=DEVICES[-1], seed=0)
    rng = np.random.default_rng(0)
    trainer = net.trainer(lr=0.5)
    first = last = None
    for step in range(40):
        x = rng.normal(0, 0.3, (4, 32, 16 if step % 2 else 32, 1)).astype(np.float32)
        x[:, 5:14, 3:12] += 1
        target = np.zeros_like(x)
        target[:, 5:14, 3:12] = 1
        last = trainer.step(x, target)
        first = first or last
    assert last < 0.3 * first


@pytest.mark.parametrize("text, message, help", [
    ("input 4x4 x3\ndeconv 2x2x2 x4", "kernel 2x2x2 has 3 axes", "write 2"),
    ("input 4 x3\ndeconv 3x3 x4", "kernel 3x3 has 2 axes", "write 3"),
    ("input x9\ndeconv 2 x4", "`deconv` needs spatial axes", "reshape"),
    ("input 4x4 x3\ndeconv 2 s2", "`deconv` needs `x`", "deconv 2 s2 x"),
    ("input 4x4 x3\ndeconv 3 s2 op=2 x4", "output padding 2 must be below the stride 2 or the dilation 1", "op=1"),
    ("input 4x4 x3\ndeconv 3 d3 op=3 x4", "output padding 3 must be below the stride 1 or the dilation 3", "op=2"),
    ("input 4x4 x3\ndeconv 2 g2 x4", "2 groups do not divide the 3 input channels", "divisors of 3 and 4"),
    ("input 4x4 x4\ndeconv 2 g2 x3", "2 groups do not divide the 3 output channels", "divisors of 4 and 3"),
    ("input 4x4 x4\ndeconv 2 x0", "`x` and `g` must be at least 1", "x64"),
    ("input 4x4 x4\ndeconv 2 s0 x4", "stride must be at least 1", ""),
    ("input 2x9 x4\ndeconv 3 p3 x4", "1*1 - 2*3 + 1*2 + 0 + 1 = -2", "p1"),
    ("input 4x4 x4\ndeconv 2 dw", "`deconv` does not know the word `dw`", ""),
])
def test_deconv_errors(text, message, help):
    error = error_of(text)
    assert message in error.message and help in error.help and error.line == 2
