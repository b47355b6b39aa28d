"""The errors of one expansion, each once, in the order found."""

from __future__ import annotations

from ..errors import Diagnostic
from . import ast
from .scope import Scope
from .span import Call
from .trace import chain_lines
from .values import UNKNOWN, Fault

MAX_ERRORS = 20


class Stop(Exception):
    """Expansion ends here: a bound was met or enough errors were found. The diagnostics say why."""


class Findings:
    def __init__(self):
        self.errors: dict[tuple, Diagnostic] = {}

    def fault(self, fault: Fault, trail: tuple[Call, ...] = ()) -> None:
        self.report(Diagnostic(fault.code, fault.message, *fault.node.span, help=fault.help, labels=fault.labels,
                               trace=chain_lines(trail)))

    def report(self, diagnostic: Diagnostic) -> None:
        """One error a place; what follows from it elsewhere in a body that is expanded again is the same error."""
        key = (diagnostic.code, diagnostic.file, diagnostic.line, diagnostic.column)
        self.errors.setdefault(key, diagnostic)
        if len(self.errors) >= MAX_ERRORS:
            raise Stop

    def attempt(self, action, scope: Scope):
        """What `action` returns, UNKNOWN where it raises a Fault, which is then reported."""
        try:
            return action()
        except Fault as fault:
            self.fault(fault, scope.trail)
            return UNKNOWN

    def bound(self, message: str, node: ast.Node, scope: Scope, help: str) -> Stop:
        """For what would not end: this error alone is reported beside those before it."""
        self.fault(Fault("E171", message, node, help), scope.trail)
        return Stop()
