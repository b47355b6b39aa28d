"""`tinyconv check`: what it reports, how it ends."""

import io
import json
import subprocess
import sys

import pytest

from tinyconv.cli import main

KEYS = {"code", "message", "file", "line", "column", "end_column", "help"}


@pytest.fixture
def check(monkeypatch, capsys):
    def run(text, *options):
        """(exit code, findings) of a text on standard input."""
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = main(["check", "-", "--json", *options])
        found = json.loads(capsys.readouterr().out)
        assert all(set(d) == KEYS for d in found)
        return code, found

    return run


def places(found):
    return [(d["code"], d["line"], d["column"], d["end_column"]) for d in found]


def test_every_syntax_error_is_reported(check):
    code, found = check("let a = 3x\ninput 8 x1\nconv 3 x4 => relu\nfc 2 -> \n")
    assert code == 2
    assert places(found) == [("E103", 1, 9, 11), ("E108", 3, 11, 13), ("E111", 4, 6, 8)]
    assert {d["file"] for d in found} == {"<stdin>"}


def test_errors_of_layers_and_of_sections_together(check):
    code, found = check("input 8 x1\ncnv 3 x4\ntrain { epoch 3 }\ndata { augment: flop }\n")
    assert code == 2
    assert [(d["code"], d["line"]) for d in found] == [("E120", 2), ("E302", 3), ("E305", 4)]
    assert all(word in d["help"] for word, d in zip(("`conv`", "epochs", "`flip`"), found))


def test_overrides_reach_the_sections(check):
    text = "let n = 3\ninput 8 x1\nfc n\ntrain { epochs n }\n"
    assert check(text) == (0, [])
    assert check(text, "-D", "n=5") == (0, [])
    code, found = check(text, "-D", "n=1/2")
    assert code == 2 and [d["line"] for d in found] == [3, 4]


def test_an_override_that_does_not_fit_is_one_error(check):
    code, found = check("let classes = 3\ninput 8 x1\nfc classes\n", "-D", "clases=5")
    assert code == 2 and [(d["code"], d["help"]) for d in found] == [("E127", "did you mean `classes`?")]


def test_settings_and_input_are_checked(check):
    text = "conv 3 p0 x4\ntrain { batch 2 }\n"
    assert [d["code"] for d in check(text)[1]] == ["W150"]
    assert check(text, "--input", "8 x1") == (0, [])
    assert check(text, "--input", "2 x1")[0] == 2           # smaller than the kernel
    assert check(text, "--input", "8 x1", "--set", "train.batch=many")[0] == 2
    assert check(text, "--input", "8 x1", "--set", "train.batch=3") == (0, [])


def test_warnings_do_not_fail(check):
    code, found = check("input 8 x1 as a\nrelu\n")
    assert code == 0 and [d["code"][0] for d in found] == ["W"]


@pytest.mark.parametrize("text", ["block a x { conv 3 x }\n", "", "# only a comment\n", "let a = 1\n"])
def test_parts_to_include_are_clean(check, text):
    assert check(text) == (0, [])


def test_bytes_that_are_no_text_have_their_place(check):
    code, found = check(b"input 8 x1\nrelu \xff\n")
    assert code == 2 and places(found) == [("E002", 2, 6, 7)]


def test_errors_of_includes_point_into_their_file(tmp_path, capsys):
    (tmp_path / "part.net").write_text("block a { relu =>\n}\n")
    (tmp_path / "net.net").write_text('include "part.net"\ninput 8 x1\na\n')
    assert main(["check", str(tmp_path / "net.net"), "--json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)
    assert found["file"] == str(tmp_path / "part.net") and found["line"] == 1


def test_people_get_the_line_and_a_word_when_all_is_well(tmp_path, capsys):
    (tmp_path / "net.net").write_text("input 8 x1\nrelo\n")
    assert main(["check", str(tmp_path / "net.net")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "2 | relo" in err and "did you mean `relu`?" in err
    assert main(["check", "lenet5"]) == 0
    assert capsys.readouterr().out == "lenet5: no errors\n"


def test_checking_imports_no_numpy():
    code = "import sys; from tinyconv.cli import main; main(['check', 'resnet18']); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
