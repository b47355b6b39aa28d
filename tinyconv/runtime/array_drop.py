"""Dropout's family for the array backend (array.py): masks from a hash of seed, step, layer and position."""

from __future__ import annotations

import math

import numpy as np


def stream(seed: int, step: int, layer: int) -> int:
    """Where the draws of a layer in a step begin, as tc_dropout's: 64 bits."""
    mask = (1 << 64) - 1

    def rotl(v, r):
        return ((v << r) | (v >> (64 - r))) & mask

    return (0x9E3779B97F4A7C15 * ((seed ^ rotl(step & mask, 20) ^ rotl(layer, 44)) & mask)) & mask


def bound(rate: float) -> np.uint32:
    """A share `rate` of all 32-bit numbers lies below it."""
    return np.uint32(float(np.float32(rate)) * 2.0**32)


def hash32(index, seed: int, step: int, layer: int):
    """tc_dropout's hash of a uint64 array of positions: splitmix64's finaliser over a stream per seed, step, layer."""
    z = index + np.uint64(stream(seed, step, layer))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype("uint32")


def _drawn(xp, shape, rate, a, seed, step):
    """True at a share `rate` of the positions."""
    index = np.uint64(a["first"] * math.prod(shape[1:])) + xp.arange(math.prod(shape), dtype="uint64").reshape(shape)
    return hash32(index, seed, step, a["layer"]) < bound(rate)


def _without(xp, dropped, p, x):
    p = np.float32(p)
    return xp.where(dropped, np.float32(0), x * (np.float32(1) / (np.float32(1) - p)))


def dropout(xp, a, x, *, seed, step):
    return _without(xp, _drawn(xp, x.shape, a["p"], a, seed, step), a["p"], x)


def droppath(xp, a, x, *, seed, step):
    samples = (x.shape[0], *(1,) * (x.ndim - 1))
    return _without(xp, _drawn(xp, samples, a["p"], a, seed, step), a["p"], x)


def dropblock(xp, a, x, *, seed, step):
    """Corners are drawn where a block fits; each drops `size` positions from it on along each axis."""
    dropped = _drawn(xp, x.shape, a["rate"], a, seed, step)
    for axis, size in enumerate(a["size"], 1):
        n = x.shape[axis]
        corners = xp.moveaxis(dropped, axis, 0)[:n - size + 1]
        spread = xp.zeros((n, *corners.shape[1:]), bool)
        for shift in range(size):
            spread[shift:shift + len(corners)] |= corners
        dropped = xp.moveaxis(spread, 0, axis)
    return _without(xp, dropped, a["p"], x)
