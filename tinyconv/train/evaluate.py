"""Loss and accuracy of one net, or of several whose probabilities are averaged."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from ..data import Batches, steps as pipeline
from ..errors import NetError
from .fitness import batch_shape


def evaluate(nets: Sequence, split, batch: int = 32, steps: Sequence = (),
             on_batch: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Classifies a whole split: {"n", "loss", "accuracy", "top5", "members": [{"loss", "accuracy", "top5"}, …]}.

    nets: one or more with the same classes; of several, the mean of their probabilities is what is scored.
    split: a data split; every sample counts once, a short last batch by its size. steps: the test pipeline.
    on_batch(done, total) is called after each batch; what it raises ends the evaluation.
    Losses are nats, accuracies fractions. `top5` is the share of labels among the 5 likeliest classes. Equal outputs
    rank in the order of classes; an output that is not finite ranks last. Where the steps make several views of a
    sample (`tencrop`), the mean of their probabilities is what a net says of it.
    """
    if not len(split):
        raise NetError("the data set is empty: there is nothing to evaluate")
    counts = {net.classes for net in nets}
    if len(counts) > 1:
        raise NetError(f"nets of one ensemble differ in their classes: {' and '.join(map(str, sorted(counts)))}")
    sums = np.zeros((len(nets) + 1, 3))  # rows: each net, then all together; columns: loss, first, among the first five
    count = n = 0
    views = pipeline.views(steps)
    batches = Batches(split, max(1, batch // views), steps, seed=0, epoch=0, shuffle=False, augment=False,
                      shape=batch_shape(nets[0]))
    for done, (x, labels) in enumerate(batches, 1):
        ranked = labels.reshape(-1)
        mean = 0.0
        for i, net in enumerate(nets):
            if views > 1:
                output = said = _probabilities(net, _rows(net(x), len(x))).reshape(len(labels), views, -1).mean(1)
                sums[i] += _nats(output, ranked), *_hits(output, ranked)
            else:
                loss, output = net.evaluate(x, labels)
                output = _rows(output, len(ranked))
                sums[i] += loss * len(ranked), *_hits(output, ranked)
                said = _probabilities(net, output) if len(nets) > 1 else None
            if len(nets) > 1:
                mean = mean + said / len(nets)
        if len(nets) > 1:
            sums[-1] += _nats(mean, ranked), *_hits(mean, ranked)
        n += len(labels)
        count += len(ranked)
        if on_batch:
            on_batch(done, len(batches))
    if len(nets) == 1:
        sums[-1] = sums[0]
    members = [dict(zip(("loss", "accuracy", "top5"), (row / count).tolist())) for row in sums]
    return {"n": n, **members.pop(), "members": members}


def _rows(output: np.ndarray, count: int) -> np.ndarray:
    """A row of classes for each of `count` labels; one sigmoid says how likely 1 is rather than 0."""
    rows = output.reshape(count, -1)
    return np.concatenate([1 - rows, rows], 1) if rows.shape[1] == 1 else rows


def _nats(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The sum of the losses."""
    picked = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(picked, np.finfo(np.float32).tiny)).sum())


def _hits(output: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """How many labels have the largest output, and one of the five largest."""
    own = output[np.arange(len(labels)), labels][:, None]
    before = np.arange(output.shape[1]) < labels[:, None]
    rank = (output > own).sum(1) + ((output == own) & before).sum(1)
    rank[~np.isfinite(output).all(1)] = output.shape[1]
    return int((rank == 0).sum()), int((rank < min(5, output.shape[1])).sum())


def _probabilities(net, output: np.ndarray) -> np.ndarray:
    """float64; the output of a net that ends without softmax or sigmoid is logits."""
    values = output.astype(np.float64)
    if net.graph.nodes[net.graph.output_index].op in ("softmax", "sigmoid"):
        return values
    values = np.exp(values - values.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)
