"""The errors of one expansion, each once, in the order found."""

from __future__ import annotations

from dataclasses import replace

from ..errors import Diagnostic, Label
from . import ast
from .convert import source_of
from .scope import Scope
from .span import Call
from .trace import chain_lines
from .values import UNKNOWN, Fault

MAX_ERRORS = 20
NO_INPUT = "E150"
# Errors of a value, whoever wrote it; others are of the place that they stand at.
HANDED_ON = ("E105", "E131", "E136", "E140", "E147", "E148", "E200", "E201", "E202", "E203")


class Stop(Exception):
    """Expansion ends here: a bound was met or enough errors were found. The diagnostics say why."""


def of_fragment(found: Diagnostic) -> Diagnostic:
    """The missing `input` as a warning: a text without one is no net, but a part of one, and parts are valid."""
    if found.code != NO_INPUT:
        return found
    return replace(found, code="W150", message="this net has no `input`: its shapes are not checked")


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


def passed_through(node: ast.Node, scope: Scope) -> ast.Node | None:
    """Where the value was written that `node` merely names, a parameter of this block."""
    return scope.origin(node.name) if isinstance(node, ast.Name) else None


def at_origin(fault: Fault, scope: Scope) -> Fault:
    """A value that a block only hands on is reported where it was written, and shown where it is used."""
    node = fault.node.value if isinstance(fault.node, ast.Arg) else fault.node
    origin = passed_through(node, scope) if fault.code in HANDED_ON else None
    if origin is None:
        return fault
    help = fault.help
    if help.startswith("write `") and "round(" in help and isinstance(origin, ast.Keyword):
        help = f"write `{origin.name}=round({source_of(origin.value)})`"
    return Fault(fault.code, fault.message, origin, help, (*fault.labels, Label(*fault.node.span, "used here")))
