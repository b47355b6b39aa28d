"""The language server: what it finds in texts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tinyconv import lang
from tinyconv.lang import ast
from tinyconv.lang.checks import nodes
from tinyconv.lsp import navigation
from tinyconv.lsp.completion import complete
from tinyconv.lsp.hover import hover
from tinyconv.lsp.outline import Outline
from tinyconv.lsp.project import Project
from tinyconv.lsp.text import Text

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted([*(ROOT / "tests" / "lang_cases").glob("*.net"), *(ROOT / "models").glob("*.net")])

BLOCKS = """\
# A convolution and what follows it.
block cb k x s=1 { conv k x s bias=off -> bn }
let base = 8
"""
NET = """\
include "blocks.net"
let classes = 5*2      # número 🎉
input 32x32 x3 as first
cb 3x3 x=base -> relu as low -> pool 2
repeat 2 as i { conv 3x3 x=base*2^i } as high
pool global avg -> fc classes -> softmax
"""


def project(text: str, folder: Path = Path("/nowhere"), name: str = "a.net") -> tuple[Project, str]:
    found, path = Project(), str(folder / name)
    found.open(path, text)
    return found, path


def marked(text: str) -> tuple[str, int]:
    """A text and the offset of the `¦` in it, which is taken out."""
    at = text.index("¦")
    return text[:at] + text[at + 1:], at


def labels(text: str, folder: Path = Path("/nowhere")) -> list[str]:
    text, at = marked(text)
    found, path = project(text, folder)
    return [c.label for c in complete(found, path, at)]


def hovered(text: str, folder: Path = Path("/nowhere")) -> str:
    text, at = marked(text)
    found, path = project(text, folder)
    answer = hover(found, path, at)
    return answer.text if answer else ""


def target(text: str, folder: Path = Path("/nowhere")) -> tuple[str, str, int]:
    """File name, kind and line from 0 of the definition."""
    text, at = marked(text)
    found, path = project(text, folder)
    answer = navigation.resolve(found, path, Outline(text), at)
    line = answer.outline.text.count("\n", 0, answer.definition.start)
    return Path(answer.path).name, answer.definition.kind, line


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "blocks.net").write_text(BLOCKS)
    (tmp_path / "net.net").write_text(NET)
    return tmp_path


# Positions


@pytest.mark.parametrize("encoding, width", [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
def test_positions_count_code_units(encoding, width):
    text = Text("a 🎉 b\nc", encoding)
    assert text.position(2) == (0, 2) and text.position(3) == (0, 2 + width) and text.position(6) == (1, 0)
    for offset in range(len(text.text) + 1):
        assert text.offset(*text.position(offset)) == offset
    assert text.offset(0, 2 + width // 2) == (2 if width > 1 else 2)        # within a character: before it


def test_positions_past_an_end_are_the_end():
    text = Text("ab\ncd")
    assert text.offset(0, 99) == 2 and text.offset(7, 0) == 5 and text.position(5) == (1, 2)
    assert Text("").offset(0, 5) == 0


def test_line_ends_and_byte_order_marks_do_not_move_positions():
    text = Text("\ufeffab\r\ncd\ref")
    assert text.text == "ab\ncd\nef" and text.position(0) == (0, 1) and text.position(3) == (1, 0)
    assert text.offset(0, 1) == 0 and text.offset(2, 1) == 7


# The outline


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_outline_of_a_program_is_that_of_its_parse(path):
    program = lang.load(path)
    outline = Outline(program.source.text)
    parsed = [("block", i.name) for i in program.root if isinstance(i, ast.Block)]
    parsed += [("let", i.name) for i in program.root if isinstance(i, ast.Let)]
    parsed += [("head", i.name) for i in program.root if isinstance(i, ast.Head)]
    parsed += [("parameter", p) for i in program.root if isinstance(i, ast.Block) for p in i.params]
    found = {(d.kind, d.name, d.start) for d in outline.definitions if d.kind in ("block", "let", "head", "parameter")}
    assert found == {(kind, getattr(node.name, "name", node.name), node.start) for kind, node in parsed}
    stages = {s.tokens[0].start for s in outline.statements if s.is_stage}
    layers = {n.start for n in nodes([i for i in program.root if not isinstance(i, ast.Section)])
              if isinstance(n, ast.Layer)}
    assert stages == layers
    assert [(c.start, c.end) for c in outline.comments] == program.source.comments()
    assert [path for path, _, _ in outline.includes] == [
        i.path.value for i in program.root if isinstance(i, ast.Include)]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_any_beginning_of_a_program_is_answered(path):
    text = path.read_text()
    for at in range(0, len(text), 97):
        found, name = project(text[:at], path.parent)
        complete(found, name, at)
        hover(found, name, at)
        navigation.symbols(Outline(text[:at]))


def test_mutilated_programs_are_answered(folder):
    rng = random.Random(1)
    pieces = ["{", "}", "|", "->", "@", "=", '"', "#", "\n", "let ", "block ", "as ", "x", "3x", "repeat ",
              "é🎉", "(", " "]
    sources = [BLOCKS, NET, *(path.read_text() for path in PROGRAMS if path.stem in ("unet", "googlenet", "lenet5"))]
    for _ in range(60):
        text = rng.choice(sources)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(pieces) + text[at + rng.choice((0, 0, 1, 20)):]
        found, path = project(text, folder)
        for at in (rng.randrange(len(text)) for _ in range(5)):
            complete(found, path, at)
            answer = hover(found, path, at)
            assert answer is None or answer.text and answer.start <= at <= answer.end
            navigation.resolve(found, path, Outline(text), at)
        for definition, start, end, _ in navigation.symbols(Outline(text)):
            assert start == definition.start < definition.end <= end <= len(text)


def test_a_missing_brace_does_not_swallow_the_blocks_below():
    outline = Outline("block a x { conv 3 x\nblock b y { relu }\nb 3")
    assert [(d.name, d.frame.kind) for d in outline.defined("block")] == [("a", "file"), ("b", "file")]


# Completion


def test_layers_blocks_and_keywords_stand_where_a_layer_does(folder):
    found = labels('include "blocks.net"\nblock own x { ¦ }\nrelu', folder)
    assert {"conv", "fc", "cb", "repeat", "when", "let", "x"} <= set(found)
    assert not {"own", "block", "train"} & set(found)
    assert {"own", "block", "train", "conv"} <= set(labels("relu\n¦\nblock own x { relu }"))
    for text in ("relu -> ¦", "add { relu | ¦", "repeat 2 {\n    ¦", "relu; ¦", "relu -> c¦"):
        assert "conv" in labels(text), text


def test_arguments_are_those_of_the_layer_at_the_cursor():
    assert {"k", "s", "max", "avg", "global", "ceil"} <= set(labels("input 8 x1\npool 2 ¦"))
    assert not {"avg", "relu"} & set(labels("conv 3x3 ¦"))
    assert {"bias=", "init=", "dw", "x"} <= set(labels("relu -> conv 3x3 ¦ -> relu"))
    assert {"on", "off"} <= set(labels("conv 3x3 bias=¦"))
    assert {"he", "xavier", "zeros", "normal("} <= set(labels("conv 3x3 init=¦"))
    assert {"x", "mid="} <= set(labels("block e x mid=x/4 { relu }\ne ¦"))
    assert {"k", "base", "min("} <= set(labels("let base = 2\nblock e k { conv k x=¦ }"))
    assert "trunk" in labels("conv 3 x4 share=trunk -> conv 3 x4 share=¦")


def test_names_reach_as_far_as_the_language_says():
    text = "input 8 x1 as a\nadd { relu as b -> concat ¦@ | skip } -> relu as c"
    assert labels(text.replace("¦@", "@¦")) == ["@b", "@a"]
    assert labels("input 8 x1 as a\nadd { relu as b | concat @¦ }") == ["@a"]
    assert labels("block up x other { concat @¦ }\ninput 8 x1 as a") == ["@x", "@other"]
    assert labels("relu as a\nhead h { @¦ }\nrelu as b") == ["@a", "@b"]


def test_settings_and_their_words():
    assert {"epochs", "optimizer", "loss"} <= set(labels("train { ¦ }"))
    assert "optimizer" in labels("train { epochs 3; ¦ }") and "augment" in labels("data {\n    ¦\n}")
    assert "sgd" in labels("train { optimizer ¦ }")
    assert {"lr=", "momentum=", "nesterov"} <= set(labels("train { optimizer sgd ¦ }"))
    assert {"pad", "crop", "flip"} <= set(labels("data { augment: pad 4 -> ¦ }"))


def test_files_to_include(folder):
    assert labels('include "¦"', folder) == ["blocks.net", "net.net"]


@pytest.mark.parametrize("text", ["# co¦", "conv 3¦", "block ¦", "relu as ¦", "let ¦ = 3", 'data { source "x¦" }'])
def test_nothing_is_offered_where_only_something_new_can_stand(text):
    assert labels(text) == []


# Hover


def test_a_layer_shows_its_arithmetic():
    text = hovered("input 32x32 x3\nco¦nv 5x5 p2 x10")
    assert "conv1: `conv 5x5 x10`" in text
    assert "32x32 x3 -> 32x32 x10" in text and "760 params, 768,000 MACs, receptive field 5" in text


def test_a_layer_in_a_block_shows_each_distinct_way_once():
    text = hovered("block b x { conv¦ 3x3 x }\ninput 8x8 x4\nb x4 -> b x4 -> b x4 -> b x8")
    assert text.count("8x8 x4 -> 8x8 x4") == 1 and "(3 times)" in text and "8x8 x4 -> 8x8 x8" in text


def test_a_call_shows_signature_comment_and_sums(folder):
    text = hovered(NET.replace("cb 3x3", "c¦b 3x3"), folder)
    assert "block cb k x s=1" in text and "A convolution and what follows it." in text
    assert "`cb k=3x3 x=8 s=1`" in text and "32x32 x3 -> 32x32 x8" in text and "232 params" in text


def test_a_call_shows_its_signature_on_every_argument(folder):
    text = hovered(NET.replace("cb 3x3", "cb 3¦x3"), folder)
    assert "block cb k x s=1" in text and "A convolution and what follows it." in text and "232 params" in text


def test_names_show_their_values(folder):
    assert "= 10" in hovered(NET.replace("fc classes", "fc cla¦sses"), folder)
    assert "let base = 8" in hovered(NET.replace("x=base -", "x=ba¦se -"), folder)
    assert "`32x32 x8`" in hovered(NET + "head h { @lo¦w -> fc 2 }\n", folder)
    assert "`4`, `8`" in hovered("block b x { fc x¦ }\ninput 8 x1\nb x4 -> b x8")
    assert "repeat 6 as i" in hovered("input 8 x1\nrepeat 6 as i { conv 3 d=2^¦i x4 }")


def test_settings_show_their_signature():
    assert "sgd / lr=0.01" in hovered("train { opti¦mizer sgd lr=0.1 }")
    assert "optimizer sgd | adam" in hovered("train { opti¦mizer sdg }")
    assert "epochs n" in hovered("train { ep¦ochs 3 }")
    assert "crop n" in hovered("data { augment: pad 4 -> cr¦op 3 }")
    assert "augment: pad | crop" in hovered("data { augm¦ent: pad 4 }")


def test_included_files_are_read_from_the_editor_even_where_no_disk_has_them():
    found, path = project(NET)
    assert [d.code for d in found.analysis(path).diagnostics] == ["E001"]
    found.open("/nowhere/blocks.net", BLOCKS)
    assert all(d.is_warning for d in found.analysis(path).diagnostics)
    found.open("/nowhere/blocks.net", BLOCKS.replace("bn", "bnn"))
    assert [(d.code, d.file) for d in found.analysis(path).diagnostics] == [("E120", "/nowhere/blocks.net")]


def test_the_last_good_graph_answers_while_a_line_is_half_typed():
    text = "input 8x8 x1\nconv 3x3 x4\nrelu\nfc 10\n"
    found, path = project(text)
    assert "8x8 x1 -> 8x8 x4" in hover(found, path, text.index("conv")).text
    broken = "# new\ninput 8x8 x1\nconv 3x3 x4\nrelu -> conv 3x3 x\nfc 10\n"
    found.open(path, broken)
    assert not found.analysis(path).is_sound
    assert "8x8 x4 -> x10" in hover(found, path, broken.index("fc")).text
    assert "MACs" not in hover(found, path, broken.index("conv 3x3 x\n")).text


def test_a_failing_layer_leaves_those_above_it_known():
    text = "input 8x8 x1\nconv 3x3 x4\npool 9\nfc 10\n"
    found, path = project(text)
    assert "36 MACs" not in hover(found, path, text.index("conv")).text
    assert "2,304 MACs" in hover(found, path, text.index("conv")).text
    assert "MACs" not in hover(found, path, text.index("fc")).text


# Definitions


def test_definitions(folder):
    assert target(NET.replace("cb 3x3", "c¦b 3x3"), folder) == ("blocks.net", "block", 1)
    assert target(NET.replace("x=base*", "x=ba¦se*"), folder) == ("blocks.net", "let", 2)
    assert target(NET.replace("fc classes", "fc classes¦"), folder) == ("a.net", "let", 1)
    assert target(NET + "add @lo¦w @high", folder) == ("a.net", "name", 3)
    assert target(NET.replace("2^i", "2^¦i"), folder) == ("a.net", "index", 4)
    assert target("block b x { fc x¦ }")[1:] == ("parameter", 0)
    assert target("let x = 1\nblock b x=2 { let y = x\n fc x=¦x }")[1:] == ("parameter", 1)
    assert target("relu as a\nadd { relu as a -> concat @¦a | skip }")[1:] == ("name", 1)
    assert target("block u v { v x4 }\nblock w x { relu }\nu w¦")[1:] == ("block", 1)
    assert target("block u { w x4 }\nblock ¦w x { relu }\nu")[1:] == ("block", 1)


def test_keys_and_built_ins_have_no_definition():
    for text in ("let bias = 1\nconv 3 bi¦as=off", "co¦nv 3x3", "relu as a\nadd @¦b", "train { ba¦tch 3 }"):
        text, at = marked(text)
        found, path = project(text)
        assert navigation.resolve(found, path, Outline(text), at) is None


def test_symbols():
    found = navigation.symbols(Outline("let a = 1\nblock b x { let m = 2\n relu }\nrelu as n\ntrain { epochs 3 }\n"))
    assert [(d.kind, d.name, [c[0].name for c in children]) for d, _, _, children in found] == [
        ("let", "a", []), ("block", "b", ["x", "m"]), ("name", "n", []), ("section", "train", ["epochs"])]
