"""Values of the language and exact arithmetic on them.

A number is an int or, where it is not whole, a Fraction; on/off is a bool; a text is a str; a list is a tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from . import ast

LIMIT = 10**18


class Fault(Exception):
    """An error at a node, on its way to become a Diagnostic."""

    def __init__(self, code: str, message: str, node, help: str = "", labels: tuple = ()):
        super().__init__(message)
        self.code, self.message, self.node, self.help, self.labels = code, message, node, help, labels


class Unknown:
    """What an erroneous expression or layer leaves behind; whatever uses it is not computed and not reported."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Size:
    sizes: tuple[int | None, ...]


@dataclass(frozen=True)
class Word:
    text: str


@dataclass(frozen=True)
class BlockValue:
    """A block or built-in layer passed as a value."""

    name: str


@dataclass(frozen=True)
class RefValue:
    """`@name`: a layer's output."""

    name: str
    value: object


@dataclass(frozen=True)
class Init:
    """`normal(0.01)`; the other initialisations are words."""

    name: str
    sigma: float


def is_number(value) -> bool:
    return isinstance(value, (int, Fraction)) and not isinstance(value, bool)


def kind_of(value) -> str:
    if isinstance(value, bool):
        return "an on/off value"
    if is_number(value):
        return "a number"
    names = {Size: "a size", Word: "a word", BlockValue: "a block", RefValue: "an @name", Init: "an initialisation",
             str: "a text", tuple: "a list"}
    return names[type(value)]


def show(value) -> str:
    """The value as it would be written."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Fraction):
        return show_fraction(value)
    if isinstance(value, Size):
        return "x".join("?" if n is None else str(n) for n in value.sizes)
    if isinstance(value, Word):
        return value.text
    if isinstance(value, BlockValue):
        return value.name
    if isinstance(value, RefValue):
        return "@" + value.name
    if isinstance(value, Init):
        return f"{value.name}({value.sigma:g})"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return ",".join(show(v) for v in value)
    if value is UNKNOWN:
        return "?"
    return str(value)


def show_fraction(value: Fraction) -> str:
    """The shortest exact decimal where it is short, else `a/b`."""
    for digits in range(1, 13):
        scaled = value * 10**digits
        if scaled.denominator == 1:
            sign, whole = "-" if scaled < 0 else "", str(abs(scaled.numerator)).rjust(digits + 1, "0")
            return f"{sign}{whole[:-digits]}.{whole[-digits:]}"
    return f"{value.numerator}/{value.denominator}"


def plain(value):
    """A number as the builder takes it: int where whole, else float."""
    return value if isinstance(value, int) else float(value)


def exact(value, node):
    """`value` with a whole Fraction as int, and in bounds."""
    if isinstance(value, Fraction) and value.denominator == 1:
        value = value.numerator
    if abs(value) > LIMIT or (isinstance(value, Fraction) and value.denominator > 10**40):
        raise Fault("E105", "this number is out of range", node, "numbers go up to 1e18")
    return value


def evaluate(expr: ast.Expr, lookup: Callable[[ast.Name | ast.Ref], object]):
    """The value of an expression; `lookup` gives that of a name or `@name`. Raises Fault."""
    kind = type(expr)
    if kind is ast.Number:
        return expr.value
    if kind is ast.Name or kind is ast.Ref:
        return lookup(expr)
    if kind is ast.SizeLiteral:
        return Size(expr.sizes)
    if kind is ast.Text:
        return expr.value
    if kind is ast.Binary:
        return binary(expr, lookup)
    if kind is ast.Unary:
        value = evaluate(expr.operand, lookup)
        if value is UNKNOWN:
            return UNKNOWN
        if expr.op == "not":
            return not switch(value, expr.operand, "not")
        return -number(value, expr.operand, "-")
    if kind is ast.Func:
        return function(expr, lookup)
    items = tuple(evaluate(item, lookup) for item in expr.items)
    for value, item in zip(items, expr.items):
        if value is not UNKNOWN and not is_number(value):
            raise Fault("E131", f"a list holds numbers, not {kind_of(value)}", item, "write it as in `0.5,0.25`")
    return UNKNOWN if UNKNOWN in items else items


def number(value, node, op):
    if is_number(value):
        return value
    if isinstance(value, Size):
        raise Fault("E131", f"`{op}` works on numbers, not on sizes such as `{show(value)}`", node,
                    "compute each number by itself; a number counts for all axes")
    raise Fault("E131", f"`{op}` works on numbers, not on {kind_of(value)}", node,
                "give a number, or a name that stands for one")


def switch(value, node, op):
    if isinstance(value, bool):
        return value
    raise Fault("E131", f"`{op}` works on conditions, not on {kind_of(value)}", node, "compare it, as in `x == 1`")


def binary(expr: ast.Binary, lookup):
    op = expr.op
    left = evaluate(expr.left, lookup)
    if op in ("and", "or"):
        if left is UNKNOWN:
            return UNKNOWN
        if switch(left, expr.left, op) == (op == "or"):
            return left
        right = evaluate(expr.right, lookup)
        return UNKNOWN if right is UNKNOWN else switch(right, expr.right, op)
    right = evaluate(expr.right, lookup)
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    if op in ("==", "!="):
        return equal(left, right, expr) == (op == "==")
    a, b = number(left, expr.left, op), number(right, expr.right, op)
    if op in ("<", "<=", ">", ">="):
        return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]
    if op == "+":
        return exact(a + b, expr)
    if op == "-":
        return exact(a - b, expr)
    if op == "*":
        return exact(a * b, expr)
    if op == "/":
        if b == 0:
            raise Fault("E132", "division by zero", expr, "divide by something else")
        return exact(Fraction(a) / b, expr)
    return power(a, b, expr)


def power(a, b, expr):
    if not isinstance(b, int):
        raise Fault("E133", f"an exponent must be a whole number, this is {show(b)}", expr.right,
                    "round it, as in `2^round(n)`")
    if a == 0 and b < 0:
        raise Fault("E132", "division by zero", expr, "0 has no negative powers")
    size = max(abs(a.numerator), a.denominator).bit_length()
    if abs(a) != 1 and a != 0 and size * abs(b) > 140:
        raise Fault("E105", "this number is out of range", expr, "numbers go up to 1e18")
    if abs(b) > LIMIT:
        raise Fault("E105", "this number is out of range", expr, "numbers go up to 1e18")
    if a == -1:
        return 1 if b % 2 == 0 else -1
    if a == 0:
        return 1 if b == 0 else 0
    return 1 if a == 1 else exact(Fraction(a) ** b, expr)


def equal(a, b, node) -> bool:
    if isinstance(a, Size) and is_number(b):
        return all(n is None or n == b for n in a.sizes)
    if isinstance(b, Size) and is_number(a):
        return equal(b, a, node)
    if isinstance(a, Size) and isinstance(b, Size):
        return len(a.sizes) == len(b.sizes) and all(m is None or n is None or m == n for m, n in zip(a.sizes, b.sizes))
    if kind_of(a) != kind_of(b):
        raise Fault("E131", f"{kind_of(a)} cannot be compared with {kind_of(b)}", node,
                    "compare values of one kind; a size and a number can be compared too")
    return a is b if isinstance(a, RefValue) else a == b


FUNCTIONS = {
    "min": min,
    "max": max,
    "floor": lambda a: a.__floor__(),
    "ceil": lambda a: a.__ceil__(),
    "round": lambda a: (a + Fraction(1, 2)).__floor__(),        # halves go up
}


def function(expr: ast.Func, lookup):
    from .suggest import nearest

    name = expr.name
    if name not in FUNCTIONS and name != "normal":
        near = nearest(name, FUNCTIONS)
        ident = ast.Ident(expr.source, expr.start, expr.start + len(name), name)
        raise Fault("E134", f"unknown function `{name}`", ident,
                    f"did you mean `{near}`?" if near else "the functions are min, max, floor, ceil and round")
    values = [evaluate(arg, lookup) for arg in expr.args]
    if UNKNOWN in values:
        return UNKNOWN
    if not values or (len(values) > 1 and name not in ("min", "max")):
        example = "max(1, 2)" if name in ("min", "max") else f"{name}(0.5)"
        raise Fault("E135", f"`{name}` takes {'numbers' if name in ('min', 'max') else 'one number'}, "
                            f"not {len(values)}", expr, f"write it as in `{example}`")
    numbers = [number(v, n, name) for v, n in zip(values, expr.args)]
    if name == "normal":
        return Init("normal", float(numbers[0]))
    return exact(FUNCTIONS[name](*numbers) if len(numbers) > 1 or name not in ("min", "max") else numbers[0], expr)
