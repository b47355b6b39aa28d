"""The summary as data and as a table, and layers put back into words."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

import tinyconv
from tinyconv import NetError, lang, zoo
from tinyconv.cli import main
from tinyconv.graph import build
from tinyconv.graph.describe import describe
from tinyconv.graph.summary import Summary

HEADS = """\
input 8x8 x1
conv 3x3 x4 as a -> relu
fc 2 -> softmax
head aux weight=0.3 { @a -> pool global avg -> fc 2 -> softmax }
"""


def graph(text: str):
    return build(lang.parse(text))


@pytest.mark.parametrize("layer", [
    "conv 3x3 x64", "conv 7x7 s2 x64", "conv 5x5 p0 x6", "conv 3x3 dw bias=off", "conv 3x3 s2x1 x8", "conv 3x3 g2 x8",
    "conv 3x3 p0 d2 x8", "conv 3x3 bias=1 init=normal(0.01) x4", "pool 2x2", "pool 3x3 s2 p1 avg ceil", "pool global",
    "pool avg global", "pool 3x3 adaptive", "fc 10", "fc 10 bias=off", "bn", "bn momentum=0.01", "relu", "dropout 0.3",
    "lrn 5", "leaky 0.1",
])
def test_a_layer_in_words_is_the_shortest_text_that_means_it(layer):
    net = graph(f"input 16x16 x4\n{layer}\n")
    node = net.nodes[-1]
    assert describe(node.op, node.args, [net.input]) == layer
    assert graph(f"input 16x16 x4\n{describe(node.op, node.args, [net.input])}\n").nodes[-1].args == node.args


def test_what_is_filled_in_anyway_is_left_out():
    net = graph("input 16x16 x4\nconv 3x3 s1 p1 d1 g1 x64 bias=on init=he\npool 2 s2\n")
    assert [describe(n.op, n.args, [net.nodes[i].shape for i in n.inputs]) for n in net.nodes[1:]] == [
        "conv 3x3 x64", "pool 2x2"]


def test_input_keeps_words_that_two_parameters_share():
    assert "mean=data std=data" in str(Summary(graph("input 4x4 x1 mean=data std=data\nfc 2\n")))


def test_heads_stand_apart_and_count_in_no_total():
    found = Summary(graph(HEADS)).to_json()
    (head,) = found["heads"]
    assert head["name"] == "aux" and head["params"] == 4 * 2 + 2 and [n["op"] for n in head["layers"]][-1] == "softmax"
    assert found["params"] == (9 * 4 + 4) + (8 * 8 * 4 * 2 + 2)
    assert not any(layer["name"].startswith("aux") for layer in found["layers"])
    table = str(Summary(graph(HEADS)))
    assert table.index("parameters (") < table.index("head aux, weight 0.3") < table.index("aux.fc1")


def test_shared_weights_count_once_and_name_their_owner():
    text = "input 8x8 x4\nconv 3x3 x4 share=a\nconv 3x3 x4 share=a\n"
    summary = Summary(graph(text))
    assert [layer["params"] for layer in summary.layers] == [0, 148, 0] and summary.params == 148
    assert "(weights of conv1)" in str(summary)


def test_a_free_size_is_not_known():
    summary = Summary(graph("input ?x? x3\nconv 3x3 x8\npool global avg\nfc 2\n"))
    found = summary.to_json()
    assert found["input"] == [None, None, 3] and found["macs"] is None and found["activation_bytes"] is None
    assert found["params"] == 9 * 3 * 8 + 8 + 8 * 2 + 2
    assert "?x? x8" in str(summary)


def test_batch_scales_the_memory_of_the_table_alone():
    net = graph("input 8x8 x1\nconv 3x3 x4\n")
    assert Summary(net, batch=16).to_json() == Summary(net).to_json()
    assert f"activations, batch 16: {16 * 4 * 64 * 5 / 1024:.1f} KiB" in str(Summary(net, batch=16))


def test_depth_folds_each_call_by_itself():
    net = graph("block b x { conv 3x3 x -> relu }\ninput 8x8 x1\nrepeat 2 { b x4 }\nrelu\n")
    assert [row.name for row in Summary(net, depth=0).rows()] == ["input1", "b1", "b2", "relu3"]
    assert [row.params for row in Summary(net, depth=0).rows()] == [0, 40, 148, 0]


def test_one_and_three_axes():
    assert "x".join(map(str, graph("input 100 x2\nconv 5 s2 x3\n").nodes[-1].field)) == "5"
    rows = str(Summary(graph("input 8x8x8 x2\nconv 3 x3\n"))).splitlines()
    assert "conv 3x3x3 x3" in rows[2] and "8x8x8 x3" in rows[2]


# Parameters and multiply-adds as published (torchvision, the papers' arithmetic).
@pytest.mark.parametrize("net, params, macs", [
    ("lenet5", 61_706, 416_520), ("alexnet", 60_965_224, 724_406_816), ("vgg16", 138_357_544, 15_470_264_320),
    ("resnet18", 11_689_512, 1_814_073_344), ("resnet50", 25_557_032, 4_089_184_256),
])
def test_published_figures(net, params, macs):
    summary = Summary(build(lang.load(zoo.find(net))))
    assert (summary.params, summary.macs) == (params, macs)


# -- the table

TREE = """\
block cb k x s=1 { conv k x s bias=off -> bn }
block unit x { add { cb 3x3 x -> relu | skip } }
input 16x16 x4
cb 3x3 x4 as stem -> relu
repeat 3 { unit x4 }
unit x4 as last
concat @stem -> pool global avg -> fc 2 -> softmax
head aux weight=0.3 { @stem -> unit x4 -> fc 2 }
"""
FOLDED = """\
layer                            output    params    MACs  field  jump    memory
input1    input 16x16 x4         16x16 x4       0       0      1     1  4.00 KiB
cb1       k=3x3 x=4 s=1 as stem  16x16 x4     152  36.9 k      3     1  8.00 KiB
relu1     relu                   16x16 x4       0       0      3     1  4.00 KiB
unit1     4 times: x=4 as last   16x16 x4     608   147 k     11     1  64.0 KiB
concat1   concat @last + @stem   16x16 x8       0       0     11     1  8.00 KiB
pool1     pool avg global        1x1 x8         0       0     16     -      32 B
fc1       fc 2                   x2            18      16     16     -       8 B
softmax1  softmax                x2             0       0     16     -       8 B
blocks opened to depth 0 of 2; --depth all lists every layer
778 parameters (3.04 KiB), 184,336 MACs a sample
"""
OPENED = """\
layer                            output    params    MACs  field  jump    memory
input1    input 16x16 x4         16x16 x4       0       0      1     1  4.00 KiB
cb1       k=3x3 x=4 s=1 as stem
  conv1   conv 3x3 bias=off x4   16x16 x4     144  36.9 k      3     1  4.00 KiB
  bn1     bn                     16x16 x4       8       0      3     1  4.00 KiB
relu1     relu                   16x16 x4       0       0      3     1  4.00 KiB
unit1     x=4
  cb2     k=3x3 x=4 s=1          16x16 x4     152  36.9 k      5     1  8.00 KiB
  relu2   relu                   16x16 x4       0       0      5     1  4.00 KiB
  add1    add relu2 + relu1      16x16 x4       0       0      5     1  4.00 KiB
unit2     x=4
"""


def test_a_folded_tree_counts_calls_that_are_alike():
    assert str(Summary(graph(TREE), depth=0)).startswith(FOLDED)


def test_an_open_tree_shows_the_layers_of_each_call_under_it():
    assert str(Summary(graph(TREE), depth=1)).startswith(OPENED)


def test_heads_have_a_table_and_totals_of_their_own():
    text = str(Summary(graph(TREE), depth=0))
    assert text.endswith("""\

head aux, weight 0.3, in training only:
layer                      output    params    MACs  field  jump    memory
aux.unit1  x=4 from @stem  16x16 x4     152  36.9 k      5     1  16.0 KiB
aux.fc1    fc 2            x2         2,050  2.05 k     16     -       8 B
2,202 parameters, 38,912 MACs""")
    assert ", heads included" in text


def test_without_a_depth_as_much_is_opened_as_makes_a_short_table():
    assert Summary(graph(TREE)).depth == 2                                  # all of it: 38 lines
    for net, depth, rows in (("resnet152", 2, 22), ("googlenet", 0, 23)):
        found = Summary(build(lang.load(zoo.find(net))))
        assert (found.depth, len(found.rows())) == (depth, rows)
    vgg = Summary(build(lang.load(zoo.find("vgg16"))))
    assert vgg.depth == vgg.levels and len(vgg.rows()) > len(vgg.layers)
    every = Summary(build(lang.load(zoo.find("resnet152"))), depth=99)
    assert every.depth == every.levels == 5
    assert sum(not row.is_open for row in every.rows()) == len(every.layers)


@pytest.mark.parametrize("depth", [0, 1, 2, 9])
def test_rows_add_up_to_the_totals_at_every_depth(depth):
    for text in (TREE, HEADS):
        found = Summary(graph(text), depth=depth)
        for total in ("params", "macs", "activation_bytes"):
            assert sum(getattr(row, total) for row in found.rows() if not row.is_open) == getattr(found, total)


def test_calls_in_branches_are_no_repetition():
    found = Summary(graph("block b { conv 3x3 x4 }\ninput 8x8 x4\nadd { b | b | b } -> b -> b\n"), depth=0)
    assert [(row.name, row.text) for row in found.rows()] == [
        ("input1", "input 8x8 x4"), ("b1", ""), ("b2", "from input1"), ("b3", "from input1"),
        ("add1", "add b1 + b2 + b3"), ("b4", "2 times")]


def test_a_named_call_within_a_repetition_ends_it():
    found = Summary(graph("block b { conv 3x3 x4 }\ninput 8x8 x4\nb -> b as here -> b -> b\nadd @here\n"), depth=0)
    assert [(row.name, row.text) for row in found.rows()][1:] == [
        ("b1", "2 times as here"), ("b3", "2 times"), ("add1", "add b3 + @here")]


def test_references_by_name_by_row_and_through_arguments():
    rows = Summary(graph("""\
block up2 x other { deconv 2x2 s2 x -> concat @other }
input 16x16 x1
conv 3x3 x4 -> relu as e1 -> pool 2
conv 3x3 x8
up2 x4 @e1
up 2 -> crop @e1
mul { skip | pool global -> fc 8 -> sigmoid }
"""), depth=9).rows()
    text = {row.name: row.text for row in rows}
    assert text["relu1"] == "relu as e1" and text["up21"] == "x=4 other=@e1"
    assert text["concat1"] == "concat deconv1 + @e1" and text["crop1"] == "crop @e1"
    assert text["mul1"] == "mul crop1 * sigmoid1" and text["pool2"] == "pool global"


def test_a_name_inside_a_block_says_nothing_outside():
    net = graph("block b { conv 3x3 x2 as h -> relu -> concat @h as h2 }\ninput 8x8 x2\nb -> b\n")
    rows = Summary(net, depth=9).rows()
    text = {row.name: row.text for row in rows}
    assert text["conv2"] == "conv 3x3 x2 as h" and text["concat2"] == "concat relu2 + @h as h2"
    rows = Summary(graph("block b { conv 3x3 x2 as h }\ninput 8x8 x2\nb as out -> relu\nadd @out\n"), depth=9).rows()
    assert rows[-1].text == "add relu1 + @out"


def test_a_merge_of_many_names_the_first_and_the_last():
    branches = " | ".join(f"conv 1 x{n}" for n in range(1, 9))
    assert Summary(graph(f"input 4x4 x2\nconcat {{ {branches} }}\n")).rows()[-1].text == \
        "concat conv1 conv2 … conv8 (8 in all)"


GOLDEN = {
    "input 100 x2\nconv 5 s2 d2 x3\npool 4\n": """\
layer                    output  params    MACs  field  jump  memory
input1  input 100 x2     100 x2       0       0      1     1   800 B
conv1   conv 5 s2 d2 x3  50 x3       33  1.50 k      9     2   600 B
pool1   pool 4           12 x3        0       0     15     8   144 B
""",
    "input 8x16x16 x2\nconv 3x3x1 x3\npool 2\n": """\
layer                     output      params   MACs  field  jump    memory
input1  input 8x16x16 x2  8x16x16 x2       0      0      1     1  16.0 KiB
conv1   conv 3x3x1 x3     8x16x16 x3      57  111 k  3x3x1     1  24.0 KiB
pool1   pool 2x2x2        4x8x8 x3         0      0  4x4x2     2  3.00 KiB
""",
    "input ?x? x3\nconv 3x3 s2 x8\npool global avg\nfc 2\n": """\
layer                    output  params  MACs  field  jump  memory
input1  input ?x? x3     ?x? x3       0     0      1     1       ?
conv1   conv 3x3 s2 x8   ?x? x8     224     ?      3     2       ?
pool1   pool avg global  1x1 x8       0     0      ?     -    32 B
fc1     fc 2             x2          18    16      ?     -     8 B
242 parameters (968 B), ? MACs a sample
activations, batch 1: ?, of them ? at once in inference
training, batch 1, about ?: 992 B weights + 968 B momentum + ? activations and gradients""",
    "input x10\nfc 4 -> relu -> fc 2\n": """\
layer              output  params  MACs  field  jump  memory
input1  input x10  x10          0     0      -     -    40 B
fc1     fc 4       x4          44    40      -     -    16 B
relu1   relu       x4           0     0      -     -    16 B
fc2     fc 2       x2          10     8      -     -     8 B
""",
}


@pytest.mark.parametrize("text", GOLDEN)
def test_tables_without_blocks(text):
    assert str(Summary(graph(text))).startswith(GOLDEN[text])


def test_the_rows_before_a_failing_layer_have_no_totals():
    with pytest.raises(NetError) as error:
        graph("input 6x6 x1\nconv 3x3 x4 -> pool 2\nconv 9x9 p0 x4\n")
    text = str(Summary(error.value.graph, complete=False))
    assert text.splitlines()[-1] == "pool1   pool 2x2      3x3 x4       0       0      4     2   144 B"


# -- the width and colours

@pytest.mark.parametrize("width", [120, 80, 79, 75, 60, 50, 40])
def test_a_narrow_terminal_shortens_the_description_then_drops_columns(width):
    rows = Summary(graph(TREE), depth=9).text(width).splitlines()[:30]
    assert max(map(len, rows)) <= width
    assert all(len(set(row)) > 1 for row in rows)
    assert ("conv 3x3 bias=off x4" in rows[3]) == (width >= 80)
    assert ("conv 3x3 bi" in rows[3]) == (width >= 75)
    assert rows[0].split()[-1] == {50: "jump", 40: "MACs"}.get(width, "memory")
    assert all(name in rows[3] for name in ("conv1", "16x16 x4", "144", "36.9 k"))


def test_a_narrow_table_still_says_how_many_calls_a_row_is():
    lines = Summary(build(lang.load(zoo.find("resnet152")))).text(80).splitlines()
    assert max(map(len, lines[:22])) <= 80
    assert any(line.startswith("  bottleneck13-47  14x14 x1024  39,101,440  7.64 G") for line in lines)
    assert any(line.split()[:3] == ["cb1", "k=7x7", "x=64"] for line in lines)    # a heading has room for its arguments


def test_colours_change_no_text():
    found = Summary(graph(TREE), depth=1)
    plain, painted = found.text(), found.text(color=True)
    assert "\x1b[" in painted and "\x1b[" not in plain
    assert [line.rstrip() for line in re.sub(r"\x1b\[\d+m", "", painted).splitlines()] == plain.splitlines()


def in_a_terminal(*arguments: str, **environment: str) -> str:
    """What `tinyconv` prints on a terminal of 72 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 72, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen([sys.executable, "-m", "tinyconv", *arguments], stdout=slave, stdin=slave,
                               stderr=subprocess.DEVNULL, env=clean | {"TERM": "xterm"} | environment)
    os.close(slave)
    out = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:         # Linux: nobody has the terminal open any more
            break
        if not data:
            break
        out += data
    os.close(master)
    assert process.wait(60) == 0
    return out.decode().replace("\r\n", "\n")


def test_colours_and_width_are_for_terminals():
    shown = in_a_terminal("summary", "resnet18")
    assert "\x1b[1m" in shown and "\x1b[36m" in shown
    table = re.sub(r"\x1b\[\d+m", "", shown).split("\nblocks opened")[0]
    assert max(map(len, table.splitlines())) <= 72 and "memory" in table
    assert "\x1b" not in in_a_terminal("summary", "resnet18", NO_COLOR="1")
    piped = subprocess.run([sys.executable, "-m", "tinyconv", "summary", "resnet18"], capture_output=True, text=True,
                           timeout=60, check=True).stdout
    assert "\x1b" not in piped and piped == f"{Summary(build(lang.load(zoo.find('resnet18'))))}\n"


# -- what a start takes

def test_in_a_pipe_neither_numpy_nor_rich_nor_lark_is_imported():
    code = ("import sys\nfrom tinyconv.cli import main\ncode = main(sys.argv[1:])\n"
            "print(code, sorted({'numpy', 'rich', 'lark', 'PIL', 'tinyconv.runtime', 'tinyconv.cli.train',\n"
            "                    'tinyconv.lang.explain', 'tinyconv.graph.explain'} & set(sys.modules)),\n"
            "      file=sys.stderr)")
    for arguments in (["resnet50"], ["resnet50", "--depth", "all"], ["resnet50", "--json"]):
        command = [sys.executable, "-c", code, "summary", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stderr.strip() == "0 []", arguments


def test_depth_takes_a_number_or_all(capsys):
    assert main(["summary", "resnet18", "--depth", "all"]) == 0
    assert "--depth" not in capsys.readouterr().out
    assert main(["summary", "resnet18", "--depth", "some"]) == 2
    assert "'some' is neither a number nor `all`" in capsys.readouterr().err


def test_json_takes_no_notice_of_depth_and_batch(capsys):
    texts = []
    for arguments in ([], ["--depth", "0"], ["--batch", "8"]):
        assert main(["summary", "googlenet", "--json", *arguments]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == texts[2]
    assert set(json.loads(texts[0])) == {"file", "input", "params", "macs", "activation_bytes", "layers", "heads"}


def test_a_net_in_python_has_the_same_summary():
    net = tinyconv.compile("block b { conv 3x3 x2 }\ninput 8x8 x2\nb -> b\n", device="numpy")
    assert str(net.summary(depth=0, batch=4)) == str(Summary(net.graph, depth=0, batch=4))
    found = net.summary()
    assert found.params == 76 and [layer["name"] for layer in found.layers] == ["input1", "conv1", "conv2"]
