"""Normalisations for the array backend (array.py): x is (n, *spatial, c), parameters are per channel."""

from __future__ import annotations

import math

# ---------------------------------------------------------------- batch normalisation


def _moments(xp, x, axes):
    """Mean and biased variance over `axes`, kept as axes of 1."""
    mean = x.mean(axis=axes, dtype="float64", keepdims=True)
    var = xp.square(x - mean).mean(axis=axes, keepdims=True)
    return mean.astype(x.dtype), var.astype(x.dtype)


def _over_positions(x):
    """Sum over all axes but the last."""
    return x.sum(axis=tuple(range(x.ndim - 1)))


def bn_stats(xp, a, x):
    mean, var = _moments(xp, x, tuple(range(x.ndim - 1)))
    return mean.reshape(-1), var.reshape(-1)


def bn_running(xp, a, mean, var, running_mean, running_var):
    rows, m = a["rows"], a["momentum"]
    running_mean *= 1 - m
    running_mean += m * mean
    running_var *= 1 - m
    running_var += m * var * (rows / max(rows - 1, 1))


def bn_apply(xp, a, x, mean, var, gamma, beta):
    return (x - mean) * (gamma / xp.sqrt(var + a["eps"])) + beta


def bn_grad(xp, a, x, dy, mean, var, gamma):
    """dx = gamma/std (dy - mean(dy) - xhat mean(dy xhat)): Ioffe & Szegedy 2015, section 3."""
    rows = math.prod(x.shape[:-1])
    inverse = 1 / xp.sqrt(var + a["eps"])
    xhat = (x - mean) * inverse
    dgamma, dbeta = _over_positions(dy * xhat), _over_positions(dy)
    return gamma * inverse * (dy - dbeta / rows - xhat * (dgamma / rows)), dgamma, dbeta


# ---------------------------------------------------------------- layer and group normalisation


def _normalised_grad(xp, xhat, g, inverse, axes):
    """d/dx of sum g xhat, where xhat = (x - mean) inverse and mean, inverse are those of x over `axes`:
    inverse (g - mean(g) - xhat mean(g xhat))."""
    return inverse * (g - g.mean(axis=axes, keepdims=True) - xhat * (g * xhat).mean(axis=axes, keepdims=True))


def ln(xp, a, x, gamma, beta):
    mean, var = _moments(xp, x, -1)
    return (x - mean) / xp.sqrt(var + a["eps"]) * gamma + beta


def ln_grad(xp, a, x, dy, gamma):
    mean, var = _moments(xp, x, -1)
    inverse = 1 / xp.sqrt(var + a["eps"])
    xhat = (x - mean) * inverse
    return _normalised_grad(xp, xhat, dy * gamma, inverse, -1), _over_positions(dy * xhat), _over_positions(dy)


def _in_groups(x, groups):
    """(n, *spatial, c) as (n, positions, groups, c/groups): a group's values lie along axes 1 and 3."""
    return x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)


def gn(xp, a, x, gamma, beta):
    grouped = _in_groups(x, a["groups"])
    mean, var = _moments(xp, grouped, (1, 3))
    y = ((grouped - mean) / xp.sqrt(var + a["eps"])).reshape(x.shape) * gamma + beta
    return y, mean[:, 0, :, 0], var[:, 0, :, 0]


def gn_grad(xp, a, x, dy, mean, var, gamma):
    inverse = 1 / xp.sqrt(var + a["eps"])[:, None, :, None]
    xhat = (_in_groups(x, a["groups"]) - mean[:, None, :, None]) * inverse
    dx = _normalised_grad(xp, xhat, _in_groups(dy * gamma, a["groups"]), inverse, (1, 3)).reshape(x.shape)
    return dx, _over_positions(dy * xhat.reshape(x.shape)), _over_positions(dy)


def scale(xp, a, x, w):
    return x * w


def scale_grad(xp, a, x, w, dy):
    return dy * w, _over_positions(dy * x)


# ---------------------------------------------------------------- local response normalisation


def _neighbours(xp, values, size):
    """The sum over `size` channels around each; of an even number the lower side gets the larger half."""
    before = size // 2
    widths = ((0, 0),) * (values.ndim - 1) + ((before, size - 1 - before),)
    wide = xp.pad(values, widths)
    return sum(wide[..., i:i + values.shape[-1]] for i in range(size))


def lrn(xp, a, x):
    return x * (a["k"] + a["alpha"] / a["size"] * _neighbours(xp, x * x, a["size"])) ** -a["beta"]


def lrn_grad(xp, a, x, dy):
    """With u = k + alpha/n sum x^2: dx = dy u^-beta - 2 alpha beta / n x sum of dy x u^(-beta-1), over those that see
    x."""
    size, share = a["size"], a["alpha"] / a["size"]
    u = a["k"] + share * _neighbours(xp, x * x, size)
    part = (dy * x * u ** (-a["beta"] - 1))[..., ::-1]
    seen = _neighbours(xp, part, size)[..., ::-1]  # the window mirrored
    return dy * u ** -a["beta"] - 2 * share * a["beta"] * x * seen
