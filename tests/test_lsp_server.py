"""The language server over the protocol, from a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from lsp_client import Client

from tinyconv import lang
from test_lsp import BLOCKS, NET, folder  # noqa: F401 -- a fixture


@pytest.fixture
def client():
    pytest.importorskip("pygls")
    found = Client()
    yield found
    found.kill()


@pytest.fixture
def patient():
    """Its pause is so long that a busy machine makes no diagnostics between two changes."""
    pytest.importorskip("pygls")
    found = Client(pause=2)
    yield found
    found.kill()


def test_a_session(client, folder):
    capabilities = client.start()["capabilities"]
    assert capabilities["hoverProvider"] and capabilities["completionProvider"]
    assert capabilities["definitionProvider"] and capabilities["documentFormattingProvider"]
    uri = (folder / "net.net").as_uri()
    assert [d["code"] for d in client.open(uri, NET)] == ["W101", "W101", "W101"]

    client.change(uri, NET.replace("softmax", "sofmax"))
    found = [d for d in client.diagnostics(uri) if d["severity"] == 1]
    assert [(d["code"], d["range"]["start"], d["range"]["end"]["character"]) for d in found] == [
        ("E120", {"line": 5, "character": 33}, 39)]
    assert "help: did you mean `softmax`?" in found[0]["message"] and found[0]["source"] == "tinyconv"

    client.change(uri, NET, 3)
    client.diagnostics(uri)
    assert "32x32 x3 -> 32x32 x8" in client.at("hover", uri, 3, 1)["contents"]["value"]
    place = client.at("definition", uri, 3, 1)
    assert place["uri"] == (folder / "blocks.net").as_uri() and place["range"]["start"] == {"line": 1, "character": 6}
    place = client.at("definition", uri, 0, 12)
    assert place["uri"] == (folder / "blocks.net").as_uri()
    names = [i["label"] for i in client.at("completion", uri, 6, 0)["items"]]
    assert {"conv", "cb", "head"} <= set(names)
    symbols = client.result("textDocument/documentSymbol", {"textDocument": {"uri": uri}})
    assert [s["name"] for s in symbols] == ["classes", "first", "low", "high"]
    assert client.stop() == 0
    assert b"Traceback" not in client.errors


def test_columns_are_utf16_units_unless_agreed_otherwise(client, folder):
    assert client.start()["capabilities"]["positionEncoding"] == "utf-16"
    uri = (folder / "b.net").as_uri()
    text = "input 8 x1\ndata { source \"🎉🎉\"; bogus 1 }\n"
    found = [d for d in client.open(uri, text) if d["severity"] == 1]
    assert [d["range"]["start"] for d in found] == [{"line": 1, "character": 22}]
    assert found[0]["range"]["end"]["character"] == 27
    assert client.at("hover", uri, 1, 9)["range"] == {"start": {"line": 1, "character": 7},
                                                      "end": {"line": 1, "character": 20}}
    assert client.stop() == 0


def test_columns_in_utf8(client, folder):
    assert client.start(["utf-8"])["capabilities"]["positionEncoding"] == "utf-8"
    text = "input 8 x1\ndata { source \"🎉🎉\"; bogus 1 }\n"
    found = [d for d in client.open((folder / "b.net").as_uri(), text) if d["severity"] == 1]
    assert [d["range"]["start"] for d in found] == [{"line": 1, "character": 26}]
    assert client.stop() == 0


def test_errors_of_included_files_go_to_them_and_unsaved_texts_count(client, folder):
    client.start()
    net, blocks = (folder / "net.net").as_uri(), (folder / "blocks.net").as_uri()
    assert all(d["severity"] == 2 for d in client.open(net, NET))
    assert client.open(blocks, BLOCKS) == []
    client.change(blocks, BLOCKS.replace("bn", "bnn"))
    found = client.diagnostics(blocks)
    assert [d["range"]["start"] for d in found] == [{"line": 1, "character": 42}]
    client.change(blocks, BLOCKS.replace("conv k", "conv 40x40 p0"), 3)         # fits nowhere in the net that calls it
    while not any("larger" in d["message"] for d in found):
        found = client.diagnostics(blocks)
    assert any("a.net" in d["message"] or "net.net:4" in d["message"] for d in found)
    client.notify("textDocument/didClose", {"textDocument": {"uri": net}})
    assert client.diagnostics(blocks) == []
    assert client.stop() == 0


def test_errors_of_files_that_are_not_open_show_at_their_include_as_well(client, folder):
    client.start()
    (folder / "blocks.net").write_text(BLOCKS + "bn ->\n")
    (folder / "between.net").write_text('include "blocks.net"\n')
    uri = (folder / "net.net").as_uri()
    (found,) = client.open(uri, NET.replace("blocks.net", "between.net"))
    assert found["range"] == {"start": {"line": 0, "character": 8}, "end": {"line": 0, "character": 21}}
    assert found["message"].startswith("in blocks.net, line 4: ")
    place = found["relatedInformation"][0]["location"]
    assert place["uri"] == (folder / "blocks.net").as_uri() and place["range"]["start"]["line"] == 3
    (there,) = client.diagnostics(place["uri"])
    assert there["code"] == found["code"]
    client.change(uri, NET.replace("blocks.net", "block.net"))
    assert ["help: did you mean `blocks.net`?" in d["message"] for d in client.diagnostics(uri)] == [True]
    assert client.diagnostics(place["uri"]) == []
    assert client.stop() == 0


def test_formatting(client):
    client.start()
    uri = "untitled:Untitled-1"
    client.open(uri, "conv   3x3 x4->relu   # a\r\n\r\n\r\nfc 10\r\n")
    options = {"textDocument": {"uri": uri}, "options": {"tabSize": 4, "insertSpaces": True}}
    (edit,) = client.result("textDocument/formatting", options)
    assert edit["newText"] == lang.format("conv   3x3 x4->relu   # a\n\n\nfc 10\n") != ""
    assert edit["range"]["start"] == {"line": 0, "character": 0} and edit["range"]["end"]["line"] == 4
    client.change(uri, edit["newText"])
    assert client.result("textDocument/formatting", options) == []
    client.change(uri, "conv { {")
    assert client.result("textDocument/formatting", options) is None
    assert client.stop() == 0


def test_what_makes_no_sense_is_answered_and_survived(client, tmp_path):
    client.start()
    uri = (tmp_path / "x.net").as_uri()
    assert client.request("textDocument/nonsense")["error"]["code"] == -32601
    client.send({"id": "odd", "method": "textDocument/hover", "params": {"textDocument": 3}})
    assert client.at("hover", "file:///not/open.net", 3, 3) is None
    assert client.at("completion", "file:///not/open.net", 3, 3)["items"] == []
    client.raw(b"this is no JSON")
    client.notify("textDocument/didChange", {"textDocument": {"uri": "file:///not/open.net", "version": 1},
                                             "contentChanges": [{"text": "relu"}]})
    for text in ("", "\x00", "{" * 500, "}" * 500, "block", "include \"\"", "include \"x.net\"", "@", "a" * 300_000,
                 "let a = " + "(" * 300, "block b { b }\nb", "repeat 999999999 { relu }", "\ud800 conv 3",
                 "é\u2028conv"):
        client.open(uri, text)
        for line, character in ((0, 0), (0, 3), (9, 9)):
            client.at("hover", uri, line, character)
            client.at("completion", uri, line, character)
            client.at("definition", uri, line, character)
        client.result("textDocument/documentSymbol", {"textDocument": {"uri": uri}})
    assert client.open(uri, "input 8 x1\nfc 10") == []
    assert client.stop() == 0


def test_diagnostics_wait_for_a_pause(patient, tmp_path):
    client, uri = patient, (tmp_path / "x.net").as_uri()
    client.start()
    client.open(uri, "input 8 x1")
    for i, text in enumerate(("input 8 x1\nf", "input 8 x1\nfc", "input 8 x1\nfc 1", "input 8 x1\nfcc 10")):
        client.change(uri, text, i + 2)
    assert [d["code"] for d in client.diagnostics(uri)] == ["E120"]
    assert client.silence(0.5)


def test_leaving_without_a_word_is_code_1(client):
    client.start()
    client.notify("exit")
    assert client.process.wait(timeout=120) == 1


def test_without_pygls_the_command_says_how_to_get_it():
    code = "import sys; sys.modules['pygls'] = None\nfrom tinyconv.cli import main; sys.exit(main(['lsp']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'tinyconv[lsp]'" in done.stderr and done.stdout == ""
