"""`tinyconv check`: everything that is wrong with a `.net` file."""

from __future__ import annotations

from dataclasses import replace

import click

from ..errors import NetError
from .common import (BadInput, define, input_option, json_option, load_program, net_argument, options, print_json,
                     settings, show)

NO_INPUT = "E150"
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
    parts = (lambda: lang.expand(program, GraphBuilder(), define, input_),
             lambda: lang.sections(program, SECTIONS, settings, define) and [])
    for part in parts:
        try:
            found += part()
        except NetError as error:
            if not error.diagnostics:
                raise BadInput(error, program.files) from error
            found += error.diagnostics
    # An override that does not fit is found by both.
    return [fragment(d) if d.code == NO_INPUT else d for d in dict.fromkeys(found)]


def fragment(found):
    """A net without an input is none to train, but a part of one, and parts are valid: a warning."""
    return replace(found, code="W150", message="this net has no `input`: its shapes are not checked")
