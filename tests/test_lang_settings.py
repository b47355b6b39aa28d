"""Sections by a schema, `--set`, and one self-contained text of a program."""

import pytest
from lang_fakes import FakeBuilder

from tinyconv import lang
from tinyconv.errors import NetError
from tinyconv.lang import Param, Setting, Signature
from tinyconv.sections import SECTIONS

N = (Param("n", "whole", positional=True),)
SGD = Signature(
    "sgd", (Param(
        "lr", "number", 0.1), Param(
            "momentum", "number", 0.9), Param(
                "nesterov", "switch", False)))
ADAM = Signature("adam", (Param("lr", "number", 1e-3),))
STEP = Signature("step", (Param("at", "list"), Param("factor", "number", 0.1)))
STEPS = {"pad": Signature("pad", N), "crop": Signature("crop", N), "flip": Signature("flip")}
SCHEMA = {
    "data": {"source": Setting("source", (Param("name", "text|name", positional=True),)),
             "augment": Setting("augment", choices=STEPS, pipeline=True),
             "test": Setting("test", choices=STEPS, pipeline=True)},
    "train": {"epochs": Setting("epochs", N), "batch": Setting("batch", N),
              "optimizer": Setting("optimizer", choices={"sgd": SGD, "adam": ADAM}),
              "schedule": Setting("schedule", choices={"step": STEP, "cosine": Signature("cosine")}),
              "loss": Setting("loss", choices={n: Signature(n, (Param("weight", "number", 1),)) for n in ("ce", "bce")},
                              repeated=True)},
}
TEXT = """# a net
let half = 5     # epochs
input 8 x1 -> fc 3
data { source "some/where"
       augment: pad 4 -> crop 32 -> flip }
train {
    epochs half
    batch 32; optimizer sgd lr=1/half nesterov
    schedule step at=2,4
    loss ce; loss bce weight=0.5
}
"""


def read(text, set=None, **kwargs):
    return lang.sections(lang.parse(text), SCHEMA, set or {}, **kwargs)


def codes(text, set=None):
    with pytest.raises(NetError) as caught:
        read(text, set)
    return [(d.code, d.line) for d in caught.value.diagnostics]


def test_settings_come_as_their_schema_says():
    got = read(TEXT)
    assert got["train"] == {
        "epochs": 5, "batch": 32, "optimizer": ("sgd", {"lr": 0.2, "momentum": 0.9, "nesterov": True}),
        "schedule": ("step", {"at": (2, 4), "factor": 0.1}), "loss": [("ce", {"weight": 1}), ("bce", {"weight": 0.5})]}
    assert got["data"]["source"] == ("text", "some/where", True)
    assert [(name, args) for name, args, _ in got["data"]["augment"]] == [
             ("pad", {"n": 4}), ("crop", {"n": 32}), ("flip", {})]
    assert got["data"]["augment"][1][2][1:] == (5, 26, 33)
    assert read("data { source mnist }")["data"]["source"] == ("text", "mnist", False)
    assert read("input 8 x1") == {"data": {}, "train": {}}


def test_settings_see_lets_and_their_overrides():
    assert read(TEXT, overrides={"half": 8})["train"]["epochs"] == 8
    assert read("let act = relu\nlet n = 3\ntrain { epochs n }")["train"]["epochs"] == 3


def test_set_replaces_positionals_keys_and_whole_lines():
    got = read(TEXT, {"train.batch": 64, "train.optimizer.lr": "0.5", "train.optimizer.nesterov": False,
                      "train.schedule": "cosine", "data.augment": "flip", "data.test": "crop 8"})
    assert got["train"]["batch"] == 64
    assert got["train"]["optimizer"] == ("sgd", {"lr": 0.5, "momentum": 0.9, "nesterov": False})
    assert got["train"]["schedule"] == ("cosine", {})
    assert [s[0] for s in got["data"]["augment"]] == ["flip"] and got["data"]["test"][0][:2] == ("crop", {"n": 8})
    assert read(TEXT, {"train.optimizer": "adam lr=1e-2"})["train"]["optimizer"] == ("adam", {"lr": 0.01})
    assert read("input 8 x1", {"train.batch": "8"})["train"] == {"batch": 8}


@pytest.mark.parametrize("text, expected", [
    ("train { epoch 9 }", "E302"), ("train { epochs 1; epochs 2 }", "E303"), ("train { epochs = 9 }", "E109"),
    ("train { epochs }", "E143"), ("train { epochs 1 2 }", "E142"), ("train { epochs 1.5 }", "E147"),
    ("train { optimizer }", "E305"), ("train { optimizer sdg }", "E305"), ("train { optimizer sgd rl=1 }", "E145"),
    ("train { schedule step }", "E143"), ("data { augment flip }", "E304"), ("data { augment: flop }", "E305"),
    ("data { augment: pad }", "E143"), ("data { augment: repeat 2 { flip } }", "E304"),
    ("train { batch: pad 4 }", "E304"),
    ("train { epochs nothing }", "E146"), ("train { batch relu }", "E146")])
def test_wrong_settings_are_errors_at_their_place(text, expected):
    assert codes(text) == [(expected, 1)]


def test_every_wrong_setting_is_reported():
    assert codes("train { epoch 9\nbatch x\n optimizer sdg }\ndata { sauce 3 }") == [
        ("E302", 1), ("E146", 2), ("E305", 3), ("E302", 4)]


@pytest.mark.parametrize("key, value, code", [
    ("batch", 3, "E306"), ("train.bach", 3, "E306"), ("model.batch", 3, "E306"), ("train.loss.weight", 2, "E306"),
    ("train.batch", "1; epochs 2", "E306"), ("train.batch", "=", "E109"), ("train.batch", "x", "E146"),
    ("data.augment.pad", 3, "E306"), ("train.batch.", 3, "E306")])
def test_wrong_sets_are_errors(key, value, code):
    assert codes(TEXT, {key: value})[0][0] == code


# inline


def expanded(text, overrides=None):
    builder = FakeBuilder()
    lang.expand(lang.parse(text), builder, overrides or {})
    return [(c[0], {k: str(v) for k, v in c[1].items()}, c[3]) for c in builder.calls]


def test_inline_gives_the_same_net_and_settings():
    overrides, sets = {"half": "7"}, {"train.batch": 8, "train.optimizer.lr": 0.25, "data.test": "crop 8"}
    text = lang.inline(lang.parse(TEXT), overrides, sets, SCHEMA)
    assert "let half = 7     # epochs" in text
    assert expanded(text) == expanded(TEXT, overrides)

    def plain(got):
        return {**got, "data": {k: [s[:2] for s in v] if isinstance(v, list) else v for k, v in got["data"].items()}}

    assert plain(read(text)) == plain(read(TEXT, sets, overrides=overrides))
    assert lang.inline(lang.parse(text)) == text


def test_inline_without_changes_is_the_text():
    assert lang.inline(lang.parse(TEXT)) == TEXT


def test_inline_brings_includes_in(tmp_path):
    (tmp_path / "a.net").write_text('include "b.net"; let w = 2*n # of b\nblock a { fc w }')
    (tmp_path / "b.net").write_text("# b\nlet n = 4\nblock b { fc n } # last")
    main = tmp_path / "main.net"
    main.write_text('include "a.net"; include "b.net"; input 8 x1\na -> b\n')
    program = lang.load(main)
    text = lang.inline(program, {"n": 6})
    assert "include" not in text.replace("already included", "") and "let n = 6" in text
    builder = FakeBuilder()
    lang.expand(lang.parse(text), builder)
    assert [c[1].get("x") for c in builder.calls] == [1, 12, 6]


def test_inline_quotes_overridden_texts_and_refuses_unknown_lets():
    assert lang.inline(lang.parse('let a = "x"\n'), {"a": "y z"}) == 'let a = "y z"\n'
    with pytest.raises(NetError):
        lang.inline(lang.parse("let a = 1\n"), {"b": 2})


@pytest.mark.parametrize("text", [
    "# c\nlet n = 3\ninput 8x8 x1 mean=0.5 std=data as a -> relu\nadd @a\n", "let n = 3\n\nconv 3x3 x=n -> relu\n",
    "block b { relu }\n"])
@pytest.mark.parametrize("given", ["16x16 x2", "16x16 x2 mean=0.25"])
def test_an_input_is_written_into_the_text(text, given):
    for written in (lang.with_input(text, given), lang.inline(lang.parse(text), input=given)):
        builder = FakeBuilder()
        lang.expand(lang.parse(text), builder, input=given)
        if text.startswith("block"):
            assert written == f"{text}input {given}\n"
        else:
            assert expanded(written) == [(c[0], {k: str(v) for k, v in c[1].items()}, c[3]) for c in builder.calls]


@pytest.mark.parametrize("settings, at, message", [
    ("train { batch 0 }", "0", "`batch` is 0; it must be at least 1"),
    ("train { optimizer sgd lr=-1 }", "lr=-1", "`lr` of `sgd` is -1; it must be 0 or more"),
    ("train { optimizer adam beta1=1 }", "beta1=1", "`beta1` of `adam` is 1; it must be 0 or more, below 1"),
    ("train { schedule step at=5,3 }", "at=5,3", "`at` of `step` is 5,3; it must be epochs in rising order"),
    ("train { loss mse weight=1/2-1 }", "weight=1/2-1", "`weight` of `mse` is 1/2-1; it must be above 0"),
    ("data { validation 1.5 }", "1.5", "`validation` is 1.5; it must be 0 or more, below 1"),
])
def test_values_out_of_range_are_errors_at_their_place(settings, at, message):
    with pytest.raises(NetError) as error:
        lang.sections(lang.parse(settings), SECTIONS)
    found, = error.value.diagnostics
    assert (found.code, found.message) == ("E307", message)
    assert settings[found.column - 1:found.end_column - 1] == at


def test_a_key_set_without_its_setting_is_told_where_it_belongs():
    with pytest.raises(NetError) as error:
        lang.sections(lang.parse("fc 2"), SECTIONS, {"train.lr": 3})
    assert error.value.diagnostics[0].help == "write `train.optimizer.lr`"
