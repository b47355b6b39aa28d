"""`tinyconv lsp`: the language server, on standard input and output."""

from __future__ import annotations

import click

from ..errors import NetError


@click.command()
def lsp():
    """Serve an editor: the Language Server Protocol on standard input and output."""
    try:
        import pygls  # noqa: F401
    except ImportError:
        raise NetError("the language server needs pygls", help="pip install 'tinyconv[lsp]'") from None
    from ..lsp.server import run

    return run()
