"""What the sections `data` and `train` of a `.net` file accept, as the language checks it. No NumPy here: `check` and
editors read it."""

from __future__ import annotations

from .lang.signature import Param, Setting, Signature

_N = (Param("n", "whole", positional=True),)
_WARMUP = Param("warmup", "number", 0)  # epochs

# Steps of `augment` and `test`; data/steps.py runs them.
STEPS = {
    "pad": Signature("pad", _N),
    "crop": Signature("crop", _N),
    "flip": Signature("flip"),
    "resize": Signature("resize", _N),
}

DATA: dict[str, Setting] = {
    "source": Setting("source", (Param("name", "text|name", positional=True),)),
    "validation": Setting("validation", (Param("fraction", "number", positional=True),)),
    "augment": Setting("augment", choices=STEPS, pipeline=True),
    "test": Setting("test", choices=STEPS, pipeline=True),
}

# The default rate suits plain nets; with 0.1 and momentum 0.9 those without batch norm learn little or nothing.
OPTIMIZERS = {
    "sgd": Signature("sgd", (
        Param("lr", "number", 0.01), Param("momentum", "number", 0.9), Param("decay", "number", 0),
        Param("nesterov", "switch", False), Param("decay_all", "switch", False))),
}
SCHEDULES = {
    "constant": Signature("constant", (_WARMUP,)),
    "step": Signature("step", (Param("at", "list"), Param("factor", "number", 0.1), _WARMUP)),
    "cosine": Signature("cosine", (_WARMUP,)),
    "plateau": Signature("plateau", (Param("factor", "number", 0.1), Param("patience", "whole", 3), _WARMUP)),
}
LOSSES = {"ce": Signature("ce", (Param("weight", "number", 1),))}

TRAIN: dict[str, Setting] = {
    "epochs": Setting("epochs", _N),
    "batch": Setting("batch", _N),
    "seed": Setting("seed", _N),
    "optimizer": Setting("optimizer", choices=OPTIMIZERS),
    "schedule": Setting("schedule", choices=SCHEDULES),
    "loss": Setting("loss", choices=LOSSES, repeated=True),
}

SECTIONS = {"data": DATA, "train": TRAIN}
