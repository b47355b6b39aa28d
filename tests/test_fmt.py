"""The canonical layout: what goes in, what comes out; and the `fmt` command."""

import io
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tinyconv import lang, zoo
from tinyconv.cli import main
from tinyconv.errors import NetError

HERE = Path(__file__).parent
CASES = sorted((HERE / "lang_cases").glob("*.net"))
# Each case in the golden file: a title, the text as written, `--`, the text as formatted.
GOLDEN = (HERE / "fmt_cases.txt").read_text(encoding="utf-8")
PAIRS = {title: (before, after) for title, before, after in
         re.findall(r"^=== (.*)\n((?:.*\n)*?)--\n((?:.*\n)*?)(?=^=== |\Z)", GOLDEN, re.MULTILINE)}


def test_the_golden_file_is_read_whole():
    assert len(PAIRS) == len(re.findall("^=== ", GOLDEN, re.MULTILINE)) > 25


@pytest.mark.parametrize("title", PAIRS)
def test_golden(title):
    before, after = PAIRS[title]
    assert lang.format(before) == after
    assert lang.format(after) == after


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_is_formatted(name):
    assert main(["fmt", "--check", str(zoo.folder() / f"{name}.net")]) == 0


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_examples_keep_their_lines(path):
    """What is well laid out changes in columns only."""
    text = path.read_text(encoding="utf-8")
    squeezed = [re.sub(" +", " ", t) for t in (text, lang.format(text))]
    assert squeezed[0] == squeezed[1]


@pytest.mark.parametrize("text", ["", "\n", " \n;;\n\t\n", "\ufeff", "\r\n"])
def test_nothing_stays_nothing(text):
    assert lang.format(text) == ""


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_ends_become_newlines(end):
    text = f"\ufeff# a{end}{end}relu{end}-> bn  # b{end}"
    assert lang.format(text) == "# a\n\nrelu\n    -> bn  # b\n"


def test_a_syntax_error_is_the_normal_one():
    with pytest.raises(NetError) as found:
        lang.format("relu\nconv 3x3 =>\n", "a.net")
    with pytest.raises(NetError) as parsed:
        lang.parse("relu\nconv 3x3 =>\n", "a.net")
    assert found.value.diagnostics == parsed.value.diagnostics
    assert str(found.value) == str(parsed.value)


def test_includes_are_not_followed():
    assert lang.format('include   "missing.net"') == 'include "missing.net"\n'


def test_a_text_that_would_grow_too_large_is_left_alone():
    """Formatted, it could not be read again."""
    with pytest.raises(NetError) as found:
        lang.format("train{" + "epochs 3;" * 20_000 + "}")
    assert found.value.diagnostics[0].code == "E101"


# -- the command

UGLY, PLAIN = "let a=1;conv  3x3   x8->relu\n", "let a = 1\nconv 3x3 x8 -> relu\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ugly.net").write_text(UGLY)
    (tmp_path / "plain.net").write_text(PLAIN)
    (tmp_path / "bad.net").write_text("conv 3x3 ->\n")
    return tmp_path


def test_files_are_rewritten_in_place(folder, capsys):
    os.chmod("ugly.net", 0o640)
    os.utime("plain.net", (1, 1))
    assert main(["fmt", "ugly.net", "plain.net"]) == 0
    assert (folder / "ugly.net").read_text() == PLAIN and stat.S_IMODE(os.stat("ugly.net").st_mode) == 0o640
    assert os.stat("plain.net").st_mtime == 1       # not touched
    assert capsys.readouterr() == ("", "formatted ugly.net\n")
    assert sorted(os.listdir()) == ["bad.net", "plain.net", "ugly.net"]


def test_a_link_stays_a_link(folder):
    os.symlink("ugly.net", "link.net")
    assert main(["fmt", "link.net"]) == 0
    assert os.path.islink("link.net") and (folder / "ugly.net").read_text() == PLAIN


def test_check_names_what_would_change(folder, capsys):
    assert main(["fmt", "--check", "plain.net"]) == 0
    assert main(["fmt", "--check", "plain.net", "ugly.net"]) == 1
    assert capsys.readouterr().out == "ugly.net\n"
    assert (folder / "ugly.net").read_text() == UGLY


def test_diff_is_a_patch(folder, capsys):
    assert main(["fmt", "--diff", "plain.net"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["fmt", "--diff", "ugly.net"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "--- ugly.net", "+++ ugly.net\tformatted", "@@ -1 +1,2 @@", "-" + UGLY[:-1], "+let a = 1",
        "+conv 3x3 x8 -> relu"]
    assert main(["fmt", "--diff", "--check", "ugly.net"]) == 1
    assert (folder / "ugly.net").read_text() == UGLY


@pytest.mark.parametrize("data", [b"relu", b"relu\r\n", b"\xef\xbb\xbfrelu\n", b"# \x0c\xe2\x80\xa8\nrelu;bn"])
def test_what_differs_in_bytes_alone_is_a_change(folder, data, capsysbinary):
    (folder / "a.net").write_bytes(data)
    assert main(["fmt", "--check", "a.net"]) == 1
    assert main(["fmt", "--diff", "a.net"]) == 0
    assert b"\n-" in capsysbinary.readouterr().out
    assert main(["fmt", "a.net"]) == 0 and main(["fmt", "--check", "a.net"]) == 0


def test_standard_input_to_standard_output(folder, capsys, monkeypatch):
    for arguments, code, out in [([], 0, PLAIN), (["--check"], 1, "<stdin>\n")]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(UGLY.encode())))
        assert main(["fmt", "-", *arguments]) == code
        assert capsys.readouterr().out == out


def test_an_error_leaves_its_file_and_does_the_others(folder, capsys):
    assert main(["fmt", "bad.net", "ugly.net"]) == 2
    assert (folder / "bad.net").read_text() == "conv 3x3 ->\n" and (folder / "ugly.net").read_text() == PLAIN
    err = capsys.readouterr().err
    assert "error[E111]" in err and "bad.net:1:10" in err and "formatted ugly.net" in err


@pytest.mark.parametrize("name, words", [
    ("vgg16", "vgg16 is a net of the zoo, not a file"), ("Missing.net", "cannot read Missing.net"),
    (".", "is a folder"), ("latin.net", "not valid UTF-8")])
def test_what_is_no_text_of_a_net(folder, capsys, name, words):
    (folder / "latin.net").write_bytes(b"# caf\xe9\n")
    assert main(["fmt", name]) == 2
    assert words in capsys.readouterr().err
    assert (folder / "latin.net").read_bytes() == b"# caf\xe9\n"


def test_no_file_is_bad_usage(capsys):
    assert main(["fmt"]) == 2
    assert "FILE" in capsys.readouterr().err


def test_formatting_imports_no_numpy():
    code = "import sys, tinyconv.lang; tinyconv.lang.format('relu'); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
