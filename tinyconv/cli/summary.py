"""`tinyconv summary`: shapes and costs, layer by layer."""

from __future__ import annotations

import click

from ..errors import NetError
from .common import (BadInput, define, input_option, json_option, load_program, net_argument, options, print_json,
                     reading, require_layers, settings)


@click.command()
@net_argument
@options(define, settings, input_option)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples the memory is shown for.")
@click.option("--depth", type=click.IntRange(0), help="Levels of blocks to open; 0 shows a block call as one line.")
@json_option
def summary(net, define, settings, input_, batch, depth, as_json):
    """Print layers, output shapes, parameters, multiply-adds, receptive fields and memory."""
    from ..graph import build
    from ..graph.summary import Summary

    program = load_program(net)
    try:
        graph = build(program, define, input_)
    except NetError as error:
        partial = getattr(error, "graph", None)
        if partial is not None and partial.nodes and not as_json:
            click.echo(Summary(partial, batch=batch, depth=depth))
        raise BadInput(error, program.files) from error
    with reading():
        require_layers(graph, program.file)
    table = Summary(graph, batch=batch, depth=depth)
    if as_json:
        print_json(table.to_json())
    else:
        click.echo(table)
