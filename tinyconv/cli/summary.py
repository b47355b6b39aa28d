"""`tinyconv summary`: shapes and costs, layer by layer; the arithmetic of one layer."""

from __future__ import annotations

import shutil
import sys

import click

from ..errors import NetError
from .common import (BadInput, colour, define, input_option, json_option, load_program, net_argument, options,
                     print_json, reading, settings)


class Depth(click.ParamType):
    """A number of levels, or `all`."""

    name = "N|all"
    every = sys.maxsize

    def convert(self, value, param, context):
        if value == "all":
            return self.every
        if isinstance(value, int) or value.isdecimal():
            return int(value)
        return self.fail(f"{value!r} is neither a number nor `all`", param, context)


@click.command()
@net_argument
@options(define, settings, input_option)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples the memory is shown for.")
@click.option("--depth", type=Depth(), help="Levels of blocks to open: 0 shows a block call as one line, `all` every "
              "layer.  [default: as many as make a short table]")
@click.option("--explain", metavar="LAYER", help="The arithmetic of one layer: conv3, @name, head.conv1.")
@json_option
def summary(net, define, settings, input_, batch, depth, explain, as_json):
    """Print layers, output shapes, parameters, multiply-adds, receptive fields and memory."""
    from ..graph import build
    from ..graph.summary import Summary

    program = load_program(net)
    try:
        graph = build(program, define, input_)
    except NetError as error:
        partial = getattr(error, "graph", None)
        if partial is not None and partial.nodes and not as_json and explain is None:
            _print(Summary(partial, batch=batch, depth=depth, complete=False))
        raise BadInput(error, program.files) from error
    with reading():
        graph.require_layers()
        if explain is not None:
            from ..graph.explain import Explanation

            found = Explanation(graph, explain, batch=batch)
        else:
            found = Summary(graph, batch=batch, depth=depth)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


def _print(found) -> None:
    """The text, as wide as the terminal and in colours where there is one."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(found.text(width, colour(sys.stdout)))
