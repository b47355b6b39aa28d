"""Parsing with errors in the reader's words: where the parser stops becomes a message, a place and the fix.

After an error the offending line is blanked and the rest parsed again, where braces allow that honestly.
"""

from __future__ import annotations

import re

from ..errors import Diagnostic
from . import ast
from .ast import Source
from .parser import MAX_DEPTH, MAX_TEXT, PARSER, Refused

MAX_ERRORS = 20
# Texts and comments are skipped, so that what they hold is no brace.
MARKS = re.compile(r'"[^"\n]*"|#[^\n]*|([{}()])')


def parse_source(source: Source) -> tuple[list[ast.Item], list[Diagnostic]]:
    """The items of one file and every problem found in it; with problems the items are not to be used."""
    problem = size_problem(source)
    if problem:
        return [], [problem]
    problems: list[Diagnostic] = []
    extra: list[Diagnostic] = []
    text = source.text
    while True:
        try:
            items, extra = PARSER.parse(source, text)
            break
        except Refused as error:
            from .explain import explain

            items, start = [], error.start
            problem = explain(source, text, start, error.expected)
            extra = list(PARSER.builder.problems)
            if problems and problem.line <= problems[-1].line:
                break       # blanking the line did not mend it
            problems.append(problem)
            text = blanked(text, start)
            if text is None or len(problems) >= MAX_ERRORS:
                break
    known = {(p.line, p.column) for p in problems}
    problems += [p for p in extra if (p.line, p.column) not in known]
    problems.sort(key=lambda p: (p.line, p.column))
    return (items if not problems else []), problems


def size_problem(source: Source) -> Diagnostic | None:
    """What would make parsing slow or deep, found by a scan before it."""
    text = source.text
    if len(text) > MAX_TEXT:
        return Diagnostic("E101", f"the text is larger than {MAX_TEXT} characters", source.file)
    depth = 0
    for mark in MARKS.finditer(text):
        depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(mark.group(1), 0)
        if depth > MAX_DEPTH:
            return Diagnostic("E106", f"braces are nested deeper than {MAX_DEPTH}", *source.span(*mark.span()),
                              help="name the inner part with `block`")
    return None


def blanked(text: str, at: int) -> str | None:
    """The text with the line at `at` replaced by something harmless, None where braces make that a guess."""
    if at >= len(text):
        return None
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    line = text[start:end]
    marks = [m.group(1) for m in MARKS.finditer(line) if m.group(1) in ("{", "}")]
    depth = 0
    for mark in marks:
        depth += 1 if mark == "{" else -1
        if depth < 0:
            return None
    if depth:
        return None
    lead = re.match(r"\s*(?:->|\||let\b|block\b|include\b|default\b|head\b)?", line).group()
    word = lead.strip() if at - start >= len(lead) else ""
    filler = {"": "a", "->": "-> a", "|": "| a", "let": "let a=0", "block": "block a{a}", "include": 'include""',
              "default": "default a a", "head": "head a{a}"}[word]
    # Places in the text must not move.
    return text[:start] + filler.ljust(len(line)) + text[end:] if len(filler) <= len(line) else None
