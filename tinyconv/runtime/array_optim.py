"""The optimisers on arrays: weights and what is kept for them change in place; the formulas are in optimizers.py.
`lr` is the learning rate; `step` counts from 0."""

from __future__ import annotations

import math

RUN_TIME = {"sgd": ("lr",), "adam": ("lr", "step"), "rmsprop": ("lr",), "ema": ("step",)}


def square_sum(xp, a, before, g):
    total = xp.square(g, dtype="float64").sum().reshape(1)
    return total if before is None else before + total


def clipped(xp, a, g, squares):
    """The gradient times clip / max(norm, clip), where the sum of all gradients' squares is given."""
    if squares is None:
        return g
    return g * (a["clip"] / xp.maximum(xp.sqrt(squares), a["clip"])).astype(g.dtype)


def sgd(xp, a, w, g, v, squares=None, *, lr):
    g = clipped(xp, a, g, squares) + a["decay"] * w
    v *= a["momentum"]
    v += g
    w -= lr * (g + a["momentum"] * v if a["nesterov"] else v)


def adam(xp, a, w, g, m, v, squares=None, *, lr, step):
    t = step + 1
    g = clipped(xp, a, g, squares)
    if not a["decoupled"]:
        g = g + a["decay"] * w
    m += (1 - a["beta1"]) * (g - m)
    v += (1 - a["beta2"]) * (g * g - v)
    if a["decoupled"]:
        w -= lr * a["decay"] * w
    w -= lr / (1 - a["beta1"] ** t) * m / (xp.sqrt(v) / math.sqrt(1 - a["beta2"] ** t) + a["eps"])


def rmsprop(xp, a, w, g, s, v, squares=None, *, lr):
    g = clipped(xp, a, g, squares) + a["decay"] * w
    s += (1 - a["rho"]) * (g * g - s)
    v *= a["momentum"]
    v += lr * g / xp.sqrt(s + a["eps"])
    w -= v


def ema(xp, a, w, e, *, step):
    e += (1 - min(a["ema"], (step + 2) / (step + 11))) * (w - e)
