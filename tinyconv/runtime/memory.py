"""One arena for a plan: buffers that are alive at different times share memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..ops import OPS
from .tape import Step

ALIGN = 64


class Span(NamedTuple):
    """Bytes of the arena that are taken from one step to another, that one included."""

    first: int
    last: int
    offset: int
    bytes: int


def arrange(steps: list[Step], keep: set[int]) -> tuple[dict[int, int], tuple[Span, ...], int]:
    """(byte offset of each temporary buffer, what is taken when, size of the arena)."""
    pieces, home = lifetimes(steps, keep)
    offsets, total = place(pieces)
    spans = tuple(Span(first, last, offsets[b], nbytes) for first, last, nbytes, b in pieces)
    return {b: offsets[root] for b, root in home.items()}, spans, total


def lifetimes(steps: list[Step], keep: set[int]) -> tuple[list[tuple[int, int, int, int]], dict[int, int]]:
    """([(first step, last step, bytes, number) of each piece of memory], {buffer: the piece that it is in}).

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
    return [(start[b], end[b], size[b], b) for b in start], home


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


def place_scratch(needs: Sequence[int], spans: Sequence[Span], arena: int) -> tuple[list[int], int]:
    """(offset of each step's scratch memory, bytes of the arena with it). needs: bytes by step.

    It lies behind the arena, where it stays in the caches from one step to the next; but the largest, which would make
    that place large, lie where nothing else is in the arena while their step runs.
    """
    offsets, tail = [arena] * len(needs), 0
    for step in sorted(range(len(needs)), key=lambda i: -needs[i]):
        tail = -(-needs[step] // ALIGN) * ALIGN
        at = 0
        for span in sorted((s for s in spans if s.first <= step <= s.last), key=lambda s: s.offset):
            if span.offset - at >= tail:
                break
            at = max(at, -(-(span.offset + span.bytes) // ALIGN) * ALIGN)
        if at + tail > arena:
            break
        offsets[step], tail = at, 0
    return offsets, arena + tail
