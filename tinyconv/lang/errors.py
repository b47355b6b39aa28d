"""What a builder raises when a layer does not fit; the language adds the place, the call chain and the shapes."""

from __future__ import annotations


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
