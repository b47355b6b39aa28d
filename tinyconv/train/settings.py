"""The checked settings that the loop works from, made from the `train` section, with their defaults."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Mapping

from ..errors import NetError
from ..lang.signature import Signature
from ..sections import LOSSES, OPTIMIZERS, SCHEDULES, TRAIN, check_choice

__all__ = ["Choice", "LOSSES", "OPTIMIZERS", "SCHEDULES", "Settings", "TRAIN"]

Choice = tuple[str, Mapping[str, Any]]  # ("sgd", {"lr": 0.1, …}): every parameter of the signature is there


# Of optimisers, schedules and losses: names of parameters, what holds for them, in words.
OPTIMIZER_RANGES = (
    (("lr", "decay", "clip"), lambda v: v >= 0, "0 or more"),
    (("momentum", "beta1", "beta2", "rho", "ema"), lambda v: 0 <= v < 1, "0 or more, below 1"),
    (("eps",), lambda v: v > 0, "above 0"),
)

SCHEDULE_RANGES = (
    (("factor", "every", "power"), lambda v: v > 0, "above 0"),
    (("begin", "end"), lambda v: 0 <= v <= 1, "a share of lr, 0 to 1"),
    (("rise",), lambda v: 0 <= v < 1, "a share of the training, 0 or more, below 1"),
)

LOSS_RANGES = (
    (("weight",), lambda v: v > 0, "above 0"),
    (("smoothing",), lambda v: 0 <= v < 1, "0 or more, below 1"),
    (("gamma", "smooth"), lambda v: v >= 0, "0 or more"),
    (("alpha",), lambda v: 0 <= v <= 1, "0 to 1"),
    (("weights",), lambda v: v == "data" or min(v) >= 0 and max(v) > 0,
     "`data`, or a number for each class, 0 or more"),
)


def shown(value: Any) -> str:
    """As the text has it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _default(choices: Mapping[str, Signature], name: str) -> Choice:
    return name, {param.name: param.default for param in choices[name].params}


def _rules(options: Mapping[str, Any], ranges: tuple) -> list[tuple[str, Any, bool, str]]:
    """(name, value, whether it holds, what should) of the parameters that are given."""
    return [(name, options[name], good(options[name]), wanted)
            for names, good, wanted in ranges for name in names if options.get(name) is not None]


@dataclass(frozen=True)
class Settings:
    """A whole recipe. Made by `of` from a section, or by hand; out-of-range values are a NetError.

    `batch` and `ensemble`, the number of nets to train, are at least 1. `loss` is empty where the net's last layer
    decides. `patience`: how many epochs may pass without a lower validation loss; None for any number. `freeze`:
    patterns of the names of weights, with spaces between.
    """

    epochs: int = 10
    batch: int = 32
    seed: int = 0
    optimizer: Choice = dataclasses.field(default_factory=lambda: _default(OPTIMIZERS, "sgd"))
    schedule: Choice = dataclasses.field(default_factory=lambda: _default(SCHEDULES, "constant"))
    loss: tuple[Choice, ...] = ()
    ensemble: int = 1
    patience: int | None = None
    freeze: str = ""

    @classmethod
    def of(cls, section: Mapping[str, Any] | None, **given: Any) -> Settings:
        """From `lang.sections(…)["train"]` (absent settings take their defaults); `given` (`epochs=…`, `batch=…`,
        `seed=…`) wins where it is not None."""
        values = dict(section or {})
        if "loss" in values:
            values["loss"] = tuple(values["loss"])
        if "freeze" in values:
            _, values["freeze"], _ = values["freeze"]
        values.update({name: value for name, value in given.items() if value is not None})
        return cls(**values)

    def with_optimizer(self, optimizer: str | None = None, /, **options: Any) -> Settings:
        """The same with another optimiser, where one is named, and some of its parameters replaced; an unknown
        parameter is a TypeError."""
        name, kept = self.optimizer
        if optimizer is not None and optimizer != name:
            check_choice(OPTIMIZERS, "optimizer", optimizer)
            name, kept = _default(OPTIMIZERS, optimizer)
        for option in options:
            if option not in kept:
                raise TypeError(f"`{option}` is no parameter of {name}; it has {', '.join(kept)}")
        return dataclasses.replace(self, optimizer=(name, {**kept, **options}))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        """The inverse of `to_json`."""

        def choice(pair: list) -> Choice:
            return pair[0], {k: tuple(v) if isinstance(v, list) else v for k, v in pair[1].items()}

        return cls(data["epochs"], data["batch"], data["seed"], choice(data["optimizer"]), choice(data["schedule"]),
                   tuple(choice(pair) for pair in data["loss"]), data["ensemble"], data["patience"], data["freeze"])

    def to_json(self) -> dict[str, Any]:
        """Plain data for config.json."""
        return {"epochs": self.epochs, "batch": self.batch, "seed": self.seed, "optimizer": list(self.optimizer),
                "schedule": list(self.schedule), "loss": [list(pair) for pair in self.loss], "ensemble": self.ensemble,
                "patience": self.patience, "freeze": self.freeze}

    def __post_init__(self) -> None:
        optimizer, schedule = self.optimizer[1], self.schedule[1]
        rules = [
            ("epochs", self.epochs, self.epochs >= 0, "0 or more"),
            ("batch", self.batch, self.batch >= 1, "at least 1"),
            ("ensemble", self.ensemble, self.ensemble >= 1, "at least 1"),
            ("patience", self.patience, self.patience is None or self.patience >= 0, "0 epochs or more"),
            ("seed", self.seed, 0 <= self.seed < 2 ** 63, "0 or more, below 2^63"),
            *_rules(optimizer, OPTIMIZER_RANGES),
            ("nesterov", "on", not optimizer.get("nesterov") or optimizer["momentum"] > 0, "used with momentum"),
            ("warmup", schedule["warmup"], schedule["warmup"] >= 0, "0 epochs or more"),
            *_rules(schedule, SCHEDULE_RANGES),
        ]
        if "at" in schedule:
            at = schedule["at"]
            rising = all(a < b for a, b in zip(at, at[1:])) and all(a >= 0 for a in at)
            rules.append(("at", shown(at), rising, "epochs in rising order"))
        rules += [(f"{name} of loss {kind}", shown(value), good, wanted)
                  for kind, options in self.loss for name, value, good, wanted in _rules(options, LOSS_RANGES)]
        for name, value, good, wanted in rules:
            if not good:
                raise NetError(f"`{name}` of the training settings is {value}; it must be {wanted}")
