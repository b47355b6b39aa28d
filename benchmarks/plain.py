"""A net of tinyconv as plain data, for other libraries."""

from __future__ import annotations

import numpy as np

ENDS = ("softmax", "sigmoid")   # the last layer when it is one of these belongs to the loss, and peers run without it


def described(net) -> list[dict]:
    """The layers of a tinyconv net as plain data, without heads and without a last softmax or sigmoid."""
    nodes = net.graph.nodes[:net.graph.output_index + 1]
    if nodes[-1].op in ENDS:
        nodes = nodes[:-1]
    return [{"name": n.name, "op": n.op, "args": n.args, "inputs": n.inputs, "owner": n.owner,
             "shape": [*n.shape.spatial, n.shape.channels]} for n in nodes]


def weights_of(net) -> dict[str, np.ndarray]:
    """All weights of a tinyconv net, the fixed mean and deviation of its input too."""
    return {name: np.array(net.store.view(name)) for name in net.store.specs}
