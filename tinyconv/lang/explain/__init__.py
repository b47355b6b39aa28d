"""One syntax error in the reader's words: the message, the place and the fix, from what stands around it.

Each module knows one family of mistakes, each function one kind of them; the first that recognises the spot speaks.
"""

from __future__ import annotations

from ...errors import Diagnostic
from ..ast import Source
from .braces import at_end, brace, unclosed, unopened
from .flow import arrow, bar, comma, foreign_keyword, keyword, left_open, missing_arrow
from .letters import comment, lookalike, malformed, quotes, wrong_arrow
from .spot import Spot
from .values import assignment, bracket, call, colon, let_without_value, operator, stray

__all__ = ["explain"]

_KINDS = (
    unclosed, unopened, left_open, at_end, comment, lookalike, wrong_arrow, foreign_keyword, let_without_value, brace,
    bar, arrow, keyword, quotes, assignment, call, bracket, operator, comma, colon, stray, malformed, missing_arrow,
)


def explain(source: Source, text: str, at: int, expected: set[str]) -> Diagnostic:
    """What is wrong at offset `at` of `text`, where the parser would have taken the terminals `expected`.

    Places are those of `source`, whose text has the same length.
    """
    spot = Spot(source, text, at, expected)
    for kind in _KINDS:
        found = kind(spot)
        if found:
            return found
    return spot.report(f"`{spot.printable()}` is not expected here",
                       spot.wanted() or "remove it, or join it to what stands beside it")
