"""A program as the formatter sees it: words, braces and rows, each with the comments that stand before it.

The tree keeps every token of the text, so that whoever prints it again can only change spaces and line breaks. Where
statements begin, and which braces hold branches, is read from the AST.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from . import ast
from .ast import Source

TAB = 4

_TOKEN = re.compile(r"""
    (?P<space>[ \t\n;]+)
  | (?P<comment>\#[^\n]*)
  | "[^"\n]*"
  | (?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)e[-+]?[0-9]+(?![\w.])
  | [\w.?]+
  | -> | == | != | <= | >=
  | .""", re.VERBOSE)


@dataclass(eq=False)
class Comment:
    text: str
    own_line: bool
    blank: bool         # a blank line stands before it


@dataclass(eq=False)
class Token:
    """`column` and `end_column` count from 0, tabs expanded. `newline`: only blanks, a comment at most, before it."""

    text: str
    start: int
    line: int
    column: int
    end_column: int
    gap: int            # columns between it and what stands before it on its line, a `;` included
    newline: bool
    blank: bool
    comments: list[Comment] = field(default_factory=list)


@dataclass(eq=False)
class Group:
    """Braces. `branches` has one list of rows for each branch, `bars` what stands before each but the first."""

    kind: str           # "body", "branches" or "section"
    open: Token
    close: Token
    branches: list[list[Row]]
    bars: list[Token]
    text: str | None = ""           # on one line, None where that cannot be; the formatter finds and keeps it


@dataclass(eq=False)
class Statement:
    parts: list[Token | Group]

    @property
    def first(self) -> Token:
        return self.parts[0]        # a statement begins with a word or `@`


Row = list[Statement]               # statements on one line, with `;` between them


def read_rows(source: Source, items: list[ast.Item]) -> tuple[list[Row], Token]:
    """The file's rows, and a token without text that has the comments at its end."""
    return _TreeReader(source, items).file()


class _TreeReader:
    def __init__(self, source: Source, items: list[ast.Item]):
        self.tokens = tokens(source)
        self.at = 0
        self.starts: set[int] = set()
        self.kinds: dict[int, str] = {}
        self.items(items)

    # Places, from the AST

    def items(self, items: list[ast.Item]) -> None:
        for item in items:
            self.starts.add(item.start)
            if isinstance(item, ast.Pipe):
                self.stages(item.stages)
            elif isinstance(item, (ast.Block, ast.Head)):
                self.body(item.body)
            elif isinstance(item, ast.Section):
                for line in item.settings:
                    self.starts.add(line.start)
                    self.stages(line.stages or [])

    def body(self, body: ast.Body) -> None:
        self.kinds[body.start] = "body"
        self.starts.update(let.start for let in body.lets)
        self.stages(body.chain)

    def stages(self, stages: list[ast.Stage]) -> None:
        for stage in stages:
            self.starts.add(stage.start)
            if isinstance(stage, ast.Repeat):
                self.body(stage.body)
            elif isinstance(stage, ast.Layer) and stage.branches is not None:
                self.kinds[stage.branches.start] = "branches"
                for chain in stage.branches.chains:
                    self.stages(chain)
            arm = stage
            while isinstance(arm, ast.When):
                self.body(arm.body)
                arm = arm.otherwise
            if isinstance(arm, ast.Body):
                self.body(arm)

    # The tree

    def file(self) -> tuple[list[Row], Token]:
        return self.rows(), self.tokens[-1]

    def rows(self) -> list[Row]:
        """Statements up to a `|`, a `}` or the end, those with only `;` between them in one row."""
        rows: list[Row] = []
        while self.tokens[self.at].text not in ("|", "}", ""):
            statement = self.statement()
            first = statement.first
            if rows and not first.newline and not first.comments:
                rows[-1].append(statement)
            else:
                rows.append([statement])
        return rows

    def statement(self) -> Statement:
        parts: list[Token | Group] = []
        while True:
            token = self.tokens[self.at]
            if token.text in ("|", "}", "") or (parts and self.begins(token, parts[-1])):
                return Statement(parts)
            if token.text == "{":
                parts.append(self.group())
            else:
                parts.append(token)
                self.at += 1

    def begins(self, token: Token, before: Token | Group) -> bool:
        return token.start in self.starts and not (isinstance(before, Token) and before.text in ("->", ":"))

    def group(self) -> Group:
        opening = self.tokens[self.at]
        self.at += 1
        first = self.tokens[self.at]
        if first.text == "|":
            # The optional first bar is left out; its comments stay.
            self.at += 1
            after = self.tokens[self.at]
            after.comments = first.comments + after.comments
            after.newline |= first.newline
        branches, bars = [self.rows()], []
        while self.tokens[self.at].text == "|":
            bars.append(self.tokens[self.at])
            self.at += 1
            branches.append(self.rows())
        closing = self.tokens[self.at]
        self.at += 1
        return Group(self.kinds.get(opening.start, "section"), opening, closing, branches, bars)


def tokens(source: Source) -> list[Token]:
    """Every token with the comments before it; the last has no text."""
    found: list[Token] = []
    comments: list[Comment] = []
    line, line_start, columns = 1, 0, _columns(source.text, 0)
    space, before = "\n", 0
    for match in _TOKEN.finditer(source.text):
        text, start = match.group(), match.start()
        if match.lastgroup == "space":
            space = text
            if "\n" in text:
                line += text.count("\n")
                line_start = start + text.rfind("\n") + 1
                columns = _columns(source.text, line_start)
            continue
        newline, blank = "\n" in space, space.count("\n") > 1
        if match.lastgroup == "comment":
            comments.append(Comment(text.rstrip(), newline, blank))
        else:
            column, end_column = columns(start), columns(match.end())
            if ";" in space and not newline:
                before = columns(start - len(space) + space.rindex(";") + 1)
            gap = 0 if newline else column - before
            found.append(Token(text, start, line, column, end_column, gap, newline, blank, comments))
            comments, before = [], end_column
        space = ""
    found.append(Token("", len(source.text), line, 0, 0, 0, True, False, comments))
    return found


def _columns(text: str, start: int) -> Callable[[int], int]:
    """Offset -> column for the line that begins at `start`."""
    end = text.find("\n", start)
    line = text[start:end if end >= 0 else len(text)]
    if "\t" not in line:
        return lambda offset: offset - start
    places = [0]
    for c in line:
        places.append((places[-1] // TAB + 1) * TAB if c == "\t" else places[-1] + 1)
    return lambda offset: places[offset - start]


def stages(statement: Statement) -> Iterator[tuple[Token | None, list[Token | Group]]]:
    """Each stage with the `->` before it."""
    arrow, parts = None, []
    for part in statement.parts:
        if isinstance(part, Token) and part.text == "->":
            yield arrow, parts
            arrow, parts = part, []
        else:
            parts.append(part)
    yield arrow, parts
