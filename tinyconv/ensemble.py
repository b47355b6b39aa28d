"""Several nets as one: the mean of what each says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import NetError


class Ensemble:
    """Nets that answer together.

        members = [tinyconv.load("lenet5", seed=seed) for seed in range(7)]
        ensemble = tinyconv.Ensemble(members)
        ensemble.fit(x, labels, epochs=5)
        y = ensemble(x)
    """

    def __init__(self, nets: Sequence):
        """nets: one or more that take the same input and give the same output; else NetError."""
        self.nets = list(nets)
        if not self.nets:
            raise NetError("an ensemble of no nets", help="give at least one")
        facts = {(net.input_shape, net.graph.output, net.graph.nodes[net.graph.output_index].op) for net in self.nets}
        if len(facts) > 1:
            shown = " and ".join(sorted({f"{net.graph.input} -> {net.graph.output}" for net in self.nets}))
            raise NetError(f"the nets of an ensemble differ: {shown}",
                           help="give nets with the same input, output and last layer")

    def __call__(self, x, layout: str = "NHWC") -> np.ndarray:
        """The mean of the nets' outputs, float32: of probabilities where they end in softmax or sigmoid. The arguments
        are those of a net."""
        return (sum(net(x, layout).astype(np.float64) for net in self.nets) / len(self.nets)).astype(np.float32)

    def fit(self, x, labels=None, *, seed: int | None = None, **options) -> list[list[dict]]:
        """Trains one net after another by consecutive seeds, from `seed` on, or from that of the first net's `train`
        section; the arguments are those of `net.fit`. Returns the epoch events of each."""
        if seed is None:
            seed = self.nets[0].sections.get("train", {}).get("seed", 0)
        return [net.fit(x, labels, seed=seed + i, **options) for i, net in enumerate(self.nets)]
