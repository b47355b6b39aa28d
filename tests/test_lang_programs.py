"""Programs and what they expand to, rule by rule of the language."""

from pathlib import Path

import pytest
from lang_fakes import FakeBuilder

from tinyconv import lang
from tinyconv.graph.build import build as build_graph
from tinyconv.errors import NetError

CASES = Path(__file__).with_name("lang_cases")
MODELS = Path(__file__).parents[1] / "models"


def build(text, overrides=None, input=None):
    builder = FakeBuilder()
    builder.warnings = lang.expand(lang.parse(text), builder, overrides or {}, input)
    return builder


def names(text, **kwargs):
    return [call[0] for call in build(text, **kwargs).calls]


def args(text, layer=-1, **kwargs):
    return build(text, **kwargs).calls[layer][1]


def error(text, code, **kwargs):
    with pytest.raises(NetError) as caught:
        build(text, **kwargs)
    codes = [d.code for d in caught.value.diagnostics]
    assert codes == [code], str(caught.value)
    return caught.value.diagnostics[0]


@pytest.mark.parametrize("path", sorted(CASES.glob("*.net")), ids=lambda p: p.stem)
def test_every_program_expands_without_a_warning(path):
    builder = FakeBuilder()
    assert lang.expand(lang.load(path), builder) == []
    assert (builder.result is None) == (path.stem == "residual")


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.net")), ids=lambda p: p.stem)
def test_every_model_is_free_of_warnings(path):
    assert build_graph(lang.load(path)).warnings == []


@pytest.mark.parametrize("name, layers, output", [
    ("lenet5", 13, "x10"), ("vgg16", 40, "x1000"), ("resnet50", 176, "x1000"), ("googlenet", 159, "x1000"),
    ("unet", 69, "256x256 x1"), ("keywords", 44, "x35"), ("c3d", 30, "x101"), ("mobilenet", 85, "x1000")])
def test_programs_expand_to_their_layers(name, layers, output):
    builder = FakeBuilder()
    lang.expand(lang.load(CASES / f"{name}.net"), builder)
    assert (len(builder.calls), str(builder.result)) == (layers, output)


def test_heads_start_at_their_name_and_carry_their_weight():
    builder = FakeBuilder()
    lang.expand(lang.load(CASES / "googlenet.net"), builder)
    assert [(h[0], h[1], str(h[2]), str(h[3])) for h in builder.heads] == [
        ("aux1", 0.3, "13x13 x512", "x1000"), ("aux2", 0.3, "13x13 x528", "x1000")]


# Form


def test_line_breaks_arrows_and_semicolons_mean_then():
    flat = names("input 8x8 x3 -> conv 3x3 x4 -> relu -> bn")
    assert names("input 8x8 x3\nconv 3x3 x4\n  -> relu; bn") == flat
    assert names("\r\n\ufeff"[2:] + "input 8x8 x3\r\n\r\n# c\r\nconv 3x3 x4 # d\rrelu;;bn\n\n") == flat


def test_continuations_by_arrow_bar_brace_and_else():
    text = """input 8x8 x3
        add
        {
            skip
            | relu

            # a comment between
            -> bn
        }
        when 1 == 2 { relu }
        # another
        else
        { bn }"""
    assert names(text) == ["input", "relu", "bn", "add", "bn"]


def test_names_may_begin_with_keywords():
    assert names("block letter x as_ { conv 3 x -> fc x=as_ }\ninput 8 x1\nletter x4 as_=2") == ["input", "conv", "fc"]


def test_an_empty_file_and_a_file_of_blocks_are_valid():
    assert build("").result is None
    assert build("# nothing\n\n").warnings == []
    assert build("block a x { conv 3 x }\nlet b = 2\n").warnings == []


def test_a_ruler_of_comments_is_read_at_once():
    ruler = ("#" * 80 + "\n") * 50
    assert names(f"{ruler}input 8 x1\n{ruler}relu\n{ruler}") == ["input", "relu"]


# Arguments


def test_flags_keys_words_and_positionals():
    got = args("input 8x8 x3\nconv 3x5 x4 s2x1 d1 g1 bias=off init=normal(0.01) dw")
    assert got == {"k": (3, 5), "x": 4, "s": (2, 1), "p": "half", "d": 1, "g": 1, "dw": True, "bias": False,
                   "init": ("normal", 0.01), "share": None}
    assert args("input 8x8 x3\npool 2 avg ceil")["mode"] == "avg"
    assert args("input 8x8 x3 mean=0.485,0.456,0.406 std=data")["mean"] == (0.485, 0.456, 0.406)
    assert args("input 8x8 x3 mean=0.485,0.456,0.406 std=data")["std"] == "data"
    assert args("input 8 x3\nconv 3 x4 share=trunk")["share"] == "trunk"
    assert args("let avg = 3\ninput 8 x3\npool 2 avg")["mode"] == "avg"
    assert args("input 8 x3\ndropout p=1/4")["p"] == 0.25


def test_a_bare_word_is_first_the_parameter_of_that_name():
    assert args("block b k x { conv k x }\ninput 8 x1\nb 3 x7")["x"] == 7
    assert args("block b n { fc n }\ninput 8 x1\nb 3")["x"] == 3
    assert args("block b dw { conv 3 x4 dw }\ninput 8 x1\nb off")["dw"] is False
    assert args("block b k mode { pool k mode }\ninput 8 x1\nb 2 avg")["mode"] == "avg"


def test_blocks_are_passed_and_called():
    text = "block cb k x act=relu { conv k x -> act }\nblock twice unit { unit x4 -> unit x8 }\n" \
           "block u x { cb 3 x %s }\ninput 8 x1\ntwice u"
    assert names(text % "") == ["input", "conv", "relu", "conv", "relu"]
    assert names(text % "tanh") == ["input", "conv", "tanh", "conv", "tanh"]


def test_positionals_fill_what_is_not_given_yet():
    assert args("block b a b c { conv k=a x=b s=c }\ninput 8 x1\nb 3 2 b5")["x"] == 5


def test_values_are_exact_and_whole_where_they_must_be():
    assert args("input 8 x1\nfc x=0.1*30")["x"] == 3
    assert args("input 8 x1\nfc x=2^5/3*3")["x"] == 32
    assert args("input 8 x1\nfc x=round(10/4)")["x"] == 3
    assert args("input 8 x1\nfc x=floor(7/2)+ceil(7/2)+min(1,2)+max(1,2)")["x"] == 10
    assert args("input 8 x1\nfc x=-(-2)^2+8")["x"] == 4
    assert error("input 8 x1\nfc x=10/4", "E147").help == "write `x=round(10/4)`"


def test_a_size_equals_a_number_when_all_its_axes_do():
    text = "block b s { when s == 1 { relu } else { bn } }\ninput 8x8 x1\nb %s"
    assert names(text % "s1x1")[-1] == "relu"
    assert names(text % "s1")[-1] == "relu"
    assert names(text % "s1x2")[-1] == "bn"
    assert error("let k = 2*3x3\ninput 8x8 x1", "E131").line == 1


def test_in_is_the_channels_entering_the_block():
    assert args("block b x { conv 1 x -> relu -> fc x=in }\ninput 8 x5\nb x9")["x"] == 5
    assert args("block o { inner x=in }\nblock inner x { conv 1 x=x*in }\ninput 8 x5\no")["x"] == 25
    assert args("block b x y=x/in { conv 1 x=y }\ninput 8 x5\nb x10")["x"] == 2
    error("input 8 x5\nfc x=in", "E123")


def test_scopes():
    assert args("let x = 3\nblock b x { conv 1 x }\ninput 8 x1\nb x9")["x"] == 9
    assert args("let n = 3\nblock b { let m = n+1\n fc x=m }\ninput 8 x1\nb")["x"] == 4
    error("block b { fc x=q }\nblock c q { b }\ninput 8 x1\nc 3", "E125")          # never its caller's
    error("let a = b\nlet b = 1\ninput 8 x1", "E125")                              # only lets above
    error("let a = 1\nlet a = 2\ninput 8 x1", "E122")
    error("block b x { let x = 2\n fc x }\ninput 8 x1\nb x1", "E122")
    error("block relu { skip }\ninput 8 x1\nrelu", "E121")


# Flow


def test_merges_run_their_branches_on_the_same_input():
    builder = build("input 8 x2\nconcat { conv 1 x3 | skip | relu -> conv 1 x5 }")
    assert str(builder.result) == "8 x10"
    assert [str(s) for s in builder.calls[-1][2]] == ["8 x3", "8 x2", "8 x5"]
    builder = build("input 8 x2 as a\nconv 1 x3 as b\nconv 1 x4 -> concat @a @b")
    assert [str(s) for s in builder.calls[-1][2]] == ["8 x4", "8 x2", "8 x3"]


def test_names_reach_to_the_end_of_their_braces():
    assert names("input 8 x2 as a\nrelu -> repeat 2 { add @a }") == ["input", "relu", "add", "add"]
    error("input 8 x2\nrepeat 1 { relu as a }\nadd @a", "E124")
    error("input 8 x2\nadd { relu as a -> bn | @a }", "E124")
    error("block b { add @a }\ninput 8 x2 as a\nb", "E124")
    error("input 8 x2 as a\nrelu as a", "E122")
    assert names("block up x other { conv 1 x -> concat @other }\ninput 8 x2 as a\nrelu -> up @a x64")[-1] == "concat"
    assert names("block up other { concat other }\ninput 8 x2 as a\nrelu -> up @a")[-1] == "concat"
    assert build("input 8x8 x2 as a\nconv 3x3 p0 x2 -> crop @a").calls[-1][1]["k"].shape.spatial == (8, 8)


def test_repeat_counts_from_zero():
    builder = build("input 8 x1\nrepeat 3 as i { conv 3 d=2^i x=i+1 }")
    assert [(c[1]["d"], c[1]["x"]) for c in builder.calls[1:]] == [(1, 1), (2, 2), (4, 3)]
    assert names("input 8 x1\nrepeat 0 { relu }") == ["input"]
    error("input 8 x1\nrepeat -1 { relu }", "E136")
    error("input 8 x1\nrepeat 5/2 { relu }", "E136")


def test_when_takes_the_first_condition_that_holds():
    text = "input 8 x1\nrepeat 4 as i { when i == 0 { relu } else when i < 2 and not i == 3 { bn }\n" \
           "else when i > 2 or off { tanh } }"
    assert names(text) == ["input", "relu", "bn", "tanh"]
    error("input 8 x1\nwhen 1 { relu }", "E137")


def test_defaults_apply_to_what_is_built_after_them():
    text = "block b { conv 3 x1 }\ninput 8 x1\nb\ndefault conv init=zeros bias=off\nb\nconv 3 x1 init=xavier"
    assert [(c[1]["init"], c[1]["bias"]) for c in build(text).calls[1:]] == [
        (("he",), True), (("zeros",), False), (("xavier",), False)]
    error("default conv 3\ninput 8 x1", "E126")
    error("block b { skip }\ndefault b k=3\ninput 8 x1\nb", "E126")


def test_other_items_do_not_break_the_flow():
    assert names("input 8 x1\nlet a = 2\nfc a\nblock b { relu }\ntrain { epochs 2 }\nb") == ["input", "fc", "relu"]


# Overrides and input


def test_overrides_replace_before_evaluation():
    text = "let width = 1.0\nlet n = 8*width\ninput 8 x1\nfc n"
    for value, n in [("0.5", 4), (0.5, 4), ("1/4", 2), (2, 16)]:
        assert args(text, overrides={"width": value})["x"] == n
    assert error(text, "E128", overrides={"width": "3x3"}).line == 1
    assert "width" in error(text, "E127", overrides={"widht": 2}).help
    error(text, "E103", overrides={"width": "3x"})
    error(text, "E129", overrides={"width": "1; relu"})
    assert args("let act = relu\ninput 8 x1\nact", overrides={"act": "dropout"})["p"] == 0.5
    assert args("let on_ = on\ninput 8 x1\nconv 1 x1 dw=on_", overrides={"on_": False})["dw"] is False


def test_input_is_given_to_fragments_and_replaces_sizes():
    fragment = "conv 3x3 x64 -> relu -> pool 2"
    assert str(build(fragment, input="32x32 x3").result) == "16x16 x64"
    error(fragment, "E150")
    got = args("input 8x8 x3 mean=0.5", 0, input="16x16 x1")
    assert (got["k"], got["x"], got["mean"]) == ((16, 16), 1, 0.5)
    assert args("input 8x8 x3 mean=0.5", 0, input="16x16 x1 mean=data")["mean"] == "data"
    error(fragment, "E103", input="32x x3")
    error(fragment, "E129", input="32x32 x3 -> relu")


def test_free_axes():
    assert str(build("input ?x? x3\nconv 3x3 x8 -> pool 2").result) == "?x? x8"


# Includes


def test_includes_are_found_beside_the_file_and_read_once(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.net").write_text('include "b.net"\nblock a { b }\n')
    (tmp_path / "sub" / "b.net").write_text("let n = 4\nblock b { fc n }\n")
    main = tmp_path / "main.net"
    main.write_text('include "sub/a.net"\ninclude "sub/b.net"\ninput 8 x1\na\n')
    builder = FakeBuilder()
    lang.expand(lang.load(main), builder, {"n": 6})
    assert builder.calls[-1][1]["x"] == 6
    assert [c.block for c in builder.calls[-1][4]] == ["a", "b"]


@pytest.mark.parametrize("included, code", [
    ("relu\n", "E004"), ("default conv init=he\n", "E004"), ("train { epochs 1 }\n", "E004"),
    ('include "main.net"\n', "E003"), ('include "a.net"\n', "E003"), ("block a { relu => bn }\n", "E108"),
    (b"block a { \xff }", "E002"), ('include "gone.net"', "E001")])
def test_errors_in_includes_point_into_their_file(tmp_path, included, code):
    (tmp_path / "a.net").write_bytes(included if isinstance(included, bytes) else included.encode())
    (tmp_path / "main.net").write_text('include "a.net"\ninput 8 x1\nrelu\n')
    with pytest.raises(NetError) as caught:
        lang.load(tmp_path / "main.net")
    found = caught.value.diagnostics[0]
    assert (found.code, found.file, found.line) == (code, str(tmp_path / "a.net"), 1)


# Reading


def test_what_cannot_be_read_is_a_clear_error(tmp_path):
    for path in (tmp_path / "gone.net", tmp_path):
        with pytest.raises(NetError) as caught:
            lang.load(path)
        assert caught.value.diagnostics[0].code == "E001"


@pytest.mark.parametrize("data, line, column", [
    (b"\xff", 1, 1), (b"input 8 x1\r\nrelu \xc3(", 2, 6), (b"\xef\xbb\xbf# \xc3\xa9\xe9\n", 1, 4),
    (b"a\rb\n\xe2\x82", 3, 1)])
def test_bytes_that_are_not_utf8_have_their_place(tmp_path, data, line, column):
    (tmp_path / "a.net").write_bytes(data)
    with pytest.raises(NetError) as caught:
        lang.load(tmp_path / "a.net")
    found = caught.value.diagnostics[0]
    assert (found.code, found.line, found.column) == ("E002", line, column)
