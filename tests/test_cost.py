"""Work and traffic of steps, counted against the shapes."""

from __future__ import annotations

import numpy as np

import tinyconv
from tinyconv.runtime.cost import flops, traffic


def test_products_are_counted_in_all_three_passes():
    """6x5 outputs of 3x3x2 multiply-adds for each of 4 channels and 3 samples; the first layer has no data gradient."""
    net = tinyconv.compile("conv 1x1 x2 bias=off -> conv 3x3 x4 bias=off -> pool global -> fc 7", input="6x5 x3")
    x, labels = np.zeros((3, 6, 5, 3), np.float32), np.zeros(3, np.int32)
    steps = net.sessions.plan(net.request("gradients", x, labels)).steps
    found = {(s.node, s.op): flops(s) for s in steps if flops(s)}
    first, second, last = (2 * 3 * n for n in (6 * 5 * 2 * 3, 6 * 5 * 4 * 3 * 3 * 2, 7 * 4))
    assert {n for (node, _), n in found.items() if node == "conv1"} == {first}
    assert [found[key] for key in found if key[0] == "conv2"] == [second] * 3
    assert [found[key] for key in found if key[0] == "fc1"] == [last] * 3
    assert sum(node == "conv1" for node, _ in found) == 2
    copied = next(s for s in steps if s.op == "conv_dw" and s.node == "conv2")
    assert traffic(copied) == 4 * (3 * 6 * 5 * 2 + 3 * 6 * 5 * 4 + 4 * 3 * 3 * 2)
