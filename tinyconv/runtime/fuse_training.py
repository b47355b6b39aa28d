"""Fusions of what stands between convolutions: normalisation, activation and sum in one pass over memory each way, and
updates of weights as soon as their gradients are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..graph.memory import SLICE
from ..ops import OPS, SAVES_OUTPUT
from .tape import Buffer, Step, Tape
from .uses import Uses, replaced, unfused

# activations whose slope is told by what enters them, at the price of a comparison
FROM_INPUT = frozenset({"relu", "relu6", "leaky"})
NO_ACT = {"kind": None, "a": 0.0}


def _parts(*steps: Step | None) -> tuple[Step, ...]:
    return tuple(unfused([step for step in steps if step is not None]))


def _act(step: Step | None) -> dict[str, object]:
    return NO_ACT if step is None else {name: step.attrs[name] for name in NO_ACT}


# ---------------------------------------------------------------- gradients


def slopes_of_maxima(steps: list[Step], keep: set[int]) -> list[Step]:
    """The gradient of an activation before max pooling, taken at the maxima alone: they are the pooled values, and all
    other positions get nothing. What was pooled is not needed any more then."""
    uses, new = Uses(steps, keep), {}
    for place, step in enumerate(steps):
        if step.op != "act_grad" or step.attrs["kind"] not in SAVES_OUTPUT:
            continue
        saved, dy = step.inputs
        spread = uses.source(dy, "maxpool_grad")
        if spread is None or uses.only_reader(dy, "act_grad") is None:
            continue
        of_maxima, index = steps[spread].inputs
        pool = uses.source(index, "maxpool")
        if pool is None or steps[pool].inputs[0].id != saved.id:
            continue
        small = replace(dy, shape=of_maxima.shape)  # the number of the buffer that is not written any more
        new[spread] = [replace(step, inputs=(steps[pool].outputs[0], of_maxima), outputs=(small,)),
                       replace(steps[spread], inputs=(small, index), outputs=step.outputs)]
        new[place] = []
    return replaced(steps, new)


def biases_before_pooling(steps: list[Step], keep: set[int]) -> list[Step]:
    """Pooling's gradients move a gradient about without changing its sum, so the bias takes it from what enters."""
    uses, new = Uses(steps, keep), {}
    for place, step in enumerate(steps):
        if step.op == "bias_grad":
            spread = uses.source(step.inputs[0], "maxpool_grad", "avgpool_grad")
            if spread is not None:
                new[place] = [replace(step, inputs=steps[spread].inputs[:1])]
    return replaced(steps, new)


def batch_norm_gradients(steps: list[Step], keep: set[int]) -> list[Step]:
    """bn_grad with the activation and the sum of two gradients before it. The activation's slope is told by its input,
    computed once more, where that is cheap or the only way; then its output need not be read, nor its input kept."""
    uses, new = Uses(steps, keep), {}
    for place, step in enumerate(steps):
        x, dy, mean, var, gamma = step.inputs if step.op == "bn_grad" else (None,) * 5
        act = uses.source(dy, "act_grad")
        if act in new:
            continue  # part of another step, which gives dy
        saved, incoming = (None, dy) if act is None else steps[act].inputs
        total = uses.source(incoming, "add")
        if total in new or act is not None and total is not None and uses.only_reader(incoming, "act_grad") is None:
            total = None
        if act is None and total is None:
            continue
        more = None
        if total is not None:
            incoming, more = steps[total].inputs
        normed, beta = None, None
        if act is not None:
            normed = _normalised(uses, steps[act], step)
            if normed:
                saved, beta = None, normed[0].inputs[4]
        attrs = {"eps": step.attrs["eps"], **_act(None if act is None else steps[act])}
        first = total if act is None else act
        parts = _parts(*(normed or ()), None if total is None else steps[total], None if act is None else steps[act],
                       step)
        new[first] = [Step("bn_act_grad", (x, incoming, mean, var, gamma, beta, saved, more),
                           (*step.outputs, dy), attrs, step.node, step.pass_, parts)]
        new[place] = []
        if total is not None and total != first:
            new[total] = []
    return replaced(steps, new)


def _normalised(uses: Uses, act_grad: Step, bn_grad: Step) -> tuple[Step, ...]:
    """The steps that computed an activation's input from the x of `bn_grad`, where its slope is to be had from there;
    and the activation, where its gradient is written in terms of its output."""
    kind, saved = act_grad.attrs["kind"], act_grad.inputs[0]
    if kind in SAVES_OUTPUT and kind not in FROM_INPUT:
        return ()
    forward = ()
    if kind in SAVES_OUTPUT:
        act = uses.source(saved, "act")
        if act is None:
            return ()
        forward, saved = (uses.steps[act],), uses.steps[act].inputs[0]
    norm = uses.source(saved, "bn_apply")
    x, _, *of_batch = bn_grad.inputs
    if norm is None or uses.steps[norm].inputs[:4] != (x, *of_batch):
        return ()
    return uses.steps[norm], *forward


def activation_gradients(steps: list[Step], keep: set[int]) -> list[Step]:
    """act_grad with the sum of two gradients before it and the sum over positions, a bias's gradient, behind it."""
    uses, new = Uses(steps, keep), {}
    for place, step in enumerate(steps):
        if step.op != "act_grad":
            continue
        (saved, dy), (dx,) = step.inputs, step.outputs
        total = uses.source(dy, "add")
        more = None
        if total is not None and uses.only_reader(dy, "act_grad") is not None:
            dy, more = steps[total].inputs
            new[total] = []
        else:
            total = None
        bias = next((p for p in uses.readers[dx.id] if steps[p].op == "bias_grad"), None)
        parts = _parts(*(steps[p] for p in (total, place, bias) if p is not None))
        if bias is not None:
            new[bias] = []
            new[place] = [Step("act_bias_grad", (saved, dy, more), (dx, *steps[bias].outputs), _act(step), step.node,
                               step.pass_, parts)]
        elif more is not None:
            new[place] = [Step("add_act_grad", (saved, dy, more), (dx,), _act(step), step.node, step.pass_, parts)]
    return replaced(steps, new)


# ---------------------------------------------------------------- forward


def batch_norms(steps: list[Step], keep: set[int]) -> list[Step]:
    """bn_apply with the addition behind it and the activation behind that."""
    uses, new = Uses(steps, keep), {}
    for place in reversed(range(len(steps))):  # of two that are added up the later one takes the other's output
        step = steps[place]
        if step.op != "bn_apply":
            continue
        y, residual = step.outputs[0], None
        total = uses.only_reader(y, "add")
        if total in new:
            total = None
        if total is not None:
            a, b = steps[total].inputs
            residual = b if a.id == y.id else a
            y = steps[total].outputs[0]
        act = uses.only_reader(y, "act")
        last = total if act is None else act
        if last is None:
            continue
        places = [p for p in (place, total, act) if p is not None]
        new |= {p: [] for p in places}
        attrs = {"eps": step.attrs["eps"], **_act(None if act is None else steps[act])}
        new[last] = [Step("bn_act", (*step.inputs, residual), steps[last].outputs, attrs, step.node, step.pass_,
                          _parts(*(steps[p] for p in places)))]
    return replaced(steps, new)


def sums(steps: list[Step], keep: set[int]) -> list[Step]:
    """add with the activation behind it."""
    uses, new = Uses(steps, keep), {}
    for place, step in enumerate(steps):
        act = uses.only_reader(step.outputs[0], "act") if step.op == "add" else None
        if act is not None:
            new[place] = []
            new[act] = [replace(step, op="add_act", outputs=steps[act].outputs, attrs=_act(steps[act]),
                                parts=_parts(step, steps[act]))]
    return replaced(steps, new)


def _fills(pool: Mapping[str, object], x: Buffer) -> bool:
    """Whether the windows tile an image, or the images of a volume, without rest: rows of outputs share no input."""
    kernel, spatial = pool["kernel"], x.shape[1:-1]
    tiles = all(n == o * k for n, o, k in zip(spatial, pool["size"], kernel))
    return (tiles and kernel == pool["stride"] and not any(pool["padding"]) and not pool["adaptive"]
            and kernel[:-2] in ((), (1,)))


def pooled_norms(steps: list[Step], keep: set[int]) -> list[Step]:
    """bn_apply and its activation with the max pooling behind them: what is pooled stands in memory nowhere."""
    uses, new = Uses(steps, keep), {}
    for place, step in enumerate(steps):
        pool = uses.only_reader(step.outputs[0], "maxpool") if step.op in ("bn_apply", "bn_act") else None
        if pool is None or len(step.inputs) > 5 and step.inputs[5] is not None:
            continue
        behind = steps[pool]
        if not _fills(behind.attrs, behind.inputs[0]):
            continue
        attrs = {"eps": step.attrs["eps"], **_act(step if step.op == "bn_act" else None), **behind.attrs}
        new[place] = []
        new[pool] = [Step("bn_act_pool", step.inputs[:5], behind.outputs, attrs, step.node, step.pass_,
                          _parts(step, behind))]
    return replaced(steps, new)


FUSIONS = (slopes_of_maxima, biases_before_pooling, batch_norm_gradients, activation_gradients, batch_norms, sums,
           pooled_norms)


# ---------------------------------------------------------------- order


def update_early(steps: list[Step]) -> list[Step]:
    """Each update of a weight right behind the last step that needs the weight as it was: its gradient is still in the
    caches then, and its memory is free afterwards. None stands before the backward pass, which begins when the loss is
    known and found to be finite."""
    placed = [step for step in steps if step.pass_ != "update"]
    begin = next((i for i, step in enumerate(placed) if step.pass_ == "backward"), len(placed)) - 1
    last: dict[object, int] = {}  # buffer -> the step of `placed` behind which it may change
    for place, step in enumerate(placed):
        last.update({_memory(b): place for b in (*step.inputs, *step.outputs) if b is not None})
    behind: dict[int, list[Step]] = {}
    for step in steps:
        if step.pass_ == "update":
            place = max([begin, *(last.get(_memory(b), begin) for b in step.inputs if b is not None)])
            behind.setdefault(place, []).append(step)
            last.update({_memory(step.inputs[i]): place for i in OPS[step.op].updates})
    out = list(behind.get(-1, ()))
    for place, step in enumerate(placed):
        out += [step, *behind.get(place, ())]
    return out


def slice_updates(steps: list[Step], tape: Tape) -> list[Step]:
    """A gradient of a large matrix that only its update reads, cut into slices of outputs, each made where it is used
    up: it stands in memory nowhere. Results have the same bits, for slices share no sum."""
    uses, new = Uses(steps, set()), {}
    for place, update in enumerate(steps):
        if update.pass_ != "update" or OPS[update.op].updates[:1] != (0,):
            continue  # not an optimiser's
        w, g, *state = update.inputs
        at = uses.source(g, "conv_dw")
        if at is None or uses.only_reader(g, update.op) is None or g.bytes <= 2 * SLICE or not _is_product(steps[at]):
            continue
        x, dy = steps[at].inputs
        slices = min(-(-g.bytes // SLICE), w.shape[0])  # about equal: kernels for tiny gradients sum in another order
        new[at], new[place] = [], []
        for i in range(slices):
            first, last = (w.shape[0] * j // slices for j in (i, i + 1))
            part, rest = (*dy.shape[:-1], last - first), (last - first, *w.shape[1:])
            columns, gradient = tape.buffer(part), tape.buffer(rest)
            before = (*(0 for _ in dy.shape[:-1]), -first)
            new[place] += [
                Step("window", (dy,), (columns,), {"before": before, "shape": part}, steps[at].node, "backward"),
                replace(steps[at], inputs=(x, columns), outputs=(gradient,), attrs={**steps[at].attrs, "shape": rest}),
                replace(update, inputs=(_rows(w, first, rest), gradient,
                                        *(s and _rows(s, first, rest) for s in state)))]
    return replaced(steps, new)


def _is_product(dw: Step) -> bool:
    """One tap of stride 1 without padding: the outputs' columns are each used for a row of weights alone."""
    a = dw.attrs
    return set(a["shape"][1:-1]) | set(a["stride"]) <= {1} and not any(a["padding"]) and a["groups"] == 1


def _rows(b: Buffer, first: int, shape: tuple[int, ...]) -> Buffer:
    """Rows of a weight, or of what is kept for it, from `first` on."""
    return replace(b, shape=shape, begin=first * b.bytes // b.shape[0])


def _memory(b: Buffer) -> object:
    """What tells a buffer's memory: a weight and what is kept for it may stand in several buffers."""
    return (b.role, b.name) if b.role in ("weight", "state") else b.id
