"""Shapes as the language prints them: spatial sizes apart from channels, `56x56 x64`."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """One sample's shape, without the batch axis. A spatial size of None is an axis of free size, written `?`."""

    spatial: tuple[int | None, ...]
    channels: int

    def __str__(self) -> str:
        sizes = "x".join("?" if n is None else str(n) for n in self.spatial)
        return f"{sizes} x{self.channels}" if sizes else f"x{self.channels}"
