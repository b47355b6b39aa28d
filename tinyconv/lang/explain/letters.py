"""Letters that the language does not have: lookalikes, other arrows, comment marks, quotes, words of digits."""

from __future__ import annotations

import re

from ..suggest import PARAMETERS, VALUES_ELSEWHERE, elsewhere
from .spot import Spot, setting, shortened

LOOKALIKES = {
    "→": "->", "⇒": "->", "⟶": "->", "➔": "->", "➜": "->", "×": "x", "✕": "x", "·": "*", "−": "-", "–": "-", "—": "-",
    "“": '"', "”": '"', "„": '"', "‘": '"', "’": '"', "′": '"', "，": ",", "；": ";", "：": ":", "（": "(", "）": ")",
    "｛": "{", "｝": "}", "≤": "<=", "≥": ">=", "≠": "!=", "÷": "/", "∗": "*",
}
SPACES = {
    "\u00a0": "a no-break space", "\u3000": "a wide space", "\u200b": "a zero-width space",
    "\ufeff": "a byte-order mark", "\u2028": "a line separator", "\u2003": "an em space", "\u2009": "a thin space",
    "\u202f": "a narrow no-break space",
}
ARROWS = ("=>", "-->", "~>", "->>", "|>", ">>", "»", "<-", "- >")


def comment(spot: Spot):
    """Comment marks of other languages."""
    at, rest = spot.at, spot.rest
    if spot.char == "/" and spot.text[at - 1:at] == "/":
        at, rest = at - 1, "/" + rest
    mark = next((m for m in ("//", "/*", "*/", "--", "%", "'''", '"""', "<!--") if rest.startswith(m)), "")
    spaced = spot.text[at - 1:at] in ("", " ", "\t", "\n")
    words = re.match(r"\s*[^\W\d]", rest[len(mark):]) or not rest[len(mark):].strip()
    if not mark or not spaced or (mark in ("//", "--", "%") and not words) \
            or (mark in ("%", "--") and not spot.starts_line(at)):
        return None
    return spot.report(f"`{mark}` starts no comment in this language", "write `#`, up to the end of the line", at,
                       at + len(mark), "E107")


def lookalike(spot: Spot):
    c, at = spot.char, spot.at
    left = re.search(r"[0-9?]+$", spot.text[max(0, at - 20):at])
    right = re.match(r"[0-9?]+", spot.text[at + 1:at + 20])
    if c in "×✕" and left and right:
        a, b = left.group(), right.group()
        return no_size(spot, f"{a}{c}{b}", at - len(a))
    if c in LOOKALIKES:
        return foreign_letter(spot, f"`{c}` is not part of the language", f"write `{LOOKALIKES[c]}`")
    # The bad letter may stand inside what looks like a word: `3×3`, `3X3`.
    run = re.match(r"[\w.?×✕]+", spot.text[at:at + 100])
    if run and re.fullmatch(r"(?:\d+|\?)(?:[xX×✕](?:\d+|\?))+", run.group()) and re.search("[X×✕]", run.group()):
        return no_size(spot, run.group(), at)
    if c in SPACES or (c.isspace() and c not in " \t\n"):
        return foreign_letter(spot, f"{SPACES.get(c, 'an unusual space')} (U+{ord(c):04X}) is not part of the language",
                              "write a plain space")
    if not c.isprintable():
        return foreign_letter(spot, f"the character U+{ord(c):04X} is not part of the language", "remove it")
    if ord(c) > 127:
        return foreign_letter(spot, f"`{c}` is not part of the language", "names have the letters a-z, digits and _")
    return None


def no_size(spot: Spot, written: str, start: int):
    return spot.report(f"`{written}` is not a size", f"write `{re.sub('[X×✕]', 'x', written)}`", start,
                       start + len(written), "E107")


def foreign_letter(spot: Spot, message: str, help: str):
    return spot.report(message, help, end=spot.at + 1, code="E107")


def wrong_arrow(spot: Spot):
    at, rest = spot.at, spot.text[spot.at:spot.at + 4]
    if rest.startswith(">") and spot.text[at - 1:at] in ("=", "-"):
        at, rest = at - 1, spot.text[at - 1:at + 3]
    elif rest.startswith(">") and spot.text[at - 2:at] == "- ":
        at, rest = at - 2, spot.text[at - 2:at + 2]
    for wrong in ARROWS:
        if rest.startswith(wrong):
            return spot.report(f"`{wrong}` is not an arrow of the language", "write `->`", at, at + len(wrong), "E108")
    option = re.match(r"--?([a-z]\d[\dx]*)", spot.rest)
    if option and spot.stage:
        return spot.report("flags have no `-`", f"write `{option.group(1)}`", end=spot.at + option.end(), code="E108")
    joins = "ARROW" in spot.expected and not spot.in_expression() and not spot.before.startswith("@")
    if joins and spot.word in ("-", ">", "+", "&", "~") and re.match(r". *[A-Za-z_@]", rest) \
            and spot.text[at - 1:at].isspace():
        return spot.report(f"`{spot.word}` is not expected here",
                           "write `->` for the next layer; arithmetic stands only after `=`", code="E108")
    return None


def quotes(spot: Spot):
    c, at = spot.char, spot.at
    if c in "'`":
        text = re.match(rf"{c}([^{c}\n]*){c}", spot.rest)
        if text and spot.before == "=" and len(spot.bits) > 1:
            key, start = spot.bits[-2]
            word = text.group(1)
            own = f"{PARAMETERS.get(key, key)}={VALUES_ELSEWHERE.get(word.lower(), word)}"
            return spot.report("words stand without quotes", f"write `-> {word}`" if key == "activation" else
                               f"write `{own}`", start, at + text.end(), "E107")
        return spot.report(f"texts stand in double quotes, not in {c}",
                           f'write `"{text.group(1)}"`' if text else 'write `"…"`',
                           end=at + (text.end() if text else 1), code="E107")
    if c != '"':
        return None
    end = spot.text.find("\n", at)
    end = end if end >= 0 else len(spot.text)
    closing = spot.text.find('"', at + 1, end)
    if closing < 0:
        return spot.report("this text has no closing quote", 'add the `"`', end=end, code="E104")
    return spot.report("a text in quotes is not expected here", spot.wanted() or "write it without quotes",
                       end=closing + 1)


def malformed(spot: Spot):
    """Words of digits, letters and dots that are neither number nor size nor name."""
    m = re.match(r"[\w.?]+", spot.text[spot.at:spot.at + 200])
    if not m:
        return None
    word, end = m.group(), spot.at + m.end()
    if spot.before == "include":
        name = re.match(r"[^\s;{}]+", spot.rest).group()
        return spot.report("the file of an `include` stands in quotes", f'write `include "{name}"`',
                           end=spot.at + len(name))
    if not re.match(r"[\d.?]", word):
        if "." not in word:
            return None
        return spot.report(f"`{shortened(word)}` is not a name", _without_dots(word), end=end, code="E103")
    if re.fullmatch(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+|(?:\d+|\?)(?:x(?:\d+|\?))*", word):
        return misplaced(spot, word, end)
    return spot.report(f"`{shortened(word)}` is neither a number nor a size nor a name", _mended(spot, word), end=end,
                       code="E103")


def misplaced(spot: Spot, word: str, end: int):
    """A good number where none belongs."""
    shown = shortened(word)
    if spot.before in ("block", "let", "as", "head", "default"):
        return spot.report(f"a name is missing after `{spot.before}`", "names start with a letter", end=end)
    if spot.before == ":" and spot.section and len(spot.bits) > 1:
        name, start = spot.bits[-2]
        return spot.report(f"a setting has no `:`: `{name}: {shown}`", f"write `{setting(name, shown)}`", start, end,
                           "E109")
    count = re.match(r"(\d+)(?:\s*x)?\s+([a-z_]\w*(?:[ \t]+[\w.=]+)*)", spot.rest)
    if count and not spot.stage:
        return spot.report(f"`{shown}` stands before a layer",
                           f"write `repeat {count.group(1)} {{ {count.group(2)} }}`", end=end)
    if "ARROW" in spot.expected and spot.same_line():
        return spot.report(f"`{shown}` follows something complete",
                           "arguments stand right after their layer's name; the next layer follows `->`", end=end)
    if spot.in_parameters():
        return spot.report(f"`{shown}` is no parameter",
                           "a block's parameters are names, as in `block NAME k x=64 { … }`", end=end)
    return spot.report(f"`{shown}` is not expected here",
                       spot.wanted() or "arguments follow a layer's name, and a line starts with one", end=end)


def _without_dots(word: str) -> str:
    last = elsewhere(word.rsplit(".", 1)[1])
    return f"write `{last}`" if last else "names have letters, digits and _, no dots"


def _mended(spot: Spot, word: str) -> str:
    """What a malformed number was meant to be."""
    trail = re.fullmatch(r"(\d+)x", word)
    if trail:
        n = trail.group(1)
        if spot.stage and spot.stage[0][0] == "repeat":
            return f"write `repeat {n}`"
        if len(spot.stage) > 1:
            return f"write `x{n}`"
        follow = re.match(r"x[ \t]+(\d+)", spot.text[spot.at + len(n):spot.at + 200])
        return f"write `{n}x{n}` for a square, or `{n} x{follow.group(1)}`" if follow else f"write `{n}x{n}` or `{n}`"
    factor = re.fullmatch(r"(\d+)([^\W\d]\w*)", word)
    if re.fullmatch(r"\d+(?:\.\d+)?E[-+]?\d*", word):
        return "write the exponent with a small `e`"
    if factor:
        return f"write `{factor.group(1)}*{factor.group(2)}`" if spot.in_expression() else "names start with a letter"
    dotted = re.fullmatch(r"(\d+)\.", word)
    if dotted:
        return f"write `{dotted.group(1)}`"
    split = re.fullmatch(r"((?:\d+x)+\d+)x", word)
    if split:
        return f"write `{split.group(1)}`"
    return "write a number such as 3 or 0.5, or a size such as 3x3"
