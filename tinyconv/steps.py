"""What the steps of `augment` and `test` accept, as the language checks it; data/steps.py runs them. No NumPy here."""

from __future__ import annotations

from .lang.signature import Param, Signature


def _whole(name: str = "n") -> Param:
    return Param(name, "whole", positional=True)


def _size() -> Param:
    return Param("n", "size", positional=True)  # a number counts for every axis


def _number(name: str, default: float) -> Param:
    return Param(name, "number", default)


def _range(name: str, low: float, high: float) -> Param:
    return Param(name, "list", (low, high))


STEPS = {step.name: step for step in (
    # geometry: an image and its mask move together
    Signature("pad", (_size(),)),
    Signature("crop", (_size(),)),
    Signature("fit", (_size(),)),
    Signature("shift", (_size(),)),
    Signature("flip", (Param("axis", "word", "horizontal", words=("horizontal", "vertical")),)),
    Signature("resize", (_whole(),)),
    Signature("resizedcrop", (_whole(), _range("scale", 0.08, 1), _range("ratio", 0.75, 1.3333))),
    Signature("rotate", (Param("degrees", "number", positional=True),)),
    Signature("affine", (_number("rotate", 0), _number("translate", 0), _range("scale", 1, 1), _number("shear", 0))),
    Signature("tencrop", (_whole(),)),
    # values: of the image alone
    Signature("jitter", (_number("brightness", 0), _number("contrast", 0), _number("saturation", 0),
                         _number("hue", 0))),
    Signature("pca", (Param("sigma", "number", positional=True),)),
    Signature("noise", (Param("sigma", "number", positional=True),)),
    Signature("cutout", (_size(),)),
    Signature("erase", (Param("p", "number", 0.5, positional=True), _range("area", 0.02, 0.33),
                        _range("ratio", 0.3, 3.3))),
    # two samples, and their labels
    Signature("mixup", (Param("alpha", "number", 0.2, positional=True),)),
    Signature("cutmix", (Param("alpha", "number", 1, positional=True),)),
)}
