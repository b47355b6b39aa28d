"""From a program to a graph: the language expands the text and calls here once a layer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from .. import lang
from ..lang.errors import LayerError
from ..lang.shape import Shape
from ..layers import GLOBAL, LAYERS
from ..layers.base import Reference
from .graph import Graph, Head, Node


LIMIT = 10**18  # of jumps, which free axes would let grow without end


@dataclass(frozen=True)
class Value:
    """What flows through the text: the output of a node."""

    index: int
    shape: Shape


class GraphBuilder:
    """Implements the language's Builder: names nodes, asks layers for shapes, weights and costs."""

    def __init__(self):
        self.graph = Graph()
        self.signatures = {name: layer.signature for name, layer in LAYERS.items()}
        self._counts: dict[str | None, Counter] = {None: Counter()}
        self._shared: dict[str, Node] = {}
        self._head: tuple[str, float, int] | None = None

    def layer(self, name, args, inputs, span, trail) -> Value:
        layer, nodes = LAYERS[name], self.graph.nodes
        sources = [nodes[v.index] for v in inputs]
        referred = {key: value for key, value in args.items() if isinstance(value, Value)}
        inputs = (*inputs, *referred.values())
        shapes = tuple(v.shape for v in inputs)
        args = args | {key: Reference(nodes[value.index].name) for key, value in referred.items()}
        args = layer.resolve(args, shapes)
        shape = layer.shape(args, shapes)
        params = layer.weights(args, shapes)
        head = self._head[0] if self._head else None
        counts = self._counts.setdefault(head, Counter())
        counts[name] += 1
        own = f"{name}{counts[name]}" if head is None else f"{head}.{name}{counts[name]}"
        field, jump = _reach(layer.reach(args, shapes), sources, self.graph.input if nodes else shape)
        if jump and any(j > LIMIT or j * LIMIT < 1 for j in jump):
            raise LayerError(f"the strides up to `{name}` multiply to a number that is out of range",
                             help="repeat less, or use smaller strides", code="E105")
        node = Node(len(nodes), own, name, args, tuple(v.index for v in inputs), shape, params, own,
                    layer.macs(args, shapes, shape), field, jump, span, trail, head)
        if args.get("share"):
            node = self._share(node, args["share"])
        nodes.append(node)
        return Value(node.index, shape)

    def _share(self, node: Node, name: str) -> Node:
        first = self._shared.setdefault(name, node)
        if first is node:
            return node
        if first.op != node.op or [w.shape for w in first.params] != [w.shape for w in node.params]:
            def weights(n):
                return ", ".join(f"{w.name} {'x'.join(map(str, w.shape))}" for w in n.params)

            raise LayerError(f"`share={name}`: {node.op} with {weights(node)} cannot share with {first.name} "
                             f"({weights(first)})", help="shared layers have the same op and the same shapes")
        return replace(node, owner=first.name)

    def named(self, name, value, trail) -> None:
        self.graph.names.setdefault(value.index, []).append((name, len(trail)))

    def begin_head(self, name, weight, value, span) -> None:
        self._head = (name, float(weight), len(self.graph.nodes))

    def end_head(self, value) -> None:
        name, weight, start = self._head
        self._head = None
        self.graph.heads.append(Head(name, weight, value.index, tuple(self.graph.nodes[start:])))

    def output(self, value) -> None:
        self.graph.output_index = value.index


def _reach(reach, sources, image):
    """Receptive field and jump: field += (extent - 1) * jump, jump *= stride; branches take the maximum.

    Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks" (2019), eq. 1 and 2. Strides
    below 1 (deconv, up) make both fractions. sources: the nodes that flow in; image: the Shape of the net's input.
    """
    if not sources:
        axes = len(image.spatial)
        return (1,) * axes, (1,) * axes
    if reach == GLOBAL:
        return image.spatial, None
    field = tuple(None if None in sizes else max(sizes) for sizes in zip(*(s.exact_field for s in sources)))
    jumps = [s.exact_jump for s in sources if s.exact_jump is not None]
    jump = tuple(map(max, zip(*jumps))) if jumps else None
    if reach is None or jump is None:
        return field, jump
    extents, strides = reach
    field = tuple(None if f is None else f + (e - 1) * j for f, e, j in zip(field, extents, jump))
    return field, tuple(j * s for j, s in zip(jump, strides))


def build(program, overrides=None, input=None) -> Graph:
    """The graph of a program (lang.parse or lang.load); `overrides` replace lets, `input` is "32x32 x3".

    Raises NetError with all diagnostics; what was built up to a failing layer is then its attribute `graph`.
    """
    from ..errors import NetError

    builder = GraphBuilder()
    builder.graph.program = program
    try:
        warnings = lang.expand(program, builder, overrides or {}, input)
    except NetError as error:
        error.graph = builder.graph
        raise
    builder.graph.warnings = list(warnings)
    return builder.graph
