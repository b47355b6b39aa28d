"""Diagnostics as text, in the layout that rustc made familiar."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from ..errors import Diagnostic, Label

TAB = 4
WIDEST = 160        # columns of a source line that are shown; longer lines are cut around the caret

_RED, _YELLOW, _BLUE, _BOLD, _RESET = "\033[1;31m", "\033[1;33m", "\033[1;34m", "\033[1m", "\033[0m"


def render(diagnostics: Iterable[Diagnostic], files: Mapping[str, str], color: bool = False) -> str:
    """The text form: message, place, source lines with carets and labels, call chain, help; one after the other.

    `files` holds the texts that the diagnostics point into ({file: text}); places without a text show no lines.
    """
    lines = {}
    blocks = []
    for diagnostic in diagnostics:
        for file in {diagnostic.file, *(label.file for label in diagnostic.labels)}:
            if file in files and file not in lines:
                lines[file] = files[file].split("\n")
        blocks.append("\n".join(_one(diagnostic, lines, color)))
    return "\n\n".join(blocks)


def _one(d: Diagnostic, files: Mapping[str, list[str]], color: bool) -> list[str]:
    def paint(style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if color and text else text

    tone = _YELLOW if d.is_warning else _RED
    kind = "warning" if d.is_warning else "error"
    out = [paint(tone, f"{kind}[{d.code}]") + paint(_BOLD, f": {printable(d.message)}")]
    groups = _groups(d, files)
    width = max((len(str(line)) for group in groups.values()
                for line in group), default=len(str(d.line)) if d.line else 1)
    bar = paint(_BLUE, " " * width + " |")
    if d.file:
        place = f"{d.file}:{d.line}:{d.column}" if d.line else d.file
        out.append(paint(_BLUE, " " * width + "--> ") + place)
    for file, marked in groups.items():
        if file != d.file:
            out.append(paint(_BLUE, " " * width + "::: ") + f"{file}:{min(marked)}")
        if file in files:
            out.append(bar)
            out += _source(files[file], marked, width, d, paint, tone)
    for line in d.trace:
        out.append(paint(_BLUE, " " * width + " = ") + printable(line))
    if d.help:
        out.append(paint(_BLUE, " " * width + " = ") + paint(_BOLD, "help") + f": {printable(d.help)}")
    return out


def _groups(d: Diagnostic, files) -> dict[str, dict[int, list[Label]]]:
    """{file: {line: labels}}, the diagnostic's own file first; its own place is a label too."""
    labels = list(d.labels)
    if d.line and not any((x.file, x.line, x.column) == (d.file, d.line, d.column) for x in labels):
        labels.insert(0, Label(d.file, d.line, d.column, d.end_column, ""))
    groups: dict[str, dict[int, list[Label]]] = {d.file: {}} if d.line else {}
    for label in labels:
        if label.file in files and 0 < label.line <= len(files[label.file]):
            groups.setdefault(label.file, {}).setdefault(label.line, []).append(label)
    return {file: group for file, group in groups.items() if group}


def _source(lines: list[str], marked: dict[int, list[Label]], width: int, d: Diagnostic, paint, tone) -> list[str]:
    out, previous = [], 0
    for line in sorted(marked):
        if previous and line > previous + 1:
            out.append(paint(_BLUE, "..."))
        previous = line
        labels = sorted(marked[line], key=lambda label: label.column)
        text, shift = _window(lines[line - 1], labels[0].column)
        out.append((paint(_BLUE, f"{line:>{width}} |") + f" {_expand(text)}").rstrip())
        for label in labels:
            start = label.column - shift
            lead = _columns(text, start - 1)
            length = max(1, _columns(text, min(label.end_column - shift, len(text) + 2) - 1) - lead)
            style = tone if (label.line, label.column, label.file) == (d.line, d.column, d.file) else _BLUE
            mark = paint(style, "^" * length + (f" {printable(label.text)}" if label.text else ""))
            out.append(paint(_BLUE, " " * width + " |") + " " + " " * lead + mark)
    return out


def _window(text: str, column: int) -> tuple[str, int]:
    """The part of a long line that is shown, and by how much its columns have moved."""
    if len(text) <= WIDEST:
        return text, 0
    start = max(0, min(column - WIDEST // 2, len(text) - WIDEST))
    return text[start:start + WIDEST], start


def _width(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def _columns(text: str, count: int) -> int:
    """Terminal columns that the first `count` characters take; past the end each counts one."""
    column = 0
    for c in text[:count]:
        column = (column // TAB + 1) * TAB if c == "\t" else column + _width(c if c.isprintable() else "?")
    return column + max(0, count - len(text))


def _expand(text: str) -> str:
    """Tabs as spaces, and nothing that a terminal would obey."""
    out, column = [], 0
    for c in text:
        if c == "\t":
            step = (column // TAB + 1) * TAB - column
            out.append(" " * step)
            column += step
        else:
            c = c if c.isprintable() else "?"
            out.append(c)
            column += _width(c)
    return "".join(out)


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
