"""The parser's tables as Python literals, made at build time: `python -m tinyconv.lang.maketables OUT`.

OUT is what automaton.py runs, so that reading a text needs no Lark. Beside it goes lark_OUT, Lark's own form, which
saves the 0.1 s of building Lark's parser where a text has errors to explain. Both carry a checksum of the grammar;
tables that are absent or do not match are ignored, and the grammar is read instead.
"""

from __future__ import annotations

import sys
import zlib
from importlib import import_module
from pathlib import Path

OPTIONS = {"parser": "lalr", "lexer": "contextual", "maybe_placeholders": True}
FORM = 1                # of the tables; raised with every change of it


def _stamp(grammar: str, lark: str = "") -> str:
    return f"{lark or FORM} {zlib.crc32(grammar.encode()):08x}"


def make_tables(out: str | Path) -> None:
    """Writes the two modules: STAMP, START, END, TERMINALS, RULES, STATES; and STAMP, DATA, MEMO for Lark."""
    import lark
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    grammar = Path(__file__).with_name("net.lark").read_text(encoding="utf-8")
    parser = lark.Lark(grammar, **OPTIONS)
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    out = Path(out)
    _write(out, STAMP=_stamp(grammar), **_automaton(parser, data, memo))
    _write(out.with_name(f"lark_{out.name}"), STAMP=_stamp(grammar, lark.__version__), DATA=data, MEMO=memo)


def _write(out: Path, **names) -> None:
    lines = ['"""Made from net.lark by maketables.py."""', *(f"{name} = {value!r}" for name, value in names.items())]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _automaton(parser, data: dict, memo: dict) -> dict:
    """Lark's tables as automaton.py takes them.

    TERMINALS: (name, pattern, ignored) in the order that they are tried. RULES: (origin, symbols on the right, method,
    children as (place, inlined) or None for all of them, whether a single child stands for itself). STATES: a text
    each, `symbol>state` and `symbol,symbol<rule`.
    """
    ignored = set(parser.ignore_tokens)
    terminals = sorted(parser.terminals,
                       key=lambda t: (-t.priority, -t.pattern.max_width, -len(t.pattern.value), t.name))
    table = data["parser"]["parser"]
    names = table["tokens"]
    rules: dict[int, int] = {}      # Lark's number of a rule -> its place in RULES
    states = []
    for state in range(len(table["states"])):
        shifts, reductions = [], {}
        for symbol, (is_reduction, target) in table["states"][state].items():
            if is_reduction:
                rule = rules.setdefault(target["@"], len(rules))
                reductions.setdefault(rule, []).append(names[symbol])
            else:
                shifts.append(f"{names[symbol]}>{target}")
        states.append(" ".join(shifts + [f"{','.join(symbols)}<{rule}" for rule, symbols in reductions.items()]))
    return {"START": table["start_states"]["start"], "END": table["end_states"]["start"],
            "TERMINALS": [(t.name, t.pattern.to_regexp(), t.name in ignored) for t in terminals],
            "RULES": [_rule(memo[n]) for n in rules], "STATES": states}


def _rule(rule: dict) -> tuple:
    """A rule of Lark's as automaton.py takes it."""
    options, origin, symbols = rule["options"], rule["origin"]["name"], rule["expansion"]
    # Where `[x]` is left out stands a None: empty_indices has True for each, False for each symbol that is there.
    children, place = [], 0
    for missing in options["empty_indices"] or [False] * len(symbols):
        if missing:
            children.append((-1, False))
            continue
        symbol, is_terminal = symbols[place], symbols[place]["__type__"] == "Terminal"
        if not (is_terminal and symbol["filter_out"]):
            children.append((place, not is_terminal and symbol["name"].startswith("_")))
        place += 1
    as_they_are = children == [(i, False) for i in range(len(symbols))]
    call = rule["alias"] or ("" if origin.startswith("_") else origin)
    return (origin, len(symbols), call, None if as_they_are else children,
            options["expand1"] and not rule["alias"])


def load_automaton(grammar_file: Path, builder):
    """The Automaton of the tables; None where they are absent or made from another grammar."""
    try:
        tables = import_module("tinyconv.lang.tables")
    except ImportError:
        return None
    if tables.STAMP != _stamp(grammar_file.read_text(encoding="utf-8")):
        return None
    from .automaton import Automaton

    return Automaton(tables, builder)


def load_lark(grammar_file: Path, transformer):
    """A Lark parser whose rules call `transformer`."""
    import lark

    grammar = grammar_file.read_text(encoding="utf-8")
    try:
        tables = import_module("tinyconv.lang.lark_tables")
    except ImportError:
        tables = None
    if tables is not None and tables.STAMP == _stamp(grammar, lark.__version__):
        return lark.Lark._load_from_dict(tables.DATA, tables.MEMO, transformer=transformer)
    return lark.Lark(grammar, transformer=transformer, **OPTIONS)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tinyconv.lang.maketables OUT")
    make_tables(sys.argv[1])
