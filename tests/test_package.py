"""What the package promises beside what it computes: imports, floors, versions, README."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinyconv
from tinyconv import lang, zoo

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(tinyconv.__file__).resolve().parent

# Each floor imports only floors below it (inside functions a facade may reach up).
FLOORS = ["_version errors", "files zoo", "weights", "lang", "sections steps", "ops", "layers", "graph", "runtime",
          "net kernels ensemble", "data", "train", "cli lsp __main__"]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names.split()}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout


def test_import_brings_in_nothing_heavy():
    heavy = "numpy lark rich click PIL safetensors pooch onnx"
    assert run(f"import sys, tinyconv; print(*set({heavy.split()}) & set(sys.modules))").strip() == ""


def test_loading_a_net_brings_in_neither_rich_nor_click_nor_pillow():
    code = ("import sys, tinyconv; tinyconv.load('lenet5', device='numpy')\n"
            "print(*{'rich', 'click', 'PIL'} & set(sys.modules))")
    assert run(code).strip() == ""


def test_summary_needs_neither_numpy_nor_rich():
    code = ("import sys; sys.modules.update(numpy=None, rich=None)\n"
            "from tinyconv.cli import main; sys.exit(main(['summary', 'vgg16']))")
    assert "138,357,544 parameters" in run(code)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_floors(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts in (("__init__",), ("lang", "tables"), ("lang", "lark_tables")):
        return
    home = FLOOR[parts[0]]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for name in imported(node, parts):
            assert FLOOR[name] <= home, f"{path.relative_to(ROOT)}:{node.lineno} imports {name}, which is above it"


def imported(node: ast.stmt, parts: tuple[str, ...]) -> list[str]:
    """The floors of tinyconv that a statement at the top of a module imports."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names if alias.name.startswith("tinyconv.")]
        return [name.split(".")[1] for name in names]
    if not isinstance(node, ast.ImportFrom):
        return []
    package = ("tinyconv", *parts[:-1])
    base = package[:len(package) - node.level + 1] if node.level else ()
    full = (*base, *(node.module.split(".") if node.module else ()))
    if full[:1] != ("tinyconv",):
        return []
    return [full[1]] if len(full) > 1 else [alias.name for alias in node.names if alias.name in FLOOR]


def test_version():
    assert importlib.metadata.version("tinyconv") == tinyconv.__version__
    assert f"## {tinyconv.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_ci_runs_the_test_line_of_the_readme():
    readme = (ROOT / "README.md").read_text().splitlines()
    tests = [line for line in readme if "-m pytest" in line]
    assert tests == ["python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest -q"]
    assert tests[0] in (ROOT / ".ci/run").read_text().splitlines()


def test_the_first_screen_of_the_readme_says_what_a_fresh_machine_needs():
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:24])
    assert all(word in screen for word in ("python3-venv", "python3-dev", "build-essential"))
    assert "-e . && .venv/bin/tinyconv train models/vgg.net\n" in screen and "-m pytest -q\n" in screen


def test_the_zoo_is_there():
    assert {"lenet5", "vgg", "vgg16", "alexnet", "residual", "resnet18", "resnet50"} <= set(zoo.names())
    assert zoo.find("vgg") == str(zoo.folder() / "vgg.net")


def test_unknown_net_suggests(tmp_path):
    with pytest.raises(tinyconv.NetError, match="did you mean `resnet50`"):
        zoo.find("resnet5")
    with pytest.raises(tinyconv.NetError, match="is a folder"):
        zoo.find(tmp_path)


def test_the_bundled_data_are_small_and_keep_their_notice():
    folder = PACKAGE / "data"
    bundled = list(folder.glob("fashion_mnist_small*"))
    assert 0 < sum(path.stat().st_size for path in bundled) <= 3_000_000
    notices = [path.read_text() for path in bundled if path.suffix == ".LICENSE"]
    assert any("MIT" in text and "Zalando" in text for text in notices)


def test_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def blocks_of_the_readme(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks_of_the_readme("python")
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["y"].shape == (256, 10) and len(names["history"]) == 2
    assert "parameters" in capsys.readouterr().out


def test_the_net_of_the_readme_is_a_resnet20():
    (example,) = blocks_of_the_readme("net")
    net = tinyconv.compile(example, device="numpy")
    assert sum(node.op == "conv" for node in net.graph.nodes) == 19 + 2  # with the two projections
    assert set(net.sections) == {"data", "train"}
    assert lang.format(example) == example
