"""Fusions of a convolution with what follows it: done to its outputs while they are in the caches."""

from __future__ import annotations

from .tape import Buffer, Step
from .uses import Uses, replaced


def convolutions(steps: list[Step], keep: set[int]) -> list[Step]:
    """conv with batch normalisation by running statistics, a tensor added and an activation behind it, in this order
    and as far as they are there. The normalisation then is part of the weights and the bias."""
    uses, new = Uses(steps, keep), {}
    for place in reversed(range(len(steps))):  # of two that are added up the later one takes the other's output
        if steps[place].op != "conv":
            continue
        places, norm, add, act = _followers(uses, place, new)
        if len(places) == 1:
            continue
        conv, last = steps[place], places[-1]
        attrs = {**conv.attrs, "eps": 0.0 if norm is None else norm.attrs["eps"],
                 "kind": None if act is None else act.attrs["kind"], "a": 0.0 if act is None else act.attrs["a"]}
        x, w, bias = (*conv.inputs, None)[:3]
        moments = (None,) * 4 if norm is None else norm.inputs[1:]
        new |= {p: [] for p in places}
        new[last] = [Step("conv_post", (x, w, bias, add, *moments), steps[last].outputs, attrs, conv.node, conv.pass_,
                          tuple(steps[p] for p in places))]
    return replaced(steps, new)


def _followers(uses: Uses, place: int, taken) -> tuple[list[int], Step | None, Buffer | None, Step | None]:
    """(places of the steps to fuse, the normalisation, what is added, the activation) behind the convolution there."""
    places, norm, add, act = [place], None, None, None

    def follower(op: str) -> Step | None:
        at = uses.only_reader(uses.steps[places[-1]].outputs[0], op)
        if at is None or at in taken:
            return None
        places.append(at)
        return uses.steps[at]

    at = uses.only_reader(uses.steps[place].outputs[0], "bn_apply")
    if at is not None and all(b.role == "weight" for b in uses.steps[at].inputs[1:]):  # not those of this batch
        norm = follower("bn_apply")
    y = uses.steps[places[-1]].outputs[0]
    total = follower("add")
    if total is not None:
        a, b = total.inputs
        add = b if a.id == y.id else a
    act = follower("act")
    return places, norm, add, act


FUSIONS = (convolutions,)
