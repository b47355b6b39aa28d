"""What is printed for mistakes in nets of several files: golden/*.txt hold the files and the text that they give.

The last file is the net. `python tests/test_golden.py` writes the texts anew; read the difference before you commit.
"""

import os
import re
import tempfile
from pathlib import Path

import pytest

from tinyconv import lang
from tinyconv.errors import NetError
from tinyconv.graph.build import build

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.txt"))


def parts(path):
    """({file: text}, the text expected)"""
    programs, _, text = path.read_text(encoding="utf-8").partition("---\n")
    files = re.findall(r"^=== (\S+)\n(.*?)(?=^=== |\Z)", programs, re.M | re.S)
    return dict(files), text


def outcome(files, folder):
    for name, text in files.items():
        (Path(folder) / name).parent.mkdir(exist_ok=True)
        (Path(folder) / name).write_text(text, encoding="utf-8")
    before = os.getcwd()
    os.chdir(folder)        # so that the files have short names
    try:
        graph = build(lang.load(name))
        return lang.render(graph.warnings, graph.program.files) + "\n"
    except NetError as error:
        return f"{error}\n"
    finally:
        os.chdir(before)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_mistakes_in_several_files_are_told_in_these_words(path, tmp_path):
    files, text = parts(path)
    assert outcome(files, tmp_path) == text


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_each_place_is_in_a_file_that_took_part(path):
    files, text = parts(path)
    places = re.findall(r"(?:-->|:::) (\S+?):(\d+)", text)
    assert places and all(1 <= int(line) <= files[file].count("\n") for file, line in places)


if __name__ == "__main__":
    for path in GOLDEN:
        with tempfile.TemporaryDirectory() as folder:
            files, _ = parts(path)
            head = path.read_text(encoding="utf-8").partition("---\n")[0]
            path.write_text(f"{head}---\n{outcome(files, folder)}", encoding="utf-8")
