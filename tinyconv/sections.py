"""What the sections `data` and `train` of a `.net` file accept, as the language checks it. No NumPy here: `check` and
editors read it."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import NetError
from .lang.signature import Param, Setting, Signature
from .lang.suggest import nearest
from .steps import STEPS

_N = (Param("n", "whole", positional=True),)
_WARMUP = Param("warmup", "number", 0)  # epochs

DATA: dict[str, Setting] = {
    "source": Setting("source", (Param("name", "text|name", positional=True),)),
    "validation": Setting("validation", (Param("fraction", "number", positional=True),)),
    "augment": Setting("augment", choices=STEPS, pipeline=True),
    "test": Setting("test", choices=STEPS, pipeline=True),
}


def _optimizer(name: str, lr: float, *params: Param, decay: float = 0) -> Signature:
    """`clip`: largest norm of all gradients together; `ema`: how slowly the averaged weights follow; 0 is without."""
    return Signature(name, (
        Param("lr", "number", lr), *params, Param("decay", "number", decay), Param("decay_all", "switch", False),
        Param("clip", "number", 0), Param("ema", "number", 0)))


_ADAM = (Param("beta1", "number", 0.9), Param("beta2", "number", 0.999), Param("eps", "number", 1e-8))

# The default rate of sgd suits plain nets; with 0.1 and momentum 0.9 those without batch norm learn little or nothing.
OPTIMIZERS = {
    "sgd": _optimizer("sgd", 0.01, Param("momentum", "number", 0.9), Param("nesterov", "switch", False)),
    "adam": _optimizer("adam", 1e-3, *_ADAM),
    "adamw": _optimizer("adamw", 1e-3, *_ADAM, decay=0.01),
    "rmsprop": _optimizer("rmsprop", 1e-3, Param("rho", "number", 0.9), Param("momentum", "number", 0),
                          Param("eps", "number", 1e-8)),
}
SCHEDULES = {
    "constant": Signature("constant", (_WARMUP,)),
    "step": Signature("step", (Param("at", "list"), Param("factor", "number", 0.1), _WARMUP)),
    "exponential": Signature("exponential", (Param("factor", "number"), Param("every", "number", 1), _WARMUP)),
    "polynomial": Signature("polynomial", (Param("power", "number", 1), Param("end", "number", 0), _WARMUP)),
    "cosine": Signature("cosine", (Param("end", "number", 0), _WARMUP)),
    "onecycle": Signature("onecycle", (Param("rise", "number", 0.3), Param("begin", "number", 0.04),
                                       Param("end", "number", 4e-6), _WARMUP)),
    "plateau": Signature("plateau", (Param("factor", "number", 0.1), Param("patience", "whole", 3), _WARMUP)),
}
_WEIGHT = Param("weight", "number", 1)
LOSSES = {
    "ce": Signature("ce", (Param("smoothing", "number", 0), Param("weights", "list|word", None, words=("data",)),
                           _WEIGHT)),
    "bce": Signature("bce", (_WEIGHT,)),
    "focal": Signature("focal", (Param("gamma", "number", 2), Param("alpha", "number", None), _WEIGHT)),
    "dice": Signature("dice", (Param("smooth", "number", 1), _WEIGHT)),
    "mse": Signature("mse", (_WEIGHT,)),
}

TRAIN: dict[str, Setting] = {
    "epochs": Setting("epochs", _N),
    "batch": Setting("batch", _N),
    "seed": Setting("seed", _N),
    "ensemble": Setting("ensemble", _N),
    "optimizer": Setting("optimizer", choices=OPTIMIZERS),
    "schedule": Setting("schedule", choices=SCHEDULES),
    "loss": Setting("loss", choices=LOSSES, repeated=True),
    "patience": Setting("patience", _N),
    "freeze": Setting("freeze", (Param("weights", "text|name", positional=True),)),
}

SECTIONS = {"data": DATA, "train": TRAIN}


def check_choice(choices: Mapping[str, Signature], what: str, name: str) -> None:
    """NetError where there is no such choice: for names that come from Python."""
    if name not in choices:
        near = nearest(name, choices)
        raise NetError(f"there is no {what} {name!r}",
                       help=f"did you mean {near!r}?" if near else f"there are {', '.join(choices)}")
