"""Random programs for the tests of the language: most of them nets that can be built, some with mistakes, all of them
written with odd spaces, line ends and comments; and ways to spoil a text."""

from __future__ import annotations

import random
import re

NL = "\n"       # a token that ends a statement: a line break or a `;`

_WORDS = re.compile(r'"[^"\n]*"|#[^\n]*|->|[=!<>]=|[\w.?]+|[^\w\s]|\s+')
ACTIVATIONS = ("relu", "tanh", "sigmoid", "elu", "leaky", "gelu", "silu", "bn", "skip")
PIECES = (
    "let default include block head repeat when else as and or not in on off min( round( normal( ? ?x? 3X3 → × => ^ "
    "1e9 99999999999999999999 0.1 x3 s2 g0 s0 @a skip as|n { } ( ) = , ; : \" ' # \\ \x00 \u00a0 日 -> | conv relu add "
    "concat "
    "data{ train{ 3x3x64 \u2028 \x0c \ufeff").split(" ")


class Writer:
    """One random program, as a list of tokens."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.lets: list[str] = []           # whole numbers between 1 and 8
        self.blocks: list[tuple[str, int]] = []         # name, number of parameters that must be given
        self.refs: list[str] = []
        self.count = 0
        self.in_block = False

    def some(self, chance: float) -> bool:
        return self.rng.random() < chance

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}_"

    def program(self) -> list[str]:
        rng, out = self.rng, ["include", '"residual.net"', NL] if self.some(0.03) else []
        for make in rng.choices((self.let, self.block, self.default), (4, 4, 1), k=rng.randint(0, 5)):
            out += [*make(), NL]
        axes = rng.randint(1, 3)
        size = rng.choice((8, 12, 32)) if axes < 3 else 8
        if self.some(0.95):
            out += ["input", "x".join([str(size)] * axes), f"x{rng.choice((1, 3, 8))}"]
            out += self.keys(("mean", ["data"]), ("mean", ["0.5"]), ("std", ["0.5", "+", "0.25"]), chance=0.3)
            out += rng.choice((["->"], [NL]))
        out += self.chain(rng.randint(1, 6), 0)
        for make in rng.choices((self.head, self.section, self.let, self.block), (2, 3, 1, 1), k=rng.randint(0, 3)):
            out += [NL, *make()]
        return out

    # Items

    def let(self) -> list[str]:
        name = self.fresh("n")
        tokens = ["let", name, "=", *self.whole()]
        if self.some(0.2):
            tokens = ["let", self.fresh("c"), "=", *self.condition()]
        elif self.some(0.1):
            tokens = ["let", self.fresh("t"), "=", '"a # b"']
        elif self.some(0.1):
            tokens = ["let", self.fresh("l"), "=", "1", ",", *self.whole(), ",", "0.5"]
        else:
            self.lets.append(name)
        return tokens

    def default(self) -> list[str]:
        keys = ("init", ["xavier"]), ("bias", ["off"]), ("init", ["normal(", "0.1", ")"])
        return ["default", "conv", *self.keys(*keys, chance=1)]

    def block(self) -> list[str]:
        name, outer, refs = self.fresh("block"), list(self.lets), self.refs
        required = [self.fresh("p") for _ in range(self.rng.randint(0, 2))]
        optional = [self.fresh("q") for _ in range(self.rng.randint(0, 2))]
        params = list(required)
        self.lets += required
        for param in optional:
            params += [param, "=", *self.whole()]
            self.lets.append(param)
        self.in_block, self.refs = True, []
        body = self.body(self.rng.randint(1, 3), 1)
        self.in_block, self.lets, self.refs = False, outer, refs
        self.blocks.append((name, len(required)))
        return ["block", name, *params, *body]

    def head(self) -> list[str]:
        start = ["@", self.rng.choice(self.refs), "->"] if self.refs else []
        weight = self.keys(("weight", ["0.3"]), chance=0.5)
        return ["head", self.fresh("h"), *weight, "{", *start, *self.chain(2, 2), "}"]

    def section(self) -> list[str]:
        rng = self.rng
        if self.some(0.5):
            lines = [["source", '"a#b"'], ["augment", ":", "pad", "4", "->", "crop", "32", "->", "flip"],
                     ["test", ":", "resize", "40", "->", "crop", "32"], ["validation", "0.1"]]
            name = "data"
        else:
            lines = [["epochs", "3"], ["batch", rng.choice(["32", *self.lets])],
                     ["optimizer", "sgd", "lr", "=", "0.1", "nesterov"],
                     ["schedule", "step", "at", "=", "1", ",", "2", "factor", "=", "1", "/", "10"]]
            name = "train"
        lines = rng.sample(lines, rng.randint(0, len(lines)))
        return [name, "{", *[t for i, line in enumerate(lines) for t in ([NL] * (i > 0) + line)], "}"]

    # Flow

    def chain(self, length: int, depth: int) -> list[str]:
        out = self.stage(depth)
        for _ in range(length - 1):
            out += [self.rng.choice(("->", "->", NL)), *self.stage(depth)]
        return out

    def body(self, length: int, depth: int) -> list[str]:
        outer, out = list(self.lets), []
        refs = list(self.refs)
        for _ in range(self.rng.choice((0, 0, 0, 1, 2))):
            out += [*self.let(), NL]
        out += self.chain(length, depth)
        self.lets, self.refs = outer, refs
        return ["{", *out, "}"]

    def stage(self, depth: int) -> list[str]:
        makes, weights = [self.simple, self.conv, self.pool, self.call, self.reference], [4, 4, 1, 2, 0.3]
        if depth < 4:
            makes += [self.repeat, self.when, self.merge]
            weights += [1, 1, 1.5]
        out = self.rng.choices(makes, weights)[0](depth)
        if self.some(0.08) and out[0] != "as":
            name = self.fresh("r")
            out += ["as", name]
            self.refs.append(name)
        return out

    def simple(self, depth: int) -> list[str]:
        return [self.rng.choice(ACTIVATIONS)]

    def conv(self, depth: int) -> list[str]:
        kernel = self.rng.choice(("1", "3", "5"))
        channels = self.rng.choice((["x4"], ["x8"], ["x", "=", *self.whole()],
                                    ["x", "=", "4", "*", "in"] if self.in_block else ["x", "=", "8"]))
        more = self.keys(("bias", ["off"]), ("init", ["he"]), ("d", ["1"]), ("share", [self.fresh("w")]),
                         ("bias", self.condition()), ("s", ["1"]), chance=0.2)
        return ["conv", kernel, *channels, *more]

    def pool(self, depth: int) -> list[str]:
        return self.rng.choice((["pool", "2"], ["pool", "3", "s1", "p1"], ["pool", "3", "s1", "p1", "avg"],
                                ["pool", "global", "avg"], ["dropout", ".5"], ["lrn", "5", "alpha", "=", "5e-4"]))

    def call(self, depth: int) -> list[str]:
        if not self.blocks or self.in_block and self.some(0.7):
            return ["relu"]
        name, required = self.rng.choice(self.blocks)
        return [name, *(str(self.rng.randint(1, 8)) for _ in range(required))]

    def reference(self, depth: int) -> list[str]:
        if not self.refs:
            return ["skip"]
        name = self.rng.choice(self.refs)
        return self.rng.choice((["@", name], ["concat", "@", name]))

    def repeat(self, depth: int) -> list[str]:
        index = ["as", self.fresh("i")] if self.some(0.3) else []
        return ["repeat", *self.rng.choice((["2"], ["0"], self.whole())), *index,
                *self.body(self.rng.randint(1, 2), depth + 1)]

    def when(self, depth: int) -> list[str]:
        out = ["when", *self.condition(), *self.body(self.rng.randint(1, 2), depth + 1)]
        while self.some(0.4):
            out += ["else", "when", *self.condition(), *self.body(1, depth + 1)]
        return [*out, "else", *self.body(1, depth + 1)] if self.some(0.4) else out

    def merge(self, depth: int) -> list[str]:
        refs, branches = list(self.refs), []
        for _ in range(self.rng.randint(2, 3)):
            branches.append(self.rng.choice(([*self.simple(0)], ["conv", "3", "x8", "->", "relu"],
                                             self.chain(self.rng.randint(1, 2), depth + 1))))
            self.refs = list(refs)
        bars = [[], *([["|"]] * (len(branches) - 1))] if self.some(0.8) else [["|"]] * len(branches)
        return [self.rng.choice(("concat", "concat", "add", "mul")), "{",
                *[t for bar, branch in zip(bars, branches) for t in (*bar, *branch)], "}"]

    # Expressions

    def keys(self, *pairs, chance: float) -> list[str]:
        if not self.some(chance):
            return []
        key, value = self.rng.choice(pairs)
        return [key, "=", *value]

    def whole(self) -> list[str]:
        """A whole number between 1 and 8, in most cases."""
        rng = self.rng
        kind = rng.randrange(8)
        if kind < 4 and self.lets:
            return [rng.choice(self.lets)]
        number = str(rng.randint(1, 4))
        return [[number], [number], [number, "+", "1"], ["2", "*", number], ["2", "^", "2"],
                ["(", number, "+", "2", ")"], ["max(", number, ",", "2", ")"], ["9", "-", "-", number, "-", "8"]][kind]

    def condition(self) -> list[str]:
        rng = self.rng
        sides = self.whole(), self.whole()
        compared = [*sides[0], rng.choice(("==", "!=", "<", "<=", ">", ">=")), *sides[1]]
        kind = rng.randrange(6)
        return [compared, compared, ["on"], ["not", *compared], ["(", *compared, ")", "or", "off"],
                ["not", "(", "off", "and", *compared, ")"]][kind]


# Text of tokens

COMMENTS = ("#", "# why", "#" * 80, "# é { | -> } \" ;", "#a  b  ", "#\t", "# \x0c\u2028 \u3000")


def written(tokens: list[str], rng: random.Random) -> str:
    """The tokens as text: neat, in columns, or with blanks, breaks and comments wherever the grammar takes them."""
    mess, columns = rng.choice((0, 0.05, 0.3)), rng.choice((0, 0, 0, 4, 7))
    text = gap("", NL, rng, mess) if mess else ""
    for before, token in zip(["", *tokens], tokens):
        if token == NL:
            continue        # `gap` saw it as the neighbour of what follows
        space = gap(before, token, rng, mess) if before else ""
        if space == " " and columns and before != "@":
            space = " " * (columns - (len(text) - text.rfind("\n") - 1) % columns)
        text += space + token
    text = rng.choice(("", "", "", "\ufeff")) + text + rng.choice(("\n", "", "\n\n\n", " ", "\n# end", ";"))
    return text.replace("\n", rng.choice(("\n", "\n", "\n", "\r\n", "\r")))


def gap(before: str, after: str, rng: random.Random, mess: float) -> str:
    if before == NL or after == NL:
        simple = rng.choice((NL, NL, NL, ";", "; ")) if mess else NL
        return simple if rng.random() > 2 * mess else blank(rng, True)
    # A line break means nothing where the parser waits for more, and before what leads a line.
    free = before != "->" and (before.endswith("(") or after in ("->", "{", "|", "}", "else")
                               or before in ("{", "|", ",", "when", "repeat", "let", "not")
                               or before == "=" and not after[0].isalpha())
    if rng.random() < mess and free:
        return blank(rng, False)
    glued = not (re.match(r"[\w.?\"@]", after) and re.search(r"[\w.?\"]$", before))
    if before == "@" or before.endswith("(") or after in (")", ",", ":") or (
            "=" in (before, after) or after in "+-*/^" or before in "+-*/^("):
        return rng.choice((" ", "", "", "")) if mess and glued else "" if glued else " "
    if mess and glued and rng.random() < mess:
        return ""
    return rng.choice(("  ", "\t", "    ")) if rng.random() < mess else " "


def blank(rng: random.Random, needed: bool) -> str:
    """Breaks, comments and spaces; at least one break if `needed`."""
    out = []
    for _ in range(rng.randint(1, 4)):
        out.append(rng.choice(("\n", "\n", ";", " ", "\t", "\n   ", f" {rng.choice(COMMENTS)}\n",
                               f"\n  {rng.choice(COMMENTS)}\n")))
    text = "".join(out)
    return text + "\n" if needed and not re.search("[\n;]", text) else text


def valid(seed: int) -> str:
    rng = random.Random(seed)
    return written(Writer(rng).program(), rng)


# Spoiling

def spoil(text: str, rng: random.Random) -> bytes:
    """The text after one to four mishaps, as bytes that need not be UTF-8."""
    words = _WORDS.findall(text)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(words) + 1)
        some = words[at:at + rng.randint(1, 5)]
        words[at:at + rng.choice((0, 1, len(some)))] = rng.choice((
            [], some + some, some[::-1], [rng.choice(PIECES)], [" ", rng.choice(PIECES), " "], ["\n", *some], [";"],
            [rng.choice(_MONSTERS)(rng)] if rng.random() < 0.1 else [" "]))
    data = bytearray("".join(words).encode())
    kind = rng.random()
    if kind < 0.1:
        del data[rng.randrange(len(data) + 1):]
    elif kind < 0.2:
        for _ in range(rng.randint(1, 3)):
            data.insert(rng.randrange(len(data) + 1), rng.randrange(256))
    return bytes(data)


_MONSTERS = (
    lambda rng: "repeat 1e9 { " * rng.randint(1, 5),
    lambda rng: "repeat 1e9 { relu }",
    lambda rng: "^".join(["2"] * rng.randint(2, 9)),
    lambda rng: "9" * 10**rng.randint(1, 4),
    lambda rng: f"1e{10**rng.randint(1, 9)}",
    lambda rng: "{" * rng.randint(50, 2000),
    lambda rng: "(" * rng.randint(50, 2000),
    lambda rng: "add { " * rng.randint(5, 200),
    lambda rng: "-" * rng.randint(5, 2000),
    lambda rng: ("#" * rng.randint(80, 1000) + "\n") * 50,
    lambda rng: " relu ->" * rng.randint(100, 12_000),
    lambda rng: " " * 100_000,
    lambda rng: "relu|" * 2000,
    lambda rng: "not " * 500,
    lambda rng: "\n" * 50_000,
)
