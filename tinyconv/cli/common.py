"""What the commands share: options, loading with the right exit code, messages on standard error."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import click

from .. import zoo
from ..errors import Diagnostic, NetError

MEND = """\
tinyconv: the compiled kernels are missing, so this runs on NumPy, many times slower. To mend it:
  sudo apt-get install python3-dev build-essential && {pip} install --force-reinstall --no-deps --no-cache-dir {what}\
"""


class BadInput(Exception):
    """Bad usage or a bad `.net`, exit code 2. files: {path: text} that the error's diagnostics point into."""

    def __init__(self, cause: NetError, files: Mapping[str, str] | None = None):
        super().__init__(str(cause))
        self.cause, self.files = cause, files


@contextmanager
def reading(files: Mapping[str, str] | None = None) -> Iterator[None]:
    """A NetError inside this block is about what the user wrote, not about a run: exit code 2."""
    try:
        yield
    except NetError as error:
        raise BadInput(error, files) from error


# -- options

def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, text = value.partition("=")
        name, text = name.strip(), text.strip()
        if not equals or not name or not text:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", context, parameter)
        if name in pairs:
            raise click.BadParameter(f"{name} is given twice", context, parameter)
        pairs[name] = text
    return pairs


def _settings(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = _pairs(context, parameter, values)
    for name in pairs:
        if "." not in name:
            raise click.BadParameter(f"{name!r} is not SECTION.KEY, such as train.batch", context, parameter)
    return pairs


net_argument = click.argument("net", metavar="NET")
define = click.option("-D", "define", metavar="NAME=VALUE", multiple=True, callback=_pairs,
                      help="Replace the value of a `let`.")
settings = click.option("--set", "settings", metavar="SECTION.KEY=VALUE", multiple=True, callback=_settings,
                        help="Replace a setting: train.batch=64, train.optimizer.lr=0.1.")
input_option = click.option("--input", "input_", metavar="SHAPE", help="Input of a net without one: '32x32 x3'.")
device = click.option("--device", type=click.Choice(["cpu", "numpy", "gpu"]),
                      help="cpu: the compiled kernels; numpy: the reference; gpu: CUDA, by CuPy.  "
                           "[default: cpu where it was built]")
threads = click.option("--threads", type=click.IntRange(1), callback=lambda c, p, n: set_threads(n),
                       expose_value=False,
                       help="Threads to compute with.  [default: OMP_NUM_THREADS, or the CPUs allowed]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def options(*given: Callable) -> Callable:
    """Several options as one decorator, shown in this order."""
    return lambda function: reduce(lambda f, option: option(f), reversed(given), function)


data_option = click.option("--data", metavar="PATH",
                           help="Data set: a path, or a known name such as fashion-mnist-small.")
skip_bad = click.option("--skip-bad", is_flag=True, help="Leave out images that are truncated or corrupt.")


def set_threads(n: int | None) -> None:
    if n is not None:
        from ..runtime.threads import set_default

        try:
            set_default(n)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--threads") from error


def joined():
    """The ranks that mpiexec started together with this process (runtime/ranks.py), with threads by this one's share of
    the processors; None where it is alone."""
    from ..runtime import ranks, threads

    world = ranks.world()
    if world is not None and not threads.chosen():
        threads.set_default(world.threads(threads.get()))
    return world


# -- output

def colour(stream=None) -> bool:
    """Whether to use colours there: a terminal, and NO_COLOR (https://no-color.org) is not set."""
    stream = stream or sys.stderr
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(message: str) -> None:
    """One line for people, on standard error."""
    click.echo(message, err=True)


def print_json(data: Any) -> None:
    """One line of JSON on standard output, at once. Numbers JSON has no word for (NaN) become null."""
    click.echo(json.dumps(_finite(data), ensure_ascii=False, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))) else data


def report(error: NetError, files: Mapping[str, str] | None = None) -> None:
    """The error on standard error: its diagnostics with the lines they point at, or its message."""
    if error.diagnostics:
        show(error.diagnostics, files or getattr(error, "files", None))
        return
    start = click.style("error:", fg="red", bold=True) if colour() else "error:"
    note(f"{start} {error}")


def show(diagnostics: tuple[Diagnostic, ...] | list[Diagnostic], files: Mapping[str, str] | None = None) -> None:
    """Diagnostics with the lines they point at, on standard error. Files that are not given are read again."""
    from .. import lang

    texts = dict(files or {})
    for name in {d.file for d in diagnostics} | {label.file for d in diagnostics for label in d.labels}:
        path = Path(name)
        if name not in texts and path.is_file():
            texts[name] = path.read_text(encoding="utf-8-sig", errors="replace")
    note(lang.render(list(diagnostics), texts, color=colour()))


def load_program(net: str):
    """The program of a path, `-`, a name of the zoo, or the text inside a weights file."""
    from .. import lang

    with reading():
        path = zoo.find(net)
        if not path.endswith(".safetensors"):
            return lang.load(path)
        from .. import weights

        return lang.parse(weights.net_text(weights.read(path)[1], path), path)


def make_net(program, define: Mapping[str, str], input_: str | None, settings: Mapping[str, str], device: str,
             seed: int = 0):
    """The net of a program, with fresh weights, its sections checked."""
    from ..net import Net

    with reading(program.files):
        net = Net(program, define, input_, seed, device, settings)
        net.sections  # noqa: B018 -- read here, so that an error in them is one of the text
        return net


def use_device(device: str | None) -> str:
    """The backend asked for, or the compiled one; where that is missing NumPy, with a warning and the line that mends
    it. NetError for a GPU that is not there."""
    from ..runtime.backend import backend, compiled

    if device is not None:
        if device == "gpu":
            backend(device)  # before anything is read or written
        return device
    if compiled():
        return "cpu"
    warn_slow()
    return "numpy"


def warn_slow() -> None:
    """Says that the compiled kernels are missing and how to get them, in the words of this installation."""
    clone = zoo.folder().parent
    what = f"-e {clone}" if (clone / "setup.py").is_file() else "tinyconv"
    note(MEND.format(pip=f"{sys.executable} -m pip", what=what))
