"""The parser's tables as a Python literal, made at build time: `python -m tinyconv.lang.maketables OUT`.

Building the parser from the grammar costs about 0.1 s, loading the tables a tenth of it. The literal carries the hash
of the grammar and Lark's version; tables that are absent or do not match are ignored and the grammar is read instead.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from pathlib import Path

OPTIONS = {"parser": "lalr", "lexer": "contextual", "maybe_placeholders": True}


def _stamp(grammar: str) -> str:
    import lark

    return f"lark {lark.__version__} sha256 {hashlib.sha256(grammar.encode()).hexdigest()}"


def make_tables(out: str | Path) -> None:
    """Write the tables as a module with the names STAMP, DATA and MEMO."""
    from lark import Lark
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    grammar = Path(__file__).with_name("net.lark").read_text(encoding="utf-8")
    data, memo = Lark(grammar, **OPTIONS).memo_serialize([TerminalDef, Rule])
    names = {"STAMP": _stamp(grammar), "DATA": data, "MEMO": memo}
    lines = ['"""Made from net.lark by maketables.py."""', *(f"{name} = {value!r}" for name, value in names.items())]
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")


def load_tables(grammar_file: Path, transformer):
    """A Lark parser whose rules call `transformer`."""
    from lark import Lark

    grammar = grammar_file.read_text(encoding="utf-8")
    try:
        tables = import_module("tinyconv.lang.tables")
    except ImportError:
        tables = None
    if tables is not None and tables.STAMP == _stamp(grammar):
        return Lark._load_from_dict(tables.DATA, tables.MEMO, transformer=transformer)
    return Lark(grammar, transformer=transformer, **OPTIONS)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tinyconv.lang.maketables OUT")
    make_tables(sys.argv[1])
