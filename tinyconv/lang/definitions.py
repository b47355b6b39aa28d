"""What can be said of definitions before anything is expanded: names taken, reserved or defined twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import Label
from . import ast
from .checks import call_cycle
from .scope import RESERVED
from .values import Fault

ANOTHER = "choose another name"


def check_blocks(items: list[ast.Item], builtins: Mapping, fault: Callable[[Fault], None]) -> None:
    seen: dict[str, ast.Ident] = {}
    for block in items:
        if not isinstance(block, ast.Block):
            continue
        if block.name.name in builtins:
            fault(Fault("E121", f"`{block.name.name}` is a built-in layer and cannot be a block", block.name, ANOTHER))
        else:
            check_once(seen, block.name, "block", fault)
        check_params(block, fault)


def check_once(seen: dict[str, ast.Ident], ident: ast.Ident, what: str, fault: Callable[[Fault], None]) -> None:
    first = seen.setdefault(ident.name, ident)
    if first is not ident:
        fault(Fault("E122", f"the {what} `{ident.name}` is defined twice", ident, ANOTHER,
                    (Label(*first.span, "defined here first"),)))


def check_params(block: ast.Block, fault: Callable[[Fault], None]) -> None:
    taken = set()
    for param in block.params:
        ident = ast.Ident(param.source, param.start, param.start + len(param.name), param.name)
        if param.name in taken:
            fault(Fault("E122", f"`{block.name.name}` has two parameters `{param.name}`", ident, ANOTHER))
        elif param.name in RESERVED:
            fault(Fault("E121", f"`{param.name}` has a meaning of its own and cannot be a parameter", ident, ANOTHER))
        taken.add(param.name)


def recursion(name: str, calls: list[str], at: ast.Node) -> Fault:
    return Fault("E161", f"a block cannot contain itself: {' -> '.join([*calls, name])}", at,
                 "write the repetition with `repeat`")


def check_recursion(name: str, blocks: Mapping[str, ast.Block], fault: Callable[[Fault], None]) -> None:
    """Reports a block that reaches itself by name, without expanding anything."""
    found = call_cycle(name, blocks)
    if found:
        (*calls, last), at = found
        fault(recursion(last, calls, at))
