"""Every kind of fused step in the plans of the zoo against its parts, and what is fused in them."""

from collections import Counter

import numpy as np
import pytest

import tinyconv
from test_twins import OPTIMIZER, close
from tinyconv import zoo
from tinyconv.runtime.plan import make_plan
from tinyconv.runtime.uses import unfused
from twins import run_both_ways

pytest.importorskip("tinyconv.runtime._cpu", reason="the compiled backend is not built")

OTHERS = {"plain", "residual", "se"}  # files that others include,
OTHERS |= {"resnet34", "resnet101", "resnet152", "senet154", "vgg11", "vgg13", "vgg19"}  # more of the same blocks,
OTHERS |= {"inception_v3"}  # and one whose head takes no small input
SMALL = {"alexnet": "67x67 x3", "c3d": "16x32x32 x3", "googlenet": "80x80 x3",
         "keywords": "2000 x1", "lenet5": None, "unet": "32x32 x1", "vgg": None, "zfnet": "64x64 x3"}


def example(name):
    """A zoo net on a small input, with weights as after some training: statistics and biases are not 0 and 1."""
    net = tinyconv.load(name, device="cpu", input=SMALL.get(name, "32x32 x3"))
    rng = np.random.default_rng(3)
    for weight in net.weights:
        w = net.store.view(weight)
        if weight.endswith(("bias", "running_mean")):
            w[...] = rng.normal(0, 0.1, w.shape)
        elif w.ndim == 1:
            w[...] = rng.uniform(0.5, 1.0, w.shape)
    net.store.changed()
    x = rng.normal(0, 1, (2, *net.input_shape)).astype(np.float32)
    output = net.graph.output
    return net, x, rng.integers(0, output.channels, (2, *output.spatial)).astype(np.int32)


def kind(step):
    """What tells fused steps apart: all but sizes."""
    geometry = tuple((k, v) for k, v in step.attrs.items() if k not in ("shape", "weight"))
    return step.op, tuple(part.op for part in step.parts), tuple(b is not None for b in step.inputs), geometry


seen = set()


@pytest.mark.parametrize("name", [n for n in zoo.nets() if n not in OTHERS])
@pytest.mark.parametrize("mode", ["predict", "train"])
def test_each_fused_step(name, mode):
    net, x, labels = example(name)
    if net.graph.output.channels == 1:
        labels = labels[..., None].astype(np.float32)
    request = net.request(mode, x, labels if mode == "train" else None, OPTIMIZER if mode == "train" else ())
    new = lambda step: step.parts and kind(step) not in seen  # noqa: E731
    for step, found, expected, sizes in run_both_ways(net, request, x, labels, new):
        seen.add(kind(step))
        for have, want, size in zip(found, expected, sizes):
            if have is not None:
                close(have, want, size, f"{name} {step.node} {step.op}")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet", "googlenet"])
def test_same_results_without_fusion(name):
    net, x, _ = example(name)
    request = net.request("predict", x)
    plain = make_plan(net.graph, request, net.backend.lower, rewrites=())
    session = net.backend.prepare(plain, net.store)
    session.run(0, len(plain.steps), x)
    close(net(x), session.read(plain.output), 1.0, name)


def test_what_is_fused():
    """In inference nothing but pooling stands between the convolutions of a residual net."""
    net, x, _ = example("resnet18")
    steps = make_plan(net.graph, net.request("predict", x), net.backend.lower).steps
    counts = Counter(s.op for s in steps)
    once = ("input", "maxpool", "avgpool", "reshape", "conv", "softmax")
    assert counts == {"conv_post": 20, **dict.fromkeys(once, 1)}
    assert Counter(s.op for s in unfused(steps))["bn_apply"] == 20


def test_weights_written_later_are_folded_again():
    text = "input 8x8 x3\nconv 3x3 x8 bias=off -> bn -> relu -> pool global avg -> fc 4"
    net, twin = (tinyconv.compile(text, device=device) for device in ("cpu", "numpy"))
    x = np.random.default_rng(0).normal(0, 1, (2, 8, 8, 3)).astype(np.float32)
    for value in (2.0, 0.25):
        net.weights["bn1.running_var"] = twin.weights["bn1.running_var"] = np.full(8, value, np.float32)
        net.weights["bn1.bias"] = twin.weights["bn1.bias"] = np.full(8, value, np.float32)
        close(net(x), twin(x), 1.0, str(value))
