"""The rules of the language, 1 to 17, in their order, on the built-in layers."""

import pytest

from tinyconv import lang
from tinyconv.errors import NetError
from tinyconv.graph.build import build


def net(text, **kwargs):
    return build(lang.parse(text, "net.net"), **kwargs)


def ops(text, **kwargs):
    return [node.op for node in net(text, **kwargs).nodes]


def last(text, **kwargs):
    return net(text, **kwargs).nodes[-1]


def shape(text, **kwargs):
    return str(last(text, **kwargs).shape)


def errors(text, **kwargs):
    with pytest.raises(NetError) as caught:
        net(text, **kwargs)
    return list(caught.value.diagnostics)


def error(text, code, help="", line=None, **kwargs):
    found = errors(text, **kwargs)
    assert [d.code for d in found] == [code], found
    assert help in found[0].help
    assert line is None or found[0].line == line
    return found[0]


def warned(text):
    return [(d.code, d.line) for d in net(text).warnings]


# 1. Form


def test_1_arrows_line_breaks_and_semicolons_mean_then():
    flat = ops("input 8x8 x3 -> conv 3x3 x4 -> relu -> bn")
    assert ops("input 8x8 x3\nconv 3x3 x4; relu\n\n;; bn ;\n") == flat
    assert ops("input 8x8 x3\n  -> conv 3x3 x4   # a comment\n  # another\n  -> relu -> bn") == flat


@pytest.mark.parametrize("text", ["\ufeffinput 8 x1\nrelu", "input 8 x1\r\nrelu\r\n", "input 8 x1\rrelu",
                                  "input 8 x1;relu", "# c\n\n input 8 x1 # d\n\trelu\t"])
def test_1_byte_order_marks_line_ends_and_comments(text):
    assert ops(text) == ["input", "relu"]


def test_1_a_line_goes_on_with_an_arrow_a_bar_a_brace_or_else():
    text = "input 8 x2\nadd\n{ relu\n-> bn\n| skip\n}\nwhen 1 == 2\n{ relu }\nelse\n{ tanh }"
    assert ops(text) == ["input", "relu", "bn", "add", "tanh"]


def test_1_an_arrow_at_the_end_of_a_line_is_refused():
    assert error("input 8 x1 ->\nrelu", "E111", "start of the next line").line == 1
    assert error("input 8 x1\nrelu ->", "E111").line == 2


def test_1_a_layer_on_the_line_after_an_equals_sign_is_no_value():
    for text in ("let n =\ninput 8 x1\nfc n", "input 8 x1 mean=\nrelu", "block f n=\nrelu { fc n }"):
        assert error(text, "E110", "same line").line == 1
    found = error("let n  # as in n = 3\n  =\ninput 8 x1\nfc n", "E110", "same line")
    assert (found.line, found.column) == (2, 3)
    assert ops("let m = 4\nlet n  # = 2\n  = m\ninput 8 x1\nfc n") == ["input", "fc"]
    error("block f n\n= m\n= m { relu }\nrelu", "E112")    # and read again without its second line


# 2. Layers and their arguments


def test_2_positionals_flags_keys_and_words():
    args = last("input 8x9 x4\nconv 3x5 s2x1 p1 d1 g2 x6 bias=off").args
    assert [args[key] for key in ("k", "s", "p", "g", "x", "bias")] == [(3, 5), (2, 1), (1, 1), 2, 6, False]
    assert last("input 8x8 x4\npool 3 avg ceil").args["ceil"] is True


def test_2_operators_stand_only_after_equals_and_keywords():
    assert last("let n = 2\ninput 8 x4\nfc x=2*n+1").args["x"] == 5
    assert ops("let n = 2\ninput 8 x1\nrepeat n+1 { relu }\nwhen n > 1 and not n == 3 { bn }") == [
        "input", "relu", "relu", "relu", "bn"]
    error("let n = 2\ninput 8 x4\nfc 2*n", "E109", "write `x=2*n`")


@pytest.mark.parametrize("word", "let default include block head repeat when else as and or not".split())
def test_2_keywords_are_no_names(word):
    for text in (f"let {word} = 1\ninput 8 x1\nrelu", f"block {word} {{ relu }}", f"input 8 x1\nrelu as {word}"):
        assert errors(text)[0].line == text.count("\n", 0, text.index(f" {word}")) + 1
    assert ops(f"block {word}_ x {{ fc x }}\ninput 8 x1\n{word}_ x4") == ["input", "fc"]


# 3. Shapes


def test_3_the_input_sets_the_number_of_axes():
    assert [shape(f"input {k}x3\nconv 3 x5") for k in ("9 ", "9x8 ", "9x8x7 ")] == ["9 x5", "9x8 x5", "9x8x7 x5"]
    assert shape("input x100\nfc 10 -> relu -> bn") == "x10"
    assert "2 axes" in errors("input 9 x3\nconv 3x3 x5")[0].message
    assert "spatial axes" in errors("input x100\nconv 3 x5")[0].message


def test_3_shapes_are_printed_with_the_channels_apart():
    assert shape("input 55x55 x96\nrelu") == "55x55 x96"
    error("input 224x224x3\nrelu", "E143", "`224x224 x3`")


# 4. Free sizes


def test_4_free_sizes_equal_anything_and_end_at_global_pools():
    assert shape("input ?x? x3\nconv 3x3 s2 x8 -> pool 2") == "?x? x8"
    assert shape("input ?x32 x3\nadd { conv 3x3 x3 | skip }") == "?x32 x3"
    assert shape("input ?x? x3\npool global -> fc 10") == "x10"
    assert shape("input ?x? x3\npool 7 adaptive -> flatten") == "x147"
    for layer in ("fc 10", "flatten"):
        assert "free size" in errors(f"input ?x? x3\n{layer}")[0].message


# 5. Fragments


def test_5_fragments_take_their_input_from_the_caller():
    assert shape("conv 3x3 x8 -> pool 2", input="32x32 x3") == "16x16 x8"
    error("conv 3x3 x8 -> pool 2", "E150", "--input", 1)
    assert shape("input 8x8 x3\nconv 3x3 x8", input="16x16 x1") == "16x16 x8"


# 6. Nothing unknown, twice, too many or missing


@pytest.mark.parametrize("text, code, help", [
    ("cnov 3x3 x8", "E120", "conv"), ("conv 3x3 x8 y2", "E144", "it takes"),
    ("conv 3x3 x8 biass=off", "E145", "bias=off"),
    ("pool 2 avgg", "E146", "avg"), ("fc x=m", "E125", "let"), ("conv 3x3 x8 x9", "E141", "remove"),
    ("conv 3x3 5x5 x8", "E142", "it takes"), ("fc", "E143", "fc 10"), ("relu 3", "E142", "remove"),
    ("train { epoch 1 }", "E302", "epochs 1"), ("trian { epochs 1 }", "E120", "train {")])
def test_6_unknown_twice_too_many_missing(text, code, help):
    from tinyconv.train import TRAIN

    with pytest.raises(NetError) as caught:
        program = lang.parse(f"input 8x8 x3\n{text}")
        build(program)
        lang.sections(program, {"data": {}, "train": TRAIN})
    assert [d.code for d in caught.value.diagnostics] == [code] and help in caught.value.diagnostics[0].help


# 7. Blocks


def test_7_blocks_are_called_like_layers_and_may_stand_below():
    assert shape("input 8x8 x3\ncbr 3x3 x8\nblock cbr k x s=1 { conv k x s -> bn -> relu }") == "8x8 x8"
    assert shape("block b k x s=1 { conv k x s }\ninput 8x8 x3\nb 3x3 8 2") == "4x4 x8"       # all may be positional
    error("input 8x8 x3\nconv 3x3 8", "E142", "`x8`")                     # a built-in's after `/` may not


# 8. Binding


def test_8_a_flag_sets_the_parameter_of_its_letter():
    assert last("block f b { fc x=b }\ninput 8 x1\nf b96").args["x"] == 96
    assert last("block f b1 exp { fc x=b1*exp }\ninput 8 x1\nf b1=3 exp=2").args["x"] == 6
    error("block f b1 { fc x=b1 }\ninput 8 x1\nf b1", "E144", "`b1=…`")
    error("let e1 = 4\ninput 8 x1\nfc e1", "E144", "write `x=e1`")


def test_8_a_bare_word_is_first_the_parameter_that_is_a_value_in_scope():
    assert last("block f k x s { conv k x s }\ninput 8x8 x3\nf 3 7 2").args["x"] == 7
    # … even where the callee has a word of that name
    assert last("block f ceil { pool 3 ceil }\ninput 8x8 x3\nf off").args["ceil"] is False


def test_8_then_a_word_of_the_callee():
    assert last("let avg = 3\ninput 8x8 x3\npool 2 avg").args["mode"] == "avg"
    assert last("input 8x8 x4\nconv 3 dw").args["g"] == 4


def test_8_then_a_value_in_scope_then_a_block_or_layer():
    assert last("let n = 5\ninput 8 x1\nfc n").args["x"] == 5
    text = "block f unit n { repeat n { unit } }\nblock half { pool 2 }\ninput 8 x1\n"
    assert ops(text + "f half 2") == ["input", "pool", "pool"]
    assert ops(text + "f relu 2") == ["input", "relu", "relu"]
    # a let of a layer's name is the value
    assert last("let relu = 5\ninput 8 x1\nfc relu").args["x"] == 5


def test_8_positionals_fill_what_is_not_given_yet():
    text = "block f a b c { conv k=a x=b s=c }\ninput 8x8 x3\n"
    for call in ("f 3 5 2", "f 3 2 b5", "f b=5 3 2", "f c2 b5 3"):
        args = last(text + call).args
        assert (args["k"], args["x"], args["s"]) == ((3, 3), 5, (2, 2))


# 9. Values


def test_9_division_is_exact_and_whole_numbers_must_be_whole():
    assert last("input 8 x1\nfc x=10/4*2").args["x"] == 5
    assert error("let n = 10\ninput 8 x1\nfc x=n/4", "E147").help == "write `x=round(n/4)`"
    assert error("let n = 10\ninput 8 x1\nfc x=(n/4)", "E147").help == "write `x=round(n/4)`"
    assert last("input 8 x1\nfc x=min(9, 4) + max(1, 2) + floor(1.5) + ceil(1.5) + round(2.5)").args["x"] == 12


def test_9_sizes_equal_numbers_and_have_no_arithmetic():
    text = "block f s { when s == 1 { relu } else { bn } }\ninput 8x8 x1\nf "
    assert [ops(text + s)[-1] for s in ("s1", "1x1", "1x2")] == ["relu", "relu", "bn"]
    error("let k = 3x3\ninput 8x8 x1\nconv k=2*k x1", "E131", "each number by itself")


def test_9_the_words_of_a_key_win_over_the_scope():
    assert last("let he = 3\ninput 8 x1\nfc 4 init=he").args["init"] == ("he",)
    assert last("let trunk = 3\ninput 8 x1\nfc 4 share=trunk").args["share"] == "trunk"
    assert last("let start = 0.5\ninput 8 x1\nfc 4 bias=start").args["bias"] == 0.5


def test_9_lists_and_activations():
    assert net("input 8 x3 mean=0.1,0.2,0.3\nrelu").nodes[0].args["mean"] == (0.1, 0.2, 0.3)
    assert ops("block cb k x act=relu { conv k x -> act }\ninput 8x8 x3\ncb 3 x8 -> cb 3 x8 act=tanh") == [
        "input", "conv", "relu", "conv", "tanh"]


# 10. Scopes


def test_10_arguments_belong_to_the_caller_defaults_to_the_callee():
    assert last("block f x mid=x/4 { fc x=mid }\ninput 8 x1\nf x12").args["x"] == 3
    assert last("block g n { fc n }\nblock f { g n=in }\ninput 8 x5\nf").args["x"] == 5
    assert last("block f n=in { fc n }\ninput 8 x5\nf").args["x"] == 5
    error("block f a=b b=1 { fc x=a }\ninput 8 x1\nf", "E125")


def test_10_a_body_sees_no_caller():
    error("block f { fc x=q }\nblock g q { f }\ninput 8 x1\ng 3", "E125")
    assert last("let q = 4\nblock f { fc x=q }\nblock g q { f }\ninput 8 x1\ng 3").args["x"] == 4


def test_10_inner_shadows_outer_and_twice_is_an_error():
    assert last("let x = 3\nblock f x { let y = x\n fc x=y }\ninput 8 x1\nf x9").args["x"] == 9
    assert last("let i = 7\ninput 8 x1\nrepeat 2 as i { fc x=i+1 }").args["x"] == 2
    error("let a = 1\nlet a = 2\ninput 8 x1\nrelu", "E122", "another name", 2)
    error("block f x { let x = 1\n fc x }\ninput 8 x1\nf 2", "E122")
    error("block f { relu }\nblock f { bn }\ninput 8 x1\nf", "E122", "another name", 2)
    error("block conv { relu }\ninput 8 x1\nconv", "E121", "another name", 1)


def test_10_a_let_sees_only_lets_above():
    error("let a = b\nlet b = 1\ninput 8 x1\nfc a", "E125", "above", 1)


def test_10_recursion_shows_the_chain_of_calls():
    found = error("block a x { b x }\nblock b x { a x }\ninput 8 x1\na x8", "E161", "repeat", 2)
    assert found.message.endswith("a -> b -> a")
    assert error("block a { a }\nblock b { relu }\ninput 8 x1\nb", "E161").line == 1      # though never called


# 11. in


def test_11_in_is_the_channels_that_enter_the_body():
    text = "block f x { conv 1 x -> add { conv 1 x | conv 1 x -> relu } -> fc x=in }\ninput 8 x5\nf x9"
    assert last(text).args["x"] == 5
    error("input 8 x5\nfc x=in", "E123", "block")


# 12. Merges


def test_12_merges_run_their_branches_on_the_same_input():
    assert shape("input 8x8 x2\nconcat { conv 1 x3 | skip | relu -> conv 1 x5 }") == "8x8 x10"
    assert shape("input 8x8 x2\nmul { skip | pool global avg -> fc 2 -> sigmoid }") == "8x8 x2"
    assert shape("input 8x8 x2 as a -> conv 1 x3 as b -> conv 1 x4\nconcat @a @b") == "8x8 x9"
    error("input 8x8 x2\nadd { relu }", "E152")
    assert error("input 8x8 x2\nadd { conv 1 x3 | skip }", "E204").labels[1].text == "branch 2: 8x8 x2 -> skip x2"


# 13. Names


def test_13_names_are_seen_in_their_braces_in_inner_ones_and_in_heads():
    assert ops("input 8 x2 as a\nrelu -> repeat 2 { add @a }") == ["input", "relu", "add", "add"]
    graph = net("input 8 x2\nrelu as a -> fc 3 -> softmax\nhead h { @a -> fc 3 -> softmax }")
    assert [h.name for h in graph.heads] == ["h"]
    error("input 8 x2\nrepeat 1 { relu as a }\nadd @a", "E124", "braces")
    error("input 8 x2\nadd { relu as a -> bn | @a }", "E124")
    error("block f { add @a }\ninput 8 x2 as a\nf", "E124", "`block f a { … }`, called with `@a`")


def test_13_passes_and_calls_start_afresh_and_blocks_take_names_as_arguments():
    assert ops("input 8 x2\nrepeat 2 { relu as a -> bn -> add @a }").count("add") == 2
    assert shape("block f x other { conv 1 x -> concat @other }\ninput 8 x2 as a\nrelu -> f @a x64") == "8 x66"
    assert ops("input 8 x2 as a\nconv 1 x4\n@a -> relu")[-1] == "relu"
    error("input 8 x2 as a\nrelu as a", "E122")


def test_13_what_is_never_used_is_a_warning():
    assert warned("block f { relu }\ninput 8 x2\nconv 1 x2 as a") == [("W102", 1), ("W101", 3)]


# 14. Repeat and when


def test_14_repeat_and_when():
    assert [n.args["x"] for n in net("input 8 x1\nrepeat 3 as i { conv 1 x=2^i }").nodes[1:]] == [1, 2, 4]
    assert ops("input 8 x1\nrepeat 0 { relu }\nwhen off { relu }") == ["input"]
    error("input 8 x1\nrepeat -1 { relu }", "E136")
    error("input 8 x1\nrepeat 5/2 { relu }", "E136", "round(5/2)")
    error("input 8 x1\nwhen 1 { relu }", "E137", "`1 == 1`")


# 15. Overrides and defaults


def test_15_lets_are_replaced_before_evaluation_and_keep_their_kind():
    text = "let width = 1.0\nlet n = 8*width\ninput 8 x1\nfc n"
    assert last(text, overrides={"width": "0.5"}).args["x"] == 4
    assert "did you mean `width`" in errors(text, overrides={"widht": 1})[0].help
    assert errors(text, overrides={"width": "3x3"})[0].code == "E128"


def test_15_defaults_hold_for_what_is_built_after_them():
    text = "block b { conv 3 x2 }\ninput 8 x2\nb\ndefault conv init=zeros bias=off\nb\nconv 3 x2 bias=on"
    nodes = net(text).nodes
    assert [(n.args["init"], n.args["bias"]) for n in nodes[1:]] == [
        (("he",), True), (("zeros",), False), (("zeros",), True)]
    error("default conv 3\ninput 8 x1\nrelu", "E126", "key=value")
    error("block b { relu }\ndefault b x=3\ninput 8 x1\nb", "E126", "k=3")


def test_15_a_head_has_the_defaults_above_it():
    graph = net("input 8 x2\nrelu as a\nhead h { @a -> fc 3 }\ndefault fc bias=off\nfc 3")
    assert [n.args["bias"] for n in graph.nodes if n.op == "fc"] == [False, True]


# 16. Includes


def test_16_includes_bring_blocks_and_lets_once(tmp_path):
    (tmp_path / "a.net").write_text('include "b.net"\nblock a { b }\n')
    (tmp_path / "b.net").write_text("let n = 4\nblock b { fc n }\n")
    (tmp_path / "main.net").write_text('include "a.net"\ninclude "b.net"\ninput 8 x1\na\n')
    assert build(lang.load(tmp_path / "main.net"), {"n": 6}).nodes[-1].args["x"] == 6


@pytest.mark.parametrize("included, code", [
    ("relu", "E004"), ("default conv bias=off", "E004"), ("head h { relu }", "E004"), ("train { epochs 1 }", "E004"),
    ('include "main.net"', "E003")])
def test_16_nothing_else_may_be_included(tmp_path, included, code):
    (tmp_path / "a.net").write_text(f"# one\n{included}\n")
    (tmp_path / "main.net").write_text('include "a.net"\ninput 8 x1\nrelu\n')
    with pytest.raises(NetError) as caught:
        lang.load(tmp_path / "main.net")
    found = caught.value.diagnostics[0]
    assert (found.code, found.file, found.line) == (code, str(tmp_path / "a.net"), 2) and found.help


def test_16_other_items_do_not_break_the_flow():
    text = "input 8 x1\nlet a = 2\nfc a\nblock b { relu }\ndefault fc bias=off\ntrain { epochs 2 }\nhead h { fc 2 }\nb"
    assert ops(text)[:3] == ["input", "fc", "relu"]


# 17. Output, heads, shared weights


def test_17_the_last_value_is_the_output_and_heads_are_apart():
    graph = net("input 8 x1\nfc 4 as a -> fc 2\nhead h weight=0.3 { @a -> fc 3 }")
    assert str(graph.output) == "x2"
    assert [(h.name, h.weight) for h in graph.heads] == [("h", 0.3)]


def test_17_shared_weights_have_one_owner_and_one_shape():
    graph = net("input 8 x4\nrepeat 2 { conv 3 x4 share=trunk }")
    assert [n.owner for n in graph.nodes[1:]] == ["conv1", "conv1"]
    assert "shape" in errors("input 8 x4\nconv 3 x4 share=t -> conv 5 x4 share=t")[0].help


# Sections


def test_sections_of_one_name_join_and_a_setting_twice_is_an_error():
    from tinyconv.train import TRAIN

    def settings(text):
        return lang.sections(lang.parse(text), {"data": {}, "train": TRAIN})["train"]

    assert settings("train { epochs 3 }\ntrain { batch 8 }") == {"epochs": 3, "batch": 8}
    with pytest.raises(NetError) as caught:
        settings("train { epochs 3 }\ntrain { epochs 4 }")
    assert [(d.code, d.line) for d in caught.value.diagnostics] == [("E303", 2)]
    assert len(settings("train { loss ce; loss ce }")["loss"]) == 2


# Bounds


DOUBLING = "".join(f"block b{i} {{ b{i + 1} -> b{i + 1} }}\n" for i in range(40)) + "block b40 { relu }\n"
BOUNDS = {
    "an input beyond all memory": "input 99999999999999999999x1 x3\nconv 3x3 x8",
    "an input of many axes": "input 1x1x1x1x1x1x1x1x1 x3\nrelu",
    "a kernel of 1e15": "input 8 x1\nconv 1000000000000000 x1",
    "channels of 1e15": "input 8 x1\nfc x=10^15",
    "a size that grows": "input 1000000000 x1\nrepeat 100 { deconv 1000 s1000 x1 }",
    "channels that grow": "input 8 x1000000000\nrepeat 60 { concat { skip | skip } }",
    "an exponent": "let a = 10^10^10\ninput 8 x1\nfc a",
    "repeats in repeats": "input 8 x1\nrepeat 10000 { repeat 10000 { relu } }",
    "a repeat of 1e18": "input 8 x1\nrepeat 10^18 { relu }",
    "blocks that double": DOUBLING + "input 8 x1\nb0",
    "braces 1000 deep": "input 8 x1\n" + "repeat 1 { " * 1000 + "relu" + " }" * 1000,
    "parentheses 1000 deep": "let a = " + "(" * 1000 + "1" + ")" * 1000,
    "blocks 1000 deep": "".join(f"block b{i} {{ b{i + 1} }}\n" for i in range(1000)) + "block b1000 { relu }\n"
                        "input 8 x1\nb0",
    "a list too long for its key": "input 8 x3 mean=" + ",".join("1" * 5000) + "\nrelu",
    "padding": "input 8x8 x1\npad 999999999 -> pad 999999999",
}


@pytest.mark.parametrize("text", BOUNDS.values(), ids=BOUNDS)
def test_what_would_not_end_or_fit_ends_in_a_message(text):
    found = errors(text)[0]
    assert found.help and len(found.message) < 200


def test_a_long_chain_of_includes_ends_in_a_message(tmp_path):
    for i in range(150):
        (tmp_path / f"a{i}.net").write_text(f'include "a{i + 1}.net"\n')
    with pytest.raises(NetError) as caught:
        lang.load(tmp_path / "a0.net")
    assert caught.value.diagnostics[0].code == "E005" and caught.value.diagnostics[0].help
