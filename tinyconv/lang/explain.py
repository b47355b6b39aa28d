"""One syntax error in the reader's words: the message, the place and the fix, from what stands around it.

The file is long because the language's mistakes are many; each method knows one kind of them.
"""

from __future__ import annotations

import re

from ..errors import Diagnostic, Label
from .ast import Source

# Strings and comments are skipped, so that what they hold is neither a brace nor a word.
MARKS = re.compile(r'"[^"\n]*"|#[^\n]*|([{}()])')
KEYWORDS = ("let", "default", "include", "block", "head", "repeat", "when", "else", "as", "and", "or", "not")
LOOKALIKES = {
    "→": "->",
    "⇒": "->",
    "⟶": "->",
    "➔": "->",
    "➜": "->",
    "×": "x",
    "✕": "x",
    "·": "*",
    "−": "-",
    "–": "-",
    "—": "-",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": '"',
    "’": '"',
    "，": ",",
    "；": ";",
    "：": ":",
    "（": "(",
    "）": ")",
    "｛": "{",
    "｝": "}",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "÷": "/",
    "∗": "*",
    "′": '"',
     }
NAMED_SPACES = {"\u00a0": "a no-break space", "\u3000": "a wide space", "\u200b": "a zero-width space",
                "\ufeff": "a byte-order mark", "\u2028": "a line separator", "\u2003": "an em space",
                "\u2009": "a thin space", "\u202f": "a narrow no-break space"}

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BITS = re.compile(r'"[^"\n]*"?|->|=>|==|!=|<=|>=|@?[\w.?]+|\S')


class Explainer:
    """One syntax error: looks at the text around it and says what is wrong."""

    def __init__(self, source: Source, text: str, at: int, expected: set[str]):
        self.source = source
        self.text = text
        self.at = at
        self.expected = expected
        self.bits = self._code(max(0, at - 4000), at)
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
        return Diagnostic(code, message, *self.source.span(start, min(end, len(self.text))
                          if start < len(self.text) else end), help=help, labels=labels)

    def explain(self) -> Diagnostic:
        for step in (
    self.unclosed,
    self.at_end,
    self.lookalike,
    self.wrong_arrow,
    self.let_without_value,
    self.brace,
    self.bar,
    self.arrow,
    self.keyword,
    self.text_literal,
    self.assignment,
    self.call,
    self.operator,
    self.punctuation,
    self.malformed,
     self.missing_arrow):
            found = step()
            if found:
                return found
        return self.report(f"`{self.printable()}` is not expected here", self.wanted())

    def printable(self) -> str:
        word = self.word or self.text[self.at:self.at + 1]
        word = word if len(word) <= 40 else word[:37] + "…"
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

    # Ends and braces

    def open_braces(self) -> list[int]:
        stack = []
        for m in MARKS.finditer(self.text, 0, self.at):
            if m.group(1) == "{":
                stack.append(m.start())
            elif m.group(1) == "}" and stack:
                stack.pop()
        return stack

    def unclosed(self):
        """A brace left open before something that can only stand at the top of a file, and starts its line there."""
        stack = self.open_braces()
        item = re.compile(r"(?:block|head|default|include|data\s*\{|train\s*\{)")
        for outer, inner in zip(stack, [*stack[1:], self.at]):
            line = self.text.rfind("\n", 0, inner) + 1
            if line > outer and item.match(self.text, line) and (inner != self.at or line == self.at):
                return self.report("this `{` is never closed", "add the missing `}`", outer, outer + 1, "E112")
        return None

    def at_end(self):
        if self.at < len(self.text) and self.text[self.at:].strip():
            return None
        last = self.bits[-1] if self.bits else None
        if last and last[0] == "->":
            return self.report("nothing follows this `->`", "remove it, or write the next layer after it",
                               last[1], last[1] + 2, "E111")
        if last and last[0] == "=":
            return self.report("a value is missing after `=`", "write it after the `=`", last[1], last[1] + 1)
        stack = self.open_braces()
        if stack:
            return self.report("this `{` is never closed", "add the missing `}`", stack[-1], stack[-1] + 1, "E112")
        start = last[1] if last else max(0, self.at - 1)
        end = start + len(last[0]) if last else start + 1
        return self.report("the text ends too early", self.wanted() or "complete this line", start, end)

    def brace(self):
        if self.word not in ("{", "}"):
            return None
        stack = self.open_braces()
        if self.word == "{":
            if self.before == "=" or (self.bits and self.bits[-1][0] in ("data", "train")):
                return self.report("`{` is not expected here", self.wanted())
            if not self.before:
                return self.report("braces need a word before them",
     "write `block NAME { … }`, `repeat n { … }` or `add { … }`")
            return self.report("`{` is not expected here", self.wanted())
        if not stack:
            return self.report("this `}` closes nothing", "remove it, or add the `{` that it should close", code="E112")
        if self.before == "{":
            return self.report("these braces are empty", "write `skip`, which passes its input on", self.bits[-1][1],
                               self.at + 1, "E113")
        if self.before == "->":
            return self.report("nothing follows this `->`",
    "remove it, or write the next layer after it",
    self.bits[-1][1],
    self.bits[-1][1] + 2,
     "E111")
        if self.before == "|":
            return self.report("this branch is empty", "write `skip`, which passes its input on", self.bits[-1][1],
                               self.at + 1, "E113")
        if self.before in ("=", "+", "*", "/", "^", ",", "("):
            return self.report(f"a value is missing after `{self.before}`", "", self.bits[-1][1], self.bits[-1][1] + 1)
        return self.report("`}` is not expected here", self.wanted() or "the braces hold no layers yet: write `skip`")

    def bar(self):
        if self.word != "|":
            return None
        if self.before in ("|", "{"):
            return self.report("this branch is empty", "write `skip`, which passes its input on", self.bits[-1][1],
                               self.at + 1, "E113")
        if self.before == "->":
            return self.report("nothing follows this `->`",
    "remove it, or write the next layer after it",
    self.bits[-1][1],
    self.bits[-1][1] + 2,
     "E111")
        return self.report("`|` separates branches, and this is not among any",
                           "write `add { … | … }`, `concat { … | … }` or `mul { … | … }`")

    def arrow(self):
        if self.word != "->":
            return None
        if self.before == "->":
            return self.report("two arrows in a row", "remove one", self.bits[-1][1], self.at + 2, "E111")
        if self.before in ("", "{", "|"):
            return self.report("nothing stands before this `->`", "remove it", code="E111")
        return self.report("`->` joins layers, and there is none before it", "start the layers on a line of their own",
                           code="E111")

    # Wrong letters

    def lookalike(self):
        c = self.text[self.at]
        left = re.search(r"[0-9?]+$", self.text[max(0, self.at - 20):self.at])
        right = re.match(r"[0-9?]+", self.text[self.at + 1:self.at + 20])
        if c in "×✕" and left and right:
            a, b = left.group(), right.group()
            return self.report(
    f"`{a}{c}{b}` is not a size",
    f"write `{a}x{b}`",
    self.at - len(a),
    self.at + 1 + len(b),
     "E107")
        if c in LOOKALIKES:
            return self.report(
    f"`{c}` is not part of the language",
    f"write `{LOOKALIKES[c]}`",
    end=self.at + 1,
     code="E107")
        # The bad letter may stand inside what looks like a word: `3×3`, `3X3`.
        run = re.match(r"[\w.?×✕]+", self.text[self.at:self.at + 100])
        if run and re.fullmatch(r"(?:\d+|\?)(?:[xX×✕*](?:\d+|\?))+", run.group()):
            fixed = re.sub("[X×✕*]", "x", run.group())
            if fixed != run.group():
                return self.report(
    f"`{run.group()}` is not a size",
    f"write `{fixed}`",
    end=self.at + run.end(),
     code="E107")
        if c in NAMED_SPACES or (c.isspace() and c not in " \t\n"):
            return self.report(
    f"{NAMED_SPACES.get(c, 'an unusual space')} (U+{ord(c):04X}) is not part of the language",
    "write a plain space",
    end=self.at + 1,
     code="E107")
        if not c.isprintable():
            return self.report(
    f"the character U+{ord(c):04X} is not part of the language",
    "remove it",
    end=self.at + 1,
     code="E107")
        if ord(c) > 127:
            return self.report(f"`{c}` is not part of the language", "names have the letters a-z, digits and _",
                               end=self.at + 1, code="E107")
        return None

    def wrong_arrow(self):
        rest, at = self.text[self.at:self.at + 4], self.at
        if rest.startswith(">") and self.text[at - 1:at] in ("=", "-"):
            at, rest = at - 1, self.text[at - 1:at + 3]
        for wrong in ("=>", "-->", "~>", "->>", "|>", ">>", "»", "<-"):
            if rest.startswith(wrong):
                return self.report(f"`{wrong}` is not an arrow of the language",
                                   "write `->`", at, at + len(wrong), "E108")
        if self.word in ("-", ">") and not self.in_expression() and self.before not in ("=", ""):
            return self.report(
    f"`{self.word}` is not expected here",
    "write `->` for the next layer; arithmetic stands only "
    "after `=`",
     code="E108")
        return None

    def in_expression(self) -> bool:
        """Whether the parser could have gone on with an operator, or waits for an operand."""
        return bool(self.expected & {"CMP", "PLUS", "STAR"}) or ("LPAR" in self.expected)

    # Words

    def same_line(self) -> bool:
        return bool(self.bits) and "\n" not in self.text[self.bits[-1][1]:self.at]

    def section(self) -> bool:
        stack = self.open_braces()
        return any(re.search(r"\b(?:data|train)\s*$", self.text[:i]) for i in stack)

    def keyword(self):
        word = self.word
        if word in ("data", "train") and re.match(r"\s*\{", self.text[self.at + len(word):self.at + 200]):
            if self.open_braces():
                return self.report(
    f"the section `{word}` cannot stand inside braces",
    "close the braces before it, with `}`",
    code="E112",
     labels=self.opened())
            return self.report(f"`{word}` must start a line", "put it on a line of its own")
        if word not in KEYWORDS:
            return None
        if word in ("repeat", "when") and self.same_line() and self.before not in ("->", "{", "|", "=") \
                and "NAME" not in self.expected - {"_NL"} or (word in ("repeat", "when") and self.after_argument()):
            return self.missing_report(word)
        if word == "else":
            return self.report("this `else` has no `when` before it", "write `when CONDITION { … } else { … }`")
        if word == "as" and len(self.bits) > 1 and self.bits[-2][0] == "as":
            return self.report("this layer is named already", "give it one name")
        if word == "as":
            return self.report("`as` names the layer before it, and there is none", "write `LAYER as NAME`")
        if word in ("and", "or", "not"):
            return self.report(f"`{word}` stands only in conditions", "write it after `when` or `=`")
        if self.expected <= {"NAME", "FLAG"} or self.before in ("let", "block", "as", "@"):
            return self.report(f"`{word}` is a keyword and cannot be a name", "choose another name")
        if word == "let" and self.open_braces():
            return self.report("a `let` stands first in its braces", "move it up, before the layers")
        if self.open_braces():
            return self.report(
    f"`{word}` cannot stand inside braces",
    "close the braces before it, with `}`",
    code="E112",
     labels=self.opened())
        if self.same_line() and self.bits:
            return self.report(f"`{word}` must start a line", "put it on a line of its own")
        return None

    def opened(self) -> tuple[Label, ...]:
        at = self.open_braces()[-1]
        return (Label(*self.source.span(at, at + 1), "opened here"),)

    def after_argument(self) -> bool:
        return bool(self.expected & {"FLAG", "ARROW"}) and self.same_line()

    def missing_report(self, word: str) -> Diagnostic:
        return self.report(f"an `->` is missing before `{word}`", f"write `-> {word}`", code="E140")

    def missing_arrow(self):
        if _WORD.fullmatch(self.word) and self.same_line() and ("ARROW" in self.expected or self.before == "}"):
            if self.before == "}" and self.section_before():
                return self.report(f"`{self.word}` must start a line", "put it on a line of its own")
            return self.missing_report(self.word)
        if self.word.startswith("@") and self.same_line() and "ARROW" in self.expected:
            return self.missing_report(self.word)
        return None

    def let_without_value(self):
        if len(self.bits) > 1 and self.bits[-2][0] == "let" and self.word != "=" and _WORD.fullmatch(self.before):
            rest = self.text[self.at:self.at + 60].split("\n")[0].split(";")[0].strip()
            return self.report("this `let` has no `=`", f"write `let {self.before} = {rest or 'VALUE'}`")
        return None

    def section_before(self) -> bool:
        """Whether the `}` just before closes a block, a head or a section, after which a line must begin."""
        depth = 0
        for m in reversed(list(MARKS.finditer(self.text, 0, self.at))):
            if m.group(1) == "}":
                depth += 1
            elif m.group(1) == "{":
                depth -= 1
                if depth == 0:
                    line = self.text[self.text.rfind("\n", 0, m.start()) + 1:m.start()]
                    return bool(re.match(r"\s*(?:block|head|data|train)\b", line))
        return False

    def text_literal(self):
        c = self.text[self.at]
        if c == '"':
            end = self.text.find("\n", self.at)
            closing = self.text.find('"', self.at + 1, end if end >= 0 else len(self.text))
            if closing < 0:
                return self.report(
    "this text has no closing quote",
    'add the `"`',
    end=end if end >= 0 else len(
        self.text),
         code="E104")
            return self.report("a text in quotes is not expected here", self.wanted(), end=closing + 1)
        if c in "'`":
            return self.report(f"texts stand in double quotes, not in {c}", 'write `"…"`', end=self.at + 1, code="E107")
        return None

    # Values

    def assignment(self):
        if self.word == "==" and not self.in_expression():
            return self.report("`==` compares, and stands only in conditions", "write `=` to give a value")
        if self.word != "=":
            return None
        if len(self.bits) >= 2 and self.in_expression() and self.line_has("when"):
            return self.report("`=` gives a value, it does not compare", "write `==`")
        name, start = self.bits[-1] if self.bits else ("", self.at)
        if _WORD.fullmatch(name):
            rest = re.match(r"=[ \t]*([^\s;}#]*)", self.text[self.at:self.at + 200]).group(1)
            if self.section():
                return self.report(f"a setting has no `=`: `{name} = {rest}`", f"write `{name} {rest}`", code="E109")
            before = self.bits[-2][0] if len(self.bits) > 1 else ""
            if before != "->" and self.starts_line(start):
                return self.report(
    "a constant is given with `let`",
    f"write `let {name} = {rest}`",
    start,
    self.at + 1,
     "E109")
        return self.report(
    "`=` follows the name of a parameter, and there is none here",
    "write `key=value`",
     code="E109")

    def starts_line(self, at: int) -> bool:
        return not self.text[self.text.rfind("\n", 0, at) + 1:at].strip()

    def line_has(self, word: str) -> bool:
        line = self.text[self.text.rfind("\n", 0, self.at) + 1:self.at]
        return re.search(rf"\b{word}\b", line) is not None

    def call(self):
        name, start = self.bits[-1] if self.bits else ("", 0)
        if self.word == "(" and _WORD.fullmatch(name) and start + len(name) == self.at:
            pass
        elif re.match(r"[A-Za-z_]\w*\(", self.text[self.at:self.at + 100]):
            name, start = self.word, self.at
        else:
            return None
        opening = start + len(name)
        before = next((bit for bit, at in reversed(self.bits) if at < start), "")
        if self.starts_line(start) or before in ("", "->", "{", "|", ";"):
            inside = re.match(r"\(([^()\n]*)", self.text[opening:opening + 200]).group(1)
            args = " ".join(inside.replace(",", " ").split())
            return self.report("a layer's arguments stand after a space, without parentheses",
                               f"write `{name} {args}`" if args else f"write `{name}`", start, opening + 1)
        return self.report("a function stands only after `=`, `let`, `repeat` or `when`",
                           f"write it after a key, as in `x={name}(…)`", start, opening + 1, "E109")

    def operator(self):
        if self.word[:1] not in ("+", "*", "/", "^", "(", ")", "<", ">", "!", "%", "-", "==") or not self.bits:
            if self.word[:1] not in ("(",):
                return None
        if self.word == "%":
            return self.report("`%` is not an operator of the language", "the operators are + - * / ^", code="E109")
        if self.word == "!":
            return self.report("`!` is not an operator of the language", "write `not`", code="E109")
        if self.word == "*" and self.before == "*":
            return self.report("`**` is not an operator of the language",
                               "write `^`", self.bits[-1][1], self.at + 1, "E109")
        if self.word == ")":
            return self.report("this `)` closes nothing" if "RPAR" not in self.expected else "`)` is not expected here",
                               self.wanted())
        if {"FLAG", "NAME"} & self.expected or "ARROW" in self.expected:
            left, start = self.bits[-1] if self.bits else ("", self.at)
            joined = self.word != "("
            start = start if joined else self.at
            run = re.match(r"[^\s{}|;#]*(?:\s*[-+*/^]\s*[^\s{}|;#]+)*", self.text[start:start + 80]).group().rstrip()
            run = run.split("->")[0].rstrip()
            return self.report("arithmetic stands only after `=`",
    f"write `x={run}`, with the parameter's name before it",
    start,
    start + max(1,
    len(run)),
     "E109")
        return self.report(f"a value is missing before `{self.printable()}`" if "LPAR" in self.expected
                           else f"`{self.printable()}` is not expected here", self.wanted(), code="E109")

    def punctuation(self):
        if self.word == ",":
            return self.report(
    "arguments are separated by spaces",
    "remove the comma; lists stand only after `=`, as in "
    "`mean=0.5,0.5,0.5`")
        if self.word == ":":
            return self.report("`:` stands only after the name of a pipeline in `data`",
                               "write `augment: pad 4 -> flip`, or " "remove the `:`")
        if self.word == "@":
            return self.report("`@` needs a name", "write `@name`, with the name given by `as name`")
        if self.word == "\\":
            return self.report("`\\` is not part of the language", "a line goes on with a leading `->`", code="E107")
        return None

    def malformed(self):
        m = re.match(r"[\w.?]+", self.text[self.at:self.at + 200])
        if not m:
            return None
        word = m.group()
        if not re.match(r"[\d.?]", word):
            if "." in word:
                return self.report(
    f"`{self.short(word)}` is not a name",
    "names have letters, digits and _",
    end=self.at + len(word),
     code="E103")
            return None
        if re.fullmatch(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+|(?:\d+|\?)(?:x(?:\d+|\?))*", word):
            if self.before in ("block", "let", "as", "head", "default"):
                return self.report(
    f"a name is missing after `{self.before}`",
    "names start with a letter",
     end=self.at + len(word))
            if "ARROW" in self.expected and self.same_line():
                return self.report(f"`{self.short(word)}` follows something complete",
                                   "arguments stand right after their layer's name", end=self.at + len(word))
            return self.report(f"`{self.short(word)}` is not expected here", self.wanted() or
                               "a line starts with a layer's name", end=self.at + len(word))
        help = ""
        trail = re.fullmatch(r"(\d+)x", word)
        if trail:
            follow = re.match(r"x[ \t]+(\d+)", self.text[self.at + len(trail.group(1)):self.at + 200])
            n = trail.group(1)
            help = f"write `{n}x{n}` or `{n}`"
            if follow:
                help = f"write `{n}x{n}` for a square, or `{n} x{follow.group(1)}`"
        elif re.fullmatch(r"\d+[A-Za-z_]\w*", word):
            number, name = re.fullmatch(r"(\d+)(\w+)", word).groups()
            help = f"write `{number}*{name}`" if self.in_expression() else "names start with a letter"
        elif word.endswith("."):
            help = f"write `{word[:-1]}`"
        elif re.fullmatch(r"\d+(?:\.\d+)?E[-+]?\d*", word):
            help = "write the exponent with a small `e`"
        return self.report(f"`{self.short(word)}` is neither a number nor a size nor a name",
                           help, end=self.at + len(word), code="E103")

    @staticmethod
    def short(word: str) -> str:
        return word if len(word) <= 40 else word[:37] + "…"

