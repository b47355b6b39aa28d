"""What the language and the layers say of one text: diagnostics, the graph, and the values of its lets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .. import lang
from ..errors import Diagnostic, NetError
from ..graph import Graph, build
from ..lang import lets, reader, scope, values
from ..layers import LAYERS
from ..sections import SECTIONS
from .outline import Outline

NO_INPUT = "E150"


@dataclass
class Analysis:
    """`program` is None where the text does not parse; `graph` ends before a layer that fails, None without layers.

    `files` are the texts that diagnostics and graph point into, `lets` the values of the file-level lets as written.
    """

    path: str
    text: str
    outline: Outline
    diagnostics: list[Diagnostic]
    program: lang.Program | None = None
    graph: Graph | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    lets: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return self.graph is not None and all(d.is_warning for d in self.diagnostics)


def identity(path: str) -> str:
    """One name for all ways to write a path."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


class BufferReader(reader._Reader):
    """Reads programs with the texts of open documents in place of what is on disk. buffers: {identity: text}."""

    def __init__(self, buffers: Mapping[str, str]):
        super().__init__()
        self.buffers = buffers

    def module(self, text: str, file: str):
        return super().module(self.buffers.get(identity(file), text) if self.sources else text, file)


def analyse(path: str, text: str, buffers: Mapping[str, str]) -> Analysis:
    """Everything about `text` (as lang.normalise leaves it), which stands or will stand in the file `path`."""
    outline = Outline(text)
    try:
        program = BufferReader(buffers).program(text, path)
    except NetError as error:
        files = {path: text, **getattr(error, "files", {})}
        return Analysis(path, text, outline, list(error.diagnostics), files=files)
    graph, found = of_layers(program)
    try:
        lang.sections(program, SECTIONS)
    except NetError as error:
        found += error.diagnostics or [Diagnostic("E300", error.message, path, help=error.help)]
    return Analysis(path, text, outline, found, program, graph, program.files, let_values(program))


def of_layers(program: lang.Program) -> tuple[Graph | None, list[Diagnostic]]:
    """The graph, up to a layer that fails, and what is wrong with the layers."""
    try:
        graph = build(program)
        return (graph if graph.nodes else None), list(graph.warnings)
    except NetError as error:
        partial = getattr(error, "graph", None)
        found = [as_fragment(d) if d.code == NO_INPUT else d for d in error.diagnostics]
        return (partial if partial is not None and partial.nodes else None), found


def as_fragment(found: Diagnostic) -> Diagnostic:
    """A text without an input is no net, but a part of one, and parts are valid."""
    return replace(found, code="W150", message="this net has no `input`: its shapes are not checked")


def let_values(program: lang.Program) -> dict[str, str]:
    """{name: value as written} of the file-level lets; those in error are left out."""
    signatures = {name: layer.signature for name, layer in LAYERS.items()}
    table = scope.Scope(None, scope.Table(program.blocks, signatures))
    try:
        lets.bind_lets(program, table, {}, lambda fault: None, dict(program.files))
    except NetError:
        return {}
    return {name: values.show(value) for name, value in table.values.items() if value is not values.UNKNOWN}
