"""Errors are data first, text second: a NetError carries Diagnostics, and its text is made from them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Label:
    """A second place in the source that the message speaks of; columns count from 1, end_column is exclusive."""

    file: str
    line: int
    column: int
    end_column: int
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One finding. Codes `E…` are errors, `W…` warnings. Message: lowercase, no full stop; the fix only in `help`."""

    code: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    end_column: int = 0
    help: str = ""
    trace: tuple[str, ...] = ()
    labels: tuple[Label, ...] = field(default=())

    @property
    def is_warning(self) -> bool:
        return self.code.startswith("W")


class NetError(Exception):
    """Anything wrong with what the user gave: a `.net` file, data, weights, arguments.

    `diagnostics` is empty for errors that have no place in a `.net` file; then `str(error)` is the plain message,
    followed by a line `help: …` where there is one.
    """

    def __init__(self, message: str, *, help: str = "", diagnostics: tuple[Diagnostic, ...] = ()):
        super().__init__(message if not help else f"{message}\n  = help: {help}")
        self.message = message
        self.help = help
        self.diagnostics = tuple(diagnostics)


class NonFiniteError(NetError):
    """A loss that is NaN or infinite. Raised before the weights are updated."""
