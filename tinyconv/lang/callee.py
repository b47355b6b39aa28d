"""What is called: a built-in, a block, a setting or one of its choices; and what is given to its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from . import ast
from .signature import REQUIRED, Param

ANY = "any"     # the kind of a block's parameters: whatever is given
PLAIN = "plain"     # beside ANY: the default is a number or size, so that a layer's name there is a missing arrow


class Callee:
    """Something with parameters. `what` is `layer`, `block`, `setting` or `head`."""

    def __init__(self, name: str, params: Sequence[Param], what: str = "layer"):
        self.name = name
        self.params = {p.name: p for p in params}
        self.what = what

    def usage(self) -> str:
        """The signature as one line: `conv k / x s=1 …`."""
        words, slash = [self.name], False
        for p in self.params.values():
            if not p.positional and not slash and p.kind != ANY:
                words.append("/")
                slash = True
            if p.kind == "word" and p.words:
                words.append(f"[{'|'.join(p.words)}]")
            elif p.default is REQUIRED or p.default is None or p.kind == "switch":
                words.append(p.name)
            else:
                words.append(f"{p.name}={show_default(p.default)}")
        return " ".join(words[:-1] if words[-1] == "/" else words)


def show_default(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


class Given:
    """One parameter's value as given: what it evaluated to, its node, and the argument for the caret."""

    __slots__ = ("value", "node", "arg")

    def __init__(self, value, node: ast.Expr, arg: ast.Arg):
        self.value, self.node, self.arg = value, node, arg


def block_callee(block: ast.Block) -> Callee:
    def kind(default) -> str:
        return f"{ANY}|{PLAIN}" if isinstance(default, (ast.Number, ast.SizeLiteral)) else ANY

    params = [Param(p.name, kind(p.default), REQUIRED if p.default is None else None, positional=True)
              for p in block.params]
    return Callee(block.name.name, params, "block")
