"""What is said of layers and `@name`s that nothing defines."""

from __future__ import annotations

import re
from collections import Counter

from ..errors import Label
from . import ast
from .checks import aliases, nodes
from .convert import source_of
from .habits import flagged, translated
from .misfits import split_name
from .reader import Program
from .scope import Scope
from .suggest import BRACES_ELSEWHERE, KEYWORDS, KEYWORDS_ELSEWHERE, SECTIONS_ELSEWHERE, foreign, nearest
from .values import Fault, kind_of


def unknown_layer(ident: ast.Ident, scope: Scope, stage: ast.Layer | None = None, passed=None) -> Fault:
    """`passed` is the value of that name, where it is one. `stage` is absent where the name stands after `default`."""
    name = ident.name
    if passed is not None:
        return Fault("E120", f"`{name}` is {kind_of(passed)} here, not a layer", ident, "a layer starts with its name")
    defined = misspelt_definition(name, scope)
    if defined is not None:
        calls = "called, and nothing defines it" if stage is not None else "named here"
        return Fault("E120", f"unknown layer `{name}`: the block `{defined.name}` is never used", defined,
                     f"write `block {name}`", (Label(*ident.span, f"`{name}` is {calls}"),))
    return Fault("E120", f"unknown layer `{name}`", ident, layer_meant(ident, scope, stage))


def misspelt_definition(name: str, scope: Scope) -> ast.Ident | None:
    """The block that was meant by `name`, where the definition has the typo: it is never called, `name` is often."""
    calls = Counter(n.callee.name for n in nodes(list(scope.table.blocks.values()) + scope.table.flow)
                    if isinstance(n, ast.Layer))
    near = nearest(name, [b for b in scope.table.blocks if not calls[b]])
    return scope.table.blocks[near].name if near and calls[name] > 1 else None


def layer_meant(ident: ast.Ident, scope: Scope, stage: ast.Layer | None) -> str:
    name, table = ident.name, scope.table
    text = source_of(stage) if stage is not None else name
    if scope.find_name(name) is not None:
        return f"write `@{name}` for the output of that name"
    if stage is not None and name in KEYWORDS_ELSEWHERE:
        return KEYWORDS_ELSEWHERE[name](text)
    if stage is not None and stage.branches is not None and name in SECTIONS_ELSEWHERE:
        return f"write `{SECTIONS_ELSEWHERE[name]} {{ … }}`"
    if stage is not None and name in ("data", "train"):
        return f"write `{name} {{ {text[len(name):].strip()} }}`"
    if name.lower() in KEYWORDS:
        return f"write `{name.lower()}`: keywords have small letters"
    if stage is not None and stage.branches is not None and name in BRACES_ELSEWHERE:
        return f"write `{BRACES_ELSEWHERE[name]}`"
    arguments = flagged(text[len(name):].strip())
    if re.fullmatch(r"\d+(?: \d+)+", arguments) and foreign(name, table.signatures):
        return f"write `{translated(f'{name}({arguments.replace(chr(32), chr(44))})')}`"
    help = foreign(name, table.signatures)
    if help:
        filled = help.format(arguments) if "{}" in help else f"{help} {arguments}" if stage is None else help
        return f"write `{' '.join(filled.split())}`"
    split = split_name(name, scope) or split_name(name.lower(), scope)
    if split:
        return f"write `{split} {arguments}`" if arguments else f"write `{split}`"
    near = nearest(name, table.layers())
    if near:
        return f"did you mean `{near}`?"
    return f"define it: `block {name} … {{ … }}`" if re.match(r"[a-z]", name) else "layers have small letters"


def early_name(fault: Fault, ref: ast.Ref, program: Program) -> Fault:
    """A better word for an `@name` that is named elsewhere."""
    places = [a for a in aliases(program) if a.name == ref.name]
    if not places:
        return fault
    # Of several the one in the same file, before the others.
    place = next((a for a in places if a.source is ref.source), places[0])
    label = (Label(*place.span, "named here"),)
    block, home = enclosing(ref, program), enclosing(place, program)
    if block is not home and block is not None:
        head = " ".join([block.name.name, *map(source_of, block.params), ref.name])
        return Fault("E124", f"`@{ref.name}` is not visible here: a block sees none of its caller's names", ref,
                     f"give it as an argument: `block {head} {{ … }}`, called with `@{ref.name}`", label)
    if place.source is ref.source and place.start > ref.start:
        return Fault("E124", f"`@{ref.name}` is used before it is named", ref,
                     "name the layer with `as` above this line", label)
    return Fault("E124", f"`@{ref.name}` is not visible here", ref,
                 "a name ends with its braces; pass it to a block as an argument", label)


def enclosing(node: ast.Node, program: Program) -> ast.Block | None:
    """The block whose body holds `node`, None at the file's level."""
    return next((b for b in program.items if isinstance(b, ast.Block) and b.source is node.source
                 and b.start <= node.start < b.end), None)
