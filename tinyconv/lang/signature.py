"""What a callee accepts. The language knows no layer by name: layers, optimisers and augmentation steps describe
themselves with these, and the parser's errors, the formatter and the summary read the same description."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


class Required:
    """The default of a parameter that must be given."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = Required()


@dataclass(frozen=True)
class Range:
    """Which values of its kind a parameter takes: those for which `holds(value)`, in words "it must be `words`"."""

    words: str
    holds: Callable[[object], bool]


@dataclass(frozen=True)
class Param:
    """One parameter.

    `kind` lists what it takes, joined by `|`:
      whole   int >= 0                      number  int or float
      size    int, or a tuple of ints (one an axis; None where the text has `?`)
      switch  True/False (`on`/`off`; a switch's bare name is `on`)
      word    one of `words`; also usable as a bare word of the callee (`avg`)
      init    ("he",) ("xavier",) ("zeros",) ("normal", 0.01)
      text    a quoted string               value   `@name`
      list    a tuple of numbers (a single number comes as a tuple of one)
      name    a bare word taken literally (`share=trunk`)
    Numbers arrive as int where they are whole, else float. `range`: of settings, which of these values it takes.
    """

    name: str
    kind: str
    default: object = REQUIRED
    positional: bool = False
    words: tuple[str, ...] = ()
    range: Range | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.kind.split("|"))


@dataclass(frozen=True)
class Signature:
    """A callee: its parameters in order (positional ones first). `merge` takes branches in braces."""

    name: str
    params: tuple[Param, ...] = ()
    merge: bool = False

    def param(self, name: str) -> Param | None:
        return next((p for p in self.params if p.name == name), None)


@dataclass(frozen=True)
class Setting:
    """One setting of a section (`epochs 10`, `optimizer sgd lr=0.1`, `augment: pad 4 -> flip`).

    Without `choices` the setting takes `params`. With `choices` its first word picks a Signature, whose params the
    rest fills. `pipeline` settings are written with a colon and are a sequence of `choices`. `repeated` ones may
    stand several times and come as a list.
    """

    name: str
    params: tuple[Param, ...] = ()
    choices: Mapping[str, Signature] | None = None
    repeated: bool = False
    pipeline: bool = False
