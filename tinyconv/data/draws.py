"""The random numbers of one step for the samples of a batch."""

from __future__ import annotations

import numpy as np

from . import hashing


class Draw:
    """Draws of one step: each number of a sample depends on the key (seed, epoch), the sample's position in its split,
    the step's position in the pipeline and the number of the draw, and on nothing else. All give an array (n,)."""

    def __init__(self, samples: np.ndarray, key: tuple[int, ...]):
        self.samples, self.key = np.asarray(samples), key

    def __len__(self) -> int:
        return len(self.samples)

    def below(self, limit: int, number: int) -> np.ndarray:
        """Whole numbers uniform in 0..limit-1."""
        return hashing.below(self.samples, limit, *self.key, number)

    def unit(self, number: int) -> np.ndarray:
        """Uniform in [0, 1)."""
        return hashing.unit(self.samples, *self.key, number)

    def between(self, low: float, high: float, number: int) -> np.ndarray:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit(number)

    def normal(self, number: int) -> np.ndarray:
        """Standard normal."""
        return hashing.normals(self.samples, 1, *self.key, number)[:, 0]

    def beta(self, a: float, b: float, number: int) -> np.ndarray:
        """Beta(a, b), by Jöhnk's method (1964): u^(1/a) / (u^(1/a) + v^(1/b)) of the first u, v for which the sum is at
        most 1. Takes the numbers from `number` on."""
        found = np.full(len(self), np.nan)
        while np.isnan(found).any():
            x, y = self.unit(number) ** (1 / a), self.unit(number + 1) ** (1 / b)
            good = np.isnan(found) & (x + y <= 1) & (x + y > 0)
            found[good] = (x / np.where(good, x + y, 1))[good]
            number += 2
        return found

    def noise(self, count: int, number: int) -> np.ndarray:
        """Standard normal, float32 (n, count)."""
        return hashing.normals(self.samples, count, *self.key, number)
