"""What the sections `data` and `train` of a `.net` file accept, as the language checks it. No NumPy here: `check` and
editors read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real

from .errors import NetError
from .lang.signature import Param, Range, Setting, Signature
from .lang.suggest import nearest
from .steps import STEPS

_LEAST_0 = Range("0 or more", lambda v: v >= 0)
_LEAST_1 = Range("at least 1", lambda v: v >= 1)
_ABOVE_0 = Range("above 0", lambda v: v > 0)
_BELOW_1 = Range("0 or more, below 1", lambda v: 0 <= v < 1)
_SHARE = Range("0 to 1", lambda v: 0 <= v <= 1)
_SHARE_OF_LR = Range("a share of lr, 0 to 1", _SHARE.holds)
_RISING = Range("epochs in rising order", lambda v: v[0] >= 0 and all(a < b for a, b in zip(v, v[1:])))
_WEIGHTS = Range("`data`, or a number for each class, 0 or more", lambda v: v == "data" or min(v) >= 0 and max(v) > 0)
_WARMUP = Param("warmup", "number", 0, range=_LEAST_0)  # epochs


def _n(range: Range) -> tuple[Param, ...]:
    return (Param("n", "whole", positional=True, range=range),)


DATA: dict[str, Setting] = {
    "source": Setting("source", (Param("name", "text|name", positional=True),)),
    "validation": Setting("validation", (Param("fraction", "number", positional=True, range=_BELOW_1),)),
    "augment": Setting("augment", choices=STEPS, pipeline=True),
    "test": Setting("test", choices=STEPS, pipeline=True),
}


def _optimizer(name: str, lr: float, *params: Param, decay: float = 0) -> Signature:
    """`clip`: largest norm of all gradients together; `ema`: how slowly the averaged weights follow; 0 is without."""
    return Signature(name, (
        Param("lr", "number", lr, range=_LEAST_0), *params, Param("decay", "number", decay, range=_LEAST_0),
        Param("decay_all", "switch", False), Param("clip", "number", 0, range=_LEAST_0),
        Param("ema", "number", 0, range=_BELOW_1)))


_EPS = Param("eps", "number", 1e-8, range=_ABOVE_0)
_ADAM = (Param("beta1", "number", 0.9, range=_BELOW_1), Param("beta2", "number", 0.999, range=_BELOW_1), _EPS)

# The default rate of sgd suits plain nets; with 0.1 and momentum 0.9 those without batch norm learn little or nothing.
OPTIMIZERS = {
    "sgd": _optimizer("sgd", 0.01, Param("momentum", "number", 0.9, range=_BELOW_1),
                      Param("nesterov", "switch", False)),
    "adam": _optimizer("adam", 1e-3, *_ADAM),
    "adamw": _optimizer("adamw", 1e-3, *_ADAM, decay=0.01),
    "rmsprop": _optimizer("rmsprop", 1e-3, Param("rho", "number", 0.9, range=_BELOW_1),
                          Param("momentum", "number", 0, range=_BELOW_1), _EPS),
}
SCHEDULES = {
    "constant": Signature("constant", (_WARMUP,)),
    "step": Signature("step", (Param("at", "list", range=_RISING), Param("factor", "number", 0.1, range=_ABOVE_0),
                               _WARMUP)),
    "exponential": Signature("exponential", (Param("factor", "number", range=_ABOVE_0),
                                             Param("every", "number", 1, range=_ABOVE_0), _WARMUP)),
    "polynomial": Signature("polynomial", (Param("power", "number", 1, range=_ABOVE_0),
                                           Param("end", "number", 0, range=_SHARE_OF_LR), _WARMUP)),
    "cosine": Signature("cosine", (Param("end", "number", 0, range=_SHARE_OF_LR), _WARMUP)),
    "onecycle": Signature("onecycle", (
        Param("rise", "number", 0.3, range=Range("a share of the training, 0 or more, below 1", _BELOW_1.holds)),
        Param("begin", "number", 0.04, range=_SHARE_OF_LR), Param("end", "number", 4e-6, range=_SHARE_OF_LR), _WARMUP)),
    "plateau": Signature("plateau", (Param("factor", "number", 0.1, range=_ABOVE_0), Param("patience", "whole", 3),
                                     _WARMUP)),
}
_WEIGHT = Param("weight", "number", 1, range=_ABOVE_0)
LOSSES = {
    "ce": Signature("ce", (Param("smoothing", "number", 0, range=_BELOW_1),
                           Param("weights", "list|word", None, words=("data",), range=_WEIGHTS), _WEIGHT)),
    "bce": Signature("bce", (_WEIGHT,)),
    "focal": Signature("focal", (Param("gamma", "number", 2, range=_LEAST_0),
                                 Param("alpha", "number", None, range=_SHARE), _WEIGHT)),
    "dice": Signature("dice", (Param("smooth", "number", 1, range=_LEAST_0), _WEIGHT)),
    "mse": Signature("mse", (_WEIGHT,)),
}

TRAIN: dict[str, Setting] = {
    "epochs": Setting("epochs", _n(_LEAST_0)),
    "batch": Setting("batch", _n(_LEAST_1)),
    "seed": Setting("seed", _n(Range("0 or more, below 2^63", lambda v: 0 <= v < 2**63))),
    "ensemble": Setting("ensemble", _n(_LEAST_1)),
    "optimizer": Setting("optimizer", choices=OPTIMIZERS),
    "schedule": Setting("schedule", choices=SCHEDULES),
    "loss": Setting("loss", choices=LOSSES, repeated=True),
    "patience": Setting("patience", _n(_LEAST_0)),
    "freeze": Setting("freeze", (Param("weights", "text|name", positional=True),)),
}

SECTIONS = {"data": DATA, "train": TRAIN}


def check_choice(choices: Mapping[str, Signature], what: str, name: str) -> None:
    """NetError where there is no such choice: for names that come from Python."""
    if name not in choices:
        near = nearest(name, choices)
        raise NetError(f"there is no {what} {name!r}",
                       help=f"did you mean {near!r}?" if near else f"there are {', '.join(choices)}")


# What values from Python a kind of parameter takes. None stands for a default that the net decides.
_KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "whole": ("a whole number", lambda v: isinstance(v, Integral) and not isinstance(v, bool)),
    "number": ("a number", lambda v: isinstance(v, Real) and not isinstance(v, bool)),
    "switch": ("True or False", lambda v: isinstance(v, bool)),
}


def check_values(signature: Signature, options: Mapping[str, object]) -> None:
    """NetError for an option of the wrong kind or out of its range: for values that come from Python."""
    for param in signature.params:
        if param.name in options:
            check_value(param, options[param.name], f"`{param.name}` of `{signature.name}`")


def check_value(param: Param, value: object, name: str) -> None:
    """`check_values` for one, called `name` in the error."""
    if value is None and param.default is None:
        return
    words, fits = _KINDS.get(param.kind, ("", lambda v: True))
    if not fits(value):
        raise NetError(f"{name} is {value!r}; it must be {words}")
    if param.range is not None and not param.range.holds(value):
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise NetError(f"{name} is {shown}; it must be {param.range.words}")


def checked_seed(seed) -> int:
    """The seed as Python's number; NetError for what is none."""
    seed = as_python(seed)
    check_value(TRAIN["seed"].params[0], seed, "`seed`")
    return seed


def as_python(value):
    """NumPy's numbers as Python's, anything else as it is."""
    return value.item() if hasattr(value, "item") else value
