"""The command line: `tinyconv COMMAND …`. Every command imports what it needs when it runs.

Data goes to standard output, progress and errors to standard error. Exit codes: 0 done; 1 the run failed; 2 bad usage
or a bad `.net`; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from .._version import __version__
from ..errors import NetError
from ..lang.suggest import nearest
from .common import BadInput, report

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# name -> the function of that module which is the command; each is imported when it is called, or listed by --help
COMMANDS = {"train": "train", "eval": "evaluate", "predict": "predict", "summary": "summary", "check": "check",
            "fmt": "fmt", "bench": "bench", "info": "info", "data": "data", "runs": "runs", "sweep": "sweep",
            "lsp": "lsp"}


class Commands(click.Group):
    """A group whose commands are modules, imported on demand: a start costs what its command needs."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command:
        if name not in COMMANDS:
            near = nearest(name, COMMANDS)
            context.fail(f"there is no command `{name}`" + (f": did you mean `{near}`?" if near else ""))
        return getattr(import_module(f".{name}", __name__), COMMANDS[name])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="tinyconv %(version)s")
def tinyconv() -> None:
    """Convolutional networks from a line of text.

    NET is a .net file, `-` for standard input, or a name of the zoo (`tinyconv train vgg`).
    """


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; every expected error is a message on standard error."""
    code = call(arguments)
    if code in (FAILED, USAGE) and "tinyconv.runtime.ranks" in sys.modules:
        from ..runtime import ranks

        ranks.end(code)
    return code


def call(arguments: list[str] | None) -> int:
    """The command's exit code."""
    try:
        code = tinyconv.main(arguments, prog_name="tinyconv", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except click.UsageError as error:
        error.show(sys.stderr)
        return USAGE
    except click.ClickException as error:
        error.show(sys.stderr)
        return FAILED
    except BadInput as error:
        report(error.cause, error.files)
        return USAGE
    except NetError as error:
        report(error)
        return FAILED
    except BrokenPipeError:
        # The reader has gone (`tinyconv summary vgg16 | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        report(NetError(f"{place}{error.strerror or error}"))
        return FAILED
    except MemoryError as error:
        report(NetError(f"out of memory{f': {error}' if str(error) else ''}", help="try a smaller --batch"))
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED


def run() -> None:
    """The `tinyconv` program."""
    sys.exit(main())
