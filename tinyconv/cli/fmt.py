"""`tinyconv fmt`: `.net` files in the canonical layout."""

from __future__ import annotations

import difflib
import os
import re
import stat
import sys

import click

from .. import zoo
from ..errors import NetError
from .common import BadInput, note, reading, report

STDIN = "<stdin>"


@click.command()
@click.argument("files", metavar="FILE… | -", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; name the files that would change, exit 1 if there are any.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def fmt(files, check, diff):
    """Bring .net files into the canonical layout: comments, names and line breaks stay, the meaning too.

    Files are rewritten in place. `-` formats standard input to standard output. Exit code 2 where a file has a syntax
    error; it is left as it is.
    """
    changed, failed = False, False
    for name in files:
        try:
            data, text = read(name)
            with reading():
                new = formatted(text, name)
        except BadInput as error:
            report(error.cause, error.files)
            failed = True
            continue
        differs = new.encode() != data
        changed |= differs
        if diff:
            show_diff(name, data.decode("utf-8"), new)
        elif check and differs:
            click.echo(shown(name))
        elif not check and name == "-":
            click.echo(new, nl=False)
        elif not check and differs:
            write(name, new)
            note(f"formatted {name}")
    return 2 if failed else int(check and changed)


def formatted(text: str, name: str) -> str:
    from .. import lang

    return lang.format(text, shown(name))


def shown(name: str) -> str:
    return STDIN if name == "-" else name


def read(name: str) -> tuple[bytes, str]:
    """The bytes and the text of a file, or of standard input. BadInput where that cannot be read."""
    from ..lang.parser import MAX_TEXT
    from ..lang.reader import decode, read_bytes

    with reading():
        if name == "-":
            data = sys.stdin.buffer.read(4 * MAX_TEXT + 8)
            return data, decode(data, STDIN)
        if name in zoo.names() and not os.path.exists(name):
            raise NetError(f"{name} is a net of the zoo, not a file", help="give the path of a .net file")
        if os.path.isdir(name):
            raise NetError(f"{name} is a folder", help="give its files: *.net")
        try:
            data = read_bytes(name)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise NetError(f"cannot read {name}: {reason}") from None
        return data, decode(data, name)


def write(name: str, text: str) -> None:
    """Replaces the file as a whole; it keeps its mode."""
    from ..files import replacing

    mode = stat.S_IMODE(os.stat(name).st_mode)
    with replacing(name) as file:
        file.write(text.encode())
        os.chmod(file.name, mode)


def show_diff(name: str, old: str, new: str) -> None:
    """A unified diff that `patch` takes."""
    # Not splitlines, which also splits at what may stand in comments: form feeds, U+2028 and others.
    lines = [re.findall(r"[^\n]*\n|[^\n]+", text) for text in (old, new)]
    for line in difflib.unified_diff(*lines, shown(name), shown(name), tofiledate="formatted"):
        click.echo(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n", nl=False)
