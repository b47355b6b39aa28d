"""Every step of every kind of plan, in C and in NumPy, on the same operands; and whole runs, which also shows that no
buffer is overwritten while it is needed."""

import numpy as np
import pytest

import tinyconv
from tinyconv.runtime.array import ArrayBackend
from tinyconv.runtime.optimizers import optimizer
from tinyconv.runtime.plan import make_plan
from twins import run_both_ways

pytest.importorskip("tinyconv.runtime._cpu", reason="the compiled backend is not built")

OPTIMIZER = optimizer("sgd", {"decay": 5e-4, "nesterov": True})[1]

NETS = {
    "vgg": ("12x12 x3", "repeat 2 { conv 3x3 x16 bias=off -> bn -> relu } -> pool 2 -> conv 3 x24 -> relu\n"
                        "pool 2 -> fc 32 -> relu -> dropout 0.4 -> fc 10 -> softmax"),
    "residual": ("9x9 x3", "conv 3 x8 bias=off -> bn -> relu\n"
                           "add { conv 3 x8 bias=off -> bn -> relu -> conv 3 x8 bias=off -> bn | skip } -> relu\n"
                           "add { conv 3 s2 x16 -> bn | pool 1 s2 -> pad 0 channels=4 } -> relu\n"
                           "pool global avg -> fc 10 -> softmax"),
    "inception": ("11x11 x5", "conv 3 x12 as a\n"
                              "concat { conv 1 x7 | conv 1 x3 -> conv 5 x9 | pool 3 s1 p1 -> conv 1 x2 | @a }\n"
                              "lrn 5 -> pool 3 s2 ceil -> lrn 4 alpha=0.1 -> pool 2 s1 avg -> fc 10 -> softmax"),
    "squeeze": ("8x8 x4", "conv 3 x16 as a -> mul { skip | pool global avg -> fc 4 -> relu -> fc 16 -> sigmoid }\n"
                          "mul { skip | conv 1 x1 -> hsigmoid } -> mul { skip | pool global } -> fc 10 -> softmax"),
    "depthwise": ("10x10 x6", "conv 3 dw s2 x6 -> relu6 -> conv 1 x20 -> conv 5 g4 d2 x12 -> leaky\n"
                              "conv 3 dw -> silu -> pool 2 adaptive avg -> fc 10 -> softmax"),
    "activations": ("6x6 x3", "conv 1 x8 -> tanh -> conv 1 x8 -> elu -> conv 1 x8 -> gelu -> conv 1 x8 -> hswish\n"
                              "conv 1 x8 -> sigmoid -> prelu -> conv 1 x8 -> leaky a=0.3\n"
                              "pool 3 adaptive -> flatten -> fc 12 -> softmax -> fc 10"),
    "1-D": ("40 x2", "conv 7 s2 x8 -> bn -> relu -> pool 3 s2 p1\n"
                     "add { conv 3 d4 x8 | skip } -> pool global avg -> fc 10"),
    "3-D": ("5x6x7 x2", "conv 3 x4 -> relu -> pool 1x2x2\n"
                        "conv 3x1x2 s1x2x1 p0 x5 -> relu -> pool 2 ceil avg -> fc 10"),
    "u-net": ("8x12 x2", "conv 3 x8 bias=off -> bn -> relu as a -> pool 2 -> conv 3 x10 -> relu as b -> pool 2\n"
                        "conv 3 x9 -> deconv 2 s2 x10 -> concat @b -> up 2 linear -> crop 7x9 -> up @a -> concat @a\n"
                        "deconv 3 d2 p1 op=1 g2 x8 -> deconv 1 s3 x4 -> chunk 1 2 -> flatten -> reshape 15x33 x6\n"
                        "fc 10"),
    "spatial 1-D": ("9 x6", "deconv 5 s3 g2 x8 op=1 bias=0.2 -> up 2 -> crop 31 -> pad 1 2 channels=1\n"
                            "chunk 0 2 -> fc 10"),
    "spatial 3-D": ("3x2x4 x3", "up 2x1x3 linear as a -> deconv 3 s2x1x2 op=1x0x1 x5 -> up 1x2x1 -> crop @a\n"
                                "chunk 2 5 -> deconv 2x1x3 x11 -> fc 10"),
    "norms": ("8x9 x3", "conv 3 x12 -> ln -> relu -> conv 3 x12 -> gn 4 -> scale 0.3 -> shuffle 3\n"
                        "add { conv 3 x12 -> gn 12 -> droppath 0.3 | skip } -> dropblock 0.2 size=3 -> conv 3 g3 x12\n"
                        "shuffle 4 -> gn 1 -> pool global avg -> ln -> fc 10 -> softmax"),
    "norms 1-D": ("30 x4", "conv 3 x8 -> gn 2 -> dropblock 0.3 size=5 -> shuffle 2 -> ln -> scale -> fc 10"),
    "norms 3-D": ("4x5x6 x4", "conv 3 x6 -> gn 3 -> dropblock 0.1 size=2x3x2 -> shuffle 3 -> ln -> scale 2 -> fc 10"),
    "norms 0-D": ("x20", "fc 16 -> ln -> relu -> gn 4 -> scale 0.5 -> shuffle 8 -> dropblock 0.2 -> droppath 0.2\n"
                         "fc 10"),
    "one pixel": ("x20", "fc 16 -> bn -> relu -> fc 10 -> softmax"),
    "regression": ("6x6 x2", "conv 3 x4 -> relu -> conv 1 x2"),
    "binary": ("6x6 x2", "conv 3 x4 -> relu -> conv 1 x1 -> sigmoid"),
    "segmentation": ("7x6 x2", "conv 3 x4 -> relu -> conv 1 x10 -> softmax"),
    "heads": ("8x8 x3", "conv 3 x8 -> relu as a -> pool 2 -> conv 3 x8 -> relu -> fc 10 -> softmax\n"
                        "head aux weight=0.3 { @a -> pool 4 avg -> fc 10 -> softmax }"),
    "smoothed": ("5x5 x2", "conv 3 x4 as a -> relu -> fc 10 -> softmax\n"
                           "head aux weight=0.4 { @a -> fc 10 -> softmax }\n"
                           "train { loss ce smoothing=0.2 weights=1,2,0.5,0,1,1,3,1,1,0.1 weight=0.7; loss focal }"),
    "focal": ("5x5 x2", "conv 3 x4 -> relu -> fc 10 -> softmax\ntrain { loss focal gamma=0.5 }"),
    "masks of classes": ("7x6 x2", "conv 3 x4 -> relu -> conv 1 x10 -> softmax\n"
                                   "train { loss ce weight=0.4; loss dice smooth=0.3 weight=2 }"),
    "masks": ("6x9 x2", "conv 3 x4 -> relu -> conv 1 x1 -> sigmoid\n"
                        "train { loss bce weight=0.5; loss dice weight=0.5 }"),
    "focal masks": ("13 x2", "conv 3 x4 -> relu -> conv 1 x3 -> sigmoid\n"
                             "train { loss focal gamma=1.5 alpha=0.4; loss dice smooth=0; loss mse weight=0.3 }"),
    "shared": ("6x6 x4", "conv 3 x4 share=w -> relu -> conv 3 x4 share=w -> relu -> fc 10 -> softmax"),
}


FLOAT_TARGETS = ("regression", "binary", "masks", "focal masks")


def example(name, batch=5, dtype=np.float32):
    size, text = NETS[name]
    net = tinyconv.compile(f"input {size} mean=0.4 std=0.3\n{text}", seed=1, device="cpu")
    rng = np.random.default_rng(7)
    for weight in net.weights:  # away from 0 and 1: a bias of 0 or a scale of 1 hides mistakes
        if weight.endswith(("bias", "running_mean")):
            net.weights[weight] = rng.normal(0, 0.1, net.weights[weight].shape)
        if weight.endswith("running_var") or weight.endswith("weight") and net.weights[weight].ndim == 1:
            net.weights[weight] = rng.uniform(0.5, 1.5, net.weights[weight].shape)
    shape = (batch, *net.input_shape)
    x = rng.integers(0, 256, shape, np.uint8) if dtype == np.uint8 else rng.normal(0, 1, shape).astype(np.float32)
    output = net.graph.output
    if name in FLOAT_TARGETS:
        labels = rng.random((batch, *output.spatial, output.channels), np.float32)
    else:
        labels = rng.integers(0, output.channels, (batch, *output.spatial)).astype(np.int32)
    return net, x, labels


def close(found, expected, size, what):
    assert found.shape == expected.shape and np.isfinite(found).all(), what
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-6 * (size + 1e-30), err_msg=what)


def check_steps(net, request, x, labels):
    for step, found, expected, sizes in run_both_ways(net, request, x, labels):
        for have, want, size in zip(found, expected, sizes):
            if have is not None:  # None: an optional output that nobody reads
                close(have, want, size, f"{step.node} {step.op}")


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_each_step(name, mode):
    net, x, labels = example(name)
    check_steps(net, net.request(mode, x, labels, OPTIMIZER), x, labels)


def test_uint8_input():
    net, x, _ = example("vgg", dtype=np.uint8)
    check_steps(net, net.request("predict", x), x, None)


@pytest.mark.parametrize("name", NETS)
def test_whole_runs(name):
    """The C backend's arena against arrays that are never reused."""
    net, x, labels = example(name)
    twin = ArrayBackend()
    for mode in ("predict", "evaluate", "gradients"):
        request = net.request(mode, x, None if mode == "predict" else labels)
        plan = make_plan(net.graph, request, twin.lower)
        session = twin.prepare(plan, net.store)
        saved = net.store.memory.copy()
        session.run(0, len(plan.steps), x, labels)
        net.store.memory[:] = saved
        if mode == "gradients":
            loss, gradients = net.gradients(x, labels)
            assert loss == pytest.approx(sum(w * session.read(b)[0] for w, b in plan.losses), rel=1e-5)
            assert set(gradients) == set(plan.gradients)
            norm = max(np.linalg.norm(g) for g in gradients.values())
            for weight, found in gradients.items():
                expected = session.read(plan.gradients[weight])
                assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected) + 1e-5 * norm, weight
        else:
            found = net(x) if mode == "predict" else net.evaluate(x, labels)[1]
            close(found, session.read(plan.output), 1.0, mode)


def test_gradients_leave_the_net_as_it_is():
    net, x, labels = example("vgg")
    before = net.store.memory.copy()
    net.gradients(x, labels)
    assert (net.store.memory == before).all()


@pytest.fixture
def small_work_threaded():
    """Kernels share out even the little these nets give them."""
    from tinyconv.runtime import _cpu

    before = _cpu.least_work(0)
    yield
    _cpu.least_work(before)


@pytest.mark.parametrize("name", NETS)
def test_same_bits_for_any_thread_count(name, small_work_threaded):
    results = []
    for count in (1, 2, 3):
        net, x, labels = example(name, batch=9)
        trainer = net.trainer(lr=0.05, decay=5e-4, seed=3)
        with tinyconv.threads(count):
            losses = [trainer.step(x, labels) for _ in range(3)]
        results.append((losses, net.store.memory.copy()))
    for losses, memory in results[1:]:
        assert losses == results[0][0]
        assert (memory == results[0][1]).all()
