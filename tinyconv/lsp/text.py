"""A document's text, and its positions as the protocol counts them: lines from 0, columns in code units."""

from __future__ import annotations

import bisect
import re

from ..lang.reader import normalise

BOM = "\ufeff"


def utf8_units(c: str) -> int:
    code = ord(c)
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4


def utf16_units(c: str) -> int:
    return 2 if ord(c) > 0xFFFF else 1


UNITS = {"utf-8": utf8_units, "utf-16": utf16_units, "utf-32": lambda c: 1}


class Text:
    """A text with line ends as `\\n` and no byte-order mark, which is what the language reads.

    raw: as the editor has it. Lines are the same in both, columns too but for the byte-order mark.
    encoding: the code units that columns count, as agreed with the editor.
    """

    def __init__(self, raw: str, encoding: str = "utf-16"):
        self.text = normalise(raw)
        self._units = UNITS[encoding]
        self._mark = self._units(BOM) if raw.startswith(BOM) else 0
        self._starts = [0, *(m.end() for m in re.finditer("\n", self.text))]

    def line(self, number: int) -> str:
        """The line of this number, from 0, without its end; empty past the last."""
        if not 0 <= number < len(self._starts):
            return ""
        end = self._starts[number + 1] - 1 if number + 1 < len(self._starts) else len(self.text)
        return self.text[self._starts[number]:end]

    def offset(self, line: int, character: int) -> int:
        """The offset of a position; one past the end of a line or of the text is the end of it."""
        if line >= len(self._starts):
            return len(self.text)
        offset, units = self._starts[max(line, 0)], self._mark if line == 0 else 0
        for c in self.line(line):
            if units + self._units(c) > character:
                break
            units += self._units(c)
            offset += 1
        return offset

    def position(self, offset: int) -> tuple[int, int]:
        """(line, character) of an offset."""
        line = bisect.bisect_right(self._starts, offset) - 1
        return line, self.character(line, offset - self._starts[line])

    def character(self, line: int, column: int) -> int:
        """The code units before a column counted in characters from 0; columns past the end count one each."""
        text = self.line(line)
        units = sum(map(self._units, text[:column])) + max(0, column - len(text))
        return units + (self._mark if line == 0 else 0)
