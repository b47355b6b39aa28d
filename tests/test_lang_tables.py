"""The parser that runs at each start, against Lark on the grammar itself."""

from __future__ import annotations

import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tinyconv import lang, zoo
from tinyconv.lang import maketables, parser
from tinyconv.lang.ast import Source
from tinyconv.lang.automaton import Automaton

TEXTS = [path.read_text(encoding="utf-8") for path in
         [*sorted(zoo.folder().glob("*.net")), *sorted((Path(__file__).parent / "lang_cases").glob("*.net"))]]
PIECES = ["->", "|", "{", "}", "(", ")", "\n", ";", "# c\n", " ", "=", "==", ",", "@", "3x3", "?x?", "x64", "s2", "1.5",
          "1e-3", ".5", "conv", "let", "repeat", "when", "else", "as", "and", "not", "head", "data", "train {",
          "include", "\"a\"", "/", "*", "^", "-", "+", ":", "block b x { skip }", "concat { a | b }",
          "let a = -2^3*(4/x)", "%", "\t"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    out = tmp_path_factory.mktemp("tables") / "tables.py"
    maketables.make_tables(out)
    return out


def module(path, name):
    found = type(sys)(name)
    found.__dict__.update({k: v for k, v in runpy.run_path(str(path)).items() if k.isupper()})
    return found


def test_every_text_is_read_as_lark_reads_it_and_refused_where_lark_refuses(tables):
    builder = parser.AstBuilder()
    automaton = Automaton(module(tables, "tables"), builder)
    lark = maketables.load_lark(parser.GRAMMAR, builder)
    rng = random.Random(1)
    accepted = refused = 0
    for round_ in range(400):
        text = rng.choice(TEXTS)
        for _ in range(rng.choice((0, 1, 1, 2, 4)) if round_ >= len(TEXTS) else 0):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(PIECES) + text[at + rng.choice((0, 0, 1, 5)):]
        source = Source("f.net", text)
        builder.begin(source, text)
        items, problems = automaton.parse(text), builder.problems
        builder.begin(source, text)
        try:
            expected = lark.parse(text)
        except Exception as error:      # whichever of Lark's: it refuses
            assert type(error).__module__.startswith("lark") and items is None, text
            refused += 1
        else:
            assert repr(items) == repr(expected) and problems == builder.problems, text
            accepted += 1
    assert accepted > 80 and refused > 80


def test_a_parser_without_tables_or_with_stale_ones_reads_the_grammar(tables, monkeypatch):
    text = TEXTS[0]
    source = Source("f.net", text)
    stale = module(tables, "tables")
    stale.STAMP = "1 00000000"
    trees = []
    for found in (module(tables, "tables"), stale, None):
        monkeypatch.setitem(sys.modules, "tinyconv.lang.tables", found)
        fresh = parser._Parser()
        trees.append(repr(fresh.parse(source, text)[0]))
        assert (fresh.automaton is None) == (found is None or found is stale)
        assert (fresh.lark is None) == (fresh.automaton is not None)
    assert trees[0] == trees[1] == trees[2]


def test_errors_are_the_same_with_larks_tables_and_with_the_grammar(tables, monkeypatch):
    text = "input 8x8 x3\nconv 3x3 x 64\n"
    found = []
    for tables_ in (module(tables.with_name("lark_tables.py"), "lark_tables"), None):
        monkeypatch.setitem(sys.modules, "tinyconv.lang.lark_tables", tables_)
        fresh = parser._Parser()
        with pytest.raises(parser.Refused) as error:
            fresh.parse(Source("f.net", text), text + "}")
        found.append((error.value.start, error.value.expected))
        assert (fresh.lark.source_path == "<deserialized>") == (tables_ is not None)
    assert found[0] == found[1] and found[0][0] == len(text)


def test_lark_is_imported_only_where_a_text_does_not_fit_and_numpy_never():
    code = "import sys, tinyconv.lang\n" \
           "tinyconv.lang.parse('input 8 x1'); assert not {'lark', 'numpy'} & set(sys.modules)\n" \
           "try: tinyconv.lang.parse('input 8 x1 }')\n" \
           "except Exception as error: assert error.diagnostics and 'numpy' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_long_file_takes_linear_time():
    """Lists of the grammar are built item by item: each must be taken over, not copied."""
    text = "relu\n" * 20_000
    program = lang.parse("input 8 x1\n" + text)
    assert sum(len(item.stages) for item in program.items) == 20_001
