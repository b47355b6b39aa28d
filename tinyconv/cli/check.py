"""`tinyconv check`: everything that is wrong with a `.net` file."""

from __future__ import annotations

import click

from .common import (BadInput, define, input_option, json_option, load_program, net_argument, options, print_json,
                     settings, show)

KEYS = ("code", "message", "file", "line", "column", "end_column", "help")


@click.command()
@net_argument
@options(define, settings, input_option, json_option)
def check(net, define, settings, input_, as_json):
    """Report errors and warnings; exit code 2 where there are errors."""
    found, files = [], {}
    try:
        program = load_program(net)
        files = program.files
        found += findings(program, define, settings, input_)
    except BadInput as error:
        if not error.cause.diagnostics:
            raise
        found += error.cause.diagnostics
        files = getattr(error.cause, "files", files)
    if as_json:
        print_json([{key: getattr(d, key) for key in KEYS} for d in found])
    elif found:
        show(found, files)
    else:
        click.echo(f"{'<stdin>' if net == '-' else net}: no errors")
    return 0 if all(d.is_warning for d in found) else 2


def findings(program, define, settings, input_) -> list:
    """The diagnostics of layers and of sections, in that order."""
    from .. import lang
    from ..graph.build import GraphBuilder
    from ..sections import SECTIONS

    found = []
    try:
        found += lang.expand(program, GraphBuilder(), define, input_)
    except lang.SourceError as error:
        found += error.diagnostics
    try:
        lang.sections(program, SECTIONS, settings, define)
    except lang.SourceError as error:
        found += error.diagnostics
    # An override that does not fit is found by both.
    return [lang.of_fragment(d) for d in dict.fromkeys(found)]
