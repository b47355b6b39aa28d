"""A net's weights, once, as the user sees them; and packed for the plans that want them so."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable

import numpy as np

from ..errors import NetError
from ..graph import Graph
from ..layers import Weight
from .host import ALIGN, HOST, aligned, empty  # noqa: F401
from .tape import Buffer

def layout(specs: dict[str, Weight]) -> tuple[dict[str, int], int]:
    """(where each array of a block begins, size of the block), in bytes."""
    offsets, at = {}, 0
    for name, weight in specs.items():
        offsets[name] = at
        at += -(-4 * weight.size // ALIGN) * ALIGN
    return offsets, at


class Block:
    """Named float32 arrays in one piece of memory of a device, zero at first. `offsets` are in bytes. `what` they are,
    in the plural, for the error where they do not fit."""

    def __init__(self, specs: dict[str, Weight], device=HOST, what: str = "the weights"):
        self.specs, self.device = specs, device
        self.offsets, nbytes = layout(specs)
        self.memory = device.zeros(nbytes, what)

    def read(self, name: str) -> np.ndarray:
        """A copy of the array, in the host's memory."""
        return self.device.read(self.view(name))

    def put(self, name: str, value) -> None:
        """Overwrites the array with values of the host."""
        self.device.write(self.view(name), value)

    def view(self, name: str):
        """The array itself, where it lies, no copy."""
        weight, at = self.specs[name], self.offsets[name]
        return self.memory[at:at + 4 * weight.size].view(np.float32).reshape(weight.shape)

    def piece(self, b: Buffer):
        """What a buffer of a plan stands for: a view of the array of its name, or of a part."""
        at = self.offsets[b.name] + b.begin
        return self.memory[at:at + b.bytes].view(np.float32).reshape(b.shape)


class Store(Block):
    """A net's weights. `version` counts their changes: who writes to a view calls `changed`."""

    def __init__(self, graph: Graph, seed: int, device=HOST):
        specs = {f"{node.owner}.{weight.name}": weight for node in graph.nodes for weight in node.params}
        super().__init__(specs, device)
        self.version = 0
        self.lock = threading.Lock()
        self._packed: dict[tuple, tuple[int, np.ndarray]] = {}
        self._room, self._room_version = empty(0), 0  # for the next packed weights, of that version
        for name, weight in self.specs.items():
            self.put(name, initial_value(name, weight, seed))

    def names(self) -> list[str]:
        """Those a user sees: not what is written in the `.net` file."""
        return [name for name, weight in self.specs.items() if not weight.fixed]

    def write(self, name: str, value) -> None:
        weight = self.specs.get(name)
        if weight is None or weight.fixed:
            raise KeyError(f"there is no weight {name!r}: see net.weights.keys()")
        value = np.asarray(value)
        if value.dtype.kind not in "fiu":
            raise TypeError(f"{name} holds numbers, not {value.dtype}")
        if value.shape != weight.shape:
            raise NetError(f"{name} has shape {weight.shape}, not {value.shape}")
        with self.lock:
            self.put(name, value)
            self.version += 1

    def changed(self) -> None:
        """After a training step: what was packed is out of date."""
        with self.lock:
            self.version += 1

    def has_packed(self, key: tuple) -> bool:
        return key in self._packed

    def packed(self, key: tuple, pack: Callable[[], np.ndarray]) -> np.ndarray:
        """Weights in another layout, made anew where they changed since; an array once given out stays as it is."""
        have = self._packed.get(key)
        if have is not None and have[0] == self.version:
            return have[1]
        with self.lock:
            version = self.version
            have = self._packed.get(key)
            if have is None or have[0] != version:
                have = version, pack()
                self._packed[key] = have
            return have[1]

    def piece_for_packed(self, nbytes: int) -> np.ndarray:
        """Zeroed memory for packed weights; `pack` above asks for it. They lie one behind the other in arrays as large
        as all weights, for only large arrays get huge pages: with a layer's weights in an array of its own, MobileNetV1
        takes 1.03 times as long, for the processor's table of pages is short. Those of one version share an array, so
        that it goes when they are out of date."""
        if nbytes > self._room.nbytes or self._room_version != self.version:
            self._room = empty(max(nbytes, self.memory.nbytes))
            self._room_version = self.version
        out, self._room = self._room[:nbytes], self._room[-(-nbytes // ALIGN) * ALIGN:]
        out.fill(0)
        return out


def initial_value(name: str, weight: Weight, seed: int) -> np.ndarray:
    """Drawn from a stream of its own, so that a weight's start depends on its name and the seed alone."""
    kind, value = weight.init
    if kind == "constant":
        return np.asarray(value, np.float32)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if kind == "normal":
        out = rng.standard_normal(weight.shape, np.float32)
    else:
        out = rng.random(weight.shape, np.float32)
        out *= 2
        out -= 1
    out *= np.float32(value)  # in place: the largest weights have hundreds of megabytes
    return out
