"""What a step has to do, counted."""

from __future__ import annotations

from math import prod

from .tape import Step

FORWARD = ("conv", "conv_post")


def flops(step: Step) -> int:
    """Two for each multiply-add of the direct convolution, whatever the algorithm does; 0 for other operations."""
    if step.op in FORWARD:
        y, w = step.outputs[0].shape, step.attrs.get("weight", step.inputs[1].shape)
    elif step.op == "conv_dx":
        y, w = step.inputs[0].shape, step.attrs.get("weight", step.inputs[1].shape)
    elif step.op == "conv_dw":
        y, w = step.inputs[1].shape, step.attrs["shape"]
    else:
        return 0
    return 2 * prod(y) * prod(w[1:])


def traffic(step: Step) -> int:
    """Bytes of all operands, each read or written once."""
    return sum(b.bytes for b in (*step.inputs, *step.outputs) if b is not None)
