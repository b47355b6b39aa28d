"""Columns that a person has lined up in neighbouring lines: kept, and made as narrow as they can be.

Like the elastic tab stops of gofmt, but only where the text shows that somebody wanted them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .tokens import Token

# What a cell is, by how it is written: a flag and `key=value` by their letter or key, other words all the same.
_KINDS = re.compile(r"""
    (?P<number>[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?$)
  | (?P<size>[0-9?]+x)
  | (?P<flag>[a-z])[0-9.x]+$
  | (?P<key>[A-Za-z_]\w*)=
  | (?P<symbol>->|as$|[^\w"@(.-])
  | (?P<word>.)""", re.VERBOSE)


@dataclass(eq=False)
class Cell:
    """Text without breaks. `column`, `end_column` and `gap` are those in the source, `place` is where it is put."""

    text: str
    line: int
    column: int
    end_column: int
    gap: int
    place: int = 0

    @classmethod
    def of(cls, token: Token) -> Cell:
        return cls(token.text, token.line, token.column, token.end_column, token.gap)

    def add(self, token: Token) -> None:
        self.text += token.text
        self.end_column = token.end_column

    @property
    def mark(self) -> tuple[str, int]:
        """What is the same for cells that are lined up: their kind, and the column of their start; for numbers of
        their end."""
        match = _KINDS.match(self.text)
        kind = match.lastgroup
        if kind == "number":
            return kind, self.end_column
        return match[kind] if kind in ("flag", "key", "symbol") else kind, self.column


@dataclass(eq=False)
class Line:
    """`fixed` cells from the left keep their places: lines below hang on them."""

    indent: int
    blank: bool = False
    cells: list[Cell] = field(default_factory=list)
    comment: str = ""
    fixed: int = 1

    @property
    def end(self) -> int:
        return self.cells[-1].place + len(self.cells[-1].text)


def line_up(lines: list[Line]) -> None:
    """Gives every cell its place: one space after the cell before it, or in line with its neighbours."""
    for run in _runs(lines):
        rows = [line for line in run if line.cells]
        placed = [_Row(line) for line in rows]
        for members in _columns_of(rows):
            natural = [placed[row].natural(cell) for row, cell in members]
            right = members[0][1].mark[0] == "number"
            widths = [len(cell.text) if right else 0 for _, cell in members]
            edge = max(place + width for place, width in zip(natural, widths))
            for (row, cell), width in zip(members, widths):
                placed[row].put(cell, edge - width)
        for row in placed:
            row.finish()


def comment_columns(lines: list[Line]) -> dict[int, int]:
    """{id(line): column} of the comments after code; those of neighbouring lines stand under each other."""
    places = {}
    run: list[Line] = []
    for line in [*lines, Line(0)]:
        commented = bool(line.cells and line.comment)
        if not commented or line.blank or (run and (run[-1].cells[-1].text == "{" or line.cells[0].text == "}")):
            edge = max((x.end for x in run), default=0) + 2
            places.update((id(x), edge) for x in run)
            run = []
        run += [line] * commented
    return places


def _runs(lines: list[Line]) -> Iterable[list[Line]]:
    run: list[Line] = []
    for line in lines:
        if line.blank and run:
            yield run
            run = []
        run.append(line)
    yield run


def _columns_of(rows: list[Line]) -> list[list[tuple[int, Cell]]]:
    """The lined-up cells, from left to right: in neighbouring rows, with more than a space before one of them."""
    columns: list[list[tuple[int, Cell]]] = []
    above: dict[tuple[str, int], list[tuple[int, Cell]]] = {}
    for number, row in enumerate(rows):
        here = {}
        for cell in row.cells[row.fixed:]:
            if cell.line != row.cells[0].line:
                continue
            column = above.get(cell.mark)
            if column is None:
                column = []
                columns.append(column)
            column.append((number, cell))
            here[cell.mark] = column
        above = here
    wanted = [c for c in columns if len(c) > 1 and any(cell.gap > 1 for _, cell in c)]
    return sorted(wanted, key=lambda column: column[0][1].mark[1])


class _Row:
    """The cells of one line, placed from the left."""

    def __init__(self, line: Line):
        self.cells = line.cells
        self.next = 0
        self.free = line.indent

    def natural(self, cell: Cell) -> int:
        while self.cells[self.next] is not cell:
            self.put(self.cells[self.next], self.free)
        return self.free

    def put(self, cell: Cell, place: int) -> None:
        cell.place = place
        self.free = place + len(cell.text) + 1
        self.next += 1

    def finish(self) -> None:
        while self.next < len(self.cells):
            self.put(self.cells[self.next], self.free)
