"""up, crop, chunk, reshape, pad in 1-D, 2-D and 3-D: sizes, values against loops in double precision, gradients
against differences of the loss, and what `@name` and free axes mean for them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from spatial import DEVICES, check_gradients, draw, draw_x, error_of, graph_of, net_of, shown

import tinyconv
from tinyconv.graph.describe import describe
from tinyconv.runtime.backend import compiled
from tinyconv.runtime.plan import make_plan


# ---------------------------------------------------------------- up


def shares(n, size, mode):
    """{output: {input: share}} along one axis."""
    table = {}
    for o in range(size):
        if mode == "nearest":
            table[o] = {math.floor(o * n / size): 1.0}
            continue
        at = min(max((o + 0.5) * n / size - 0.5, 0), n - 1)
        low = math.floor(at)
        table[o] = {i: w for i, w in ((low, 1 - (at - low)), (low + 1, at - low)) if w > 0}
    return table


def naive_resize(x, sizes, mode):
    y = np.zeros((len(x), *sizes, x.shape[-1]))
    tables = [shares(n, size, mode) for n, size in zip(x.shape[1:-1], sizes)]
    for o in itertools.product(*map(range, sizes)):
        for reads in itertools.product(*(table[i].items() for table, i in zip(tables, o))):
            weight = math.prod(w for _, w in reads)
            y[(slice(None), *o)] += weight * x[(slice(None), *(i for i, _ in reads))]
    return y


@pytest.mark.parametrize("device", DEVICES)
@given(data=st.data())
def test_up_by_factors(device, data):
    n = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    k = [data.draw(st.integers(1, 4)) for _ in n]
    mode = data.draw(st.sampled_from(["nearest", "linear"]))
    channels = data.draw(st.sampled_from([1, 3, 8, 11]))
    net = net_of(f"input {shown(n)} x{channels}\nup {shown(k)} {mode}", device=device)
    assert net.graph.output == (tuple(a * b for a, b in zip(n, k)), channels)
    x = draw_x(net, 2)
    np.testing.assert_allclose(net(x), naive_resize(x, net.graph.output.spatial, mode), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("wide, small", [("7x5", "pool 2 s2 ceil"), ("9", "conv 4 s3 p0 x3"),
                                         ("4x5x3", "pool 2 s2 ceil"), ("5x6", "deconv 3 s2 op=1 p0 x3")])
def test_up_to_the_size_of_another(wide, small, mode, device):
    """Also by factors that are not whole, and to a smaller size."""
    net = net_of(f"input {wide} x3\nskip as a -> {small} as b -> up @a {mode}", device=device)
    part = net_of(f"input {wide} x3\n{small}", device=device)
    for name in part.weights:
        part.weights[name] = net.weights[name]
    x = draw_x(net, 2)
    np.testing.assert_allclose(net(x), naive_resize(part(x), x.shape[1:-1], mode), rtol=1e-5, atol=1e-5)


def test_up_known_values():
    x = np.array([0, 1, 4], np.float32).reshape(1, 3, 1)
    linear = net_of("input 3 x1\nup 2 linear")(x).ravel()
    np.testing.assert_allclose(linear, [0, 0.25, 0.75, 1.75, 3.25, 4], atol=1e-6)
    assert net_of("input 3 x1\nup 2")(x).ravel().tolist() == [0, 0, 1, 1, 4, 4]


@pytest.mark.parametrize("text, message, help", [
    ("input 4x4 x3\nup 2x2x2", "factor 2x2x2 has 3 axes", ""),
    ("input 4x4 x3\nup 0", "factor must be at least 1", ""),
    ("input 4x4 x3\nup", "`up` needs `k`", "up k"),
    ("input x3\nup 2", "`up` needs spatial axes", ""),
    ("input 4x4 x3\nup 2 cubic", "`up` does not know the word `cubic`", ""),
    ("input 4x4 x3 as a\npool global -> flatten as b -> @a -> up @b", "takes the spatial size of x3, but 4x4 x3",
     "axes"),
    ("input 4x4 x3\nup @a", "there is no `@a` here", "as a"),
    ("input 4x4 x3 as a\npool 2 -> up a", "`up` does not know the word `a`", "@a"),
])
def test_up_errors(text, message, help):
    error = error_of(text)
    assert message in error.message and help in error.help and error.line == 2


# ---------------------------------------------------------------- crop, chunk, reshape, pad


@pytest.mark.parametrize("device", DEVICES)
@given(data=st.data())
def test_parts_of_a_map(device, data):
    n = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    k = [data.draw(st.integers(1, a)) for a in n]
    parts, per = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1, 2, 5, 9]))
    i = data.draw(st.integers(0, parts - 1))
    before, after, more = (data.draw(st.integers(0, 3)) for _ in range(3))
    x = draw(2, *n, parts * per)
    middle = x[(slice(None), *(slice((a - b) // 2, (a - b) // 2 + b) for a, b in zip(n, k)))]
    chunk = x[..., i * per:(i + 1) * per]
    padded = np.pad(x, ((0, 0), *((before, after),) * len(n), (more, more)))
    for text, expected in ((f"crop {shown(k)}", middle), (f"chunk {i} {parts}", chunk),
                           (f"pad {before} {after} channels={more}", padded),
                           (f"flatten -> reshape {shown(n[::-1])} x{parts * per}",
                            x.reshape(2, *n[::-1], parts * per)),
                           (f"reshape {math.prod(n)} x{parts * per}" if len(n) == 1 else "skip", x)):
        net = net_of(text, f"{shown(n)} x{parts * per}", device)
        assert (*net.graph.output.spatial, net.graph.output.channels) == expected.shape[1:]
        assert np.array_equal(net(x), expected), text


def test_pad_after_defaults_to_before():
    assert graph_of("input 4x4 x3\npad 2").output == ((8, 8), 3)
    assert graph_of("input 4x4 x3\npad 2 0").output == ((6, 6), 3)
    assert graph_of("input x3\npad 0 channels=2").output == ((), 7)


@pytest.mark.parametrize("text, output", [
    ("input x12\nreshape 3 x4", "3 x4"), ("input x12\nreshape 1x3x2 x2", "1x3x2 x2"),
    ("input 4x9 x2\nreshape 6 x2", "6x6 x2"), ("input 4x9 x2\nreshape 36x1 x2", "36x1 x2"),
    ("input 6 x4\nreshape 2x3 x4", "2x3 x4"),
])
def test_reshape_sizes(text, output):
    assert str(graph_of(text).output) == output


def test_chunks_are_what_concat_joins():
    net = net_of("input 5 x12\nconcat { chunk 0 3 | chunk 1 3 | chunk 2 3 }")
    x = draw_x(net, 2)
    assert np.array_equal(net(x), x)


@pytest.mark.parametrize("text, message, help", [
    ("input 4x4 x3\ncrop 5", "`crop` to 5x5 x3 is larger than its input 4x4 x3", "pad"),
    ("input 4x4 x3\ncrop 2x2x2", "size 2x2x2 has 3 axes", ""),
    ("input 4x4 x3\ncrop 0", "size must be at least 1", ""),
    ("input x3\ncrop 2", "`crop` needs spatial axes", "chunk"),
    ("input 4x4 x3 as a\npool 2 -> crop @a", "`crop` to 4x4 x3 is larger than its input 2x2 x3", "pad"),
    ("input 4x4 x6\nchunk 0 4", "6 channels have no 4 equal parts", "divisors of 6"),
    ("input 4x4 x6\nchunk 0 0", "6 channels have no 0 equal parts", "divisors of 6"),
    ("input 4x4 x6\nchunk 3 3", "there is no part 3: of 3 parts the first is 0, the last 2", "chunk 2 3"),
    ("input 4x4 x6\nchunk 1", "`chunk` needs `n`", ""),
    ("input 4x4 x6\nreshape 5x5 x4", "4x4 x6 are 96, 5x5 x4 would be 100", "2^5 * 3"),
    ("input 4x4 x6\nreshape 4x4 x5", "4x4 x6 are 96, 4x4 x5 would be 80", "x6"),
    ("input 4x? x6\nreshape 4x4 x5", "`reshape` of a free size", "pool adaptive"),
    ("input 4x? x6\nflatten", "`flatten` of a free size", "pool global"),
    ("input 4x4 x6\nreshape 4x4 x0", "`reshape` needs at least 1 channel", "x1"),
    ("input 4x4 x6\nreshape 2x2x2x2 x6", "`reshape` to 4 axes: at most 3", "multiply"),
    ("input x6\npad 1", "`pad` has no spatial axes left", "channels=8"),
])
def test_errors_of_parts(text, message, help):
    error = error_of(text)
    assert message in error.message and help in error.help and error.line == 2


# ---------------------------------------------------------------- gradients


SIZES = {1: "7", 2: "5x6", 3: "3x4x2"}
TEXTS = {
    "deconv": "deconv 3 s2 op=1 x4", "deconv wide": "deconv 2 d2 p0 op=1 x4", "deconv sparse": "deconv 1 s3 x2",
    "deconv groups": "deconv 3 s2 g2 x6 p0", "up": "up 3", "up linear": "up 2 linear",
    "up @a": "skip as a -> pool 2 ceil avg -> up @a linear", "crop": "crop 2",
    "crop @a": "skip as a -> up 2 -> crop @a",
    "chunk": "chunk 1 2", "reshape": "flatten -> reshape {all} x2", "pad": "pad 1 2 channels=3",
}


def layer_of(name, axes, channels):
    """For an input of SIZES[axes] with that many channels."""
    values = math.prod(map(int, SIZES[axes].split("x"))) * channels
    return TEXTS[name].format(all=shown([1] * (axes - 1) + [values // 2]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("axes", SIZES)
@pytest.mark.parametrize("name", TEXTS)
def test_gradients(name, axes, device):
    net = net_of(f"input {SIZES[axes]} x3\nconv 1 x4 -> {layer_of(name, axes, 4)} -> conv 1 x2", device=device)
    for batch in (1, 3):
        check_gradients(net, draw_x(net, batch))


@pytest.mark.skipif(not compiled(), reason="the compiled backend is not built")
@pytest.mark.parametrize("axes", SIZES)
@pytest.mark.parametrize("name", TEXTS)
def test_the_backends_agree(name, axes):
    text = f"input {SIZES[axes]} x3\nconv 3 x8 -> relu -> {layer_of(name, axes, 8)} -> conv 3 x5"
    nets = [net_of(text, device=d) for d in DEVICES]
    x = draw_x(nets[0], 4)
    outputs = [net(x) for net in nets]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)
    target = draw(*outputs[0].shape)
    found = [net.gradients(x, target)[1] for net in nets]
    for weight in found[0]:
        np.testing.assert_allclose(found[0][weight], found[1][weight], rtol=1e-3, atol=1e-5, err_msg=weight)


# ---------------------------------------------------------------- @name


def test_a_reference_is_an_input_of_the_node_and_no_operand_of_its_step():
    net = net_of("input 8x8 x2\nconv 3 x3 as a -> pool 2 -> conv 1 x4 -> up @a")
    up = net.graph.nodes[-1]
    assert [net.graph.nodes[i].name for i in up.inputs] == ["conv2", "conv1"]
    assert str(up.args["k"]) == "@conv1"
    plan = make_plan(net.graph, net.request("predict", draw_x(net, 1)), lambda steps, *_: steps)
    (step,) = [s for s in plan.steps if s.op == "resize"]
    assert len(step.inputs) == 1 and step.attrs["size"] == (8, 8)
    first = next(s for s in plan.steps if s.op == "conv").outputs[0]
    assert max(i for i, s in enumerate(plan.steps) if first in s.inputs) < plan.steps.index(step) - 1


def test_no_gradient_flows_through_a_reference():
    """The reference's own branch is trained by what flows out of it alone."""
    net = net_of("input 4x4 x2\nskip as start -> conv 1 x3 as a -> @start -> conv 1 x2 -> up 2 -> crop @a")
    x = draw_x(net, 2)
    found = net.gradients(x, draw(2, 4, 4, 2))[1]
    assert set(found) == {"conv2.weight", "conv2.bias"}


@pytest.mark.parametrize("device", DEVICES)
def test_references_pass_through_blocks_and_heads(device):
    net = tinyconv.compile("""
        block grow x other { up @other linear -> conv 3 x -> concat @other }
        input ?x? x3
        conv 3 x4 -> relu as a -> pool 2 -> conv 3 x6 -> relu as b -> pool 2 ceil -> conv 1 x6
        grow x5 @b -> grow x4 @a -> conv 1 x3 -> softmax
        head deep weight=0.5 { @b -> up @a -> conv 1 x3 -> softmax }""", seed=1, device=device)
    for size in ((8, 8), (7, 9), (5, 4)):
        x = draw(2, *size, 3)
        assert net(x).shape == (2, *size, 3)
        loss, gradients = net.gradients(x, np.ones((2, *size), np.int64))
        assert math.isfinite(loss) and set(gradients) == set(net.weights)


# ---------------------------------------------------------------- free sizes


@pytest.mark.parametrize("device", DEVICES)
def test_free_sizes_give_what_fixed_ones_do(device):
    text = ("conv 3 x4 as a -> pool 3 s2 p1 -> deconv 4 s2 x6 -> crop @a -> concat @a -> chunk 1 2 -> up 2x1 linear\n"
            "pad 1 -> up @a -> pool global avg -> fc 5")
    free = net_of(text, "?x? x3", device)
    for size in ((8, 6), (9, 11), (4, 5)):
        fixed = net_of(text, f"{shown(size)} x3", device)
        x = draw(2, *size, 3)
        np.testing.assert_allclose(free(x), fixed(x), rtol=1e-6, atol=1e-6)
        for name, gradient in free.gradients(x, draw(2, 5))[1].items():
            np.testing.assert_allclose(gradient, fixed.gradients(x, draw(2, 5))[1][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("text, size, message", [
    ("add { conv 3 x3 p0 | skip }", (6, 6), "the branches of `add` differ in shape: 4x4 x3 and 6x6 x3"),
    ("concat { pool 2 -> up 2 | skip }", (5, 4), "the branches of `concat` differ in shape: 4x4 x3 and 5x4 x3"),
    ("crop 5", (7, 4), "`crop` to 5x5 x3 is larger than its input 7x4 x3"),
    ("skip as a -> pool 2 -> crop @a", (4, 4), "`crop` to 4x4 x3 is larger than its input 2x2 x3"),
    ("conv 5 p0 x2", (4, 9), "kernel 5 is larger than its padded input 4"),
    ("deconv 3 p2 x2", (2, 9), "padding 2 leaves nothing of size 2"),
])
def test_what_free_sizes_leave_open_is_checked_when_run(text, size, message, device):
    net = tinyconv.compile(f"input ?x? x3\n{text}", device=device)
    with pytest.raises(tinyconv.NetError) as caught:
        net(draw(1, *size, 3))
    assert message in str(caught.value) and shown(size) in str(caught.value) and "line 2" in str(caught.value)


def test_free_sizes_stay_free():
    graph = graph_of("input ?x8 x3\nup 2x3 as a -> deconv 2 s2 x4 -> crop 12x12 -> up @a -> chunk 0 2")
    assert [str(n.shape) for n in graph.nodes] == ["?x8 x3", "?x24 x3", "?x48 x4", "12x12 x4", "?x24 x4", "?x24 x2"]


@pytest.mark.parametrize("layer", ["conv 3 s9 x3", "deconv 3 s9 x3", "pool 1000", "up 1000"])
def test_free_sizes_bound_their_strides(layer):
    error = error_of(f"input ? x3\nrepeat 5000 {{ {layer} }}\nup 2 -> pool 2")
    assert error.code == "E105" and "out of range" in error.message and error.line == 2


def test_large_primes_in_reshape():
    error = error_of("input 99999989 x999983\nreshape 3 x5")
    assert f"{99999989 * 999983} = {99999989 * 999983}: use sizes that divide it" in error.help


# ---------------------------------------------------------------- receptive field, text


@pytest.mark.parametrize("text, field, jump", [
    ("deconv 2 s2 x1 bias=off", 1, 0.5), ("deconv 4 s2 x1 bias=off", 2, 0.5), ("deconv 3 x1 bias=off", 3, 1),
    ("deconv 5 s3 d2 x1 bias=off", 3, 1 / 3), ("pool 2 avg -> deconv 2 s2 x1 bias=off -> conv 3 x1 bias=off", 4, 1),
    ("up 2 -> conv 2 p0 x1 bias=off", 2, 0.5), ("up 2 -> conv 3 x1 bias=off", 2, 0.5),
    ("up 2 -> conv 2 p0 x1 bias=off -> conv 2 p0 x1 bias=off", 2, 0.5), ("up 3 linear", 2, 1 / 3),
    ("up 2 linear -> conv 5 x1 bias=off", 4, 0.5),
    ("skip as a -> pool 2 avg -> up @a linear", 4, 1), ("crop 20 -> pad 2 -> conv 3 x1 bias=off", 3, 1),
])
def test_receptive_field(text, field, jump):
    """The field is the most inputs between the first and the last that change an output, found by changing each."""
    net = net_of(f"input 40 x1\n{text}")
    for name in net.weights:
        net.weights[name] = np.ones(net.weights[name].shape)
    node = net.graph.nodes[-1]
    assert node.field == (field,) and node.jump == pytest.approx((jump,))
    answers = abs(net(np.eye(40, dtype=np.float32)[:, :, None])[..., 0]) > 1e-6  # (input changed, output)
    spans = [np.flatnonzero(column) for column in answers.T]
    assert max(s[-1] - s[0] + 1 for s in spans if len(s)) == field


@pytest.mark.parametrize("layer", [
    "deconv 2x2 s2 x8", "deconv 3x3 s2 op=1 bias=off x8", "deconv 1x1 s4 x8", "deconv 3x2 s2x1 p0 d2 g2 x8",
    "up 2x2", "up 2x1 linear", "crop 8x8", "chunk 1 4", "reshape 8x8 x16", "pad 1 2 channels=3",
])
def test_in_words(layer):
    node = graph_of(f"input 16x16 x4\n{layer}").nodes[-1]
    words = describe(node.op, node.args, [graph_of("input 16x16 x4\nrelu").input])
    assert graph_of(f"input 16x16 x4\n{words}").nodes[-1].args == node.args
    assert sorted(words.split()) == sorted(layer.split())
