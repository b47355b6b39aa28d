"""Mistakes that people make in their first week: the first error points at the mistake's line and its help is the fix.

Each program in mistakes.txt has one mistake, on the line that ends in the comment `#!`, which is taken off before it is
read. After `---` stands the right fix, or a part of it that no other advice would have.
"""

import re
from pathlib import Path

import pytest

from tinyconv import lang
from tinyconv.data.steps import DATA
from tinyconv.errors import NetError
from tinyconv.graph.build import build
from tinyconv.train import TRAIN

MISTAKES = Path(__file__).with_name("mistakes.txt")
WRONG_ADVICE = 2        # programs whose help may miss the fix


def mistakes():
    for part in re.split(r"^=== ", MISTAKES.read_text(encoding="utf-8"), flags=re.M)[1:]:
        title, _, rest = part.partition("\n")
        text, _, fix = rest.partition("\n---\n")
        line = next(n for n, line in enumerate(text.split("\n"), 1) if line.endswith("#!"))
        yield title, re.sub(r" *#!$", "", text, flags=re.M) + "\n", line, fix.strip()


def first_error(text):
    try:
        program = lang.parse(text, "net.net")
        build(program)
        lang.sections(program, {"data": DATA, "train": TRAIN})
    except NetError as error:
        return error.diagnostics[0], str(error)
    return None, "no error"


CASES = list(mistakes())


def test_there_are_many_and_each_has_its_own_name():
    assert len(CASES) >= 60 and len({title for title, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize("title, text, line, fix", CASES, ids=[title for title, *_ in CASES])
def test_the_first_error_is_on_the_line_of_the_mistake(title, text, line, fix):
    found, shown = first_error(text)
    assert found is not None, text
    assert found.line == line, shown


def test_the_help_is_the_fix():
    wrong = []
    for title, text, _, fix in CASES:
        found, shown = first_error(text)
        if found is None or fix not in found.help:
            wrong.append(f"{title}: wanted {fix!r}\n{shown}")
    print("\n\n".join(wrong))
    assert len(wrong) <= WRONG_ADVICE, "\n\n".join(wrong)
