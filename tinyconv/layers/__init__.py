"""The built-in layers by name. A layer is one class in one file; the language, the summary and the runtime read it."""

from __future__ import annotations

from . import activation, merge, shape
from .base import GLOBAL, Layer, LayerError, Weight
from .conv import Conv, FullyConnected
from .dropout import Dropout
from .norm import BatchNorm, LocalResponseNorm
from .pool import Pool

__all__ = ["GLOBAL", "LAYERS", "Layer", "LayerError", "Weight", "register"]

LAYERS: dict[str, Layer] = {
    layer.name: layer
    for layer in (
        *shape.FAMILY,
        Conv(),
        FullyConnected(),
        Pool(),
        BatchNorm(),
        LocalResponseNorm(),
        *activation.FAMILY,
        Dropout(),
        *merge.FAMILY,
    )
}


def register(layer: Layer) -> None:
    """Adds a layer to the language; its name must be new."""
    if layer.name in LAYERS:
        raise ValueError(f"there is a layer `{layer.name}` already: choose another name")
    LAYERS[layer.name] = layer
