"""Who writes and who reads the buffers of a list of steps: what rewriting functions look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from .tape import Buffer, Step


class Uses:
    """`writer`: number of a buffer -> place of the step that writes it; `readers`: -> places of those that read it.
    `keep`: numbers of the buffers that the caller reads."""

    def __init__(self, steps: Sequence[Step], keep: set[int]):
        self.steps, self.keep = steps, keep
        self.writer: dict[int, int] = {}
        self.readers: dict[int, list[int]] = defaultdict(list)
        for place, step in enumerate(steps):
            for b in step.inputs:
                if b is not None:
                    self.readers[b.id].append(place)
            for b in step.outputs:
                if b is not None:
                    self.writer[b.id] = place

    def source(self, buffer: Buffer | None, *ops: str) -> int | None:
        """The place of the step that writes a buffer, where it is one of these operations."""
        place = None if buffer is None else self.writer.get(buffer.id)
        return place if place is not None and self.steps[place].op in ops else None

    def only_reader(self, buffer: Buffer, *ops: str) -> int | None:
        """The place of the one step that reads a buffer, where it is one of these operations and there is no other."""
        places = self.readers[buffer.id]
        alone = len(places) == 1 and buffer.id not in self.keep
        return places[0] if alone and self.steps[places[0]].op in ops else None


def replaced(steps: Sequence[Step], new: Mapping[int, Sequence[Step]]) -> list[Step]:
    """The steps with others in the place of some, by number in the list."""
    out: list[Step] = []
    for place, step in enumerate(steps):
        out += new.get(place, (step,))
    return out


def unfused(steps: Sequence[Step]) -> list[Step]:
    """The steps with the parts of each that was fused; without those that a part computes once more."""
    out: list[Step] = []
    written: set[int] = set()
    for step in steps:
        for part in unfused(step.parts) if step.parts else (step,):
            outputs = {b.id for b in part.outputs if b is not None}
            if not outputs or not outputs <= written:
                out.append(part)
                written |= outputs
    return out
