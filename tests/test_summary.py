"""The summary as data and as a table, and layers put back into words."""

from __future__ import annotations

import pytest

from tinyconv import lang, zoo
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
