"""The layer graph as plain data: what the summary, checks and exports read, and what plans are recorded from."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, prod

from ..errors import NetError
from ..lang.shape import Shape
from ..layers.base import Reference, Weight


@dataclass(frozen=True)
class Node:
    """One resolved built-in.

    `inputs` are indices of earlier nodes; `params` its weights, the first part of whose names is `owner` (another
    node's name where weights are shared). What `@name` arguments refer to stands in `inputs` after what flows in; the
    argument itself is a layers.base.Reference. `exact_field` and `exact_jump` are receptive field and distance between
    neighbours in input positions, per axis of the net's input: fractions where a layer's stride is below 1. After
    global layers the field is the input's extent and the jump None.
    """

    index: int
    name: str
    op: str
    args: dict
    inputs: tuple[int, ...]
    shape: Shape
    params: tuple[Weight, ...]
    owner: str
    macs: int | None
    exact_field: tuple[int | Fraction | None, ...]
    exact_jump: tuple[int | Fraction, ...] | None
    span: object
    trail: tuple
    head: str | None = None

    @property
    def field(self) -> tuple[int | None, ...]:
        """In whole inputs: a field of 3/2 lies across two."""
        return tuple(f if f is None else ceil(f) for f in self.exact_field)

    @property
    def jump(self) -> tuple[int | float, ...] | None:
        """Whole jumps as int, those within an input position as float."""
        return self.exact_jump and tuple(int(j) if j == int(j) else float(j) for j in self.exact_jump)

    @property
    def flowing(self) -> tuple[int, ...]:
        """`inputs` without those that only lend their size (`crop @a`)."""
        return self.inputs[:len(self.inputs) - sum(isinstance(value, Reference) for value in self.args.values())]

    @property
    def n_params(self) -> int:
        """Trainable values; 0 where the weights belong to an earlier node."""
        return sum(w.size for w in self.params if w.trainable) if self.owner == self.name else 0

    @property
    def activation_bytes(self) -> int | None:
        """Memory of the output for one sample, float32; None where a size is free."""
        return None if None in self.shape.spatial else 4 * prod(self.shape.spatial) * self.shape.channels


@dataclass(frozen=True)
class Head:
    """An auxiliary output, used in training only; its loss counts `weight` times."""

    name: str
    weight: float
    output: int
    nodes: tuple[Node, ...]

    @property
    def params(self) -> int:
        return sum(n.n_params for n in self.nodes)

    @property
    def macs(self) -> int | None:
        return add_known(n.macs for n in self.nodes)


@dataclass
class Graph:
    """Nodes in an order in which each comes after its inputs; nodes[0] is the input.

    `names`: what `as` calls the output of a node, by its index: (name, number of block calls around the `as`).
    """

    nodes: list[Node] = field(default_factory=list)
    output_index: int = 0
    heads: list[Head] = field(default_factory=list)
    program: object = None
    warnings: list = field(default_factory=list)
    names: dict[int, list[tuple[str, int]]] = field(default_factory=dict)

    @property
    def input(self) -> Shape:
        return self.nodes[0].shape

    @property
    def output(self) -> Shape:
        return self.nodes[self.output_index].shape

    @property
    def main(self) -> list[Node]:
        """The nodes that are no part of a head."""
        return [n for n in self.nodes if n.head is None]

    @property
    def params(self) -> int:
        """Trainable values: scale and shift of normalisation counted, running statistics not, without heads."""
        return sum(n.n_params for n in self.main)

    @property
    def macs(self) -> int | None:
        """Multiply-adds of convolution and fully connected layers for one sample, without heads."""
        return add_known(n.macs for n in self.main)

    @property
    def activation_bytes(self) -> int | None:
        return add_known(n.activation_bytes for n in self.main)

    def require_layers(self) -> None:
        """NetError for a file of blocks only: fine to include, but no net."""
        if not self.nodes:
            raise NetError(f"{self.program.file} has no layers", help="include it in a net that calls its blocks")


def add_known(values) -> int | None:
    """The sum, or None if one is not known."""
    values = list(values)
    return None if None in values else sum(values)
