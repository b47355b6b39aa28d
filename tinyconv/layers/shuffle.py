"""Channel shuffle (Zhang et al. 2018, ShuffleNet): mixes the groups of grouped convolutions without arithmetic."""

from __future__ import annotations

from .base import Layer, LayerError, Param, Signature


def checked_groups(name: str, g: int, channels: int) -> None:
    """LayerError where g groups do not divide the channels, with the numbers that would."""
    if g < 1:
        raise LayerError(f"`{name}` needs at least 1 group")
    if channels % g:
        near = sorted((n for n in range(1, channels + 1) if channels % n == 0), key=lambda n: (abs(n - g), n))[:6]
        raise LayerError(f"{g} groups do not divide {channels} channels",
                         help=f"write `{name} {near[0]}`: g of {', '.join(map(str, sorted(near)))} would do")


class Shuffle(Layer):
    """y[j g + i] = x[i (c/g) + j]: the channels as a (g, c/g) matrix, transposed, at each position."""

    signature = Signature("shuffle", (Param("g", "whole", positional=True),))

    def resolve(self, args, inputs):
        checked_groups("shuffle", args["g"], inputs[0].channels)
        return dict(args)

    def forward(self, tape, args, x, params):
        return tape.op("shuffle", x, groups=args["g"]), None

    def backward(self, tape, args, dy, saved, params):
        return tape.op("shuffle", dy, groups=dy.shape[-1] // args["g"])
