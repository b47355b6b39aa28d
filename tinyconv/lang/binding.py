"""Arguments to parameters: flags, keys, bare words and positionals (rules 6, 8 and 9)."""

from __future__ import annotations

from . import ast, misfits
from .callee import PLAIN, Callee, Given
from .convert import convert
from .scope import INITS, Scope
from .signature import Param
from .values import BlockValue, Fault, Word, evaluate

__all__ = ["Callee", "Given", "bind", "convert"]


def bind(callee: Callee, args: list[ast.Arg], scope: Scope, where: ast.Node,
         required: bool = True) -> dict[str, Given]:
    """What is given for each parameter, unconverted. Raises Fault."""
    given: dict[str, Given] = {}
    positionals: list[Given] = []
    for arg in args:
        name, value = parameter_of(callee, arg, scope)
        if name is None:
            positionals.append(Given(value, arg.value, arg))
        elif name in given:
            raise misfits.given_twice(callee, name, arg, args, scope)
        else:
            given[name] = Given(value, arg.value, arg)
    fill(callee, given, positionals, scope, args)
    fault = misfits.missing(callee, given, where, args) if required else None
    if fault:
        raise fault
    return given


def parameter_of(callee: Callee, arg: ast.Arg, scope: Scope):
    """(parameter, value) of one argument; (None, value) for a positional, whose value is None where it is a name:
    that is looked up when its parameter is known."""
    if isinstance(arg, ast.Positional):
        if isinstance(arg.value, ast.Name):
            return bare_word(callee, arg.value.name, scope) or (None, None)
        return None, evaluate(arg.value, scope.lookup)
    if isinstance(arg, ast.Flag):
        if arg.name not in callee.params:
            raise misfits.unknown_flag(callee, arg, scope)
        return arg.name, evaluate(arg.value, scope.lookup)
    param = callee.params.get(arg.name)
    if param is None:
        raise misfits.unknown_key(callee, arg, scope)
    return arg.name, keyword_value(callee, param, arg.value, scope)


def bare_word(callee: Callee, name: str, scope: Scope):
    """(parameter, value) of rule 8 (a) and (b), None for a positional."""
    param, value = callee.params.get(name), scope.find(name)
    if param is not None:
        if value is not None:
            return name, value
        if "switch" in param.kinds:
            return name, True
    # The word itself, or one that came in through a parameter: `pool 2 mode`.
    for word in (name, value.text if isinstance(value, Word) else None):
        for param in callee.params.values():
            if "word" in param.kinds and word in param.words:
                return param.name, Word(word)
    return None


def keyword_value(callee: Callee, param: Param, node: ast.Expr, scope: Scope):
    """After `key=` the key's own words win over the scope; a key that takes a name takes it literally."""
    if not isinstance(node, ast.Name):
        return evaluate(node, scope.lookup)
    name, kinds = node.name, param.kinds
    if "name" in kinds or ("word" in kinds and name in param.words) or ("init" in kinds and name in INITS):
        return Word(name)
    try:
        return scope.lookup(node)
    except Fault as fault:
        raise misfits.unknown_value(callee, param, node, scope, fault) from None


def fill(callee: Callee, given: dict, positionals: list[Given], scope: Scope, args) -> None:
    free = [p for p in callee.params.values() if p.positional and p.name not in given]
    for index, item in enumerate(positionals):
        if index >= len(free):
            raise misfits.too_many(callee, item, index, positionals, scope, args)
        param = free[index]
        if isinstance(item.node, ast.Name):
            name = item.node.name
            literal = "name" in param.kinds and scope.find(name) is None
            item.value = Word(name) if literal else positional_name(callee, param, item, scope, args)
        given[param.name] = item


def positional_name(callee: Callee, param: Param, item: Given, scope: Scope, args):
    """Rule 8 (c), (d) and (e)."""
    name = item.node.name
    value = scope.find(name)
    if value is not None or name == "in":
        return scope.lookup(item.node)
    if scope.table.is_layer(name):
        if PLAIN in param.kinds:
            raise misfits.missing_arrow(item.arg, name)
        return BlockValue(name)
    if name in ("on", "off") or (name in scope.table.words and callee.what == "block"):
        return scope.lookup(item.node)
    raise misfits.unknown_word(callee, item.arg, scope, args)
