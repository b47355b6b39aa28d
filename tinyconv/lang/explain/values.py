"""Values, operators and calls where they do not belong, or written as in other languages."""

from __future__ import annotations

import re

from ..habits import translated
from ..suggest import FIRST_PARAMETERS, SECTIONS_ELSEWHERE, nearest
from .braces import MERGES
from .spot import NUMBER, WORD, Spot, setting


def let_without_value(spot: Spot):
    if len(spot.bits) > 1 and spot.bits[-2][0] == "let" and spot.word != "=" and WORD.fullmatch(spot.before):
        rest = spot.rest.split(";")[0].strip().removeprefix(":").removeprefix("=").strip()
        return spot.report("this `let` has no `=`", f"write `let {spot.before} = {rest or 'VALUE'}`")
    return None


def assignment(spot: Spot):
    if spot.word == "==" and not spot.in_expression():
        return spot.report("`==` compares, and stands only in conditions", "write `=` to give a value")
    if spot.word != "=":
        return None
    if len(spot.bits) >= 2 and spot.in_expression() and spot.line_has("when"):
        return spot.report("`=` gives a value, it does not compare", "write `==`")
    if spot.before == "=":
        return spot.report("`==` compares, and stands only in conditions", "write `=` to give a value",
                           spot.bits[-1][1], spot.at + 1)
    name, start = spot.bits[-1] if spot.bits else ("", spot.at)
    value = re.match(r"=[ \t]*([^\s;}#]*)", spot.rest).group(1)
    if WORD.fullmatch(name) and spot.section:
        return spot.report(f"a setting has no `=`: `{name} = {value}`", f"write `{setting(name, value)}`", code="E109")
    if WORD.fullmatch(name) and len(spot.stage) == 1 and spot.starts_line(start):
        return defined(spot, name, start, value)
    return spot.report("`=` follows the name of a parameter, and there is none here", "write `key=value`", code="E109")


def defined(spot: Spot, name: str, start: int, value: str):
    """`name = …` at the start of a line: a constant, or a layer to be named."""
    right = spot.rest[1:].strip()
    if re.match(r"[A-Za-z_][\w.]*\(", right) and translated(right):
        right = translated(right)
    if re.match(r"[A-Za-z_]\w*[ \t]+[\w.@]|[a-z]+\w* ->", right):
        return spot.report("a layer's output is named with `as`, after it", f"write `{right} as {name}`", start,
                           spot.at + 1, "E109")
    return spot.report("a constant is given with `let`", f"write `let {name} = {value}`", start, spot.at + 1, "E109")


def call(spot: Spot):
    """`conv(3, 64)`: a layer's arguments in parentheses."""
    name, start = spot.bits[-1] if spot.bits else ("", 0)
    if name in MERGES and spot.char in "([":
        inside = re.match(r".([^()\[\]]*)", spot.rest).group(1)
        branches = " | ".join(b.strip() for b in re.split(r"[|,]", inside))
        return spot.report("branches stand in braces", f"write `{name} {{ {branches or '… | …'} }}`", code="E107")
    dotted = re.match(r"[A-Za-z_][\w.]*\(", spot.text[spot.at:spot.at + 100])
    if spot.word[:1] == "(" and re.fullmatch(r"[A-Za-z_][\w.]*", name) and start + len(name) <= spot.at:
        opening = spot.at
    elif dotted:
        name, start = dotted.group()[:-1], spot.at
        opening = start + len(name)
    else:
        return None
    if name == "block" or spot.in_parameters():
        head = re.sub(r"[(),]", " ", re.split(r"[{:]", spot.text[spot.stage[0][1]:spot.line_start + 300])[0])
        return spot.report("a block's parameters stand after spaces, without parentheses",
                           f"write `{' '.join(head.split('#')[0].split())} {{ … }}`", start, opening + 1)
    before = next((bit for bit, at in reversed(spot.bits) if at < start), "")
    if name in ("repeat", "when", "let"):
        return None
    if spot.starts_line(start) or before in ("", "->", "{", "|", ";", ":") or spot.section:
        whole = balanced(spot.text, start, opening)
        return spot.report("arguments stand after a space, without parentheses",
                           f"write `{translated(whole) or name}`", start, opening + 1)
    return spot.report("a function stands only after `=`, `let`, `repeat` or `when`",
                       f"write it after a key, as in `x={name}(…)`", start, opening + 1, "E109")


def balanced(text: str, start: int, opening: int) -> str:
    """The call that starts at `start`, up to the parenthesis that closes it or the end of its line."""
    depth = 0
    for at in range(opening, min(len(text), opening + 300)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0 or text[at] == "\n":
            return text[start:at + 1].rstrip("\n")
    return text[start:opening + 300]


def bracket(spot: Spot):
    if spot.char == "[" and not spot.stage:
        name = re.match(r"\[(\w+)\]", spot.rest)
        known = translated(name.group(1)) if name else ""
        return spot.report("brackets are not part of the language",
                           f"write `{known or 'conv 3x3 x64'}`: one layer a line, its arguments after its name",
                           end=spot.at + (name.end() if name else 1), code="E107")
    if spot.char in "[(" and (spot.before == "=" or spot.char == "["):
        inside = re.match(r".([^\[\]()]*)[\])]", spot.rest)
        items = ",".join(inside.group(1).replace(",", " ").split()) if inside else "0.5,0.5"
        key = spot.bits[-2][0] if spot.before == "=" and len(spot.bits) > 1 else ""
        return spot.report("a list has commas and no brackets", f"write `{key}={items}`" if key else
                           "lists stand only after `=`, as in `mean=0.5,0.5,0.5`",
                           end=spot.at + (inside.end() if inside else 1), code="E107")
    if spot.char == "(" and spot.stage and "ARROW" in spot.expected:
        inside = re.match(r"\(([^()]*)\)", spot.rest)
        shown = translated(f"{spot.stage[0][0]}({inside.group(1)})") if inside and len(spot.stage) == 1 else ""
        return spot.report("arguments have no parentheses", f"write `{shown}`" if shown else "write them without",
                           end=spot.at + (inside.end() if inside else 1)) if shown else None
    if spot.char == "]":
        return spot.report("brackets are not part of the language", "remove it", end=spot.at + 1, code="E107")
    return None


FOREIGN_OPERATORS = {
    "&&": "and", "||": "or", "**": "^", "===": "==", "!==": "!=", "<>": "!=", "&": "and", "!": "not",
}


def operator(spot: Spot):
    word = spot.word
    if word[:1] not in "+*/^()<>!%-=&" or not word or (not spot.bits and word[:1] != "("):
        return None
    found = foreign_operator(spot)
    if found:
        return found
    if word == ")":
        return spot.report("this `)` closes nothing", "remove it") if "RPAR" not in spot.expected else \
            spot.report("`)` is not expected here", spot.wanted() or "a value belongs before it")
    if "ARROW" in spot.expected or {"FLAG", "NAME"} & spot.expected:
        return arithmetic(spot)
    return spot.report(f"a value is missing before `{spot.printable()}`" if "LPAR" in spot.expected
                       else f"`{spot.printable()}` is not expected here", spot.wanted(), code="E109")


def foreign_operator(spot: Spot):
    at, rest = spot.at, spot.rest
    if spot.before in ("*", "/", "=", "&") and spot.bits[-1][1] == at - 1:
        at, rest = at - 1, spot.before + rest
    if rest.startswith("//"):
        operands = re.search(r"([\w.]+)\s*$", spot.text[max(0, at - 60):at]), re.match(r"//\s*([\w.]+)", rest)
        shown = f"floor({operands[0].group(1)}/{operands[1].group(1)})" if all(operands) else "floor(a/b)"
        return spot.report("`//` is not an operator of the language", f"write `{shown}`", at, at + 2, "E109")
    percent = re.search(r"(\d+(?:\.\d+)?)$", spot.text[max(0, at - 20):at])
    if rest.startswith("%") and percent and not re.match(r"%\s*\w", rest):
        share = float(percent.group(1)) / 100
        return spot.report("`%` is not part of the language", f"write `{share:g}`, a share of 1",
                           at - len(percent.group(1)), at + 1, "E109")
    if rest.startswith("%"):
        return spot.report("`%` is not an operator of the language", "the operators are + - * / ^", at, at + 1, "E109")
    for wrong, right in FOREIGN_OPERATORS.items():
        if rest.startswith(wrong) and not rest.startswith("!="):
            return spot.report(f"`{wrong}` is not an operator of the language", f"write `{right}`", at,
                               at + len(wrong), "E109")
    return None


def arithmetic(spot: Spot):
    """An operator among arguments: after `=` it may stand, in a size it was meant as `x`."""
    bare = spot.word == "("
    left, start = ("", spot.at) if bare or not spot.same_line() or not spot.bits else spot.bits[-1]
    if left.startswith("@") and spot.word == "+":
        names = re.findall(r"@\w+", left + spot.rest)
        return spot.report("outputs are added with `add`", f"write `{names[0]} -> add {' '.join(names[1:])}`", start,
                           spot.at + len(spot.upto()), "E109")
    run = re.match(r"[^\s{}|;#]*(?:\s*[-+*/^]\s*[^\s{}|;#]+)*", spot.text[start:start + 80]).group().rstrip()
    run = run.split("->")[0].rstrip()
    end = start + max(1, len(run))
    size = re.fullmatch(r"\d+(?:\s*\*\s*\d+)+", run)
    if size:
        return spot.report("a size is written with `x`", f"write `{re.sub(r'[ *]+', 'x', run)}`", start, end, "E109")
    flag = re.match(r"([a-z])(\d.*)", run)
    if flag:
        return spot.report("a flag takes a number, no arithmetic", f"write `{flag.group(1)}={flag.group(2)}`", start,
                           end, "E109")
    first = FIRST_PARAMETERS.get(spot.stage[0][0] if spot.stage else "", "x")
    key = "x" if first == "k" and len(spot.stage) > 2 else first
    return spot.report("arithmetic stands only after `=`", f"write `{key}={run}`, with the parameter's name before it",
                       start, end, "E109")


def colon(spot: Spot):
    """What a colon was meant to be."""
    if spot.word != ":":
        return None
    last, start = spot.bits[-1] if spot.bits else ("", spot.at)
    value = re.match(r":\s*([^\s;{}]*)", spot.rest).group(1)
    first = spot.stage[0][0] if spot.stage else ""
    if spot.in_parameters() and value:
        return spot.report("a default follows `=`, no `:`", f"write `{last}={value}`", start, spot.at + 1, "E109")
    if spot.in_parameters() or first in ("repeat", "when", "head", "else"):
        return spot.report("a body stands in braces", f"write `{spot.stage_text()} {{ … }}`", code="E112")
    if first in ("data", "train") and len(spot.stage) == 1:
        return spot.report("a section stands in braces", f"write `{first} {{ … }}`", code="E112")
    if spot.section and WORD.fullmatch(last):
        return spot.report(f"a setting has no `:`: `{last}: {value}`", f"write `{setting(last, value)}`", code="E109")
    if WORD.fullmatch(last) and len(spot.stage) > 1 and value:
        return spot.report("a key takes `=`, no `:`", f"write `{last}={value}`", start, spot.at + 1, "E109")
    layer = re.match(r":\s*([A-Za-z_]\w*[^;{}|]*?)\s*(?:->|[;{}|]|$)", spot.rest)
    if len(spot.stage) == 1 and layer and not spot.open_braces():
        return spot.report("a layer's output is named with `as`, after it", f"write `{layer.group(1)} as {last}`",
                           start, spot.at + 1)
    word = spot.section_meant()
    if word and word[0] in MERGES and len(spot.stage) == 1:
        return spot.report("branches have no names before them", f"remove `{last}:`", start, spot.at + 1)
    if word and len(spot.stage) == 1:
        name, at = word
        right = nearest(name, ("data", "train")) or SECTIONS_ELSEWHERE.get(name, "data")
        return spot.report(f"there is no section `{name}`", f"write `{right} {{ … }}`", at, at + len(name), "E301")
    return spot.report("`:` stands only after the name of a pipeline in `data`", "remove the `:`")


def stray(spot: Spot):
    """Single marks that mean nothing where they are."""
    if spot.word == "@":
        return spot.report("`@` needs a name", "write `@name`, with the name given by `as name`")
    if spot.word == "\\":
        return spot.report("`\\` is not part of the language", "remove it: a line goes on with a leading `->`",
                           code="E107")
    if spot.word in ("$", "~", "&", "?"):
        return spot.report(f"`{spot.word}` is not part of the language", "remove it", code="E107")
    if NUMBER.fullmatch(spot.word) and spot.before == ".":
        return spot.report("`.` is not expected here", "remove it")
    return None
