"""What is said of arguments that fit no parameter: unknown flags, keys and words, too many, too few."""

from __future__ import annotations

import re

from . import ast
from .callee import ANY, Callee, Given
from .convert import source_of
from .scope import INITS, Scope
from .signature import REQUIRED, Param
from .suggest import VALUES_ELSEWHERE, foreign, nearest
from .values import Fault, Size, Word, show

LETTERS = {"w": "x", "c": "x", "f": "x", "n": "x", "o": "x", "r": "d", "t": "s", "q": "p"}      # meant by some
SAMPLES = {"whole": "10", "size": "3", "number": "0.5", "text": '"…"', "value": "@name", "name": "NAME", "switch": "on"}


def argument(name: str, value: str) -> str:
    """How a parameter is given: a flag where that is possible."""
    return f"{name}{value}" if len(name) == 1 and re.fullmatch(r"\d+(?:x\d+)*", value) else f"{name}={value}"


def missing_arrow(arg: ast.Node, name: str) -> Fault:
    return Fault("E140", f"an `->` is missing before `{name}`", arg, f"write `-> {name}`")


def layer_among(args: list[ast.Arg], scope: Scope, before: ast.Arg | None = None) -> ast.Arg | None:
    """The first argument that is the name of a layer and nothing else, up to `before`."""
    for arg in args[1:]:
        if arg is before:
            return None
        if isinstance(arg, ast.Positional) and isinstance(arg.value, ast.Name) and scope.find(arg.value.name) is None \
                and scope.table.is_layer(arg.value.name):
            return arg
    return None


# Flags and keys


def unknown_flag(callee: Callee, arg: ast.Flag, scope: Scope) -> Fault:
    text, number = source_of(arg), source_of(arg.value)
    if scope.find(text) is not None:
        names = [p.name for p in callee.params.values() if p.positional or p.kind == ANY]
        return Fault("E144", f"`{text}` here is the flag `{arg.name}` with {number}, not the value `{text}`", arg,
                     f"write `{names[0]}={text}`" if names else "give it by its key, after `=`")
    if scope.find_name(text) is not None:
        return Fault("E144", f"`{text}` here is the flag `{arg.name}` with {number}, not the output of that name", arg,
                     f"write `@{text}`")
    if not callee.params:
        more = f", or give the block a parameter: `block {callee.name} {arg.name} {{ … }}`"
        return Fault("E144", f"`{callee.name}` takes no arguments", arg,
                     f"remove `{text}`{more if callee.what == 'block' else ''}")
    message = f"`{callee.name}` has no flag `{arg.name}`"
    if text in callee.params:
        return Fault("E144", message, arg, f"`{text}` is a parameter: write `{text}=…`")
    close = LETTERS.get(arg.name, "")
    if close in callee.params:
        return Fault("E144", message, arg, f"did you mean `{close}{number}`? it takes `{callee.usage()}`")
    alone = [p for p in callee.params.values() if p.positional]
    if arg.name in "xknp" and len(alone) == 1 and "x" not in callee.params:
        return Fault("E144", message, arg, f"write `{callee.name} {number}`: it takes `{callee.usage()}`")
    return Fault("E144", message, arg, f"it takes `{callee.usage()}`")


def unknown_key(callee: Callee, arg: ast.Keyword, scope: Scope) -> Fault:
    key = ast.Ident(arg.source, arg.start, arg.start + len(arg.name), arg.name)
    value = source_of(arg.value)
    if arg.name in ("activation", "act", "nonlinearity") and isinstance(arg.value, (ast.Name, ast.Text)):
        layer = arg.value.name if isinstance(arg.value, ast.Name) else arg.value.value
        return Fault("E145", f"`{callee.name}` has no parameter `{arg.name}`: an activation is a layer", key,
                     f"write `-> {layer.lower()}`")
    if arg.name in ("name", "id", "label") and arg.name not in callee.params:
        return Fault("E145", f"`{callee.name}` has no parameter `{arg.name}`: `as` names an output", key,
                     f"write `{callee.name} … as {value.strip(chr(34))}`")
    if not callee.params:
        return Fault("E145", f"`{callee.name}` takes no arguments", key, f"remove `{arg.name}={value}`")
    near = nearest(arg.name, callee.params) or foreign(arg.name, callee.params)
    near = near or (LETTERS[arg.name] if LETTERS.get(arg.name) in callee.params else "")
    near = near or next((n for n in (arg.name.removeprefix("use_"), arg.name.lower()) if n in callee.params), "")
    message = f"`{callee.name}` has no parameter `{arg.name}`"
    if not near:
        switch = foreign(arg.name, words_of(callee)) or nearest(arg.name, words_of(callee))
        return Fault("E145", message, key, f"did you mean `{switch}`?" if switch else
                     f"it takes `{callee.usage()}`")
    param = callee.params[near]
    if isinstance(arg.value, (ast.Name, ast.Text)):
        word = arg.value.name if isinstance(arg.value, ast.Name) else arg.value.value
        value = meant(param, word) or value
    return Fault("E145", message, key, f"write `{argument(near, value) if near != arg.name else near}`")


def meant(param: Param, word: str) -> str:
    """The word that `param` has for what other libraries call `word`, or ""."""
    right = VALUES_ELSEWHERE.get(word.lower(), "")
    words = known_words(param)
    if right in words or (right.isdigit() and {"size", "number", "whole"} & set(param.kinds)):
        return right
    if right.startswith("normal") and "init" in param.kinds:
        return right
    return word.lower() if word.lower() in words else ""


def known_words(param: Param) -> list[str]:
    words = list(param.words) if "word" in param.kinds else []
    words += INITS if "init" in param.kinds else ()
    return words + ["on", "off"] if "switch" in param.kinds else words


def unknown_value(callee: Callee, param: Param, node: ast.Name, scope: Scope, fault: Fault) -> Fault:
    """A better word for a name after `key=` that nothing defines."""
    right = meant(param, node.name)
    if right:
        return Fault(fault.code, fault.message, node, f"write `{argument(param.name, right)}`", fault.labels)
    words = known_words(param)
    near = nearest(node.name, [*words, *scope.visible()])
    if near:
        return Fault(fault.code, fault.message, node, f"did you mean `{near}`?", fault.labels)
    if words and not fault.labels and not fault.help.startswith("did"):
        return Fault(fault.code, fault.message, node,
                     f"`{param.name}` takes {', '.join(words)}, or a value given with `let` above this line")
    return fault


# Words


def words_of(callee: Callee) -> list[str]:
    words = [w for p in callee.params.values() if "word" in p.kinds for w in p.words]
    return words + [p.name for p in callee.params.values() if "switch" in p.kinds]


def unknown_word(callee: Callee, arg: ast.Positional, scope: Scope, args) -> Fault:
    name = arg.value.name
    position = args.index(arg)
    following = args[position + 1] if position + 1 < len(args) else None
    param = name if name in callee.params else foreign(name, callee.params)
    if param in callee.params and valued(following, scope):
        return split_flag(param, name, arg, following)
    if name in callee.params:
        return without_value(callee, arg, scope)
    message = f"`{callee.name}` does not know the word `{name}`"
    if scope.find_name(name) is not None:
        return Fault("E146", message, arg, f"write `@{name}` for the output of that name")
    flag = re.fullmatch(r"([A-Z])(\d+(?:x\d+)*)", name)
    if flag and flag.group(1).lower() in callee.params:
        return Fault("E146", message, arg, f"write `{name.lower()}`: flags are small letters")
    if name[0] in callee.params and len(name) > 1 and scope.find(name[1:]) is not None:
        return Fault("E146", message, arg, f"write `{name[0]}={name[1:]}`")
    near = nearest(name, [*words_of(callee), *callee.params, *scope.visible()]) or foreign(name, words_of(callee))
    if not near:
        # A layer that is near by name means that an arrow is missing as well.
        layer = nearest(name, scope.table.layers()) or foreign(name, scope.table.signatures)
        split = layer.format("…") if layer else split_name(name, scope)
        if split:
            return Fault("E146", message, arg, f"did you mean `-> {split}`?")
    if not near and name in VALUES_ELSEWHERE and any(meant(p, name) for p in callee.params.values()):
        found = next(p for p in callee.params.values() if meant(p, name))
        right = meant(found, name)
        return Fault("E146", message, arg, f"write `{right if right in found.words else argument(found.name, right)}`")
    return Fault("E146", message, arg, f"did you mean `{near}`?" if near else f"it takes `{callee.usage()}`")


def valued(arg: ast.Arg | None, scope: Scope) -> bool:
    """Whether this argument is a bare value, as it would stand after a flag that was split."""
    if not isinstance(arg, ast.Positional):
        return False
    return isinstance(arg.value, (ast.Number, ast.SizeLiteral)) or (
        isinstance(arg.value, ast.Name) and scope.find(arg.value.name) is not None)


def without_value(callee: Callee, arg: ast.Positional, scope: Scope) -> Fault:
    name = arg.value.name
    help = f"write `{name}8`, or `{name}=…`" if len(name) == 1 else f"write `{name}=…`"
    block = scope.table.blocks.get(scope.trail[-1].block) if scope.trail else None
    if block is not None:
        head = " ".join(source_of(p) for p in block.params)
        help += f", or make it a parameter: `block {block.name.name} {head}{' ' if head else ''}{name} {{ … }}`"
    return Fault("E146", f"`{name}` of `{callee.name}` is given no value", arg, help)


def split_flag(param: str, written: str, arg: ast.Arg, following: ast.Arg) -> Fault:
    value = source_of(following)
    both = ast.Ident(arg.source, arg.start, following.end, written)
    return Fault("E142", f"`{written} {value}` is split: a flag has its number attached" if len(written) == 1
                 else f"`{written} {value}` lacks its `=`", both, f"write `{argument(param, value)}`")


def split_name(name: str, scope: Scope) -> str:
    """`conv3x3` as `conv 3x3`, `relu6x` not at all."""
    m = re.fullmatch(r"([A-Za-z_]+?)_?(\d+(?:x\d+)*d?)", name)
    if not m:
        return ""
    word, digits = m.groups()
    if digits.endswith("d"):
        return word if scope.table.is_layer(word) else ""
    if not scope.table.is_layer(word):
        return ""
    block, signature = scope.table.blocks.get(word), scope.table.signatures.get(word)
    takes = block.params if block else [p for p in signature.params if p.positional]
    return f"{word} {digits}" if takes else word


# Too many, too few


def given_twice(callee: Callee, name: str, arg: ast.Arg, args, scope: Scope) -> Fault:
    layer = layer_among(args, scope, arg)
    if layer is not None:
        return missing_arrow(layer, layer.value.name)
    return Fault("E141", f"`{name}` of `{callee.name}` is given twice", arg, "remove one of them")


def too_many(callee: Callee, item: Given, index: int, positionals: list[Given], scope: Scope, args) -> Fault:
    node, arg = item.node, item.arg
    layer = layer_among(args, scope)
    if layer is not None and layer.start <= arg.start:
        return missing_arrow(layer, layer.value.name)
    if isinstance(node, ast.Name):
        name = node.name
        if scope.table.is_layer(name) and scope.find(name) is None:
            return missing_arrow(arg, name)
        if scope.find(name) is None and name not in scope.table.words and name != "in":
            return unknown_word(callee, arg, scope, args)
    position = args.index(arg)
    before = args[position - 1] if position else None
    if valued(arg, scope) and isinstance(before, ast.Positional) and isinstance(before.value, ast.Name) \
            and scope.find(before.value.name) is None:
        name = before.value.name
        param = name if name in callee.params else foreign(name, callee.params)
        if param in callee.params:
            return split_flag(param, name, before, arg)
    return surplus(callee, item, index, positionals, args)


def surplus(callee: Callee, item: Given, index: int, positionals: list[Given], args) -> Fault:
    node, arg = item.node, item.arg
    places = [p for p in callee.params.values() if p.positional]
    text, limit = source_of(arg), len(places)
    if not callee.params:
        return Fault("E142", f"`{callee.name}` takes no arguments", arg, f"remove `{text}`")
    if index == 0 and limit == 1:
        return Fault("E141", f"`{places[0].name}` of `{callee.name}` is given twice", arg, "remove one of them")
    takes = f"`{callee.name}` takes {limit} positional argument{'s' if limit != 1 else ''}" if limit else \
        f"`{callee.name}` takes its arguments by name"
    numbers = [p.node.value for p in positionals if isinstance(p.node, ast.Number)]
    named = {getattr(a, "name", "") for a in args}
    if "x" in callee.params and len(numbers) == len(positionals) and 2 <= len(numbers) <= 4 and limit == 1 \
            and "size" in places[0].kinds and "x" not in named:
        *kernel, last = [show(n) for n in numbers]
        return Fault("E142", takes, arg, f"write `{'x'.join(kernel)} x{last}`")
    free = [p for p in callee.params.values() if not p.positional and p.name not in named]
    before = next((a for a, b in zip(args, args[1:]) if b is arg), None)
    if isinstance(before, ast.Keyword) and "list" in callee.params[before.name].kinds and isinstance(node, ast.Number):
        return Fault("E142", "the numbers of a list are joined by commas", arg,
                     f"write `{before.name}={','.join(map(source_of, [before.value, *following_numbers(arg, args)]))}`")
    if not limit and free and "list" in free[0].kinds and len(numbers) == len(positionals):
        return Fault("E142", takes, arg, f"write `{free[0].name}={','.join(map(show, numbers))}`")
    if isinstance(node, (ast.Number, ast.Name)) and any(p.name == "x" for p in free):
        return Fault("E142", takes, arg, f"write `{argument('x', text)}`")
    if isinstance(node, ast.Number) and not limit and free and {"number", "whole"} & set(free[0].kinds):
        return Fault("E142", takes, arg, f"write `{free[0].name}={text}`")
    return Fault("E142", takes, arg, f"it takes `{callee.usage()}`")


def following_numbers(arg: ast.Arg, args) -> list[ast.Arg]:
    """`arg` and the numbers right after it."""
    found = []
    for other in args[args.index(arg):]:
        if not (isinstance(other, ast.Positional) and isinstance(other.value, ast.Number)):
            break
        found.append(other)
    return found


def missing(callee: Callee, given: dict, where: ast.Node, args) -> Fault | None:
    """The first parameter that has no default and is not given."""
    for param in callee.params.values():
        if param.default is REQUIRED and param.name not in given:
            return absent(callee, param, where, args)
    return None


def absent(callee: Callee, param: Param, where: ast.Node, args) -> Fault:
    name = param.name
    sizes = [a for a in args if isinstance(a.value, ast.SizeLiteral) and isinstance(a, ast.Positional)]
    if name == "x" and not param.positional and sizes and len(sizes[0].value.sizes) > 1:
        parts = show(Size(sizes[0].value.sizes)).split("x")
        whole = "x".join(parts)
        if len(parts) > 2 and parts[0] in ("1", "3", "4") and parts[-1] != "?" and int(parts[-1]) > 4:
            return Fault("E143", f"`{callee.name}` has no `{name}`: `{whole}` is all spatial sizes", sizes[0],
                         f"write `{'x'.join(parts[1:])} {name}{parts[0]}`, the channels apart and last")
        if len(parts) == 2 and (parts[-1] == "?" or int(parts[-1]) > 4):
            return Fault("E143", f"`{callee.name}` has no `{name}`, its number of channels", sizes[0],
                         f"write `{whole} x3` for three channels, `{whole} x1` for one")
        return Fault("E143", f"`{callee.name}` has no `{name}`: `{whole}` is all spatial sizes", sizes[0],
                     f"write `{'x'.join(parts[:-1])} {name}{parts[-1]}`, the channels apart")
    return Fault("E143", f"`{callee.name}` needs `{name}`", where,
                 f"write `{with_sample(callee, param, args)}`: it takes `{callee.usage()}`")


def with_sample(callee: Callee, param: Param, args) -> str:
    """The call as written, with the parameter filled in."""
    written = [source_of(a) for a in args]
    if param.positional and callee.what != "block":
        return " ".join([callee.name, SAMPLES.get(param.kinds[0], "…"), *written])
    sample = argument(param.name, "64" if param.name == "x" else "3") if len(param.name) == 1 else f"{param.name}=…"
    return " ".join([callee.name, *written, sample])
