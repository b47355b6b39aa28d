"""Braces that do not pair, bodies without layers, texts that end too early."""

from __future__ import annotations

import re

from .spot import MARKS, Spot

ITEM = re.compile(r"(?:block|head|default|include|data\s*\{|train\s*\{)")
MERGES = ("add", "concat", "mul")
HEADERS = ("block", "head", "repeat", "when", "data", "train", *MERGES)
SKIP = "write `skip`, which passes its input on"


def unclosed(spot: Spot):
    """A brace left open before something that can only stand at the top of a file, and starts its line there."""
    stack = spot.open_braces()
    for outer, inner in zip(stack, [*stack[1:], spot.at]):
        line = spot.text.rfind("\n", 0, inner) + 1
        if line > outer and ITEM.match(spot.text, line) and (inner != spot.at or line == spot.at):
            return never_closed(spot, suspect(spot.text, spot.at, outer))
    return None


def unopened(spot: Spot):
    """A header on an earlier line that has no `{`, though what follows shows that it was meant to."""
    for index in range(len(spot.bits) - 1, -1, -1):
        bit, start = spot.bits[index]
        if bit in ("{", "}"):
            if bit == "{" or spot.open_braces():
                return None
            continue
        if bit not in HEADERS or (bit in MERGES and spot.word != "|") or not begins(spot, index):
            continue
        following = [b for b, at in spot.bits[index + 1:] if "\n" in spot.text[start:at]]
        header = spot.bits[index:len(spot.bits) - len(following)]
        if "\n" not in spot.text[header[-1][1]:spot.at] or (bit in MERGES and any(b[:1] == "@" for b, _ in header)):
            return None
        last, at = header[-1]
        return spot.report(f"`{bit}` lacks its braces", f"write `{{` after `{last}`, and `}}` after what it holds", at,
                           at + len(last), "E112")
    return None


def begins(spot: Spot, index: int) -> bool:
    """Whether the bit starts a line or a stage."""
    bit, start = spot.bits[index]
    return spot.starts_line(start) or (index > 0 and spot.bits[index - 1][0] in ("->", "{", "|", ";"))


def never_closed(spot: Spot, at: int):
    return spot.report("this `{` is never closed", "add the missing `}`", at, at + 1, "E112")


def suspect(text: str, end: int, outermost: int) -> int:
    """The brace that lacks its `}`: one inside `outermost` that a `}` further out has closed, else `outermost`."""
    stack: list[int] = []
    for m in MARKS.finditer(text, 0, end):
        if m.group(1) == "{":
            stack.append(m.start())
        elif m.group(1) == "}" and stack:
            opening = stack.pop()
            if opening > outermost and alone(text, m.start()) and indent(text, m.start()) < indent(text, opening):
                return opening
    return outermost


def indent(text: str, at: int) -> int:
    start = text.rfind("\n", 0, at) + 1
    line = text[start:at + 1].expandtabs(4)
    return len(line) - len(line.lstrip())


def alone(text: str, at: int) -> bool:
    """Whether nothing stands before it on its line."""
    return not text[text.rfind("\n", 0, at) + 1:at].strip()


def at_end(spot: Spot):
    if spot.at < len(spot.text) and spot.text[spot.at:].strip():
        return None
    last = spot.bits[-1] if spot.bits else None
    if last and last[0] == "->":
        return dangling_arrow(spot)
    if last and last[0] == "=":
        return spot.after_bit("a value is missing after `=`", "write it after the `=`")
    stack = spot.open_braces()
    if stack:
        return never_closed(spot, suspect(spot.text, spot.at, stack[-1]))
    start = last[1] if last else max(0, spot.at - 1)
    end = start + len(last[0]) if last else start + 1
    if last and spot.expected == {"LBRACE"} or "LBRACE" in spot.expected and spot.before in ("repeat", "when"):
        return spot.report("the braces are missing", f"write `{spot.stage_text()} {{ … }}`", start, end)
    return spot.report("the text ends too early", spot.wanted() or "complete this line", start, end)


def dangling_arrow(spot: Spot):
    return spot.after_bit("nothing follows this `->`", "remove it, or write the next layer after it", "E111")


def empty_branch(spot: Spot):
    return spot.report("this branch is empty", SKIP, spot.bits[-1][1], spot.at + 1, "E113")


def brace(spot: Spot):
    if spot.word == "{":
        return opening(spot)
    return closing(spot) if spot.word == "}" else None


def opening(spot: Spot):
    if spot.before == "=":
        return spot.report("`{` is not expected here", spot.wanted())
    if spot.before == ":" and (spot.in_parameters() or len(spot.bits) > 1):
        return spot.after_bit("no `:` stands before `{`", "remove it")
    if spot.before == "repeat":
        return spot.after_bit("`repeat` lacks its number", "write `repeat 2 { … }`")
    if spot.before == "when":
        return spot.after_bit("`when` lacks its condition", "write `when x == 1 { … }`")
    if spot.before in ("block", "head"):
        return spot.after_bit(f"this {spot.before} lacks its name", f"write `{spot.before} NAME {{ … }}`")
    merge = re.search(r"\b(add|concat|mul)\s*\{[^{}]*\}\s*$", spot.text[:spot.at])
    if merge:
        return spot.report("branches stand in one pair of braces", f"write `{merge.group(1)} {{ … | … }}`")
    if spot.before in ("data", "train") and spot.section and spot.starts_line(spot.bits[-1][1]):
        return never_closed(spot, spot.open_braces()[-1])
    if spot.before == "}":
        return spot.report("braces need a word before them", "write `-> repeat n { … }`, `else { … }` or `add { … }`")
    if not spot.stage and re.match(r"\{\s*\}", spot.text[spot.at:spot.at + 200]):
        return spot.report("these braces are empty", SKIP, code="E113")
    if not spot.stage:
        return spot.report("braces need a word before them",
                           "write `block NAME { … }`, `repeat n { … }` or `add { … | … }`")
    return spot.report("`{` is not expected here", spot.wanted() or "remove it, or write the word that it belongs to")


def closing(spot: Spot):
    if not spot.open_braces():
        at = surplus(spot)
        return spot.report("this `}` closes nothing", "remove it, or add the `{` that it should close", at, at + 1,
                           "E112")
    if spot.before == "{":
        return spot.report("these braces are empty", SKIP, spot.bits[-1][1], spot.at + 1, "E113")
    if spot.before == "->":
        return dangling_arrow(spot)
    if spot.before == "|":
        return empty_branch(spot)
    if spot.before in ("=", "+", "*", "/", "^", ",", "("):
        return spot.after_bit(f"a value is missing after `{spot.before}`", "write it, or remove what is before it")
    if spot.before == "as":
        return spot.after_bit("a name is missing after `as`", "write `as NAME`")
    return spot.report("`}` is not expected here", spot.wanted() or f"the braces hold no layers yet: {SKIP}")


def surplus(spot: Spot) -> int:
    """The `}` too many: where this one stands as far in as a line that opened a brace, the one that closed that
    brace before it."""
    if not alone(spot.text, spot.at):
        return spot.at
    stack: list[int] = []
    closed: dict[int, int] = {}
    for m in MARKS.finditer(spot.text, 0, spot.at):
        if m.group(1) == "{":
            stack.append(m.start())
        elif m.group(1) == "}" and stack:
            closed[stack.pop()] = m.start()
    same = [o for o in closed if indent(spot.text, o) == indent(spot.text, spot.at) and not alone(spot.text, closed[o])
            and "\n" in spot.text[o:closed[o]]]
    return closed[max(same)] if same else spot.at
