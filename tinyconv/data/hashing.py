"""Random numbers that depend on nothing but their key: no generator, no state, no order of calls.

Every number is a hash of (seed, epoch, sample, position, …), so what is drawn for a sample is the same whatever the
batch size, the number of threads or the point a run was resumed from. The hash is the finaliser of splitmix64 (Steele,
Lea, Flood: Fast splittable pseudorandom number generators, 2014), applied once a key word.
"""

from __future__ import annotations

import numpy as np

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bits(samples: np.ndarray, *key: int) -> np.ndarray:
    """64 random bits a sample, uint64 of samples' shape, for a key of whole numbers (the seed first)."""
    state = np.zeros(1, np.uint64)
    for word in key:
        state = _mix(state + np.uint64((word * _GAMMA + _GAMMA) & _MASK))
    return _mix(_mix(np.asarray(samples).astype(np.uint64) * np.uint64(_GAMMA) + state) + np.uint64(_GAMMA))


def below(samples: np.ndarray, limit: int, *key: int) -> np.ndarray:
    """Whole numbers uniform in 0..limit-1, int64; the bias is below limit / 2**53."""
    return (unit(samples, *key) * limit).astype(np.int64)


def unit(samples: np.ndarray, *key: int) -> np.ndarray:
    """Numbers uniform in [0, 1), float64 with 53 bits."""
    return (bits(samples, *key) >> np.uint64(11)) * 2.0**-53


def normals(samples: np.ndarray, count: int, *key: int) -> np.ndarray:
    """Standard normal numbers, float32 (*samples.shape, count), by Box and Muller's transform (1958)."""
    pairs = (count + 1) // 2
    drawn = _mix(bits(samples, *key)[..., None] + np.arange(1, pairs + 1, dtype=np.uint64) * np.uint64(_GAMMA))
    # 24 bits each, what float32 holds: a radius from (0, 1], an angle from [0, 1).
    radius = ((drawn >> np.uint64(40)).astype(np.float32) + np.float32(1)) * np.float32(2.0**-24)
    radius = np.sqrt(np.float32(-2) * np.log(radius))
    angle = (drawn & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2 * np.pi * 2.0**-24)
    both = np.empty((*drawn.shape, 2), np.float32)
    np.multiply(radius, np.cos(angle), out=both[..., 0])
    np.multiply(radius, np.sin(angle), out=both[..., 1])
    return both.reshape(*drawn.shape[:-1], 2 * pairs)[..., :count]


def permutation(n: int, *key: int) -> np.ndarray:
    """An order of 0..n-1 that depends on the key alone, int64."""
    return np.argsort(bits(np.arange(n), *key), kind="stable")
