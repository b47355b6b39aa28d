"""The program as plain data. Every node knows its place in its source, and the source knows its comments."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
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


@dataclass(eq=False)
class Node:
    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def span(self) -> Span:
        return self.source.span(self.start, self.end)


@dataclass(eq=False)
class Ident(Node):
    """A name where something is defined or called."""

    name: str


# Expressions. `depth` is the height of the tree, kept so that nesting can be bounded while parsing.


@dataclass(eq=False)
class Expr(Node):
    depth: int


@dataclass(eq=False)
class Number(Expr):
    value: int | Fraction


@dataclass(eq=False)
class SizeLiteral(Expr):
    sizes: tuple[int | None, ...]


@dataclass(eq=False)
class Text(Expr):
    value: str


@dataclass(eq=False)
class Name(Expr):
    name: str


@dataclass(eq=False)
class Ref(Expr):
    """`@name`, in an expression or as a stage."""

    name: str


@dataclass(eq=False)
class Unary(Expr):
    op: str
    operand: Expr


@dataclass(eq=False)
class Binary(Expr):
    op: str
    left: Expr
    right: Expr


@dataclass(eq=False)
class Func(Expr):
    name: str
    args: list[Expr]


@dataclass(eq=False)
class ListExpr(Expr):
    items: list[Expr]


# Arguments


@dataclass(eq=False)
class Arg(Node):
    value: Expr


@dataclass(eq=False)
class Positional(Arg):
    pass


@dataclass(eq=False)
class Flag(Arg):
    name: str


@dataclass(eq=False)
class Keyword(Arg):
    name: str


# Flow


@dataclass(eq=False)
class Layer(Node):
    """`name args { branches }`; `end` is that of the last argument, branches have their own place."""

    callee: Ident
    args: list[Arg]
    branches: Branches | None
    alias: Ident | None = None


@dataclass(eq=False)
class Repeat(Node):
    count: Expr
    index: Ident | None
    body: Body
    alias: Ident | None = None


@dataclass(eq=False)
class When(Node):
    condition: Expr
    body: Body
    otherwise: Body | When | None
    alias: Ident | None = None


@dataclass(eq=False)
class RefStage(Node):
    ref: Ref
    alias: Ident | None = None


Stage = Layer | Repeat | When | RefStage


@dataclass(eq=False)
class Branches(Node):
    chains: list[list[Stage]]


@dataclass(eq=False)
class Body(Node):
    lets: list[Let]
    chain: list[Stage]


# Items


@dataclass(eq=False)
class Let(Node):
    name: Ident
    value: Expr


@dataclass(eq=False)
class Default(Node):
    callee: Ident
    args: list[Arg]


@dataclass(eq=False)
class Include(Node):
    path: Text


@dataclass(eq=False)
class Parameter(Node):
    name: str
    default: Expr | None


@dataclass(eq=False)
class Block(Node):
    name: Ident
    params: list[Parameter]
    body: Body


@dataclass(eq=False)
class Head(Node):
    name: Ident
    args: list[Arg]
    body: Body


@dataclass(eq=False)
class SettingLine(Node):
    """`name args`, or `name: stages` where `stages` is not None."""

    name: Ident
    args: list[Arg]
    stages: list[Stage] | None = None


@dataclass(eq=False)
class Section(Node):
    name: str
    settings: list[SettingLine]


@dataclass(eq=False)
class Pipe(Node):
    """Stages on one line, as written."""

    stages: list[Stage]


Item = Let | Default | Include | Block | Head | Section | Pipe
