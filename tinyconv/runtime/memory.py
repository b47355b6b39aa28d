"""One arena for a plan: buffers that are alive at different times share memory."""

from __future__ import annotations

import numpy as np

from ..ops import OPS
from .tape import Step

ALIGN = 64


def arrange(steps: list[Step], keep: set[int]) -> tuple[list[Step], dict[int, int], int]:
    """(steps, byte offset of each temporary buffer, size of the arena).

    A buffer lives from the step that writes it to the last that reads it; those in `keep` to the end. An output takes
    over an input's memory where its operation allows that and the input dies there.
    """
    last: dict[int, int] = {}
    temps = {}
    for t, step in enumerate(steps):
        for b in (*step.inputs, *step.outputs):
            if b is not None and b.role == "temp":
                last[b.id] = t
                temps[b.id] = b
    last.update({b: len(steps) for b in keep if b in temps})

    home = {b: b for b in temps}  # buffer -> the one whose memory it shares
    start: dict[int, int] = {}
    end: dict[int, int] = {}
    size: dict[int, int] = {}
    for t, step in enumerate(steps):
        taken: set[int] = set()
        for i, out in enumerate(step.outputs):
            if out is None or out.role != "temp":
                continue
            for j in OPS[step.op].alias.get(i, ()):
                source = step.inputs[j]
                if source is None or source.role != "temp" or source.bytes != out.bytes:
                    continue
                root = home[source.id]
                # A reshape is the same memory under another shape; anything else overwrites it.
                if step.op == "reshape" or end[root] == t and root not in taken:
                    home[out.id] = root
                    taken.add(root)
                    end[root] = max(end[root], last[out.id])
                    break
            if home[out.id] == out.id:
                start[out.id], end[out.id], size[out.id] = t, last[out.id], out.bytes
    offsets, total = place([(start[b], end[b], size[b], b) for b in start])
    return steps, {b: offsets[home[b]] for b in temps}, total


def place(spans: list[tuple[int, int, int, int]]) -> tuple[dict[int, int], int]:
    """Offsets for (first step, last step, bytes, id): largest first, each at the lowest place that is free
    meanwhile."""
    spans = sorted(spans, key=lambda s: (-s[2], s[0], s[3]))
    first, final, low, high = (np.empty(len(spans), np.int64) for _ in range(4))
    offsets: dict[int, int] = {}
    total = 0
    for n, (begin, end, size, key) in enumerate(spans):
        size = -(-size // ALIGN) * ALIGN
        together = np.flatnonzero((first[:n] <= end) & (final[:n] >= begin))
        together = together[np.argsort(low[together], kind="stable")]
        at = 0
        for other in together:
            if low[other] - at >= size:
                break
            at = max(at, int(high[other]))
        first[n], final[n], low[n], high[n] = begin, end, at, at + size
        offsets[key] = at
        total = max(total, at + size)
    return offsets, total
