"""Random zeros in training, identity in inference: single values (dropout), whole samples (droppath), contiguous blocks
(dropblock). A share p is dropped and survivors grow by 1/(1-p), so that the mean stays.

Masks are hashes of seed, step, layer and position: nothing is kept for the backward pass, which applies the same mask.
"""

from __future__ import annotations

from itertools import product
from math import prod

from .base import Layer, LayerError, Param, Signature, per_axis


class _Drop(Layer):
    """What the three have in common; the operation has the layer's name."""

    def resolve(self, args, inputs):
        if not 0 <= args["p"] < 1 - 2**-24:  # beyond, a float is 1
            raise LayerError(f"`{self.name}` drops a share of at least 0 and below 1", help=f"write `{self.name} 0.5`")
        return dict(args)

    def attrs(self, args, shape: tuple[int, ...]) -> dict:
        """Attributes of the operation on (n, *spatial, c), but for what its draws depend on."""
        return dict(p=float(args["p"]))

    def forward(self, tape, args, x, params):
        if not tape.training or args["p"] == 0:
            return x, None
        attrs = self.attrs(args, x.shape) | dict(layer=tape.layer, first=tape.first)
        return tape.op(self.name, x, **attrs), attrs

    def backward(self, tape, args, dy, saved, params):
        return dy if saved is None else tape.op(self.name, dy, **saved)


class Dropout(_Drop):
    """Each value by itself (Srivastava et al. 2014)."""

    signature = Signature("dropout", (Param("p", "number", 0.5, positional=True),))


class DropPath(_Drop):
    """Whole samples: a residual branch that ends with it is skipped for them (Huang et al. 2016, stochastic depth)."""

    signature = Signature("droppath", (Param("p", "number", positional=True),))


class DropBlock(_Drop):
    """Contiguous blocks of `size` positions along each axis, clipped to the map, for each sample and channel by itself
    as in algorithm 1 of Ghiasi et al. (2018). Blocks lie inside the map, so their first corners are drawn from
    n - size + 1 positions an axis. Without spatial axes a block is one value, as in `dropout`.

    Each corner is drawn with a rate gamma. The paper's gamma = p / size^2 * n^2 / (n - size + 1)^2 counts positions
    where blocks overlap twice; here gamma solves E[share dropped] = p, of which that is the first order in p, so that
    survivors / (1-p) keeps the mean for any p.
    """

    signature = Signature("dropblock", (Param("p", "number", positional=True), Param("size", "size", 7)))

    def resolve(self, args, inputs):
        size = per_axis(args["size"], len(inputs[0].spatial), "`size`")
        return super().resolve(args, inputs) | {"size": size}

    def attrs(self, args, shape):
        size = tuple(min(k, n) for k, n in zip(args["size"], shape[1:-1]))
        return super().attrs(args, shape) | dict(size=size, rate=corner_rate(float(args["p"]), size, shape[1:-1]))


def corner_rate(p: float, size: tuple[int, ...], spatial: tuple[int, ...]) -> float:
    """gamma with mean over positions of 1 - (1 - gamma)^m = p, where m blocks hold a position."""
    counts: dict[int, int] = {1: 1}  # blocks that hold a position: positions
    for k, n in zip(size, spatial):
        along = [min(x + 1, k, n - k + 1, n - x) for x in range(n)]
        axis = {m: along.count(m) for m in set(along)}
        merged: dict[int, int] = {}
        for (m, times), (more, positions) in product(counts.items(), axis.items()):
            merged[m * more] = merged.get(m * more, 0) + times * positions
        counts = merged
    low, high, total = 0.0, p, prod(spatial)  # every position lies in a block, so a rate of p drops at least p
    for _ in range(60):
        middle = (low + high) / 2
        share = sum(times * (1 - (1 - middle) ** m) for m, times in counts.items()) / total
        low, high = (middle, high) if share < p else (low, middle)
    return high


FAMILY = (Dropout(), DropPath(), DropBlock())
