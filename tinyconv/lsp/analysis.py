"""What the language and the layers say of one text: diagnostics, the graph, and the values of its lets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import lang
from ..errors import Diagnostic
from ..graph import Graph, build
from ..lang import lets, scope, values
from ..lang.reader import Reader
from ..layers import LAYERS
from ..sections import SECTIONS
from .outline import Outline


@dataclass
class Analysis:
    """`graph` ends before a layer that fails; None without layers, and where the text does not parse.

    `files` are the texts that diagnostics and graph point into, `lets` the values of the file-level lets as written.
    """

    text: str
    outline: Outline
    diagnostics: list[Diagnostic]
    graph: Graph | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    lets: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return self.graph is not None and all(d.is_warning for d in self.diagnostics)


def analyse(path: str, text: str, buffers: Mapping[str, str]) -> Analysis:
    """Everything about `text` (as lang.reader.normalise leaves it), which stands or will stand in the file `path`.

    buffers: {lang.reader.identity of a path: text} of the open documents, which count in place of what is on disk.
    """
    outline = Outline(text)
    try:
        program = Reader(buffers).program(text, path)
    except lang.SourceError as error:
        return Analysis(text, outline, list(error.diagnostics), files=error.files)
    graph, found = of_layers(program)
    try:
        lang.sections(program, SECTIONS)
    except lang.SourceError as error:
        found += error.diagnostics
    return Analysis(text, outline, found, graph, program.files, let_values(program))


def of_layers(program: lang.Program) -> tuple[Graph | None, list[Diagnostic]]:
    """The graph, up to a layer that fails, and what is wrong with the layers."""
    try:
        graph = build(program)
        return (graph if graph.nodes else None), list(graph.warnings)
    except lang.SourceError as error:
        return (error.graph if error.graph.nodes else None), [lang.of_fragment(d) for d in error.diagnostics]


def let_values(program: lang.Program) -> dict[str, str]:
    """{name: value as written} of the file-level lets; those in error are left out."""
    signatures = {name: layer.signature for name, layer in LAYERS.items()}
    table = scope.Scope(None, scope.Table(program.blocks, signatures))
    lets.bind_lets(program, table, {}, lambda fault: None, dict(program.files))
    return {name: values.show(value) for name, value in table.values.items() if value is not values.UNKNOWN}
