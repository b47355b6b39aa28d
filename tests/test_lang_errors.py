"""What each mistake is told, word for word: lang_errors.txt holds programs and the text they give.

`python tests/test_lang_errors.py` writes the texts anew; read the difference before it is committed.
"""

import re
from pathlib import Path

import pytest
from lang_fakes import FakeBuilder

from tinyconv import lang
from tinyconv.errors import Diagnostic, Label, NetError
from tinyconv.lang.suggest import distance, nearest

GOLDEN = Path(__file__).with_name("lang_errors.txt")


def cases():
    for part in GOLDEN.read_text(encoding="utf-8").split("=== \n")[1:]:
        program, _, text = part.partition("\n---\n")
        yield program + "\n", text.rstrip("\n")


def outcome(program):
    try:
        parsed = lang.parse(program, "net.net")
        warnings = lang.expand(parsed, FakeBuilder())
        return lang.render(warnings, parsed.files) or "fine"
    except NetError as error:
        return str(error)


@pytest.mark.parametrize("program, text", list(cases()), ids=lambda v: re.sub(r"\W+", "-", v)[:40])
def test_each_mistake_is_told_in_these_words(program, text):
    assert outcome(program) == text


@pytest.mark.parametrize("program, text", list(cases()), ids=lambda v: re.sub(r"\W+", "-", v)[:40])
def test_messages_keep_the_style(program, text):
    try:
        warnings = lang.expand(lang.parse(program, "net.net"), FakeBuilder())
    except NetError as error:
        warnings = error.diagnostics
    for d in warnings:
        assert re.fullmatch(r"[EW]\d{3}", d.code)
        assert not d.message.endswith(".") and not d.message[0].isupper() and not d.help.endswith(".")
        assert d.file == "net.net" and 1 <= d.line <= program.count("\n") + 1 and 1 <= d.column < d.end_column


def test_carets_stand_under_tabs_and_wide_letters():
    d = Diagnostic("E999", "here", "a", 1, 5, 7, labels=(Label("a", 1, 3, 4, "wide"),))
    shown = lang.render([d], {"a": "\t日本 xy\n"}).split("\n")
    assert shown[3] == "1 |     日本 xy"
    assert shown[4] == "  |       ^^ wide"
    assert shown[5] == "  |          ^^"


def test_control_characters_never_reach_the_terminal():
    d = Diagnostic("E999", "bad \x1b[31m", "a", 1, 1, 2)
    assert "\x1b" not in lang.render([d], {"a": "\x1b[31m\x07"})
    assert "\x1b[" in lang.render([d], {"a": ""}, color=True)


def test_long_lines_are_cut_around_the_caret():
    shown = lang.render([Diagnostic("E999", "m", "a", 1, 5001, 5002)], {"a": "a" * 5000 + "b" + "c" * 5000}).split("\n")
    assert len(shown[3]) < 200 and shown[3][shown[4].index("^")] == "b"


def test_edit_distance_counts_swaps_and_has_a_limit():
    assert [
    distance(
        a, b, 2) for a, b in [
            ("relu", "relu"), ("rleu", "relu"), ("rel", "relu"), ("conv", "pool")]] == [
                0, 1, 1, 3]
    assert nearest("cnov", ["concat", "conv"]) == "conv"
    assert nearest("b", ["bn", "a"]) == "" or nearest("b", ["bn"]) == "bn"
    assert nearest("xyzzy", ["conv"]) == ""


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"=== \n{program}---\n{outcome(program)}\n" for program, _ in list(cases())),
                      encoding="utf-8")
