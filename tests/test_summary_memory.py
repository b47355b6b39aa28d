"""The memory that the summary tells, against plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinyconv import lang, zoo
from tinyconv.graph import build
from tinyconv.graph.summary import Summary
from test_summary import graph


NETS = ["lenet5", "resnet18", "vgg11", "mobilenet", "googlenet", "alexnet", "resnet20_cifar", "resnet50"]


@pytest.mark.parametrize("net", NETS)
def test_memory_is_what_plans_lay_out(net):
    """The estimates against the arenas of plans, which place every buffer; training as the compiled backend runs it."""
    pytest.importorskip("tinyconv.runtime._cpu", reason="the compiled backend is not built")
    from tinyconv.runtime.cpu import CpuBackend
    from tinyconv.runtime.optimizers import optimizer
    from tinyconv.runtime.plan import Request, make_plan

    net = build(lang.load(zoo.find(net)))
    for batch in (1, 8):
        found = Summary(net, batch=batch)
        memory = found.training_memory()
        request = Request("predict", batch, net.input.spatial, "uint8")  # of images, which become floats first
        plan = make_plan(net, request, lambda steps, tape, training: steps, rewrites=())
        assert 0.95 * plan.arena_bytes <= found.inference_memory() <= 1.01 * plan.arena_bytes
        kind = optimizer("sgd", {"momentum": 0.9})[1]
        plan = make_plan(net, replace(request, mode="train", optimizer=kind), CpuBackend().lower)
        total = memory["weights"] + memory["momentum"] + plan.arena_bytes
        assert memory["total"] == pytest.approx(total, rel=0.1), batch
        assert memory["total"] == sum(size for part, size in memory.items() if part != "total")


def test_training_memory_of_two_layers_by_hand():
    """fc 3 on 5 values, batch 2: x (2x5), y or dy (2x3), and w (3x5) or dw are alive; db (3) is made after dw."""
    memory = Summary(graph("input x5\nfc 3\n"), batch=2).training_memory()
    assert memory["weights"] == 4 * (15 + 3 + 5 + 5) and memory["momentum"] == 4 * 18
    assert memory["activations"] == 4 * (2 * 5 + 2 * 3 + 15)
