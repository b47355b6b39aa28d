"""Rows as text: columns that align, colours where they are wanted, narrower where there is less room."""

from __future__ import annotations

from .describe import axes
from .rows import Row

INDENT = "  "
GAP = "  "
LEAST_TEXT = 8          # narrower than this the description goes altogether
DESCRIPTION = 1
LEFT = 3                # columns of text; the others are numbers
FIRST_TO_GO = (7, 6, 5)  # where that is not enough: memory, jump, field
BOLD, DIM, BLOCK, RESET = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"


def table(rows: list[Row], batch: int = 1, width: int | None = None, color: bool = False) -> str:
    """Layer, description, output, params, MACs, receptive field, jump, memory; a line each under a heading.

    batch: samples the memory is for. width: columns there are room for (None: any number); where they are too few,
    headings of open blocks run on into the columns that they leave empty, descriptions are shortened, then left out,
    then memory, jump and field.
    """
    memory = "memory" if batch == 1 else f"memory, batch {batch}"
    lines = [["layer", "", "output", "params", "MACs", "field", "jump", memory], *(_cells(row, batch) for row in rows)]
    lines = _narrowed(lines, rows, width)
    widths = [max(map(len, column)) for column in zip(*lines)]
    left = LEFT - (len(lines[0]) < LEFT or lines[0][DESCRIPTION] != "")     # the description may be gone
    out = []
    for line, row in zip(lines, [None, *rows]):
        cells = [cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
        if row is not None and row.is_open:
            room = sum(widths[1:]) + len(GAP) * (len(widths) - 2)
            cells[1:] = [shortened(row.text, room)]
        out.append(_painted(cells, row) if color else GAP.join(cells).rstrip())
    return "\n".join(out)


def _cells(row: Row, batch: int) -> list[str]:
    name = INDENT * row.level + row.name
    if row.is_open:
        return [name, row.text, *[""] * 6]
    size = None if row.activation_bytes is None else row.activation_bytes * batch
    return [name, row.text, row.output, f"{row.params:,}", count(row.macs), axes(row.field, True) or "-",
            axes(row.jump or (), True) or "-", size_text(size)]


def _narrowed(lines: list[list[str]], rows: list[Row], width: int | None) -> list[list[str]]:
    def needed(lines) -> int:
        return sum(max(map(len, column)) for column in zip(*lines)) + len(GAP) * (len(lines[0]) - 1)

    if width is None or needed(lines) <= width:
        return lines
    for line, row in zip(lines[1:], rows):
        if row.is_open:
            line[DESCRIPTION] = ""
    text = max(len(line[DESCRIPTION]) for line in lines)
    room = text - (needed(lines) - width)
    if room >= LEAST_TEXT:
        return [[*line[:DESCRIPTION], shortened(line[DESCRIPTION], room), *line[DESCRIPTION + 1:]] for line in lines]
    for line, row in zip(lines[1:], rows):
        # What the description said of several calls is now in the name: `unit3-7`.
        line[0] = " " * row.level + row.name + f"-{row.through}" * bool(row.through)
    dropped = {DESCRIPTION}
    for column in (None, *FIRST_TO_GO):
        dropped.add(column)
        kept = [[cell for i, cell in enumerate(line) if i not in dropped] for line in lines]
        if needed(kept) <= width:
            break
    return kept


def shortened(text: str, room: int) -> str:
    return text if len(text) <= room else text[:room - 1] + "…"


def _painted(cells: list[str], row: Row | None) -> str:
    if row is None:
        return BOLD + GAP.join(cells).rstrip() + RESET
    text = GAP.join(f"{DIM}{cell}{RESET}" if cell.strip() in ("0", "-") else cell for cell in cells[1:])
    name = f"{BLOCK}{cells[0]}{RESET}" if row.is_block else cells[0]
    return name + GAP + text.rstrip()


def count(n: int | None) -> str:
    """1,234,567 -> `1.23 M`; `?` where it is not known."""
    return "?" if n is None else f"{n:,}" if n < 1000 else _scaled(n, 1000, ("", " k", " M", " G", " T", " P"))


def size_text(n: int | None) -> str:
    """Bytes as `12.3 KiB`; `?` where they are not known."""
    return "?" if n is None else _scaled(n, 1024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB"))


def _scaled(n: float, base: int, units: tuple[str, ...]) -> str:
    """Three significant digits at least, and the unit that keeps the number short."""
    power = 0
    while n >= base * 0.9995 and power < len(units) - 1:
        n, power = n / base, power + 1
    digits = 0 if power == 0 or n >= 100 else 1 if n >= 10 else 2
    return f"{n:.{digits}f}{units[power]}"
