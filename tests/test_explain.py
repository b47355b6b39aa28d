"""A layer's arithmetic: the worked examples of courses, and every equation computed again as it is printed."""

from __future__ import annotations

import builtins
import json
import math

import pytest

from tinyconv import NetError, lang, zoo
from tinyconv.cli import main
from tinyconv.graph import build
from tinyconv.graph.explain import Explanation
from tinyconv.layers import LAYERS
from tinyconv.layers.equations import EQUATIONS

# Every layer of the language, with arguments that make its formula interesting.
EVERY = """\
let k = {k}
input {size} x6 mean=0.5 std=0.25
conv 3 s2 x12 d2 as a -> bn -> relu
conv {k} p0 x8 g2 -> gn 2 -> relu6
deconv 4 s2 x8 -> ln -> leaky 0.2
deconv 3 s3 op=1 x4 bias=off -> elu 0.5 -> crop @a as b
conv 3 dw bias=off x4 -> prelu -> gelu -> scale 0.5
pool 3 s2 p1 -> up 2 -> silu -> crop {crop}
concat {{ skip | conv 1 x4 -> sigmoid | conv 3 x2 -> hswish }} as c
mul {{ skip | pool global avg -> fc 10 -> hsigmoid }}
shuffle 5 -> chunk 1 2 -> pad 1 2 channels=2 -> lrn 3
pool 3 s2 ceil avg -> tanh -> dropout 0.25 -> droppath 0.1 -> dropblock 0.1 size=2
add {{ skip | conv 3 x9 }} -> up @c linear
pool 2 adaptive -> reshape {reshape} -> flatten -> fc 5 -> softmax
head aux weight=0.5 {{ @a -> pool global -> fc 3 -> softmax }}
"""
NETS = {
    1: EVERY.format(k="2", size="40", crop="7", reshape="3 x6"),
    2: EVERY.format(k="2x3", size="40x37", crop="5x6", reshape="3x4 x3"),
    3: EVERY.format(k="2x1x3", size="21x20x19", crop="3x4x5", reshape="3x4x2 x3"),
}


def graph(text: str):
    return build(lang.parse(text))


def explained(text: str, name: str) -> dict:
    return {e.what: e for e in Explanation(graph(text), name).equations}


def compute(worked: str):
    """The printed arithmetic, by Python."""
    names = {n: getattr(math, n) for n in ("floor", "ceil")} | {n: getattr(builtins, n) for n in ("max", "range")}
    return eval(worked, {"__builtins__": {}} | names)  # noqa: S307 -- text of this package


# -- the examples every course uses

def test_ten_filters_of_5x5_on_32x32x3():
    found = explained("input 32x32 x3\nconv 5x5 s1 p2 x10\n", "conv1")
    assert found["output size, each axis"].worked == "floor((32 + 2*2 - 5) / 1) + 1"
    assert found["output size, each axis"].value == 32
    assert (found["weights"].worked, found["weights"].value, found["bias"].value) == ("5*5 * 3 * 10", 750, 10)
    assert found["parameters"].value == 760
    assert found["multiply-adds"].value == 768_000
    text = str(Explanation(graph("input 32x32 x3\nconv 5x5 s1 p2 x10\n"), "conv1"))
    assert "output                      32x32 x10" in text
    assert "parameters                  all of these = 750 + 10 = 760" in text
    assert "= 768,000" in text


def test_three_3x3_layers_see_7x7():
    found = explained("input 32x32 x3\nrepeat 3 { conv 3x3 x8 }\n", "conv3")
    assert found["receptive field, each axis"] == (
        "receptive field, each axis", "r + (k - 1)*j", "5 + (3 - 1)*1", 7)


def test_the_whole_board_of_a_strided_convolution():
    program = lang.parse("input 227x227 x3\nconv 11x11 s4 p0 x96 as first\n", "alex.net")
    assert str(Explanation(build(program), "@first")) == """\
conv1: conv 11x11 s4 p0 x96
line 2 of alex.net
  input                       227x227 x3 of input1
  output                      55x55 x96, named @first
  with                        c=3 k=11 p=0 s=4 x=96
  output size, each axis      floor((n + 2*p - k) / s) + 1 = floor((227 + 2*0 - 11) / 4) + 1 = 55
  weights                     k*k * c * x = 11*11 * 3 * 96 = 34,848
  bias                        x = 96
  multiply-adds               output positions * k*k * c * x = 55*55 * 11*11 * 3 * 96 = 105,415,200
  parameters                  all of these = 34848 + 96 = 34,944
  receptive field, each axis  r + (k - 1)*j = 1 + (11 - 1)*1 = 11
  jump, each axis             j * s = 1 * 4 = 4
  memory                      values * 4 bytes = 55*55*96 * 4 = 1,161,600 bytes = 1.11 MiB"""


# -- every layer

def test_every_layer_of_the_language_is_explained_and_tried_here():
    tried = {node.op for net in NETS.values() for node in graph(net).nodes}
    assert tried == set(LAYERS) - {"skip"} == set(EQUATIONS)


@pytest.mark.parametrize("axes", NETS)
def test_every_equation_comes_out_as_printed(axes):
    net = graph(NETS[axes])
    for node in net.nodes:
        for batch in (1, 8):
            for equation in Explanation(net, node.name, batch=batch).equations:
                if equation.worked:
                    assert float(compute(equation.worked)) == pytest.approx(float(equation.value)), (node, equation)


@pytest.mark.parametrize("axes", NETS)
def test_equations_end_in_the_figures_of_the_summary(axes):
    net = graph(NETS[axes])
    for node in net.nodes:
        equations = Explanation(net, node.name).equations

        def values(what, equations=equations):
            found = [e.value for e in equations if e.what.startswith(what)]
            return tuple(found * axes if len(found) == 1 else found)

        sizes, fields, jumps = values("output size"), values("receptive field"), values("jump")
        assert sizes in ((), node.shape.spatial), node
        if node.index:
            assert tuple(map(math.ceil, fields)) == node.field, node
            assert jumps == () if node.jump is None else tuple(map(float, jumps)) == node.jump, node
        assert sum(e.value for e in equations if e.what == "parameters") == node.n_params
        parts = sum(e.value for e in equations if e.what.split()[0] in ("weights", "bias", "factor", "shift", "slope"))
        assert parts == node.n_params
        assert sum(e.value for e in equations if e.what == "multiply-adds") == node.macs
        assert [e.value for e in equations if e.what == "memory"] == [node.activation_bytes]
        channels = [e.value for e in equations if e.what == "channels"]
        assert channels in ([], [node.shape.channels])


@pytest.mark.parametrize("text, name, line", [
    ("input 5x5 x1\npool 2 s2 ceil p1\n", "pool1", "ceil((5 + 2*1 - 2) / 2) + 1 - 1\n"),
    ("input 10x10 x4\nconv 3x3 dw\n", "conv1", "k*k * c/g * x = 3*3 * 4/4 * 4 = 36"),
    ("input 7x5 x4\npool 3 adaptive avg\n", "pool1", "largest window, height"),
    ("input 8 x4\nbn\n", "bn1", "w * (v - mean) / sqrt(var + 1e-05) + b"),
    ("input 8 x4\nbn\n", "bn1", "running mean and variance = 4 + 4 = 8"),
    ("input 8x8 x4\nlrn 5\n", "lrn1", "v / (2 + 0.0005/5 * sum)^0.75"),
    ("input 8x8 x4\ndropout 0.5\n", "dropout1", "1 / (1 - p) = 1 / (1 - 0.5) = 2"),
    ("input 4x4 x3\nfc 7\n", "fc1", "inputs * x = 48 * 7 = 336"),
    ("input 4x4 x2\nadd { skip | conv 3x3 x2 }\n", "add1", "max(1, 3) = 3"),
    ("input 4x4 x2\nconcat { skip | conv 3x3 x5 }\n", "concat1", "= 2 + 5 = 7"),
    ("input 4x4 x2\nmul { skip | pool global }\n", "mul1", "1x1 x2 stretched to 4x4 x2"),
    ("input 6x6 x2\nconv 3x3 x2 share=a\nconv 3x3 x2 share=a\n", "conv2", "those of conv1, counted there = 0"),
    ("input 6 x2\nup 2\n", "up1", "j * s = 1 * 1/2 = 0.5"),
])
def test_lines_of_the_board(text, name, line):
    assert line in str(Explanation(graph(text), name)) + "\n"


def test_free_sizes_stay_open():
    net = graph("input ?x? x3\nconv 3x3 s2 x8\npool global avg\nfc 2\n")
    found = {e.what: e for e in Explanation(net, "conv1").equations}
    assert found["output size, each axis"].value is None and found["multiply-adds"].value is None
    assert found["weights"].value == 216
    assert "floor((n + 2*p - k) / s) + 1\n" in str(Explanation(net, "conv1"))
    assert str(Explanation(net, "pool1")) and str(Explanation(net, "fc1"))


# -- names

HEADS = "input 8x8 x1\nconv 3x3 x4 as stem -> relu\nfc 2 -> softmax\nhead aux { @stem -> pool global avg -> fc 2 }\n"


@pytest.mark.parametrize("name, found", [
    ("conv1", "conv1"), ("@stem", "conv1"), ("stem", "conv1"), ("aux.fc1", "aux.fc1"),
])
def test_layers_by_name_reference_and_head(name, found):
    assert str(Explanation(graph(HEADS), name)).startswith(f"{found}: ")


@pytest.mark.parametrize("name, help", [
    ("cnv1", "did you mean `conv1`?"), ("conv12", "did you mean `conv1`?"), ("@sten", "did you mean `@stem`?"),
    ("aux.fc", "did you mean `aux.fc1`?"), ("nothing", "--depth all"),
])
def test_an_unknown_name_is_an_error_with_a_suggestion(name, help):
    with pytest.raises(NetError) as error:
        Explanation(graph(HEADS), name)
    assert f"there is no layer `{name}`" in error.value.message and help in error.value.help


def test_a_block_or_a_name_of_several_layers_says_which_there_are():
    net = graph("block b { conv 3x3 x2 as h -> relu -> add @h }\ninput 8x8 x2\nrepeat 2 { b }\n")
    with pytest.raises(NetError, match="`b2` is a block of 3 layers") as error:
        Explanation(net, "b2")
    assert error.value.help == "explain one of them: conv2, relu2, add2"
    with pytest.raises(NetError, match="`@h` names 2 layers: conv1, conv2"):
        Explanation(net, "@h")
    assert "  in                          b\n" in str(Explanation(net, "conv2"))


# -- on the command line

def test_explain_on_the_command_line(tmp_path, capsys):
    file = tmp_path / "net.net"
    file.write_text("input 32x32 x3\nconv 5x5 s1 p2 x10\n")
    assert main(["summary", str(file), "--explain", "conv1"]) == 0
    assert "= 768,000" in capsys.readouterr().out
    assert main(["summary", str(file), "--explain", "conv1", "--batch", "4"]) == 0
    assert "32*32*10 * 4 * 4 = 163,840 bytes" in capsys.readouterr().out
    assert main(["summary", str(file), "--explain", "conv7"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "there is no layer `conv7`" in err and "did you mean `conv1`?" in err


def test_explain_as_json(capsys):
    assert main(["summary", "lenet5", "--explain", "conv2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"file", "name", "op", "args", "output", "params", "macs", "receptive_field", "jump", "line",
                          "inputs", "equations"}
    assert found["inputs"] == [{"name": "pool1", "output": [14, 14, 6]}]
    assert all(set(e) == {"what", "formula", "worked", "value"} for e in found["equations"])
    assert {e["what"]: e["value"] for e in found["equations"]}["parameters"] == found["params"] == 2416


@pytest.mark.parametrize("net", zoo.names())
def test_every_layer_of_the_zoo_is_explained(net):
    program = lang.load(zoo.find(net))
    built = build(program)
    for node in built.nodes[:: max(1, len(built.nodes) // 25)]:
        text = str(Explanation(built, node.name))
        assert text.startswith(f"{node.name}: ") and max(map(len, text.splitlines())) < 140
