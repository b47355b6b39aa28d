"""What a text defines and where one stands in it, told from its words and braces alone.

The parser refuses a text that is half typed, and that is what an editor holds most of the time. So the outline looks at
no more than statements, braces and the names that are introduced; what it finds in a correct text is what the parser
finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..lang.suggest import KEYWORDS
from ..sections import SECTIONS

TOKEN = re.compile(r"""
    (?P<space>[^\S\n]+) | (?P<comment>\#[^\n]*) | (?P<text>"[^"\n]*"?) | (?P<arrow>->) | (?P<end>[\n;])
  | (?P<ref>@[ \t]*(?:[A-Za-z_]\w*)?) | (?P<name>[A-Za-z_]\w*) | (?P<number>[\d?.][\w.?]*) | (?P<mark>.)
""", re.VERBOSE)

TOP = ("block", "head", "include", "default")       # these stand at the top of a file and in no braces


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass
class Definition:
    """A name: `block`, `parameter`, `let`, `index`, `name` (of an output), `head` or `section`.

    `detail` is the text that defines it: a block's signature, the expression of a let, the stage that is named.
    """

    kind: str
    name: str
    start: int
    frame: Frame
    detail: str = ""

    @property
    def end(self) -> int:
        return self.start + len(self.name)


@dataclass
class Statement:
    """The tokens of one layer, setting, definition or condition, without those inside its braces.

    `lead` is what stands before it: `->`, `{`, `|`, `:`, `}`, or an empty text after a line's end. `setting` is the
    name of the setting that a step of a pipeline belongs to, `opens` the braces that follow.
    """

    frame: Frame
    lead: str
    tokens: list[Token] = field(default_factory=list)
    setting: str = ""
    opens: Frame | None = None

    @property
    def head(self) -> str:
        return self.tokens[0].text if self.tokens else ""

    @property
    def is_stage(self) -> bool:
        return bool(self.tokens) and self.tokens[0].kind == "name" and self.head not in KEYWORDS \
            and self.frame.kind != "section" and not (self.opens and self.opens.kind == "section")


@dataclass
class Frame:
    """A pair of braces: `file`, `block`, `head`, `section`, `repeat`, `when`, `branches`, or one `branch` of these."""

    kind: str
    start: int
    parent: Frame | None = None
    name: str = ""
    end: int = -1                  # past the closing brace; -1 while open
    definitions: list[Definition] = field(default_factory=list)

    def chain(self) -> Iterator[Frame]:
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.parent

    def contains(self, offset: int) -> bool:
        return self.start <= offset and (self.end < 0 or offset < self.end)


class Outline:
    """`definitions`, `frames`, `statements`, `includes` (path, start of the text, end) and `comments` of a text.

    `frame` and `statement` are those that are open at its end. cut: the text ends where the cursor is, and what the
    last statement defines is not known yet.
    """

    def __init__(self, text: str, cut: bool = False):
        self.text = text
        self.file = Frame("file", 0)
        self.frame = self.file
        self.frames = [self.file]
        self.statements: list[Statement] = []
        self.includes: list[tuple[str, int, int]] = []
        self.comments: list[Token] = []
        self.inside = ""                # "comment" or "text" where the text ends inside one
        self._scan()
        if not cut:
            self._close()

    # Reading

    def _scan(self) -> None:
        tokens = []
        for match in TOKEN.finditer(self.text):
            token = Token(match.lastgroup, match.group(), match.start())
            if token.kind == "comment":
                self.comments.append(token)
            elif token.kind != "space":
                tokens.append(token)
        last = tokens[-1] if tokens else None
        if self.comments and self.comments[-1].end == len(self.text):
            self.inside = "comment"
        elif last and last.kind == "text" and last.end == len(self.text) and (len(last.text) == 1
                                                                             or last.text[-1] != '"'):
            self.inside = "text"
        self._open("")
        for i, token in enumerate(tokens):
            self._token(token, tokens[i + 1] if i + 1 < len(tokens) else None)

    def _token(self, token: Token, following: Token | None) -> None:
        if token.kind == "end":
            if following is None or not continues(following):
                self._close()
                self._open("")
        elif token.kind == "arrow" or (token.text == ":" and self.frame.kind == "section"):
            setting = self.statement.setting or self.statement.head
            self._close()
            self._open(token.text)
            self.statement.setting = setting if self.frame.kind == "section" else ""
        elif token.text == "{":
            self._enter(token)
        elif token.text == "}":
            self._leave(token)
        elif token.text == "|" and self.frame.kind == "branch":
            self._close()
            self._shut(token.start)
            self._push(Frame("branch", token.end, self.frame))
            self._open("|")
        else:
            first = not self.statement.tokens
            if first and token.text in TOP and self.frame is not self.file:
                self._abandon(token)
            self.statement.tokens.append(token)

    def _abandon(self, token: Token) -> None:
        """A brace is missing above: this word can only stand at the top."""
        self.statements.pop()
        while self.frame is not self.file:
            self._shut(token.start)
        self._open("")

    def _open(self, lead: str) -> None:
        self.statement = Statement(self.frame, lead)
        self.statements.append(self.statement)

    def _push(self, frame: Frame) -> None:
        self.frame = frame
        self.frames.append(frame)

    def _shut(self, end: int) -> None:
        self.frame.end = end
        self.frame = self.frame.parent or self.file

    def _enter(self, token: Token) -> None:
        statement, head = self.statement, self.statement.head
        kind = "when" if head == "else" else head if head in ("block", "head", "repeat", "when") else "branches"
        if head in SECTIONS and len(statement.tokens) == 1 and self.frame is self.file:
            kind = "section"
        frame = Frame(kind, token.start, self.frame, statement.tokens[1].text if kind in ("block", "head")
                      and len(statement.tokens) > 1 else head)
        statement.opens = frame
        self._close(frame)
        self._push(frame)
        if kind == "branches":
            self._push(Frame("branch", token.end, self.frame))
        self._open("{")

    def _leave(self, token: Token) -> None:
        self._close()
        if self.frame.kind == "branch":
            self._shut(token.start)
        if self.frame is not self.file:
            self._shut(token.end)
        self._open("}")

    def _close(self, inner: Frame | None = None) -> None:
        """The current statement is whole: what it defines is known. `inner` is the frame it opens."""
        tokens = self.statement.tokens
        if not tokens:
            return
        words = [t.text for t in tokens]
        named = tokens[1] if len(tokens) > 1 and tokens[1].kind == "name" else None
        if words[0] == "let" and named:
            self._define("let", named, self.frame, self.source(tokens[3:]))
        elif words[0] == "include" and len(tokens) > 1 and tokens[1].kind == "text":
            self.includes.append((tokens[1].text.strip('"'), tokens[1].start, tokens[1].end))
        elif words[0] == "block" and named:
            self._define("block", named, self.file, self.source(tokens[1:]))
            self._parameters(tokens[2:], inner)
        elif words[0] == "head" and named:
            self._define("head", named, self.file, self.source(tokens[1:]))
        elif inner is not None and inner.kind == "section":
            self._define("section", tokens[0], self.file)
        for keyword, name in zip(tokens, tokens[1:]):
            if keyword.text == "as" and keyword.kind == name.kind == "name":
                if inner is not None and inner.kind == "repeat":
                    self._define("index", name, inner, self.source(tokens))
                else:
                    self._define("name", name, self.frame, self.source(tokens))

    def _parameters(self, tokens: list[Token], inner: Frame | None) -> None:
        """Names that no operator stands before: those after one are part of a default."""
        for i, token in enumerate(tokens):
            before = tokens[i - 1] if i else None
            value = before is not None and (before.kind == "mark" and before.text not in ")?"
                                            or before.text in ("and", "or", "not"))
            operator = token.text in ("and", "or", "not")
            call = i + 1 < len(tokens) and tokens[i + 1].text == "("
            if token.kind == "name" and inner is not None and not value and not call and not operator:
                default = self.source(tokens[i + 2:i + 3]) if tokens[i + 1:i + 2] \
                    and tokens[i + 1].text == "=" else ""
                self._define("parameter", token, inner, default)

    def _define(self, kind: str, token: Token, frame: Frame, detail: str = "") -> None:
        frame.definitions.append(Definition(kind, token.text, token.start, frame, detail))

    def source(self, tokens: list[Token]) -> str:
        return " ".join(self.text[tokens[0].start:tokens[-1].end].split()) if tokens else ""

    # Asking

    @property
    def definitions(self) -> list[Definition]:
        return [d for frame in self.frames for d in frame.definitions]

    def defined(self, kind: str) -> list[Definition]:
        """What the file's top defines of this kind."""
        return [d for d in self.file.definitions if d.kind == kind]

    def at(self, offset: int) -> tuple[Statement, Token] | None:
        """The statement and the token in it that an offset is on; at the end of a word the word counts."""
        found = None
        for statement in self.statements:
            for token in statement.tokens:
                if token.start <= offset <= token.end and (found is None or token.start == offset):
                    if offset < token.end or token.kind in ("name", "ref", "number"):
                        found = statement, token
        return found

    def frame_at(self, offset: int) -> Frame:
        inner = self.file
        for frame in self.frames:
            if frame.contains(offset) and frame.start >= inner.start:
                inner = frame
        return inner

    def values(self, frame: Frame, offset: int) -> list[Definition]:
        """Lets, parameters and indices that are in scope, innermost first."""
        return [d for level in frame.chain() for d in reversed(level.definitions)
                if d.kind in ("let", "parameter", "index") and (d.end < offset or level.kind == "file")]

    def names(self, frame: Frame, offset: int) -> list[Definition]:
        """Outputs that `@` can refer to, innermost first: up to the block, and parameters of it."""
        found, heads = [], False
        for level in frame.chain():
            heads = heads or level.kind == "head"
            found += [d for d in reversed(level.definitions) if d.kind == "name"
                      and (d.end < offset or heads and level.kind == "file")]
            if level.kind == "block":
                return found + [d for d in level.definitions if d.kind == "parameter"]
        return found

    def comment_above(self, offset: int) -> str:
        """The comment lines directly above the line of an offset, without their marks."""
        lines = self.text[:offset].split("\n")[:-1]
        found = []
        while lines and lines[-1].lstrip().startswith("#"):
            found.append(lines.pop().lstrip().lstrip("#").strip())
        return "\n".join(reversed(found)).strip()


def continues(token: Token) -> bool:
    """Whether a line that begins with this goes on with the one before."""
    return token.kind == "arrow" or token.text in ("|", "{", "}", "else") or token.kind == "end"
