"""The built-in layers by name. A layer is one class in one file; the language, the summary and the runtime read it."""

from __future__ import annotations

from . import activation, dropout, merge, norm, shape
from .base import GLOBAL, Layer, LayerError, Weight
from .conv import Conv, FullyConnected
from .deconv import Deconv
from .pool import Pool
from .resize import Up
from .shuffle import Shuffle

__all__ = ["GLOBAL", "LAYERS", "Layer", "LayerError", "Weight", "register"]

LAYERS: dict[str, Layer] = {
    layer.name: layer
    for layer in (
        *shape.FAMILY,
        Conv(),
        Deconv(),
        FullyConnected(),
        Pool(),
        Up(),
        *norm.FAMILY,
        *activation.FAMILY,
        *dropout.FAMILY,
        Shuffle(),
        *merge.FAMILY,
    )
}


def register(layer: Layer) -> None:
    """Adds a layer to the language; its name must be new."""
    if layer.name in LAYERS:
        raise ValueError(f"there is a layer `{layer.name}` already: choose another name")
    LAYERS[layer.name] = layer
