"""Other libraries' calls in this language, for suggestions: `Conv2d(3, 64, 3, padding=1)` is `conv 3 x64 p1`."""

from __future__ import annotations

import re

from .suggest import FIRST_PARAMETERS, FOREIGN, PARAMETERS, plain_name

# Keys of PyTorch and Keras that have no counterpart, or say what happens anyway.
DROPPED = ("in_channels", "in_features", "inplace", "dim", "axis", "input_shape", "name", "num_features",
           "num_channels", "padding_mode", "data_format", "input")
# Positionals in their order, by the layer's name here. None is left out: it follows from what enters.
TORCH = {"conv": (None, "x", "k", "s", "p"), "deconv": (None, "x", "k", "s", "p"), "fc": (None, "x"), "gn": ("g", None)}
KERAS = {"conv": ("x", "k", "s"), "deconv": ("x", "k", "s"), "fc": ("x",)}
PLAIN = {"pool": ("k", "s", "p"), "dropout": ("p",), "up": ("k",), "leaky": ("a",), "elu": ("a",), "fc": ("x",),
         "bn": (), "flatten": (), "relu": (), "softmax": (), "sigmoid": (), "tanh": ()}


def flagged(text: str) -> str:
    """Arguments with other libraries' keys given as here: `3 stride 2` is `3 s2`."""
    def own(m):
        key = PARAMETERS.get(plain_name(m.group(1)), m.group(1))
        return m.group() if len(key) > 1 else f"{key}{m.group(2)}"

    return re.sub(r"\b([a-z_]\w*)(?: |=)(\d+(?:x\d+)*)\b", own, text)


def translated(text: str) -> str:
    """The call `text` of another library as it would be written here; "" for what is no call."""
    m = re.match(r"(?:\w+\.)*(\w+)\s*(?:\((.*))?$", text.strip(), re.S)
    if not m or len(text) > 300:
        return ""
    name, inside = m.groups()
    template = FOREIGN.get(plain_name(name), plain_name(name) if re.search(r"[123][dD]$|[A-Z]", name) else name)
    word, *rest = template.replace("{}", "").split()
    given = arguments(word, name, re.sub(r"\)\s*$", "", inside) if inside is not None else "")
    then = given.pop("activation", "")
    if word == "input" and given:
        sizes = " ".join(given.values()).split(" ") if len(given) == 1 else [*given.values()]
        return " ".join([word, "x".join(s for s in sizes[:-1]), f"x{sizes[-1].lstrip('x')}"])
    words = [*written(word, given), *rest]
    return " ".join([word, *words]) + (f" -> {plain_name(then)}" if then else "")


def arguments(word: str, name: str, inside: str) -> dict[str, str]:
    """{parameter: value}; what has no parameter of its own keeps its place under a number."""
    positional, given = [], {}
    for item in pieces(inside):
        key, sign, value = item.partition("=")
        if sign and re.fullmatch(r"\w+", key.strip()):
            if key.strip() not in DROPPED:
                given[PARAMETERS.get(plain_name(key.strip()), key.strip())] = tidy(value)
        elif item:
            positional.append(tidy(item))
    for place, value in zip(order(word, name, positional), positional):
        if place is not None:
            given[str(place)] = value
    return given


def order(word: str, name: str, values: list[str]):
    """The parameters that positionals fill, by the library that writes the name so."""
    if name.endswith("D") or name == "Dense":
        return KERAS.get(word, PLAIN.get(word, range(9)))
    if word in TORCH and (re.search(r"\dd$", name) or name == "Linear") and len(values) > 1:
        return TORCH[word]
    if word in ("conv", "deconv") and all(v.isdigit() for v in values[:2]) and len(values) > 1:
        return ("k", "x", "s", "p") if int(values[0]) <= int(values[1]) else ("x", "k", "s", "p")
    return PLAIN.get(word, range(9))


def pieces(text: str) -> list[str]:
    """The text cut at its commas, those in parentheses kept."""
    parts, depth = [""], 0
    for c in text:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts]


def tidy(value: str) -> str:
    value = value.strip().strip("'\"")
    group = re.fullmatch(r"[(\[]([\d\s,]*)[)\]]", value)
    if group:
        numbers = [n.strip() for n in group.group(1).split(",") if n.strip()]
        return f"{'x'.join(numbers[:-1])} x{numbers[-1]}" if len(numbers) == 3 else "x".join(numbers)
    return {"True": "on", "False": "off", "true": "on", "false": "off"}.get(value, value)


def written(word: str, given: dict[str, str]) -> list[str]:
    """The arguments: the first parameter as a positional, one letter and a number as a flag, others by key."""
    first = FIRST_PARAMETERS.get(word)
    words = [given[first]] if first in given else []
    for key, value in given.items():
        if key == first or (key == "p" and value == "same") or (key in "sdg" and value == "1") \
                or (key == "bias" and value == "on"):
            continue
        if key == "p" and value == "valid":
            words.append("p0")
        elif key.isdigit():
            words.append(value)
        elif len(key) == 1 and re.fullmatch(r"\d+(?:x\d+)*", value):
            words.append(f"{key}{value}")
        elif re.fullmatch(r"[\w.+-]+", value):
            words.append(f"{key}={value}")
    return words
