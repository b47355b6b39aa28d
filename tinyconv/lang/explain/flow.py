"""Arrows, bars, commas between layers; keywords out of place, and keywords of other languages."""

from __future__ import annotations

import re

from ...errors import Diagnostic, Label
from ..suggest import KEYWORDS, KEYWORDS_ELSEWHERE
from .braces import dangling_arrow, empty_branch
from .spot import MARKS, NUMBER, WORD, Spot


def bar(spot: Spot):
    if spot.word != "|":
        return None
    if spot.before in ("|", "{"):
        return empty_branch(spot)
    if spot.before == "->":
        return dangling_arrow(spot)
    if spot.text[spot.at:spot.at + 2] == "||":
        return spot.report("`||` is not an operator of the language", "write `or`", end=spot.at + 2, code="E109")
    return spot.report("`|` separates branches, and this is not among any",
                       "write `->` for the next layer; branches stand in `add { … | … }`, `concat { … | … }` or "
                       "`mul { … | … }`")


def arrow(spot: Spot):
    if spot.word != "->":
        return None
    if spot.before == "->":
        return spot.report("two arrows in a row", "remove one", spot.bits[-1][1], spot.at + 2, "E111")
    if spot.before in ("", "{", "|"):
        return spot.report("nothing stands before this `->`", "remove it", code="E111")
    if spot.before == "=":
        return spot.after_bit("a value is missing after `=`", "write it after the `=`")
    if spot.before in ("as", "@"):
        return spot.after_bit(f"a name is missing after `{spot.before}`",
                              "write `as NAME`, and `@NAME` where it is used")
    return spot.report("`->` joins layers, and there is none before it", "start the layers on a line of their own",
                       code="E111")


def comma(spot: Spot):
    """What a comma was meant to be: an arrow, a line break, part of a size, a decimal point, or nothing."""
    if spot.word != ",":
        return None
    rest = spot.rest[1:].lstrip()
    last, start = spot.bits[-1] if spot.bits else ("", spot.at)
    if spot.section and spot.stage and not spot.in_pipeline:
        return spot.report("settings are separated by line breaks or `;`", "write `;` for the comma")
    if spot.in_pipeline and WORD.match(rest):
        return spot.report("steps are joined by `->`", "write `->` for the comma")
    if re.search(r"\b(?:add|concat|mul)\s*$", spot.text[:(spot.open_braces() or [0])[-1]]) and WORD.match(rest):
        return spot.report("branches are separated by `|`", "write `|` for the comma")
    numbers = re.match(r"[\d.?]+(?:\s*,\s*[\d?][\d.x?]*)+", f"{last}{spot.rest}")
    if re.fullmatch("0|1", last) and re.match(r",\d", spot.rest):
        decimal = re.match(r",(\d+)", spot.rest).group(1)
        return spot.report("a decimal has a point, no comma", f"write `{last}.{decimal}`", start,
                           spot.at + 1 + len(decimal))
    if NUMBER.fullmatch(last) and numbers and len(spot.stage) == 2:
        parts = [p.strip() for p in numbers.group().split(",")]
        whole = "x".join(parts) if len(parts) == 2 and parts[0] == parts[1] else f"{'x'.join(parts[:-1])} x{parts[-1]}"
        return spot.report("sizes are joined by `x`, arguments separated by spaces", f"write `{whole}`", start,
                           start + numbers.end())
    number = re.match(r"\d+\b(?![.x])", rest)
    if number and len(spot.stage) > 1:
        return spot.report("arguments are separated by spaces", f"write `{last} x{number.group()}`", start,
                           spot.at + len(spot.rest) - len(rest) + number.end())
    if WORD.match(rest) and "ARROW" in spot.expected and not re.match(r"[a-z]\d|\w+\s*=", rest):
        return spot.report("layers are joined by `->`", "write `->` for the comma")
    following = re.match(r"@?[\w.]+", rest)
    shown = f"write `{last} {following.group()}`" if following and last else "remove the comma"
    return spot.report("arguments are separated by spaces", f"{shown}; lists stand only after `=`, as in "
                       "`mean=0.5,0.5,0.5`")


def left_open(spot: Spot):
    """A line that ends where a value or a name has to follow: what was read as such stands on the next."""
    for (bit, start), after in zip(spot.bits[:-3:-1], (spot.at, *(at for _, at in spot.bits[:-3:-1]))):
        if "\n" in spot.text[start:after] and bit in ("=", "as", "@", "let", "block", "default", "include", "repeat"):
            what = "a value" if bit in ("=", "repeat") else "a file in quotes" if bit == "include" else "a name"
            return spot.report(f"{what} is missing after `{bit}`",
                               f"write it after the `{bit}`, on the same line", start, start + len(bit))
    return None


# Keywords


def foreign_keyword(spot: Spot):
    """`def`, `if`, `for` and their like, where a line or stage starts with one."""
    first, start = spot.stage[0] if spot.stage else (spot.word, spot.at)
    if spot.before == "}" and not spot.stage:
        first, start = spot.word, spot.at
    if first not in KEYWORDS_ELSEWHERE or re.search(rf"\bblock[ \t]+{first}\b", spot.text):
        return None
    end = spot.text.find("\n", start)
    line = spot.text[start:end if end >= 0 else len(spot.text)]
    return spot.report(f"`{first}` is not part of the language", KEYWORDS_ELSEWHERE[first](line), start,
                       start + len(first))


def keyword(spot: Spot):
    word = spot.word
    if word in ("data", "train") and re.match(r"\s*\{", spot.text[spot.at + len(word):spot.at + 200]):
        return out_of_place(spot) if not spot.open_braces() else inside_braces(spot, f"the section `{word}`")
    if word not in KEYWORDS:
        return None
    if word in ("repeat", "when") and (spot.after_argument() or (
            spot.same_line() and spot.before not in ("->", "{", "|", "=") and "NAME" not in spot.expected - {"_NL"})):
        return no_arrow(spot)
    if word == "else":
        return spot.report("this `else` has no `when` before it", "write `when CONDITION { … } else { … }`")
    if word == "as":
        return misplaced_as(spot)
    if word in ("and", "or", "not"):
        return spot.report(f"`{word}` stands only in conditions", "write it after `when` or `=`")
    if spot.expected <= {"NAME", "FLAG"} or spot.before in ("let", "block", "as", "@"):
        return spot.report(f"`{word}` is a keyword and cannot be a name", "choose another name")
    if word == "let" and spot.open_braces():
        return spot.report("a `let` stands first in its braces", "move it up, before the layers")
    if spot.open_braces():
        return inside_braces(spot, f"`{word}`")
    return out_of_place(spot) if spot.same_line() and spot.bits else None


def out_of_place(spot: Spot) -> Diagnostic:
    return spot.report(f"`{spot.word}` must start a line", "put it on a line of its own")


def inside_braces(spot: Spot, what: str) -> Diagnostic:
    at = spot.open_braces()[-1]
    return spot.report(f"{what} cannot stand inside braces", "close the braces before it, with `}`", code="E112",
                       labels=(Label(*spot.source.span(at, at + 1), "opened here"),))


def misplaced_as(spot: Spot) -> Diagnostic:
    if len(spot.bits) > 1 and spot.bits[-2][0] == "as":
        return spot.report("this layer is named already", "give it one name")
    return spot.report("`as` names the layer before it, and there is none", "write `LAYER as NAME`")


# Arrows that are not there


def no_arrow(spot: Spot) -> Diagnostic:
    return spot.report(f"an `->` is missing before `{spot.word}`", f"write `-> {spot.word}`", code="E140")


def missing_arrow(spot: Spot):
    if not spot.same_line():
        return None
    if spot.before == "as" and spot.word.startswith("@"):
        return spot.report("`as` takes the name alone", f"write `as {spot.word[1:]}`; `@` stands where it is used")
    if spot.stage and spot.stage[0][0] in ("repeat", "when") and "LBRACE" in spot.expected and WORD.match(spot.word):
        head = spot.stage_text()
        body = re.split(r"[{}|;]", spot.rest)[0].rstrip()
        return spot.report(f"the braces of `{spot.stage[0][0]}` are missing", f"write `{head} {{ {body} }}`")
    if WORD.fullmatch(spot.word) and ("ARROW" in spot.expected or spot.before == "}"):
        return out_of_place(spot) if spot.before == "}" and _section_before(spot) else no_arrow(spot)
    return no_arrow(spot) if spot.word.startswith("@") and "ARROW" in spot.expected else None


def _section_before(spot: Spot) -> bool:
    """Whether the `}` just before closes a block, a head or a section, after which a line must begin."""
    depth = 0
    for m in reversed(list(MARKS.finditer(spot.text, 0, spot.at))):
        depth += {"}": 1, "{": -1}.get(m.group(1), 0)
        if m.group(1) == "{" and depth == 0:
            line = spot.text[spot.text.rfind("\n", 0, m.start()) + 1:m.start()]
            return bool(re.match(r"\s*(?:block|head|data|train)\b", line))
    return False
