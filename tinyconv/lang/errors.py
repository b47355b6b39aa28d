"""What a builder raises when a layer does not fit, and what the language raises for a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import Diagnostic, NetError


class LayerError(Exception):
    """A layer cannot be built on its inputs.

    message: lowercase, no full stop. help: how to mend it. code: `E2xx`. param: the parameter at fault, where there
    is one; the caret then stands under that argument instead of under the whole layer.
    """

    def __init__(self, message: str, help: str = "", code: str = "E200", param: str = ""):
        super().__init__(message)
        self.message = message
        self.help = help
        self.code = code
        self.param = param


class SourceError(NetError):
    """A NetError with its diagnostics and, in `files`, the texts they point into ({file: text}), for `render`."""

    def __init__(self, diagnostics: Iterable[Diagnostic], files: Mapping[str, str]):
        from .renderer import render

        diagnostics = tuple(diagnostics)
        super().__init__(render(diagnostics, files), diagnostics=diagnostics)
        self.files = dict(files)
