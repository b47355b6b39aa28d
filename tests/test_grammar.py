"""The TextMate grammar of the editors, tokenised by an engine of its own and held to the language's own parser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tinyconv import lang
from tinyconv.lang import ast
from tinyconv.lang.checks import nodes
from tinyconv.layers import LAYERS
from tinyconv.sections import SECTIONS

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = ROOT / "editors" / "vscode"
GRAMMAR = json.loads((EXTENSION / "syntaxes" / "net.tmLanguage.json").read_text(encoding="utf-8"))
PROGRAMS = sorted([*(ROOT / "tests" / "lang_cases").glob("*.net"), *(ROOT / "models").glob("*.net")])

# Forms that the programs above do not have.
ODD = """\
# a comment # with another, "and a text"
let a = 2 * (b1 + 3) - -c^2 / max(x1, 2)   ; let letter = "a # in a text"
block layer_x b1 x act=relu y=b1+x1 { let m = in/2
    conv k=3x3 x=b1 s2x1 d1 bias=off init=normal(0.01) -> act as b1
    when not s == 1 and m >= 2 or on { skip } else when b1 < 3 { concat @b1 @ act } else { bn }
}
default conv init=he
input ?x?x3 x3 mean=0.485,0.456,.406 std=data
add { relu6 | skip
    | repeat n-1 as i { conv 1 x=2^i } }
    -> pool global avg
letter x4; relu
head h1 weight=3e-1 { @e1 -> fc 10 }
data { source mnist; augment: pad 4
       -> crop 32 ; test: flip }
train {
    # of a section
    optimizer sgd lr=a nesterov
    loss ce smoothing=0.1; seed 1
}
"""


def names_in(rule: str, number: int = 0) -> set[str]:
    """The words that a rule of the grammar lists."""
    text = GRAMMAR["repository"][rule]["patterns"][number]["match"]
    return set(re.fullmatch(r"\\b\(\?:([\w|]+)\)\\b", text).group(1).split("|"))


def test_the_layers_are_those_of_the_language():
    assert names_in("layer-name") == set(LAYERS)


def test_words_are_those_of_the_signatures():
    signatures = [layer.signature for layer in LAYERS.values()]
    for setting in (*SECTIONS["data"].values(), *SECTIONS["train"].values()):
        signatures += (setting.choices or {}).values()
    params = [param for signature in signatures for param in signature.params]
    known = {word for param in params for word in param.words}
    known |= {param.name for param in params if param.kind == "switch"} | {"he", "xavier", "zeros"}
    assert names_in("word", 2) == known


def test_keywords_are_those_of_the_parser():
    text = (ROOT / "tinyconv" / "lang" / "net.lark").read_text(encoding="utf-8")
    keywords = set(re.search(r"NAME\s*:\s*/\(\?!\(\?:([a-z|]+)\)", text).group(1).split("|"))
    listed = [m for rule in ("stage", "operand")
              for m in re.findall(r"\(\?!\(\?:([a-z|]+)\)\\b\)", GRAMMAR["repository"][rule]["match"])]
    assert len(listed) == 2 and all(set(words.split("|")) == keywords for words in listed)


def test_the_extension_names_files_that_are_there():
    package = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    language, = package["contributes"]["languages"]
    grammar, = package["contributes"]["grammars"]
    assert language["extensions"] == [".net"] and grammar["language"] == language["id"]
    assert grammar["scopeName"] == GRAMMAR["scopeName"]
    assert (EXTENSION / grammar["path"]).is_file()
    configuration = json.loads((EXTENSION / language["configuration"]).read_text(encoding="utf-8"))
    assert configuration["comments"] == {"lineComment": "#"} and ["{", "}"] in configuration["brackets"]


@pytest.fixture(scope="module")
def engine():
    base = pytest.importorskip("textmate_grammar.parsers.base")
    return base.LanguageParser(GRAMMAR)


def scopes(engine, text: str) -> dict[int, list[str]]:
    """{offset: scopes} of every character that has any but the file's own."""
    starts = [0, *(m.end() for m in re.finditer("\n", text))]
    found = {}
    for (line, column), token, names in engine.parse_string(text).flatten():
        for i in range(len(token)):
            found[starts[line] + column + i] = names[1:]
    return found


def expected(program: lang.Program):
    """(start, end, scope) of everything that the parser found in the file itself."""
    steps = {id(stage) for item in program.root if isinstance(item, ast.Section)
             for setting in item.settings for stage in setting.stages or ()}
    for node in nodes(list(program.root)):
        yield from of_node(node, id(node) in steps)
    for start, end in program.source.comments():
        yield start, end, "comment.line.number-sign.net"


def of_node(node, step: bool):
    def ident(found, scope):
        return found.start, found.start + len(found.name), scope

    def layer(found):
        return "support.function.layer.net" if found.name in LAYERS else "entity.name.function.call.net"

    if isinstance(node, ast.Layer):
        yield ident(node.callee, "support.function.step.net" if step else layer(node.callee))
    if isinstance(node, (ast.Layer, ast.Repeat, ast.When, ast.RefStage)) and node.alias:
        yield ident(node.alias, "entity.name.label.net")
    if isinstance(node, ast.Repeat) and node.index:
        yield ident(node.index, "entity.name.label.net")
    if isinstance(node, ast.Default):
        yield ident(node.callee, layer(node.callee))
    if isinstance(node, ast.SettingLine):
        yield ident(node.name, "support.type.property-name.net")
        if node.args and isinstance(node.args[0].value, ast.Name):
            yield node.args[0].start, node.args[0].end, "support.constant.choice.net"
    named = {ast.Let: "variable.other.constant.net", ast.Block: "entity.name.function.block.net",
             ast.Head: "entity.name.type.head.net"}
    if type(node) in named:
        yield ident(node.name, named[type(node)])
    simple = {ast.Parameter: "variable.parameter.net", ast.Keyword: "entity.other.attribute-name.net",
              ast.Func: "support.function.math.net", ast.Section: "entity.name.section.net"}
    if type(node) in simple:
        yield node.start, node.start + len(node.name), simple[type(node)]
    if isinstance(node, ast.Flag):
        yield node.start, node.start + 1, "entity.other.attribute-name.flag.net"
        yield node.start + 1, node.end, "constant.numeric.flag.net"
    whole = {ast.Ref: "variable.other.reference.net", ast.Text: "string.quoted.double.net"}
    if type(node) in whole:
        yield node.start, node.end, whole[type(node)]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_program_has_the_scopes_of_its_parse(engine, path):
    check(engine, lang.load(path))


def test_odd_forms_have_the_scopes_of_their_parse(engine):
    check(engine, lang.parse(ODD))


def check(engine, program: lang.Program):
    text = program.source.text
    found = scopes(engine, text)
    count = 0
    for start, end, scope in expected(program):
        count += 1
        for at in range(start, end):
            assert text[at] == " " or scope in found.get(at, ()), (text[start:end], program.source.place(start), scope)
    assert count >= 5
    for at, c in enumerate(text):
        plain = all(name.startswith("meta.") for name in found.get(at, ()))
        assert c.isspace() or not plain, f"nothing is known of {c!r} at {program.source.place(at)}"


@pytest.mark.parametrize("text, word, scope", [
    ("conv 3x3", "3x3", "constant.numeric.size.net"),
    ("input ?x? x3", "?x?", "constant.numeric.size.net"),
    ("dropout 0.5", "0.5", "constant.numeric.net"),
    ("fc x=5e-4", "5e-4", "constant.numeric.net"),
    ("pool 2 avg", "avg", "constant.language.word.net"),
    ("conv 1 bias=off", "off", "constant.language.switch.net"),
    ("fc x=in/2", "in", "variable.language.net"),
    ("fc x=b1", "b1", "variable.other.net"),
    ("repeat b1 { relu }", "b1", "variable.other.net"),
    ("when s1 == 2 { relu }", "==", "keyword.operator.comparison.net"),
    ("relu -> bn", "->", "keyword.operator.arrow.net"),
    ("let a = not b", "not", "keyword.operator.logical.net"),
    ("add { relu | bn }", "|", "punctuation.separator.branch.net"),
    ("repeat 2 { relu }", "repeat", "keyword.control.flow.net"),
    ("include \"a.net\"", "include", "keyword.control.include.net"),
    ("letter 3", "letter", "entity.name.function.call.net"),
    ("conv3x3 x64", "conv3x3", "entity.name.function.call.net"),
])
def test_scopes_of_single_words(engine, text, word, scope):
    found = scopes(engine, text)
    start = text.index(word)
    wanted = scope.replace("variable.language.net", "variable.language.in.net")
    assert all(wanted in found[at] for at in range(start, start + len(word)))
