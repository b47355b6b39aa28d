"""The checked settings that the loop works from, made from the `train` section, with their defaults."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Mapping

from ..errors import NetError
from ..lang.signature import Signature
from ..sections import LOSSES, OPTIMIZERS, SCHEDULES, TRAIN, as_python, check_choice, check_value, check_values

__all__ = ["Choice", "LOSSES", "OPTIMIZERS", "SCHEDULES", "Settings", "TRAIN"]

Choice = tuple[str, Mapping[str, Any]]  # ("sgd", {"lr": 0.1, …}): every parameter of the signature is there


def _default(choices: Mapping[str, Signature], name: str) -> Choice:
    return name, {param.name: param.default for param in choices[name].params}


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
        values |= {name: as_python(value) for name, value in given.items() if value is not None}
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
        given = {option: as_python(value) for option, value in options.items()}
        return dataclasses.replace(self, optimizer=(name, {**kept, **given}))

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
        for name in ("epochs", "batch", "seed", "ensemble", "patience"):
            value = getattr(self, name)
            if not (name == "patience" and value is None):
                check_value(TRAIN[name].params[0], value, f"`{name}`")
        for choices, picked in ((OPTIMIZERS, [self.optimizer]), (SCHEDULES, [self.schedule]), (LOSSES, self.loss)):
            for kind, options in picked:
                check_values(choices[kind], options)
        options = self.optimizer[1]
        if options.get("nesterov") and not options["momentum"]:
            raise NetError("`nesterov` is used with momentum", help="give a `momentum` above 0")
