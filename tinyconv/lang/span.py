"""Places in source text, and the chain of block calls that leads to one."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of one line. Lines and columns count from 1, in characters; `end_column` is exclusive."""

    file: str
    line: int
    column: int
    end_column: int


class Call(NamedTuple):
    """One block call on the way to a layer: the block, its parameter values by name, and where it was called."""

    block: str
    args: dict
    span: Span
