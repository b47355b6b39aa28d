"""Arguments to parameters: flags, keys, bare words and positionals (rules 6, 8 and 9), and values to their kinds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from . import ast
from .scope import INITS, Scope
from .signature import REQUIRED, Param
from .suggest import foreign, nearest
from .values import UNKNOWN, BlockValue, Fault, Init, RefValue, Size, Word, evaluate, is_number, kind_of, plain, show

ANY = "any"     # the kind of a block's parameters: whatever is given
PLAIN = "plain"     # beside ANY: the default is a number or size, so that a layer's name there is a missing arrow


class Callee:
    """Something to be called: a built-in, a block, a setting or one of its choices."""

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
        return " ".join(w for i, w in enumerate(words) if not (w == "/" and i == len(words) - 1))


def show_default(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


class Given:
    """One parameter's value as given: what it evaluated to, its node, and the argument for the caret."""

    __slots__ = ("value", "node", "arg")

    def __init__(self, value, node, arg):
        self.value, self.node, self.arg = value, node, arg


def bind(callee: Callee, args: list[ast.Arg], scope: Scope, where: ast.Node,
         required: bool = True) -> dict[str, Given]:
    """What is given for each parameter, unconverted. Raises Fault."""
    given: dict[str, Given] = {}
    positionals: list[Given] = []
    for arg in args:
        if isinstance(arg, ast.Positional):
            named = bare_word(callee, arg, scope, given) if isinstance(arg.value, ast.Name) else None
            if named:
                put(callee, given, named[0], Given(named[1], arg.value, arg))
            elif isinstance(arg.value, ast.Name):
                positionals.append(Given(None, arg.value, arg))     # resolved below, once its parameter is known
            else:
                positionals.append(Given(evaluate(arg.value, scope.lookup), arg.value, arg))
        elif isinstance(arg, ast.Flag):
            if arg.name not in callee.params:
                raise unknown_flag(callee, arg, scope)
            put(callee, given, arg.name, Given(evaluate(arg.value, scope.lookup), arg.value, arg))
        else:
            param = callee.params.get(arg.name)
            if param is None:
                raise unknown_key(callee, arg)
            put(callee, given, arg.name, Given(keyword_value(param, arg.value, scope), arg.value, arg))
    fill(callee, given, positionals, scope, args)
    if required:
        missing(callee, given, where, args)
    return given


def put(callee: Callee, given: dict, name: str, value: Given) -> None:
    if name in given:
        raise Fault("E141", f"`{name}` of `{callee.name}` is given twice", value.arg, "remove one of them")
    given[name] = value


def bare_word(callee: Callee, arg: ast.Positional, scope: Scope, given: dict):
    """(parameter, value) of rule 8 (a) and (b), None for a positional."""
    name = arg.value.name
    param = callee.params.get(name)
    if param is not None:
        value = scope.find(name)
        if value is not None:
            return name, value
        if "switch" in param.kinds:
            return name, True
    for param in callee.params.values():
        if "word" in param.kinds and name in param.words:
            return param.name, Word(name)
    value = scope.find(name)
    if isinstance(value, Word):         # a word that came in through a parameter: `pool 2 mode`
        for param in callee.params.values():
            if value.text in param.words:
                return param.name, value
    return None


def keyword_value(param: Param, node: ast.Expr, scope: Scope):
    """After `key=` the key's own words win over the scope; a key that takes a name takes it literally."""
    if isinstance(node, ast.Name):
        name, kinds = node.name, param.kinds
        if "name" in kinds or ("word" in kinds and name in param.words) or ("init" in kinds and name in INITS):
            return Word(name)
    return evaluate(node, scope.lookup)


def fill(callee: Callee, given: dict, positionals: list[Given], scope: Scope, args) -> None:
    free = [p for p in callee.params.values() if p.positional and p.name not in given]
    for index, item in enumerate(positionals):
        if index >= len(free):
            raise too_many(callee, item, index, positionals, scope, args)
        param = free[index]
        if isinstance(item.node, ast.Name):
            name = item.node.name
            if "name" in param.kinds and scope.find(name) is None:
                item.value = Word(name)
            else:
                item.value = positional_name(callee, param, item, scope, args)
        given[param.name] = item


def positional_name(callee: Callee, param: Param, item: Given, scope: Scope, args):
    name = item.node.name
    value = scope.find(name)
    if value is not None or name == "in":
        return scope.lookup(item.node)
    if scope.table.is_layer(name):
        if PLAIN in param.kinds:
            raise Fault("E140", f"an `->` is missing before `{name}`", item.arg, f"write `-> {name}`")
        return BlockValue(name)
    if name in ("on", "off") or (name in scope.table.words and callee.what == "block"):
        return scope.lookup(item.node)
    raise unknown_word(callee, item.arg, scope, args)


def missing(callee: Callee, given: dict, where: ast.Node, args) -> None:
    for param in callee.params.values():
        if param.default is not REQUIRED or param.name in given:
            continue
        name = param.name
        sizes = [a for a in args if isinstance(a.value, ast.SizeLiteral) and isinstance(a, ast.Positional)]
        if len(name) == 1 and not param.positional and sizes and len(sizes[0].value.sizes) > 1:
            parts = show(Size(sizes[0].value.sizes)).split("x")
            raise Fault("E143", f"`{callee.name}` has no `{name}`: `{'x'.join(parts)}` is all spatial sizes", sizes[0],
                        f"write `{'x'.join(parts[:-1])} {name}{parts[-1]}`, the channels apart")
        example = f"{name}8" if len(name) == 1 else f"{name}=…"
        raise Fault("E143", f"`{callee.name}` needs `{name}`", where,
                    f"it takes `{callee.usage()}`" if param.positional else f"add `{example}`: `{callee.usage()}`")


def unknown_flag(callee: Callee, arg: ast.Flag, scope: Scope) -> Fault:
    text = arg.source.text[arg.start:arg.end]
    if scope.find(text) is not None:
        open_params = [p.name for p in callee.params.values() if p.positional or p.kind == ANY]
        return Fault(
    "E144",
    f"`{text}` here is the flag `{arg.name}` with {show_flag(arg)}, not the value `{text}`",
    arg,
     f"write `{open_params[0]}={text}`" if open_params else "give it by its key, after `=`")
    flags = [p for p in callee.params if len(p) == 1]
    if not callee.params:
        return Fault("E144", f"`{callee.name}` takes no arguments", arg, f"remove `{text}`")
    if text in callee.params:
        return Fault("E144", f"`{callee.name}` has no flag `{arg.name}`", arg,
                     f"`{text}` is a parameter: write `{text}=…`")
    close = {"w": "x", "c": "x", "f": "x", "n": "x", "o": "x", "r": "d", "t": "s", "q": "p"}.get(arg.name, "")
    help = f"its flags are {', '.join(flags)}" if flags else f"it takes `{callee.usage()}`"
    if close in flags:
        help = f"did you mean `{close}{text[1:]}`? {help}"
    return Fault("E144", f"`{callee.name}` has no flag `{arg.name}`", arg, help)


def show_flag(arg: ast.Flag) -> str:
    return arg.source.text[arg.start + 1:arg.end]


def unknown_key(callee: Callee, arg: ast.Keyword) -> Fault:
    key = ast.Ident(arg.source, arg.start, arg.start + len(arg.name), arg.name)
    near = nearest(arg.name, callee.params) or foreign(arg.name, callee.params)
    if not callee.params:
        return Fault("E145", f"`{callee.name}` takes no arguments", key, f"remove `{arg.name}=…`")
    return Fault("E145", f"`{callee.name}` has no parameter `{arg.name}`", key,
                 f"did you mean `{near}`?" if near else f"it takes `{callee.usage()}`")


def words_of(callee: Callee) -> list[str]:
    words = [w for p in callee.params.values() if "word" in p.kinds for w in p.words]
    return words + [p.name for p in callee.params.values() if "switch" in p.kinds]


def unknown_word(callee: Callee, arg: ast.Positional, scope: Scope, args) -> Fault:
    name = arg.value.name
    position = next(i for i, a in enumerate(args) if a is arg)
    following = args[position + 1] if position + 1 < len(args) else None
    if name in callee.params and following is not None and isinstance(following.value, (ast.Number, ast.SizeLiteral)) \
            and isinstance(following, ast.Positional):
        return split_flag(callee, name, arg, following)
    if name in callee.params:
        return Fault("E146", f"`{name}` of `{callee.name}` is given no value", arg,
                     f"write `{name}8`, or `{name}=…`" if len(name) == 1 else f"write `{name}=…`")
    near = nearest(name, [*words_of(callee), *callee.params, *scope.visible()]) or foreign(name, words_of(callee))
    if not near:
        # A layer that is near by name means that an arrow is missing as well.
        layer = nearest(name, scope.table.layers()) or foreign(name, scope.table.signatures)
        if layer:
            return Fault("E146", f"`{callee.name}` does not know the word `{name}`", arg,
                         f"did you mean `-> {layer.format('…')}`?")
    split = split_name(name, scope)
    if split:
        return Fault("E146", f"`{callee.name}` does not know the word `{name}`", arg, f"did you mean `-> {split}`?")
    if len(name) > 1 and re.fullmatch(r"[a-z]\d*x?\d*", name):
        return Fault("E146", f"`{name}` is neither a flag nor a known word", arg, f"it takes `{callee.usage()}`")
    return Fault("E146", f"`{callee.name}` does not know the word `{name}`", arg,
                 f"did you mean `{near}`?" if near else f"it takes `{callee.usage()}`")


def split_flag(callee: Callee, name: str, arg: ast.Arg, following: ast.Arg) -> Fault:
    number = following.source.text[following.start:following.end]
    both = ast.Ident(arg.source, arg.start, following.end, name)
    form = f"{name}{number}" if len(name) == 1 else f"{name}={number}"
    return Fault("E142", f"`{name} {number}` is split: a flag has its number attached" if len(name) == 1
                 else f"`{name} {number}` lacks its `=`", both, f"write `{form}`")


def split_name(name: str, scope: Scope) -> str:
    """`conv3x3` as `conv 3x3`, `relu6x` not at all."""
    m = re.fullmatch(r"([A-Za-z_]+?)_?(\d+(?:x\d+)*d?)", name)
    if not m:
        return ""
    word, digits = m.groups()
    if digits.endswith("d"):
        return word if scope.table.is_layer(word) else ""
    return f"{word} {digits}" if scope.table.is_layer(word) else ""


def too_many(callee: Callee, item: Given, index: int, positionals: list[Given], scope: Scope, args) -> Fault:
    node, arg = item.node, item.arg
    position = next(i for i, a in enumerate(args) if a is arg)
    before = args[position - 1] if position else None
    if isinstance(node, ast.Name):
        name = node.name
        if scope.table.is_layer(name) and scope.find(name) is None:
            return Fault("E140", f"an `->` is missing before `{name}`", arg, f"write `-> {name}`")
        if scope.find(name) is None and name not in scope.table.words and name != "in":
            return unknown_word(callee, arg, scope, args)
    if isinstance(node, (ast.Number, ast.SizeLiteral)) and isinstance(before, ast.Positional) \
            and isinstance(before.value, ast.Name) and before.value.name in callee.params:
        return split_flag(callee, before.value.name, before, arg)
    places = [p for p in callee.params.values() if p.positional]
    limit = len(places)
    if not callee.params:
        return Fault("E142", f"`{callee.name}` takes no arguments", arg, "remove it")
    if index == 0 and limit == 1:
        return Fault("E141", f"`{places[0].name}` of `{callee.name}` is given twice", arg, "remove one of them")
    numbers = [p.node.value for p in positionals if isinstance(p.node, ast.Number)]
    takes = f"`{callee.name}` takes {limit} positional argument{'s' if limit != 1 else ''}"
    if callee.params.get("x") is not None and len(numbers) == len(positionals) and 2 <= len(numbers) <= 4 \
            and limit == 1 and "size" in next(iter(callee.params.values())).kinds:
        *kernel, last = [show(n) for n in numbers]
        return Fault("E142", takes, arg, f"write `{'x'.join(kernel)} x{last}`")
    text = arg.source.text[arg.start:arg.end]
    free = [p.name for p in callee.params.values() if not p.positional and len(p.name) == 1]
    if isinstance(
    node, (ast.Number, ast.Name)) and "x" in free and not any(
        a for a in args if getattr(
            a, "name", "") == "x"):
        return Fault("E142", takes, arg, f"write `x{text}`" if isinstance(node, ast.Number) else f"write `x={text}`")
    return Fault("E142", takes, arg, f"it takes `{callee.usage()}`")


# Values to the kinds that a builder asks for


def convert(callee: Callee, param: Param, item: Given):
    """The value as `Param` documents it. Raises Fault."""
    value, kinds = item.value, param.kinds
    if value is UNKNOWN or ANY in kinds:
        return value
    if is_number(value):
        return convert_number(callee, param, item)
    if isinstance(value, bool) and "switch" in kinds:
        return value
    if isinstance(value, Size) and "size" in kinds:
        return value.sizes
    if isinstance(value, Word):
        if "name" in kinds or ("word" in kinds and value.text in param.words):
            return value.text
        if "init" in kinds and value.text in INITS:
            return (value.text,)
    if isinstance(value, BlockValue) and "word" in kinds and value.name in param.words:
        return value.name
    if isinstance(value, Init) and "init" in kinds:
        return (value.name, value.sigma)
    if isinstance(value, str) and "text" in kinds:
        return value
    if isinstance(value, RefValue) and "value" in kinds:
        return value.value
    if isinstance(value, tuple) and "list" in kinds:
        return tuple(plain(v) for v in value)
    raise mismatch(callee, param, item)


def convert_number(callee: Callee, param: Param, item: Given):
    value, kinds = item.value, param.kinds
    if "number" in kinds:
        return plain(value)
    if "list" in kinds:
        return (plain(value),)
    if "whole" not in kinds and "size" not in kinds:
        raise mismatch(callee, param, item)
    if isinstance(value, Fraction):
        text = item.node.source.text[item.node.start:item.node.end]
        help = f"write `{param.name}=round({text})`" if isinstance(item.arg, ast.Keyword) else "round it: `round(…)`"
        if isinstance(item.node, ast.Number):
            help = f"write {int(value + Fraction(1, 2))}"
        raise Fault(
    "E147",
    f"`{param.name}` of `{callee.name}` must be a whole number, this is {show(value)}",
    item.arg,
     help)
    if value < 0:
        raise Fault("E147", f"`{param.name}` of `{callee.name}` must not be negative, this is {show(value)}", item.arg)
    return value


WANTS = {
    "whole": "a whole number",
    "number": "a number",
    "size": "a size",
    "switch": "on or off",
    "text": "a text in quotes",
    "value": "an @name",
    "list": "numbers with commas",
    "name": "a name",
    "init": "he, xavier, zeros or normal(σ)",
     }


def mismatch(callee: Callee, param: Param, item: Given) -> Fault:
    wants = [WANTS[k] if k != "word" else " or ".join(param.words) for k in param.kinds]
    if item.value.__class__ is BlockValue and isinstance(item.arg, ast.Positional):
        return Fault("E140", f"an `->` is missing before `{item.value.name}`", item.arg,
                     f"write `-> {item.value.name}`; `{param.name}` of `{callee.name}` takes {' or '.join(wants)}")
    help = ""
    if isinstance(item.value, str) and param.words:
        help = "write it without quotes"
    elif isinstance(item.value, Word):
        near = nearest(item.value.text, param.words or (INITS if "init" in param.kinds else ()))
        help = f"did you mean `{near}`?" if near else ""
    return Fault("E148", f"`{param.name}` of `{callee.name}` takes {' or '.join(wants)}, not {kind_of(item.value)}"
                         f" (`{show(item.value)}`)", item.arg, help)
