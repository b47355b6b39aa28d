"""Fusion: rewriting functions `steps -> steps`, applied in order. A fused step keeps the steps it stands for in
`parts`, which the array backend runs instead."""

from __future__ import annotations

from collections.abc import Callable

from .tape import Step

FUSIONS: tuple[Callable[[list[Step]], list[Step]], ...] = ()


def fuse(steps: list[Step]) -> list[Step]:
    for rewrite in FUSIONS:
        steps = rewrite(steps)
    return steps
