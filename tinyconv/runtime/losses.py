"""Which loss stands where: the `loss` lines of a net, or what follows from its last layer without any.

  ce     cross-entropy of the softmax of what stands before the last softmax, labels being class numbers. `smoothing` e
         makes the target 1 - e + e/c for the class and e/c for the c - 1 others (Szegedy et al. 2016); `weights`
         multiply a sample's loss by a number for its class
  bce    cross-entropy of each value with its sigmoid, of what stands before the last sigmoid
  focal  (1 - p)^gamma times the cross-entropy, p the probability given to the truth (Lin et al. 2017); where a sigmoid
         is last, positives times alpha and negatives times 1 - alpha
  dice   1 - (2 sum p t + smooth) / (sum p^2 + sum t^2 + smooth) over the positions of a sample and channel (Milletari
         et al. 2016), p the output and t the mask, of class numbers a mask for each class
  mse    mean of (y - t)^2
Each is a mean over samples (and positions, and channels); several add up, times their `weight`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import NetError
from ..graph import Graph
from ..sections import LOSSES

Loss = tuple[str, tuple[tuple[str, object], ...]]  # (name, its options, sorted): hashable, part of the key of plans
ALPHA = 0.25  # of focal loss, as in the paper


@dataclass(frozen=True)
class Term:
    """One loss of one output: an operation on the value of a node, what it takes, and its share of the whole."""

    op: str
    node: int
    weight: float = 1.0
    attrs: Mapping[str, float] = field(default_factory=dict)
    class_weights: tuple[float, ...] = ()


def as_losses(lines: Iterable[tuple[str, Mapping[str, object]]]) -> tuple[Loss, ...]:
    """From the settings of the lines."""
    return tuple((name, tuple(sorted(options.items()))) for name, options in lines)


def measuring(losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """The losses that a net is measured by: those it is trained with, but plain cross-entropy."""
    plain = {"smoothing": 0, "weights": None}
    return tuple((name, tuple((key, plain.get(key, value)) for key, value in options)) for name, options in losses)


def label_help(extra: tuple[int, ...], classes: int) -> str:
    """What to do about labels of a net with so many classes that have these axes besides those of class numbers."""
    if extra == (1,):
        return "give them without the last axis: labels[..., 0]"
    return "give class numbers: labels.argmax(-1) of one-hot rows" if extra == (classes,) else ""


def default_loss(graph: Graph, end: int, integer_labels: bool) -> str:
    """What the last layer says: ce of a softmax, bce of a sigmoid, else mse; integer labels make the output logits."""
    return {"softmax": "ce", "sigmoid": "bce"}.get(graph.nodes[end].op) or ("ce" if integer_labels else "mse")


def terms(graph: Graph, end: int, integer_labels: bool, losses: tuple[Loss, ...] = ()) -> list[Term]:
    """The losses of the output that is node `end`; NetError where they are not for a net that ends so."""
    if not losses:
        name = default_loss(graph, end, integer_labels)
        losses = as_losses([(name, {p.name: p.default for p in LOSSES[name].params})])
    return [_term(graph, end, integer_labels, name, dict(options)) for name, options in losses]


def _term(graph: Graph, end: int, integer_labels: bool, name: str, options: dict) -> Term:
    node = graph.nodes[end]
    last = node.op if node.op in ("softmax", "sigmoid") else ""
    before, weight = node.inputs[0] if last else end, options["weight"]
    if name == "ce" and (last == "softmax" or not last and integer_labels):
        weights = options["weights"] or ()
        if weights == "data":
            raise NetError("`weights=data` of `loss ce` waits for training data",
                           help="train by fit, or write the weights")
        if weights and len(weights) != node.shape.channels:
            raise NetError(f"`weights` of `loss ce` has {len(weights)} numbers, the net {node.shape.channels} classes")
        return Term("xent", before, weight, {"smoothing": options["smoothing"], "gamma": 0}, tuple(weights))
    if name == "bce" and last == "sigmoid":
        return Term("bce", before, weight)
    if name == "focal" and last == "softmax":
        if options["alpha"] is not None:
            raise NetError("`alpha` of `loss focal` is for nets that end in `sigmoid`", help="leave it out")
        return Term("xent", before, weight, {"smoothing": 0, "gamma": options["gamma"]})
    if name == "focal" and last == "sigmoid":
        alpha = ALPHA if options["alpha"] is None else options["alpha"]
        return Term("focal", before, weight, {"gamma": options["gamma"], "alpha": alpha})
    if name == "dice" and last and node.shape.spatial:
        return Term("dice", end, weight, {"smooth": options["smooth"]})
    if name == "mse" and last != "softmax" and (last == "sigmoid" or not integer_labels):
        return Term("mse", end, weight)
    raise _misfit(graph, end, integer_labels, name)


NEEDS = {"ce": "`softmax`", "bce": "`sigmoid`", "focal": "`softmax` or `sigmoid`",
         "dice": "`softmax` or `sigmoid`, with positions",
         "mse": "anything but `softmax`, and targets that are no class numbers"}


def _misfit(graph: Graph, end: int, integer_labels: bool, name: str) -> NetError:
    node = graph.nodes[end]
    fitting = default_loss(graph, end, integer_labels)
    return NetError(f"`loss {name}` does not go with a net that ends in `{node.op}` with {node.shape}",
                    help=f"write `loss {fitting}`, or end the net in {NEEDS[name]}")
