"""docs/language.md: every example is built, every claim of a shape or count and every shown output compared.

The word after `net` on a fence says what it is: nothing for a whole net, `file=NAME` for one that later examples refer
to, `input="SHAPE"` for a fragment, `error` where it must be refused. A comment that is a shape (`# 7x7 x32`) claims the
shape after its line, `# 1,000 params` the count of the net. An output that ends with `…` is its beginning.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tinyconv import lang
from tinyconv.cli import main
from tinyconv.errors import NetError
from tinyconv.graph import build
from tinyconv.lang.callee import Callee
from tinyconv.layers import LAYERS
from tinyconv.sections import SECTIONS
from tinyconv.steps import STEPS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NETS = [(dict(word.partition("=")[::2] for word in shlex.split(info)), text)
        for language, info, text in FENCES if language == "net"]
CONSOLES = [text for language, _, text in FENCES if language == "console"]
SHAPE = re.compile(r"#\s+((?:(?:\d+|\?)(?:x(?:\d+|\?))* )?x\d+)\s*$")
COUNT = re.compile(r"#\s+([\d,]+) params\s*$")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files that examples are said to be."""
    for words, text in NETS:
        if "file" in words:
            (tmp_path / words["file"]).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def test_the_page_has_examples():
    assert len(NETS) >= 15 and len(CONSOLES) >= 2
    assert {language for language, _, _ in FENCES} == {"net", "console"}
    assert all(set(words) <= {"file", "input", "error"} for words, _ in NETS)


@pytest.mark.parametrize("words, text", NETS, ids=[text.splitlines()[0][:40] for _, text in NETS])
def test_examples_are_what_they_say(folder, words, text):
    program = None
    try:
        program = lang.parse(text, words.get("file", "example.net"))
        graph = build(program, {}, words.get("input"))
        lang.sections(program, SECTIONS)
    except NetError as error:
        assert "error" in words, error
        return
    assert "error" not in words
    assert graph.warnings == []
    assert text == lang.format(text)
    for number, line in enumerate(text.splitlines(), 1):
        if claimed := SHAPE.search(line):
            after = [n.shape for n in graph.main if place(n).line <= number]
            assert str(after[-1]) == claimed.group(1), line
        if claimed := COUNT.search(line):
            assert f"{graph.params:,}" == claimed.group(1), line


def place(node):
    """Where a node stands in the example itself."""
    return (node.trail[0].span if node.trail else node.span)


@pytest.mark.parametrize("text", CONSOLES, ids=[text.splitlines()[0] for text in CONSOLES])
def test_shown_outputs_are_what_commands_print(folder, capsys, text):
    command, shown = text.split("\n", 1)
    assert command.startswith("$ tinyconv ")
    main(shlex.split(command)[2:])
    out, err = capsys.readouterr()
    printed = [line.rstrip() for line in (out + err).splitlines()]
    wanted = shown.splitlines()
    if wanted[-1] == "…":
        wanted, printed = wanted[:-1], printed[:len(wanted) - 1]
    assert printed == wanted


def rows(heading: str) -> list[str]:
    """The code of the first column of the table below a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    first = [re.split(r"(?<!\\)\|", line)[1] for line in part.splitlines() if line.startswith("| `")]
    return [code.replace("\\|", "|") for cell in first for code in re.findall(r"`([^`]+)`", cell)]


def test_the_table_of_layers_is_that_of_the_signatures():
    real = {name: usage(name, layer.signature.params) for name, layer in LAYERS.items()}
    shown = {text.split()[0]: text for text in rows("Layers")}
    assert shown == real


def usage(name, params) -> str:
    return Callee(name, params).usage()


def test_the_table_of_settings_is_that_of_the_sections():
    real = []
    for settings in SECTIONS.values():
        for setting in settings.values():
            if setting.choices is None:
                real.append(usage(setting.name, setting.params))
            elif setting.pipeline:
                real.append(f"{setting.name}:")
            else:
                real += [f"{setting.name} {usage(s.name, s.params)}" for s in setting.choices.values()]
    shown = [text for text in rows("Sections") if text not in ("data", "train")]
    assert shown == real


def test_the_table_of_steps_is_that_of_the_signatures():
    real = {name: usage(name, step.params) for name, step in STEPS.items()}
    assert {text.split()[0]: text for text in rows("Steps")} == real


def test_keywords_are_those_of_the_parser():
    grammar = (ROOT / "tinyconv" / "lang" / "net.lark").read_text(encoding="utf-8")
    keywords = re.search(r"NAME\s*:\s*/\(\?!\(\?:([a-z|]+)\)", grammar).group(1).split("|")
    shown = re.search(r"The words `([^`]+)` are taken", PAGE).group(1).split()
    assert sorted(shown) == sorted(keywords)


def test_the_readme_leads_here():
    assert "(docs/language.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
