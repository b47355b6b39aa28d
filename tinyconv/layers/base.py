"""What every layer tells about itself: what it accepts, its shape rule, cost, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod

from ..lang.errors import LayerError
from ..lang.shape import Shape
from ..lang.signature import Param, Signature

__all__ = ["GLOBAL", "Init", "Layer", "LayerError", "Param", "PerChannel", "Reference", "Shape", "Signature", "Weight",
           "checked_groups", "divisors", "flow", "per_axis", "referred", "spatial_axes", "total"]

GLOBAL = "global"  # the reach of a layer that sees the whole input

Init = tuple  # ("normal", sigma), ("uniform", bound) or ("constant", value)


@dataclass(frozen=True)
class Reference:
    """`@name` as an argument. The value it names is an input of the node after those that flow in: the layer is given
    its shape, and records steps of its size, but reads no data of it and owes it no gradient."""

    name: str  # of the node

    def __str__(self) -> str:
        return f"@{self.name}"


@dataclass(frozen=True)
class Weight:
    """An array a layer owns. `trainable` ones have gradients; `decay` tells whether weight decay applies;
    a `fixed` one is written in the `.net` file and is no part of the weights a user sees or saves."""

    name: str
    shape: tuple[int, ...]
    init: Init
    trainable: bool = True
    decay: bool = False
    fixed: bool = False

    @property
    def size(self) -> int:
        return prod(self.shape)


class Layer:
    """A family member. Subclasses say what differs; `args` is what `resolve` returned, `inputs` are Shapes."""

    signature: Signature

    @property
    def name(self) -> str:
        return self.signature.name

    def resolve(self, args: dict, inputs: tuple[Shape, ...]) -> dict:
        """The arguments with defaults computed and sizes given per axis; raises LayerError."""
        return dict(args)

    def shape(self, args: dict, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]

    def weights(self, args: dict, inputs: tuple[Shape, ...]) -> tuple[Weight, ...]:
        return ()

    def macs(self, args: dict, inputs: tuple[Shape, ...], output: Shape) -> int | None:
        """Multiply-adds for one sample (convolution and fully connected only); None where a size is free."""
        return 0

    def reach(self, args: dict, inputs: tuple[Shape, ...]):
        """None (each position sees itself), GLOBAL, or (extent per axis, stride per axis)."""
        return None

    def forward(self, tape, args, x, params):
        """Records the forward pass; returns the output buffer and what backward needs. `x` is the input's buffer, a
        tuple of buffers for merges and where arguments are References (see `flow`)."""
        raise NotImplementedError

    def backward(self, tape, args, dy, saved, params):
        """Records the backward pass; returns dx (a tuple for merges; None where nobody needs it)."""
        raise NotImplementedError


class PerChannel(Layer):
    """One learned number per channel, without weight decay. The operation and its gradient have the layer's name."""

    def start(self, args: dict) -> float:
        raise NotImplementedError

    def weights(self, args, inputs):
        return (Weight("weight", (inputs[0].channels,), ("constant", self.start(args))),)

    def forward(self, tape, args, x, params):
        return tape.op(self.name, x, params["weight"]), x

    def backward(self, tape, args, dy, saved, params):
        dx, dw = tape.op(f"{self.name}_grad", saved, params["weight"], dy)
        tape.gradient(params["weight"], dw)
        return dx


def total(shape: Shape) -> int | None:
    """Values in one sample, None where an axis is free."""
    return None if None in shape.spatial else prod(shape.spatial) * shape.channels


def spatial_axes(name: str, x: Shape, help: str) -> int:
    """How many spatial axes the input has; LayerError where there are none."""
    if not x.spatial:
        raise LayerError(f"`{name}` needs spatial axes, and there are none left here", help=help)
    return len(x.spatial)


def divisors(n: int) -> list[int]:
    """In rising order, n itself the last."""
    low = [d for d in range(1, isqrt(n) + 1) if n % d == 0]
    return sorted({*low, *(n // d for d in low)})


def checked_groups(name: str, g: int, channels: int) -> None:
    """LayerError where g groups do not divide the channels, with the numbers that would."""
    if g < 1:
        raise LayerError(f"`{name}` needs at least 1 group")
    if channels % g:
        near = sorted(divisors(channels), key=lambda n: (abs(n - g), n))[:6]
        raise LayerError(f"{g} groups do not divide {channels} channels",
                         help=f"write `{name} {near[0]}`: g of {', '.join(map(str, sorted(near)))} would do")


def per_axis(value, axes: int, what: str, least: int = 1) -> tuple[int, ...]:
    """A number counts for all axes; a size must have exactly as many as the input."""
    size = value if isinstance(value, tuple) else (value,) * axes
    if len(size) != axes:
        dims = {0: "no spatial axes", 1: "1 spatial axis"}.get(axes, f"{axes} spatial axes")
        text = "x".join("?" if v is None else str(v) for v in size)
        number = str(size[0]) if len(set(size)) == 1 else "x".join(["…"] * max(axes, 1))
        raise LayerError(f"{what} {text} has {len(size)} axes, but the input has {dims}",
                         help=f"write {number}" if axes else "there is no spatial axis left here: use `fc`")
    if any(v is None for v in size):
        raise LayerError(f"{what} cannot be of free size", help="`?` is for the input only")
    if any(v < least for v in size):
        raise LayerError(f"{what} must be at least {least}, this is {'x'.join(map(str, size))}",
                         help=f"write {least} or more for every axis")
    return size


def flow(x) -> tuple:
    """What `forward` is given as x, as (the buffer that flows in, the Shapes of it and of what References name)."""
    buffers = x if isinstance(x, tuple) else (x,)
    return buffers[0], tuple(Shape(b.shape[1:-1], b.shape[-1]) for b in buffers)


def referred(name: str, reference: Reference, inputs: tuple[Shape, ...]) -> tuple[int | None, ...]:
    """The spatial size that a Reference stands for: that of the second input. LayerError where the axes differ."""
    x, other = inputs
    if len(x.spatial) != len(other.spatial):
        raise LayerError(f"`{name} {reference}` takes the spatial size of {other}, but {x} flows in",
                         help="refer to a value with as many spatial axes")
    return other.spatial
