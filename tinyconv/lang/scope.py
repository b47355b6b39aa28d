"""What names mean where: values in nested scopes, names of layers' outputs, and the calls that lead here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import ast
from .signature import Signature
from .span import Call
from .suggest import nearest
from .values import UNKNOWN, BlockValue, Fault, RefValue, Word

RESERVED = ("in", "on", "off")
INITS = ("he", "xavier", "zeros")


class Table:
    """What is known file-wide: blocks and the builder's built-ins, with the words that they understand."""

    def __init__(self, blocks: Mapping[str, ast.Block], signatures: Mapping[str, Signature],
                 flow: Iterable[ast.Item] = ()):
        self.blocks = blocks
        self.flow = [item for item in flow if not isinstance(item, ast.Block)]
        self.signatures = signatures
        self.words = {*INITS, "normal"}
        for signature in signatures.values():
            for param in signature.params:
                self.words.update(param.words)

    def is_layer(self, name: str) -> bool:
        return name in self.blocks or name in self.signatures

    def layers(self) -> Iterable[str]:
        return [*self.blocks, *self.signatures]


class Scope:
    """One level of names. `channels` is `in`: None outside a block, UNKNOWN after an error."""

    __slots__ = ("parent", "table", "values", "names", "origins", "channels", "trail", "boundary")

    def __init__(self, parent: Scope | None, table: Table | None = None):
        self.parent = parent
        self.values: dict[str, object] = {}
        self.names: dict[str, tuple[object, ast.Ident]] = {}
        self.origins: dict[str, ast.Node] = {}      # where a parameter's value was written, through all calls
        self.boundary = parent is None
        self.table = parent.table if parent else table
        self.channels = parent.channels if parent else None
        self.trail: tuple[Call, ...] = parent.trail if parent else ()

    def call(self, channels, call: Call) -> Scope:
        """The scope of a block's body; `self` is the file's scope, the caller gives its trail through `call`."""
        scope = Scope(self)
        scope.boundary = True
        scope.channels = channels
        return scope

    def find(self, name: str):
        """The value in scope under this name, None where there is none. Raises Fault for `in` outside a block."""
        if name == "in":
            return self.channels
        scope = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return None

    def origin(self, name: str) -> ast.Node | None:
        """Where the value in scope under this name was written, if it came in through a parameter."""
        scope = self
        while scope is not None:
            if name in scope.values:
                return scope.origins.get(name)
            scope = scope.parent
        return None

    def find_name(self, name: str):
        """The output that `as name` named, up to the enclosing block or file; None where there is none."""
        scope = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name][0]
            if scope.boundary:
                return None
            scope = scope.parent
        return None

    def define(self, ident: ast.Ident, value, what: str) -> None:
        """A value at this level; Fault where the name is taken here or reserved."""
        if ident.name in RESERVED:
            raise Fault("E121", f"`{ident.name}` has a meaning of its own and cannot be a {what}", ident,
                        "choose another name")
        if ident.name in self.values:
            raise Fault("E122", f"`{ident.name}` is defined twice", ident, "choose another name")
        self.values[ident.name] = value

    def visible(self) -> list[str]:
        names, scope = [], self
        while scope is not None:
            names.extend(scope.values)
            scope = scope.parent
        return names

    def visible_names(self) -> list[str]:
        names, scope = [], self
        while scope is not None:
            names.extend(scope.names)
            if scope.boundary:
                break
            scope = scope.parent
        return names + [name for name, value in self.items() if isinstance(value, RefValue)]

    def items(self) -> list[tuple[str, object]]:
        return [(name, self.find(name)) for name in self.visible()]

    def lookup(self, node: ast.Name | ast.Ref):
        """The value of a name or `@name` in an expression."""
        name = node.name
        if type(node) is ast.Ref:
            return self.reference(node)
        if name in ("on", "off"):
            return name == "on"
        if name == "in":
            if self.channels is None:
                raise Fault("E123", "`in` is the number of channels entering a block, and this is outside any", node,
                            "write the number, or move this into a block")
            return self.channels
        value = self.find(name)
        if value is not None:
            return value
        if self.table.is_layer(name):
            return BlockValue(name)
        if name in self.table.words:
            return Word(name)
        raise self.unknown(node)

    def reference(self, node: ast.Ref):
        value = self.find_name(node.name)
        if value is not None:
            return UNKNOWN if value is UNKNOWN else RefValue(node.name, value)
        value = self.find(node.name)
        if isinstance(value, RefValue) or value is UNKNOWN:
            return value
        near = nearest(node.name, self.visible_names())
        raise Fault("E124", f"there is no `@{node.name}` here", node, f"did you mean `@{near}`?" if near
                    else f"name a layer above with `as {node.name}`")

    def unknown(self, node: ast.Name) -> Fault:
        near = nearest(node.name, [*self.visible(), *self.table.layers(), *self.table.words, "in", "on", "off"])
        if near:
            return Fault("E125", f"unknown name `{node.name}`", node, f"did you mean `{near}`?")
        if self.find_name(node.name) is not None:
            return Fault("E125", f"unknown name `{node.name}`", node,
                         f"write `@{node.name}` for the output of that name")
        return Fault("E125", f"unknown name `{node.name}`", node, "give it a value with `let`, above this line")
