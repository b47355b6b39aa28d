"""The canonical layout of a `.net` text. The author decides about lines, the formatter about everything else.

Lines
- A line break stays where it was written: between layers, before `->`, between settings. Runs of blank lines become
  one; there is none after `{`, before `}`, `|`, `->` and `else`, nor at either end of the file.
- At the top of a file each statement has its own line. Within braces `;` stays where it was used.
- Lines are at most 100 columns wide where that is possible. One that is longer is broken before as few `->` as will
  do; the next lines are indented by four. Braces that do not fit on a line of their own are opened; branches that are
  opened begin in the left half.

Braces
- `{ a -> b }` stays on its line if it was written on one, has no comment in it and fits. Else it is opened: the
  contents on lines of their own, indented by four, `}` below them. What holds open braces is itself open.
- Opened branches stand under each other; a `|` before the first is dropped:
      add { a
          | b } -> relu
- `} else {` stays on one line where the braces are open. Arms that each take one line may stand under each other, if
  they were written so or if all of them do not fit on one line.

Spaces
- One space between words and round `->`, `|`, `{`, `}` and the `=` of `let`; none in `key=value`, in arithmetic, after
  `-` and `@`. Comparisons have spaces in `let`, `when`, `repeat` and parentheses. `f(a, b)`, but the list `1,2,3`.
- More than one space stays where it lines something up with the same thing in the line above or below (`->`, `=`, `{`,
  `as` and words at their start, numbers at their end), and no more of them than that takes. A blank line ends this.

Comments
- A comment stays before or after what it stood before or after, its text as it is. Comments after code have two spaces
  before them and stand under each other in neighbouring lines, but for those after an opening and a closing brace.

Everything else stays as it was written: names, numbers, parentheses, the order of arguments, `s2` against `s=2`.
"""

from __future__ import annotations

from ..errors import Diagnostic
from .ast import Source
from .columns import Cell, Line, comment_columns, line_up
from .errors import SourceError
from .parser import MAX_TEXT
from .reader import normalise
from .syntax import parse_source
from .tokens import Group, Row, Statement, Token, read_rows, stages

WIDTH = 100
INDENT = 4

_ARITHMETIC = ("+", "-", "*", "/", "^")
_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_GLUE = (*_ARITHMETIC, "(", "@")
_OPERAND_FOLLOWS = (*_ARITHMETIC, *_COMPARISONS, "=", "(", ",", "when", "repeat", "and", "or", "not")
_CONDITIONS = ("let", "when", "else", "repeat")     # what their comparisons stand in has room for spaces

Parts = list[Token | Group]


def format(text: str, file: str = "<text>") -> str:
    """The text in canonical layout, with the same meaning and the same comments; formatting it again changes nothing.

    Line ends become `\\n` and a byte-order mark goes. Includes are not followed. Raises NetError, with diagnostics that
    point into `file`, for everything the grammar refuses.
    """
    source = Source(file, normalise(text))
    items, problems = parse_source(source)
    if problems:
        raise SourceError(problems, {file: source.text})
    rows, end = read_rows(source, items)
    printer = _Printer()
    printer.rows([[statement] for row in rows for statement in row], end, 0)
    formatted = printer.text()
    if len(formatted) > MAX_TEXT:
        raise SourceError([Diagnostic("E101", f"formatted, the text would be larger than {MAX_TEXT} characters", file,
                                      help="put a part of it into another file and `include` that")], {})
    return formatted


class _Printer:
    def __init__(self):
        self.lines: list[Line] = []
        self.position = 0       # of the end of the current line, nothing lined up

    def text(self) -> str:
        line_up(self.lines)
        comments = comment_columns(self.lines)
        out = []
        for line in self.lines:
            text = ""
            for cell in line.cells:
                text = text.ljust(cell.place) + cell.text
            if line.comment:
                text = text.ljust(comments.get(id(line), line.indent)) + line.comment
            out += [""] * line.blank + [text]
        return "\n".join(out) + "\n" * bool(out)

    # Lines and cells

    def newline(self, indent: int, blank: bool = False) -> None:
        self.lines.append(Line(indent, blank))
        self.position = indent

    def put(self, token: Token, joined: bool = False) -> None:
        cells = self.lines[-1].cells
        if joined:
            cells[-1].add(token)
        else:
            self.position += bool(cells)
            cells.append(Cell.of(token))
        self.position += len(token.text)

    def comments(self, token: Token, indent: int, blank: bool = False) -> None:
        """The comments before a token. `blank`: blank lines before them stay."""
        for comment in token.comments:
            if comment.own_line or not self.lines or self.lines[-1].comment:
                self.newline(indent, comment.blank and blank)
                blank = True
            self.lines[-1].comment = comment.text

    def fix(self) -> int:
        """The column of the last cell, which lines below will hang on."""
        line = self.lines[-1]
        line.fixed = len(line.cells)
        return self.position - len(line.cells[-1].text)

    # Rows and statements

    def rows(self, rows: list[Row], end: Token, indent: int, started: bool = False, tail: int = 0) -> None:
        """Rows and the comments before `end`. `started`: the first stands on the line there is, after `{` or `|`."""
        for number, row in enumerate(rows):
            first = row[0].first
            self.comments(first, indent, number > 0)
            if not started or number > 0 or first.comments:
                self.newline(indent, first.blank and (number > 0 or any(c.own_line for c in first.comments)))
            self.row(row, indent, tail if number == len(rows) - 1 else 0)
        self.comments(end, indent, bool(rows))

    def row(self, row: Row, indent: int, tail: int) -> None:
        if len(row) > 1 and (text := flat_row(row)) is not None and indent + len(text) + tail <= WIDTH:
            self.inline_row(row)
            return
        for number, statement in enumerate(row):
            if number > 0:
                self.newline(indent)
            self.statement(statement, indent, tail)

    def inline_row(self, row: Row) -> None:
        for number, statement in enumerate(row):
            if number > 0:
                self.lines[-1].cells[-1].text += ";"
                self.position += 1
            for arrow, parts in stages(statement):
                if arrow is not None:
                    self.put(arrow)
                self.inline(parts)

    def statement(self, statement: Statement, indent: int, tail: int) -> None:
        found = list(stages(statement))
        last = len(found) - 1
        margin = indent
        for number, (arrow, parts) in enumerate(found):
            room = tail if number == last else 0
            if arrow is not None:
                if arrow.newline or not self.has_room(parts, indent + INDENT, room):
                    margin = indent + INDENT
                    self.comments(arrow, margin)
                    self.newline(margin)
                self.put(arrow)
            self.stage(parts, margin, room)

    def has_room(self, parts: Parts, margin: int, tail: int) -> bool:
        """Whether `-> stage` goes on this line; where its braces must be opened anyway, whether they begin on it.

        Branches that are opened far to the right would leave little room for what is in them."""
        text, limit = flat(parts), WIDTH
        group = next((n for n, part in enumerate(parts) if isinstance(part, Group)), None)
        if group is not None and (text is None or margin + len("-> ") + len(text) + tail > WIDTH):
            text, tail = (flat(parts[:group]) or "") + " {", 0
            limit = WIDTH // 2 if parts[group].kind == "branches" else WIDTH
        return self.position + len(" -> ") + len(text or "") + tail <= limit

    def stage(self, parts: Parts, indent: int, tail: int) -> None:
        text = flat(parts)
        if text is not None and self.position + bool(self.lines[-1].cells) + len(text) + tail <= WIDTH:
            self.inline(parts)
        elif any(is_else(part) for part in parts) and self.fits_as_table(parts, tail):
            self.table(parts)
        else:
            self.opened(parts, indent, tail)

    def inline(self, parts: Parts) -> None:
        spaced = spacing(parts)
        for number, part in enumerate(parts):
            if isinstance(part, Group):
                self.put(part.open)
                for bar, rows in zip([None, *part.bars], part.branches):
                    if bar is not None:
                        self.put(bar)
                    self.inline_row([statement for row in rows for statement in row])
                self.put(part.close)
            else:
                self.put(part, not spaced[number])

    def opened(self, parts: Parts, indent: int, tail: int) -> None:
        """A stage that does not go on one line: its braces opened, its comments where they were."""
        spaced = spacing(parts)
        for number, part in enumerate(parts):
            if isinstance(part, Group):
                self.hang(part.open, indent)
                self.branches(part, tail) if part.kind == "branches" else self.body(part, indent)
            elif number > 0 and self.hang(part, indent if is_else(part) else indent + INDENT):
                self.put(part)
            else:
                self.put(part, not spaced[number])

    def hang(self, token: Token, indent: int) -> bool:
        """The comments before a token within a statement; whether it begins a line because of them."""
        if token.comments:
            self.comments(token, indent)
            self.newline(indent)
        return bool(token.comments)

    # Braces

    def body(self, group: Group, indent: int) -> None:
        rows = group.branches[0]
        if flat_group(group) is not None:
            rows = [[statement] for row in rows for statement in row]
        self.put(group.open)
        self.rows(rows, group.close, indent + INDENT)
        if rows or group.close.comments:
            self.newline(indent)
        self.put(group.close)

    def branches(self, group: Group, tail: int) -> None:
        self.put(group.open)
        column = self.fix()
        inner = column + 2
        for bar, rows, end in zip([None, *group.bars], group.branches, [*group.bars, group.close]):
            if bar is not None:
                self.newline(column)
                self.put(bar)
            self.rows(rows, end, inner, started=True, tail=tail + 2 if end is group.close else 0)
        if group.close.comments:
            self.newline(column)
        self.put(group.close)

    # when … else

    def fits_as_table(self, parts: Parts, tail: int) -> bool:
        for part in parts[1:]:
            if isinstance(part, Group):
                if part.open.comments or flat_group(part) is None:
                    return False
            elif part.comments and not is_else(part):
                return False
        column = self.position + bool(self.lines[-1].cells)
        return all(column + len(flat(arm) or "") + tail <= WIDTH for arm in arms(parts))

    def table(self, parts: Parts) -> None:
        """Each arm on a line of its own, the `else` under the `when`."""
        line = self.lines[-1]
        column, number = self.position + bool(line.cells), len(line.cells)
        for arm in arms(parts):
            if arm[0] is not parts[0]:
                self.comments(arm[0], column)
                self.newline(column)
            self.inline(arm)
        line.fixed = number + 1


def is_else(part: Token | Group) -> bool:
    return isinstance(part, Token) and part.text == "else"


def arms(parts: Parts) -> list[Parts]:
    """`when … { … }` and each `else … { … }`."""
    starts = [0, *(n for n, part in enumerate(parts) if is_else(part)), len(parts)]
    return [parts[a:b] for a, b in zip(starts, starts[1:])]


# On one line: the text, or None where a comment or a line break of the author stands in the way. What stands before the
# first token is not looked at.


def flat_row(row: Row) -> str | None:
    texts = []
    for statement in row:
        for arrow, parts in stages(statement):
            text = flat(parts)
            if text is None or (arrow is not None and (arrow.newline or arrow.comments)):
                return None
            texts.append(text if arrow is None else f"-> {text}")
        texts[-1] += ";"
    return " ".join(texts).removesuffix(";")


def flat(parts: Parts) -> str | None:
    text = ""
    for number, (part, spaced) in enumerate(zip(parts, spacing(parts))):
        piece = flat_group(part) if isinstance(part, Group) else part.text
        start = part.open if isinstance(part, Group) else part
        if piece is None or (number > 0 and (start.comments or (is_else(part) and part.newline))):
            return None
        text += " " * (spaced and number > 0) + piece
    return text


def flat_group(group: Group) -> str | None:
    if group.text == "":
        group.text = _flat_group(group)
    return group.text


def _flat_group(group: Group) -> str | None:
    if group.close.comments or (group.close.newline and group.branches[0]):
        return None
    if any(bar.newline or bar.comments for bar in group.bars):
        return None
    texts = []
    for rows in group.branches:
        if len(rows) > 1 or any(row[0].first.newline or row[0].first.comments for row in rows):
            return None
        texts += [flat_row(row) for row in rows]
    return None if None in texts else " ".join(["{", " | ".join(texts), "}"] if texts else "{ }")


def spacing(parts: Parts) -> list[bool]:
    """For each part, whether a space stands before it."""
    conditions = isinstance(parts[0], Token) and parts[0].text in _CONDITIONS
    let = isinstance(parts[0], Token) and parts[0].text == "let"
    spaced: list[bool] = []
    calls: list[bool] = []          # of the parentheses that are open, which are those of a function
    glue = False                    # the next part is joined to the one before it
    wanted = name = False           # an operand belongs next; the part before is the name of one
    for part in parts:
        text = part.text if isinstance(part, Token) else "{"
        joined, glue = glue, text in _GLUE
        if text == "(":
            calls.append(name)
            joined |= name
        elif text == ")":
            calls.pop()
            joined = True
        elif text in (",", ":"):
            joined, glue = True, text == "," and not calls
        elif text == "=" or text in _COMPARISONS:
            wide = let and not calls if text == "=" else conditions or bool(calls)
            joined = glue = not wide
        elif text in _ARITHMETIC and not wanted:
            joined = True
        spaced.append(not joined)
        # Where an operand belongs, `and(` is the name of a function, as far as the grammar goes.
        name = wanted and text.isidentifier() and text != "not"
        wanted = text in _OPERAND_FOLLOWS and not name
    return spaced
