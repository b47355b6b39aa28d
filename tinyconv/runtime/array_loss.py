"""The losses on arrays: each gives its mean and the gradient of scale * mean; see runtime/losses.py."""

from __future__ import annotations


def _result(xp, a, losses, gradient, x):
    """gradient: of each loss's own; the mean is taken in double."""
    mean = losses.mean(dtype="float64")
    return mean.reshape(1).astype(x.dtype), (gradient * (a["scale"] / losses.size)).astype(x.dtype)


def xent(xp, a, x, labels, weights=None):
    """l = -(1 - e) log softmax(x)[label] - e mean log softmax(x), times the label's weight; of that
    (1 - exp(-l))^gamma l."""
    shifted = x - x.max(axis=-1, keepdims=True)
    logs = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    one_hot = labels[..., None] == xp.arange(x.shape[-1])
    smoothing, gamma = a["smoothing"], a["gamma"]
    losses = -xp.where(one_hot, logs, 0).sum(axis=-1)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * logs.mean(axis=-1)
    slope = xp.ones_like(losses) if weights is None else weights[labels]
    losses = losses * slope
    if gamma:
        p, rest = xp.exp(-losses), -xp.expm1(-losses)
        slope = slope * (rest ** gamma + gamma * p * losses * xp.where(rest > 0, rest, 1) ** (gamma - 1))
        losses = rest ** gamma * losses
    target = (1 - smoothing) * one_hot + smoothing / x.shape[-1]
    return _result(xp, a, losses, slope[..., None] * (xp.exp(logs) - target), x)


def _softplus(xp, x):
    """log(1 + exp(x))"""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def _sigmoid(xp, x):
    return xp.exp(-_softplus(xp, -x))


def bce(xp, a, x, target):
    """-t log p - (1 - t) log(1 - p) with p = sigmoid(x)"""
    return _result(xp, a, _softplus(xp, x) - x * target, _sigmoid(xp, x) - target, x)


def focal(xp, a, x, target):
    """-alpha t (1 - p)^gamma log p - (1 - alpha) (1 - t) p^gamma log(1 - p) with p = sigmoid(x)"""
    gamma, alpha = a["gamma"], a["alpha"]
    p, q, log_p, log_q = _sigmoid(xp, x), _sigmoid(xp, -x), -_softplus(xp, -x), -_softplus(xp, x)
    yes, no = alpha * target * q ** gamma, (1 - alpha) * (1 - target) * p ** gamma
    slope = yes * (gamma * p * log_p - q) + no * (p - gamma * q * log_q)
    return _result(xp, a, -yes * log_p - no * log_q, slope, x)


def dice(xp, a, p, target):
    """1 - (2 sum p t + smooth) / (sum p^2 + sum t^2 + smooth), sums over the positions of a sample and channel"""
    if target.ndim < p.ndim:
        target = (target[..., None] == xp.arange(p.shape[-1])).astype(p.dtype)
    axes = tuple(range(1, p.ndim - 1))
    above = 2 * (p * target).sum(axis=axes, keepdims=True) + a["smooth"]
    below = (p * p).sum(axis=axes, keepdims=True) + (target * target).sum(axis=axes, keepdims=True) + a["smooth"]
    some = below > 0  # else there is nothing, and nothing was found
    below = xp.where(some, below, 1)
    share = xp.where(some, above / below, 1)
    return _result(xp, a, 1 - share, 2 * (p * share - target) / below * some, p)


def mse(xp, a, x, target):
    return _result(xp, a, xp.square(x - target), 2 * (x - target), x)
