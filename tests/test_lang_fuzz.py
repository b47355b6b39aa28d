"""No text ends in anything but a program or a NetError, in bounded time; formatting keeps what a text means.

    python tests/test_lang_fuzz.py 100000 [SEED]        that many random programs, three in ten of them spoiled
"""

import random
import re
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lang_fakes import FakeBuilder
from lang_random import spoil, valid

from tinyconv import lang
from tinyconv.data.steps import DATA
from tinyconv.errors import NetError
from tinyconv.graph import build
from tinyconv.lang.ast import Node
from tinyconv.lang.reader import decode
from tinyconv.train import TRAIN

CASES = Path(__file__).with_name("lang_cases")
FILE = str(CASES / "random.net")     # beside what random programs include
TEXTS = [text for text in (p.read_text() for p in sorted(CASES.glob("*.net"))) if "include" not in text]
PIECES = sorted({t for text in TEXTS for t in re.findall(r'"[^"\n]*"|->|==|[\w.]+|[^\w\s]|\n', text)} | set(
    "let default include block head repeat when else as and or not in on off min( round( normal( ? ?x? 3X3 → × "
    "=> ^ 1e9 99999999999999999999 "
    "0.1 x3 s2 g0 s0 @a skip as|n { } ( ) = , ; : \" ' # \\ \x00 \u00a0 日".split(" ")))


def run(text):
    """Parses and expands; returns the expanded calls, None after an error that is one of ours."""
    builder = FakeBuilder()
    try:
        program = lang.parse(text, "f.net")
        lang.expand(program, builder)
    except NetError as error:
        assert error.diagnostics and str(error)
        for d in error.diagnostics:
            if d.line:
                assert 1 <= d.line <= text.count("\n") + text.count("\r") + 1 and 1 <= d.column < d.end_column
        return None
    return [(c[0], {k: str(v) for k, v in c[1].items()}, c[3]) for c in builder.calls]


@given(st.text())
def test_any_text(text):
    run(text)


@given(st.binary())
def test_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.net"
    path.write_bytes(data)
    try:
        lang.load(path)
    except NetError as error:
        assert error.diagnostics


@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_any_sequence_of_words(pieces):
    run(" ".join(pieces))


def mutated(seed):
    rng = random.Random(seed)
    words = re.findall(r'"[^"\n]*"|->|==|[\w.]+|[^\w\s]|\s+', rng.choice(TEXTS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(words))
        words[at:at + rng.choice((0, 1, 1, 2))] = rng.choice(([], [rng.choice(PIECES)],
                                 [words[rng.randrange(len(words))], " "]))
    return "".join(words)


@given(st.integers(0, 10**9))
def test_mutated_programs(seed):
    text = mutated(seed)
    calls = run(text)
    if calls is not None:
        assert run(lang.inline(lang.parse(text))) == calls


# Random programs through parsing, building, formatting, parsing again


def structure(node):
    """A part of a program without its places."""
    if isinstance(node, list):
        return [structure(n) for n in node]
    if not isinstance(node, Node):
        return node
    fields = set(node.fields) - {"source", "start", "end"}
    return type(node).__name__, {name: structure(getattr(node, name)) for name in sorted(fields)}


def meaning(program):
    """("net", …) with all that a program says, or ("error", …). What is said about places is left out."""
    try:
        graph = build(program)
        sections = lang.sections(program, {"data": DATA, "train": TRAIN})
    except NetError as error:
        return "error", [d.code for d in error.diagnostics]       # words and help may quote the text
    steps = {name: [step[:2] for step in sections["data"].pop(name, [])] for name in ("augment", "test")}
    nodes = [{k: v for k, v in vars(n).items() if k not in ("span", "trail")} for n in graph.nodes]
    return "net", (nodes, graph.output_index, [(h.name, h.weight, h.output) for h in graph.heads], graph.names,
                   [(d.code, d.message) for d in graph.warnings], sections, steps)


def comments(source):
    return [source.text[start:end].rstrip() for start, end in source.comments()]


def exercise(data: bytes) -> str:
    """Takes one program through everything, checks what must hold, returns what became of it."""
    try:
        text = decode(data, FILE)
        program = lang.parse(text, FILE)
    except NetError as error:
        assert error.diagnostics and str(error)
        try:
            formatted = lang.format(decode(data, FILE), FILE)
        except NetError as again:
            assert again.diagnostics == error.diagnostics[:len(again.diagnostics)]
            return "not parsed"
        assert error.diagnostics[0].code.startswith("E00")      # only an include was at fault
        assert lang.format(formatted) == formatted
        return "not included"
    found = meaning(program)
    formatted = lang.format(text)
    assert lang.format(formatted) == formatted
    again = lang.parse(formatted, FILE)
    assert structure(again.root) == structure(program.root)
    assert meaning(again) == found
    assert comments(again.source) == comments(program.source)
    assert not re.search(r"[ \t]\n|^\n|\n\n\n|\n\n\Z", formatted) and formatted[-1:] in ("", "\n")
    return found[0]


def program(seed):
    """Valid in seven cases of ten, else spoiled."""
    rng = random.Random(f"spoil {seed}")
    text = valid(seed)
    return text.encode() if rng.random() < 0.7 else spoil(text, rng)


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_programs(start):
    outcomes = Counter(exercise(program(seed)) for seed in range(start, start + 50))
    assert outcomes["net"] >= 10 and outcomes["not parsed"] >= 5


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_examples_are_exercised(text):
    exercise(text.encode())
    for seed in range(20):
        exercise(spoil(text, random.Random(seed)))


# b0 holds b1 twice, b1 holds b2 twice, …: 2^50 layers.
DOUBLING = "".join(f"block b{i} {{ b{i + 1} -> b{i + 1} }}\n" for i in range(50)) + "block b50 { relu }\n"
TOWER = "".join(f"block b{i} {{ b{i + 1} }}\n" for i in range(3000)) + "block b3000 { relu }\n"
HOSTILE = {
    "rulers": ("#" * 80 + "\n") * 2000 + "input 8 x1\n",
    "blank lines": "input 8 x1" + "\n" * 200_000 + "relu",
    "blank lines, then a brace": "input 8 x1" + "\n" * 200_000 + "}",
    "comment lines, then an arrow": "input 8 x1" + "\n# -" * 40_000 + "\n-> relu",
    "one long comment": "#" * 200_000,
    "spaces": "input 8 x1 " + " " * 200_000 + "relu x",
    "flags before spaces": ("conv x3" + " " * 500) * 400,
    "data words": "data \n" * 20_000,
    "open braces": "repeat 2 {" * 20_000,
    "open parentheses": "let a = " + "(" * 100_000,
    "minus signs": "let a = " + "-" * 100_000 + "1",
    "powers": "let a = " + "2^" * 10_000 + "2",
    "sums": "let a = 1" + "+1" * 50_000,
    "nots": "when " + "not " * 10_000 + "on { skip }",
    "else when": "input 8 x1\nwhen off { skip }" + " else when off { skip }" * 5_000,
    "digits": "let a = " + "9" * 200_000,
    "exponent": "let a = 1e999999999\nlet b = 10^10^10^10",
    "negative exponent": "let a = 1e-9999999\nlet b = 3^(-1000000000000)",
    "growing fractions": "let a0 = 1/3\n" + "".join(f"let a{i + 1} = a{i}*a{i}\n" for i in range(100)),
    "growing numbers": "let a0 = 3\n" + "".join(f"let a{i + 1} = a{i}*a{i}\n" for i in range(100)),
    "repeats": "input 8 x1\nrepeat 999999999999 { relu }",
    "idle repeats": "input 8 x1\nrepeat 999999 { repeat 999999 { repeat 0 { relu } } }",
    "doubling blocks": DOUBLING + "input 8 x1\nb0",
    "doubling blocks, not called": DOUBLING,
    "doubling blocks after an error": DOUBLING + "input 8 x1\nnothing -> b0",
    "a tower of blocks": TOWER + "input 8 x1\nb0",
    "recursion by argument": "block f g { g g }\ninput 8 x1\nf f",
    "mutual recursion": "block f { g }\nblock g { f }\n",
    "many blocks": "".join(f"block b{i} {{ relu }}\n" for i in range(8000)),
    "many errors": "conv 3 = \n" * 20_000,
    "many unknown layers": "input 8 x1\n" + "foo\n" * 20_000,
    "many branches": "input 8 x1\nadd { relu" + "|relu" * 15_000 + "}",
    "many names": "input 8 x1\n" + "".join(f"relu as n{i}\n" for i in range(5000)),
    "long name": "input 8 x1\n" + "a" * 200_000,
    "sizes": "input " + "1x" * 50_000 + "1 x3",
    "quotes": '"' * 100_000,
    "arrows": "->" * 50_000,
    "at signs": "@" * 50_000,
    "too large": "relu\n" * 100_000,
    "nul": "input 8 x1\n\0",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_little_time(name):
    lang.parse("input 8 x1")        # the parser itself is built once
    start = time.process_time()
    run(HOSTILE[name])
    assert time.process_time() - start < 10


@pytest.mark.parametrize("name", [
    "rulers", "blank lines", "one long comment", "spaces", "flags before spaces",
    "else when", "many branches", "a tower of blocks", "growing numbers"])
def test_hostile_texts_are_formatted_in_little_time(name):
    lang.format("relu")
    start = time.process_time()
    formatted = lang.format(HOSTILE[name])
    assert time.process_time() - start < 10
    assert lang.format(formatted) == formatted


def main(count, first=0):
    """Many programs, each within a bound of time, all within a bound of memory."""
    def stop(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    outcomes, slowest, began = Counter(), (0.0, 0), time.monotonic()
    for seed in range(first, first + count):
        data, start = program(seed), time.process_time()
        signal.setitimer(signal.ITIMER_REAL, 600)
        try:
            outcomes[exercise(data)] += 1
        except BaseException:
            print(f"seed {seed}:\n{data[:2000]!r}", file=sys.stderr)
            raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, (time.process_time() - start, seed))
        if (seed - first + 1) % 5000 == 0:
            print(f"{seed - first + 1} programs, {time.monotonic() - began:.0f} s, {dict(outcomes)}", flush=True)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{count} programs: {dict(outcomes)}; the slowest, seed {slowest[1]}, took {slowest[0]:.2f} s of CPU; "
          f"{megabytes} MB at most; {time.monotonic() - began:.0f} s in all")
    assert slowest[0] < 10 and megabytes < 1000


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
