"""Where the parser stopped: the text around it, cut into the bits that a reader sees."""

from __future__ import annotations

import re
from functools import cached_property

from ...errors import Diagnostic, Label
from ..ast import Source
from ..suggest import SETTINGS_ELSEWHERE
from ..syntax import MARKS

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_BITS = re.compile(r'"[^"\n]*"?|->|=>|==|!=|<=|>=|@?[\w.?]+|\S')
_BACK = 4000            # characters before the error that are looked at
STAGE_ENDS = ("->", "{", "}", "|", ";", ":")


class Spot:
    """One syntax error. `bits` are (text, offset) before it, `word` is what stands there, `before` the bit before."""

    def __init__(self, source: Source, text: str, at: int, expected: set[str]):
        self.source = source
        self.text = text
        self.at = at
        self.expected = expected
        self.bits = self._code(max(0, at - _BACK), at)
        self.before = self.bits[-1][0] if self.bits else ""
        match = _BITS.match(text, at)
        self.word = match.group() if match else ""

    def _code(self, start: int, end: int) -> list[tuple[str, int]]:
        """The bits between two offsets with their places, comments left out."""
        text = re.sub(r'("[^"\n]*")|#[^\n]*', lambda m: m.group(1) or " " * len(m.group()), self.text[start:end])
        return [(m.group(), start + m.start()) for m in _BITS.finditer(text)]

    def report(self, message: str, help: str = "", start: int | None = None, end: int | None = None, code: str = "E110",
               labels: tuple[Label, ...] = ()) -> Diagnostic:
        start = self.at if start is None else start
        end = start + max(1, len(self.word)) if end is None else end
        if start < len(self.text):
            end = min(end, len(self.text))
        return Diagnostic(code, message, *self.source.span(start, end), help=help, labels=labels)

    def after_bit(self, message: str, help: str, code: str = "E110") -> Diagnostic:
        """A report at the bit before the error."""
        bit, start = self.bits[-1]
        return self.report(message, help, start, start + len(bit), code)

    # What stands around

    @property
    def char(self) -> str:
        return self.text[self.at:self.at + 1]

    @cached_property
    def line_start(self) -> int:
        return self.text.rfind("\n", 0, self.at) + 1

    @cached_property
    def rest(self) -> str:
        """The line from the error on, without its comment."""
        end = self.text.find("\n", self.at)
        line = self.text[self.at:min(end if end >= 0 else len(self.text), self.at + 300)]
        return re.sub(r'("[^"]*")|#.*', lambda m: m.group(1) or "", line).rstrip()

    @cached_property
    def stage(self) -> list[tuple[str, int]]:
        """The bits of the layer or setting that the error stands in, up to it."""
        found: list[tuple[str, int]] = []
        after = self.at
        for bit, start in reversed(self.bits):
            if bit in STAGE_ENDS or "\n" in self.text[start + len(bit):after]:
                break
            found.insert(0, (bit, start))
            after = start
        return found

    def stage_text(self) -> str:
        """The layer or setting as written, up to the error."""
        return self.text[self.stage[0][1]:self.at].rstrip() if self.stage else ""

    def upto(self, stops: str = "{}|;") -> str:
        """The rest of the line up to the end of the layer or setting."""
        return re.split(rf"->|[{re.escape(stops)}]", self.rest)[0].rstrip()

    def same_line(self) -> bool:
        return bool(self.bits) and "\n" not in self.text[self.bits[-1][1]:self.at]

    def starts_line(self, at: int | None = None) -> bool:
        at = self.at if at is None else at
        return not self.text[self.text.rfind("\n", 0, at) + 1:at].strip()

    def line_has(self, word: str) -> bool:
        return re.search(rf"\b{word}\b", self.text[self.line_start:self.at]) is not None

    def open_braces(self) -> list[int]:
        return open_braces(self.text, self.at)

    @cached_property
    def section(self) -> str:
        """`data` or `train` where the error stands in one, else nothing."""
        for at in self.open_braces():
            found = re.search(r"\b(data|train)\s*$", self.text[:at])
            if found:
                return found.group(1)
        return ""

    def section_meant(self) -> tuple[str, int] | None:
        """The word before the innermost open brace and its place, where it starts its line."""
        for at in reversed(self.open_braces()):
            found = re.search(r"(?:^|\n)[ \t]*([A-Za-z_]\w*)\s*$", self.text[:at])
            return (found.group(1), found.start(1)) if found else None
        return None

    @property
    def in_pipeline(self) -> bool:
        """Whether the error stands after the colon of a pipeline, on its line."""
        line = self.text[max(self.line_start, self.text.rfind(";", 0, self.at) + 1):self.at]
        return bool(self.section) and re.search(r"[a-z]\w*\s*:", line) is not None

    def in_expression(self) -> bool:
        """Whether the parser could have gone on with an operator, or waits for an operand."""
        return bool(self.expected & {"CMP", "PLUS", "STAR", "LPAR"})

    def after_argument(self) -> bool:
        return bool(self.expected & {"FLAG", "ARROW"}) and self.same_line()

    def in_parameters(self) -> bool:
        """Whether the error stands among the parameters of a block."""
        return any(bit == "block" for bit, _ in self.stage)

    # Words for it

    def printable(self) -> str:
        word = shortened(self.word or self.char)
        return "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in word)

    def wanted(self) -> str:
        if "EQUAL" in self.expected and len(self.expected) <= 3:
            return "write `=` and a value here"
        if self.expected <= {"NAME"}:
            return "a name belongs here"
        if self.expected <= {"STRING"}:
            return 'write the file name in quotes: include "file.net"'
        if {"NUMBER", "LPAR"} <= self.expected:
            return "a value belongs here: a number, a size or a name"
        if "LBRACE" in self.expected and "NAME" not in self.expected:
            return "`{` belongs here"
        return ""


def open_braces(text: str, at: int) -> list[int]:
    """Offsets of the braces that are open at `at`, the outermost first."""
    stack: list[int] = []
    for m in MARKS.finditer(text, 0, at):
        if m.group(1) == "{":
            stack.append(m.start())
        elif m.group(1) == "}" and stack:
            stack.pop()
    return stack


def setting(name: str, value: str) -> str:
    """A line of a section, by the name that it has here."""
    return SETTINGS_ELSEWHERE.get(name, f"{name} {{}}").format(value)


def shortened(word: str) -> str:
    return word if len(word) <= 40 else word[:37] + "…"
