"""Nets of layers that change sizes, and their gradients against differences of the loss."""

import numpy as np
import pytest

import tinyconv
from tinyconv.runtime.backend import compiled

DEVICES = ["numpy"] + ["cpu"] * compiled()


def net_of(text, size="", device="numpy", **options):
    """A net, with its biases drawn anew: one of 0 hides mistakes."""
    net = tinyconv.compile(f"input {size}\n{text}" if size else text, device=device, seed=3, **options)
    rng = np.random.default_rng(5)
    for name in net.weights:
        if name.endswith("bias"):
            net.weights[name] = rng.normal(0, 0.5, net.weights[name].shape)
    return net


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def graph_of(text, **options):
    return net_of(text, **options).graph


def error_of(text, **options):
    with pytest.raises(tinyconv.NetError) as caught:
        net_of(text, **options)
    return caught.value.diagnostics[0]


def shown(sizes):
    return "x".join(map(str, sizes))


def draw_x(net, batch, seed=1):
    return draw(batch, *net.input_shape, seed=seed)


def check_gradients(net, x):
    """Against central differences, which are exact but for rounding: mean squares are quadratic along a weight of a net
    that is linear in each of its weights."""
    target = draw(*net(x).shape, seed=7)
    loss, gradients = net.gradients(x, target)
    assert loss > 0 and set(gradients) == set(net.weights)
    rng = np.random.default_rng(9)
    for name, gradient in gradients.items():
        start, direction = net.weights[name], rng.normal(0, 1, gradient.shape).astype(np.float32)
        losses = []
        for sign in (1, -1):
            net.weights[name] = start + sign * np.float32(0.5) * direction
            losses.append(net.gradients(x, target)[0])
        net.weights[name] = start
        slope = (gradient.astype(np.float64) * direction).sum()
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction) + max(losses)
        assert abs(losses[0] - losses[1] - slope) <= 2e-5 * scale, name
