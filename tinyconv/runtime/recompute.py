"""Less memory for more time: values of the forward pass are dropped where it is done with them, and computed again
when the backward pass wants them (Chen, Xu, Zhang & Guestrin 2016, "Training Deep Nets with Sublinear Memory Cost").

The forward steps are cut into blocks where little passes from one to the next. Of a block that is computed again only
what enters it stays. The copies are the same kernels on the same values, with dropout drawn by the same numbers, so the
result of training has the same bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..graph.again import FLOPS_A_BYTE, SHARE, made_again
from .cost import flops, traffic
from .memory import lifetimes
from .tape import Buffer, Step, Tape

BLOCKS = (48, 20, 12, 9, 5, 3)    # into how many blocks of equal bytes the forward pass is cut, one after another


@dataclass(frozen=True)
class Block:
    """Forward steps first to last (exclusive): what they make and the backward pass reads, or a step again does."""

    first: int
    last: int
    dropped: frozenset[int]
    bytes: int          # that the backward pass reads, so that would be kept
    cost: float         # of computing it again, in bytes moved


def shrink(steps: list[Step], keep: set[int], tape: Tape, size: Callable[[list[Step]], int],
           limit: int) -> tuple[list[Step], float]:
    """(steps that need at most `limit` bytes, or as few as can be reached; share of the forward cost that is paid
    twice). size(steps): the bytes of their arena. keep: buffers that live to the end."""
    if size(steps) <= limit:
        return steps, 0.0
    found: list[tuple[tuple, list[Step], float]] = []
    forward = sum(map(cost, (s for s in steps if s.pass_ == "forward")))
    for count in BLOCKS:
        blocks = sorted(cut(steps, keep, count), key=lambda b: b.cost / max(b.bytes, 1))
        low, high = 1, len(blocks)
        while low <= high:      # the fewest blocks that do
            some = (low + high) // 2
            dropped = frozenset().union(*(b.dropped for b in blocks[:some]))
            again = recompute(steps, dropped, tape)
            bytes_, price = size(again), sum(b.cost for b in blocks[:some]) / forward
            fits = bytes_ <= limit
            found.append(((not fits, price if fits else bytes_), again, price))
            low, high = (low, some - 1) if fits else (some + 1, high)
    if not found:
        return steps, 0.0
    _, again, price = min(found, key=lambda f: f[0])
    return again, price


def cost(step: Step) -> float:
    """About how long a step takes, in bytes moved."""
    return traffic(step) + flops(step) / FLOPS_A_BYTE


def cut(steps: list[Step], keep: set[int], count: int) -> list[Block]:
    """Blocks of about 1/count of the bytes that the backward pass reads; each ends where the least is alive."""
    forward = [i for i, s in enumerate(steps) if s.pass_ == "forward"]
    made = {b.id: i for i in forward for b in steps[i].outputs if b is not None and b.id not in keep}
    last = dict(made)       # the last forward step that reads it
    saved: set[int] = set()
    for i, step in enumerate(steps):
        for b in step.inputs:
            if b is not None and b.id in made:
                if step.pass_ == "forward":
                    last[b.id] = i
                else:
                    saved.add(b.id)
    size = {b.id: b.bytes for i in forward for b in steps[i].outputs if b is not None}
    crossing = dict.fromkeys(forward, 0)        # bytes that later forward steps read, after each step
    for b, i in made.items():
        for j in range(i, last[b]):
            if j in crossing:
                crossing[j] += size[b]
    share = sum(size[b] for b in saved) / count
    blocks, first, so_far = [], 0, 0
    ends: list[int] = []        # of the block that grows, where it may end
    for n, i in enumerate(forward):
        so_far += sum(size[b.id] for b in steps[i].outputs if b is not None and b.id in saved)
        if so_far >= share / 2:
            ends.append(n)
        if so_far >= share and ends:
            end = min(ends, key=lambda m: (crossing[forward[m]], -m)) + 1
            blocks.append(_block(steps, forward[first:end], made, last, saved, size))
            so_far = sum(size[b.id] for m in range(end, n + 1) for b in steps[forward[m]].outputs
                         if b is not None and b.id in saved)
            first, ends = end, []
    return blocks       # the last one is followed by its own backward pass: to compute it again would gain nothing


def _block(steps, inside: Sequence[int], made, last, saved, size) -> Block:
    small = max(size.values(), default=0) // 256
    outputs = [b for i in inside for b in steps[i].outputs if b is not None]
    dropped = frozenset(b.id for b in outputs if b.id in made and last[b.id] <= inside[-1] and b.bytes > small)
    makers = [steps[i] for i in inside if any(b is not None and b.id in dropped for b in steps[i].outputs)]
    return Block(inside[0], inside[-1] + 1, dropped, sum(size[b] for b in dropped & saved), sum(map(cost, makers)))


def recompute(steps: list[Step], dropped: frozenset[int], tape: Tape) -> list[Step]:
    """The steps with each dropped buffer made a second time, right before the first step after the forward pass that
    reads it, and what that takes of other dropped ones."""
    maker = {b.id: i for i, s in enumerate(steps) for b in s.outputs
             if s.pass_ == "forward" and b is not None and b.id in dropped}
    copies: dict[int, Buffer] = {}
    again: set[int] = set()
    out: list[Step] = []
    for step in steps:
        if step.pass_ != "forward":
            todo = [maker[b.id] for b in step.inputs if b is not None and b.id in maker]
            needed: set[int] = set()
            while todo:
                i = todo.pop()
                if i not in again and i not in needed:
                    needed.add(i)
                    todo += [maker[b.id] for b in steps[i].inputs if b is not None and b.id in maker]
            for i in sorted(needed):
                for b in steps[i].outputs:
                    if b is not None:
                        copies[b.id] = tape.buffer(b.shape, b.dtype, b.role, b.name)
                out.append(renamed(steps[i], copies))
            again |= needed
            step = renamed(step, {b: copies[b] for b in copies if b in maker})
        out.append(step)
    return out


def make_again(steps: list[Step], keep: set[int], tape: Tape) -> list[Step]:
    """The steps of a training with cheap values made a second time instead of kept, see graph/again.py."""
    alive = [0] * (len(steps) + 1)
    for first, last, nbytes, _ in lifetimes(steps, keep)[0]:
        for place in range(first, last + 1):
            alive[place] += nbytes
    again = made_again([(s.op, s.inputs, s.outputs) for s in steps], alive, SHARE * sum(map(cost, steps)), keep)
    copies: dict[int, Buffer] = {}
    before: dict[int, list[Step]] = defaultdict(list)
    for step in steps:
        for b in step.outputs:
            if b is not None and b.id in again:
                copies[b.id] = tape.buffer(b.shape, b.dtype)
                wanted = again[b.id]
                before[wanted].append(replace(renamed(step, {b.id: copies[b.id]}), pass_=steps[wanted].pass_))
    out: list[Step] = []
    for place, step in enumerate(steps):
        out += before[place]
        out.append(renamed(step, {b: copies[b] for b in again if again[b] <= place}))
    return out


def renamed(step: Step, names: dict[int, Buffer]) -> Step:
    """A step, and the parts it stands for, on other buffers."""
    def other(buffers):
        return tuple(b if b is None else names.get(b.id, b) for b in buffers)

    if not any(b is not None and b.id in names for b in (*step.inputs, *step.outputs)):
        return step
    return replace(step, inputs=other(step.inputs), outputs=other(step.outputs),
                   parts=tuple(renamed(part, names) for part in step.parts))
