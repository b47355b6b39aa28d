"""The program as plain data. Every node knows its place in its source, and the source knows its comments."""

from __future__ import annotations

import bisect
import re
from fractions import Fraction

from .span import Span


class Source:
    """One file's text, with line ends normalised to `\\n` and no byte-order mark."""

    def __init__(self, file: str, text: str):
        self.file = file
        self.text = text
        self._starts: list[int] | None = None

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a character offset."""
        if self._starts is None:
            self._starts = [0] + [m.end() for m in re.finditer("\n", self.text)]
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def span(self, start: int, end: int) -> Span:
        """The span from `start` to `end`, cut at the end of its first line."""
        line, column = self.place(start)
        stop = self.text.find("\n", start, end)
        return Span(self.file, line, column, column + max(1, (end if stop < 0 else stop) - start))

    def comments(self) -> list[tuple[int, int]]:
        """Start and end offset of every comment, in order."""
        return [m.span() for m in re.finditer(r'"[^"\n]*"|(#[^\n]*)', self.text) if m.group(1)]


class Node:
    """A piece of a source. Subclasses annotate their fields, which are given in order or by name; one with a value in
    the class may be left out. (As dataclasses they would cost a third of a short command's start.)"""

    source: Source
    start: int
    end: int
    fields: tuple[str, ...] = ("source", "start", "end")

    def __init_subclass__(cls):
        own = tuple(cls.__annotations__)
        cls.fields = (*cls.fields, *own)

    def __init__(self, *values, **named):
        self.__dict__.update(zip(self.fields, values), **named)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields if name != "source")
        return f"{type(self).__name__}({shown})"

    @property
    def span(self) -> Span:
        return self.source.span(self.start, self.end)


class Ident(Node):
    """A name where something is defined or called."""

    name: str


# Expressions. `depth` is the height of the tree, kept so that nesting can be bounded while parsing.


class Expr(Node):
    depth: int


class Number(Expr):
    value: int | Fraction


class SizeLiteral(Expr):
    sizes: tuple[int | None, ...]


class Text(Expr):
    value: str


class Name(Expr):
    name: str


class Ref(Expr):
    """`@name`, in an expression or as a stage."""

    name: str


class Unary(Expr):
    op: str
    operand: Expr


class Binary(Expr):
    op: str
    left: Expr
    right: Expr


class Func(Expr):
    name: str
    args: list[Expr]


class ListExpr(Expr):
    items: list[Expr]


# Arguments


class Arg(Node):
    value: Expr


class Positional(Arg):
    pass


class Flag(Arg):
    name: str


class Keyword(Arg):
    name: str


# Flow


class Layer(Node):
    """`name args { branches }`; `end` is that of the last argument, branches have their own place."""

    callee: Ident
    args: list[Arg]
    branches: Branches | None
    alias: Ident | None = None


class Repeat(Node):
    count: Expr
    index: Ident | None
    body: Body
    alias: Ident | None = None


class When(Node):
    condition: Expr
    body: Body
    otherwise: Body | When | None
    alias: Ident | None = None


class RefStage(Node):
    ref: Ref
    alias: Ident | None = None


Stage = Layer | Repeat | When | RefStage


class Branches(Node):
    chains: list[list[Stage]]


class Body(Node):
    lets: list[Let]
    chain: list[Stage]


# Items


class Let(Node):
    name: Ident
    value: Expr


class Default(Node):
    callee: Ident
    args: list[Arg]


class Include(Node):
    path: Text


class Parameter(Node):
    name: str
    default: Expr | None


class Block(Node):
    name: Ident
    params: list[Parameter]
    body: Body


class Head(Node):
    name: Ident
    args: list[Arg]
    body: Body


class SettingLine(Node):
    """`name args`, or `name: stages` where `stages` is not None."""

    name: Ident
    args: list[Arg]
    stages: list[Stage] | None = None


class Section(Node):
    name: str
    settings: list[SettingLine]


class Pipe(Node):
    """Stages on one line, as written."""

    stages: list[Stage]


Item = Let | Default | Include | Block | Head | Section | Pipe
