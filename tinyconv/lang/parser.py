"""Text to AST: an LALR(1) parser over net.lark, with the nodes built while it parses."""

from __future__ import annotations

import re
import threading
from fractions import Fraction
from pathlib import Path

from ..errors import Diagnostic
from . import ast
from .ast import Source

GRAMMAR = Path(__file__).with_name("net.lark")
EQUALS = re.compile(r"(?:[ \t\n;]|#[^\n]*(?![^\n]))*=")      # after a name: what may stand before its `=`, and that

MAX_TEXT = 256_000          # characters
MAX_DEPTH = 64              # nested braces, and the height of an expression
MAX_NUMBER = 10**15


def number_value(text: str) -> int | Fraction | None:
    """The exact value of a number literal, or None where it is out of bounds (checked before anything is computed)."""
    mantissa, _, exponent = text.partition("e")
    if len(mantissa) > 40 or len(exponent) > 4 or abs(int(exponent or 0)) > 40:
        return None
    value = Fraction(text)
    if value > MAX_NUMBER or value.denominator > 10**40:
        return None
    return value.numerator if value.denominator == 1 else value


class AstBuilder:
    """The callbacks of the grammar's rules. `source`, `read` and `problems` are set for each parse."""

    source: Source
    read: str
    problems: list[Diagnostic]

    def begin(self, source: Source, read: str) -> None:
        """read: the source's text as it is parsed, where lines with errors are blanked."""
        self.source, self.read = source, read
        self.problems = []

    def problem(self, code: str, message: str, start: int, end: int, help: str = "") -> None:
        span = self.source.span(start, end)
        self.problems.append(Diagnostic(code, message, *span, help=help))

    # Items

    def start(self, items):
        return items

    def let(self, c):
        self.same_line(c[1], c[2])
        return ast.Let(self.source, c[0].start_pos, c[2].end, self.ident(c[1]), c[2])

    def default(self, c):
        return ast.Default(self.source, c[0].start_pos, c[-1].end, self.ident(c[1]), c[2:])

    def include(self, c):
        return ast.Include(self.source, c[0].start_pos, c[1].end_pos, self.text(c[1:]))

    def block(self, c):
        return ast.Block(self.source, c[0].start_pos, c[-1].end, self.ident(c[1]), c[2:-1], c[-1])

    def param(self, c):
        name, default = c
        if default is not None:
            self.same_line(name, default)
        return ast.Parameter(self.source, name.start_pos, default.end if default else name.end_pos, str(name), default)

    def head(self, c):
        return ast.Head(self.source, c[0].start_pos, c[-1].end, self.ident(c[1]), c[2:-1], c[-1])

    def section(self, c):
        return ast.Section(self.source, c[0].start_pos, c[-1].end_pos, str(c[0]), c[2:-1])

    def setting(self, c):
        name = self.ident(c[0])
        return ast.SettingLine(self.source, name.start, c[-1].end if len(c) > 1 else name.end, name, c[1:])

    def pipeline(self, c):
        name = self.ident(c[0])
        return ast.SettingLine(self.source, name.start, c[1].end, name, [], c[1].stages)

    # Flow

    def body(self, c):
        lets = [x for x in c[1:-1] if isinstance(x, ast.Let)]
        return ast.Body(self.source, c[0].start_pos, c[-1].end_pos, lets, c[-2])

    def branches(self, c):
        return ast.Branches(self.source, c[0].start_pos, c[-1].end_pos, c[1:-1])

    def chain(self, pipes):
        return [stage for pipe in pipes for stage in pipe.stages]

    def pipe(self, c):
        for arrow, stage in zip(c[1::2], c[2::2]):
            between = self.read[arrow.end_pos:stage.start]
            if "\n" in between or ";" in between:
                self.problem("E111", "a line ends with `->`", arrow.start_pos, arrow.end_pos,
                             "put the `->` at the start of the next line, or remove it")
        return ast.Pipe(self.source, c[0].start, c[-1].end, c[::2])

    def stage(self, c):
        stage, alias = c
        if isinstance(stage, ast.Ref):
            stage = ast.RefStage(self.source, stage.start, stage.end, stage)
        if alias is not None:
            stage.alias = self.ident(alias)
        return stage

    def layer(self, c):
        name, *args, branches = c
        end = args[-1].end if args else name.end_pos
        return ast.Layer(self.source, name.start_pos, end, self.ident(name), args, branches)

    def repeat(self, c):
        _, count, index, body = c
        return ast.Repeat(self.source, c[0].start_pos, count.end, count, index and self.ident(index), body)

    def when(self, c):
        _, condition, body, otherwise = c
        return ast.When(self.source, c[0].start_pos, condition.end, condition, body, otherwise)

    def ref(self, c):
        return ast.Ref(self.source, c[0].start_pos, c[1].end_pos, 1, str(c[1]))

    # Arguments

    def same_line(self, name, value) -> None:
        """A name on the line after `=` is no value: a layer starts there, and the value is missing."""
        if not isinstance(value, ast.Name):
            return
        at = EQUALS.match(self.read, name.end_pos).end() - 1
        between = self.read[at:value.start]
        if "\n" in between or ";" in between:
            self.problem("E110", "a value is missing after `=`", at, at + 1, "write it after the `=`, on the same line")

    def keyword(self, c):
        self.same_line(c[0], c[1])
        return ast.Keyword(self.source, c[0].start_pos, c[1].end, c[1], str(c[0]))

    def flag(self, c):
        token, = c
        start, end = token.start_pos, token.end_pos
        digits = token[1:]
        value = self.sizes(digits, start + 1, end) if "x" in digits else self.literal(digits, start + 1, end)
        return ast.Flag(self.source, start, end, value, token[0])

    def positional(self, c):
        token, = c
        make = {"SIZE": self.size, "NUMBER": self.number, "NAME": self.name, "STRING": self.text}[token.type]
        return ast.Positional(self.source, token.start_pos, token.end_pos, make(c))

    def positional_ref(self, c):
        return ast.Positional(self.source, c[0].start, c[0].end, c[0])

    def ident(self, token):
        return ast.Ident(self.source, token.start_pos, token.end_pos, str(token))

    # Expressions

    def literal(self, text, start, end):
        value = number_value(text)
        if value is None:
            self.problem("E105", "this number is out of range", start, end,
                         f"numbers go up to {MAX_NUMBER:.0e}, with up to 40 digits".replace("+", ""))
            value = 1
        return ast.Number(self.source, start, end, 1, value)

    def sizes(self, text, start, end):
        parts = text.split("x")
        if len(parts) > 8 or any(len(p) > 15 for p in parts):
            self.problem("E105", "this size is out of range", start, end,
                         "sizes have up to 8 numbers of up to 15 digits")
            parts = ["1"]
        return ast.SizeLiteral(self.source, start, end, 1, tuple(None if p == "?" else int(p) for p in parts))

    def number(self, c):
        return self.literal(str(c[0]), c[0].start_pos, c[0].end_pos)

    def size(self, c):
        return self.sizes(str(c[0]), c[0].start_pos, c[0].end_pos)

    def text(self, c):
        return ast.Text(self.source, c[0].start_pos, c[0].end_pos, 1, str(c[0][1:-1]))

    def name(self, c):
        return ast.Name(self.source, c[0].start_pos, c[0].end_pos, 1, str(c[0]))

    def unary(self, c):
        op, operand = c
        return self.bounded(ast.Unary(self.source, op.start_pos, operand.end, operand.depth + 1, str(op), operand))

    def binary(self, c):
        left, op, right = c
        depth = max(left.depth, right.depth) + 1
        return self.bounded(ast.Binary(self.source, left.start, right.end, depth, str(op), left, right))

    def func(self, c):
        name, _, *args, close = c
        depth = max((a.depth for a in args), default=0) + 1
        return self.bounded(ast.Func(self.source, name.start_pos, close.end_pos, depth, str(name), args))

    def paren(self, c):
        expr = c[1]
        expr.start, expr.end = c[0].start_pos, c[2].end_pos
        return expr

    def list(self, items):
        depth = max(i.depth for i in items) + 1
        return ast.ListExpr(self.source, items[0].start, items[-1].end, depth, items)

    def bounded(self, expr):
        if expr.depth <= MAX_DEPTH:
            return expr
        if expr.depth == MAX_DEPTH + 1:
            self.problem("E106", "this expression is nested too deeply", expr.start, expr.end, "split it up with `let`")
        # Going on with a leaf keeps the tree low, so that nothing after this recurses deeply.
        return ast.Number(self.source, expr.start, expr.end, MAX_DEPTH + 1, 1)


class Refused(Exception):
    """The text does not fit the grammar: the offset of the token that does not, and the terminals that would."""

    def __init__(self, start: int, expected: set[str]):
        super().__init__(start, expected)
        self.start, self.expected = start, expected


class _Parser:
    """The tables made at build time, run without Lark; Lark where a text does not fit, or where there are no tables.

    Lark's parser is built on first use, from its own tables or from the grammar (0.1 s)."""

    def __init__(self):
        self.lock = threading.Lock()
        self.builder = AstBuilder()
        self.started = False
        self.automaton = self.lark = None

    def parse(self, source: Source, text: str) -> tuple[list[ast.Item], list[Diagnostic]]:
        """The items of `text`, with places in `source` (which may differ in blanked lines of the same length).

        Raises Refused; other problems that do not stop the parser are returned."""
        from .maketables import load_automaton

        with self.lock:
            if not self.started:
                self.started, self.automaton = True, load_automaton(GRAMMAR, self.builder)
            if self.automaton is not None:
                self.builder.begin(source, text)
                items = self.automaton.parse(text)
                if items is not None:
                    return items, self.builder.problems
            return self._with_lark(source, text)

    def _with_lark(self, source: Source, text: str) -> tuple[list[ast.Item], list[Diagnostic]]:
        from lark.exceptions import UnexpectedInput

        from .maketables import load_lark

        if self.lark is None:
            self.lark = load_lark(GRAMMAR, self.builder)
        self.builder.begin(source, text)
        try:
            return self.lark.parse(text), self.builder.problems
        except UnexpectedInput as error:
            raise Refused(*_place_of(error, text)) from None


def _place_of(error, text: str) -> tuple[int, set[str]]:
    """Offset of the token Lark stopped at, and the terminals it would have taken."""
    token = getattr(error, "token", None)
    if token is not None:
        expected = set(getattr(error, "accepts", None) or error.expected or ())
        return (len(text) if token.type == "$END" else token.start_pos), expected
    return error.pos_in_stream, set(error.allowed or ())


PARSER = _Parser()
