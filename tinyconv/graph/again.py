"""Which values a training does not keep for its backward pass: those that cost little, of others that are kept anyway,
as the output of a normalisation and activation whose input the backward pass reads, too. They are made again before
they are wanted next. (What runtime/recompute.py does for a limit, by whole blocks, is done for these by every plan.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

FLOPS_A_BYTE = 8        # floating-point operations in the time that moves a byte: at 200 GFLOP/s and 25 GB/s
CHEAP = frozenset({"input", "bn_apply", "bn_act", "act", "mul", "scale", "prelu", "concat"})
SHARE = 0.01            # of a training step's time, in bytes moved, that may go into making values again
MOVED = 2.1             # bytes for one that is spared: one read, one written, some a channel; a sum reads two
LEAST = 1 << 20         # bytes that are worth a step of their own


def made_again(steps: Sequence[tuple], alive: list[int], budget: float, keep) -> dict[int, int]:
    """{number of a value: the step before which it is made again}, of those that lower the most that is alive at once.

    steps: (operation, inputs, outputs) each, of buffers or None. alive: bytes at each step; is brought up to date.
    budget: bytes that may be moved for it. keep: numbers of buffers that live to the end.
    """
    readers: dict[int, list[int]] = defaultdict(list)
    for place, (_, inputs, _) in enumerate(steps):
        for b in inputs:
            if b is not None:
                readers[b.id].append(place)
    made = {b.id for _, _, outputs in steps for b in outputs if b is not None}
    again: dict[int, int] = {}
    for place, (op, inputs, outputs) in enumerate(steps):
        y = outputs[0] if op in CHEAP else None
        if y is None or y.bytes < LEAST or y.id in keep or not readers[y.id]:
            continue
        # made again behind the longest time in which nobody reads it
        done, wanted = max(pairwise([place, *readers[y.id]]), key=lambda gap: gap[1] - gap[0])
        given = [b for b in inputs if b is not None]
        cost = y.bytes + sum(b.bytes for b in given)
        if cost > min(budget, MOVED * y.bytes) or any(
                b.id in again or b.id in made and readers[b.id][-1] < wanted for b in given):
            continue
        without = [nbytes - y.bytes for nbytes in alive[done + 1:wanted]]
        most = max([*alive[:done + 1], *without, *alive[wanted:]])
        if max(alive) - most > y.bytes / 2:
            alive[done + 1:wanted] = without
            budget -= cost
            again[y.id] = wanted
    return again
