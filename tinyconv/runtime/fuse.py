"""Fusion: rewriting functions, applied in order. Each takes the steps of a plan and the numbers of the buffers that the
caller reads, and gives steps with the same results.

A fused step keeps the steps it stands for in `parts`, which the array backend runs instead. Every buffer is written
once, so a step may stand anywhere behind those that write what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import fuse_conv, fuse_training
from .tape import Step

Rewrite = Callable[[list[Step], set[int]], list[Step]]
FUSIONS: tuple[Rewrite, ...] = (*fuse_conv.FUSIONS, *fuse_training.FUSIONS)


def fuse(steps: list[Step], keep: set[int], rewrites: Sequence[Rewrite] = FUSIONS) -> list[Step]:
    for rewrite in rewrites:
        steps = rewrite(steps, keep)
    return steps
