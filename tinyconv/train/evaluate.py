"""Loss, accuracy and more of one net, or of several whose probabilities are averaged."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from ..data import Batches, steps as pipeline
from ..errors import NetError
from .metrics import Scores


def evaluate(nets: Sequence, split, batch: int = 32, steps: Sequence = (),
             on_batch: Callable[[int, int], None] | None = None, ranks=None) -> dict[str, Any]:
    """Measures a whole split: {"n", "loss", "accuracy", "top5", "members": [{"loss", "accuracy", "top5"}, …], …}; what
    follows is in `metrics.Scores.details`.

    nets: one or more with the same classes; of several, the mean of their probabilities is what is scored.
    split: a data split; every sample counts once, a short last batch by its size. steps: the test pipeline.
    on_batch(done, total) is called after each batch; what it raises ends the evaluation. ranks: of a data parallel
    training (runtime/ranks.py); each measures a part, and all return the whole.
    Losses are those of the net's `loss` lines without smoothing and class weights; cross-entropy is in nats. Accuracies
    are fractions, of masks a share of the positions. `top5` is the share of labels among the 5 likeliest classes. Equal
    outputs rank in the order of classes; an output that is not finite ranks last. Where the steps make several views of
    a sample (`tencrop`), the mean of their probabilities is what a net says of it.
    """
    if not len(split):
        raise NetError("the data set is empty: there is nothing to evaluate")
    counts = {net.classes for net in nets}
    if len(counts) > 1:
        raise NetError(f"nets of one ensemble differ in their classes: {' and '.join(map(str, sorted(counts)))}")
    if ranks is not None:
        first, last = (len(split) * rank // ranks.size for rank in (ranks.rank, ranks.rank + 1))
        split = split.take(np.arange(first, last))
    members, together = [Scores(net, split.targets) for net in nets], Scores(nets[0], split.targets)
    views = pipeline.views(steps)
    batches = () if not len(split) else Batches(split, max(1, batch // views), steps, shuffle=False, augment=False,
                                                shape=nets[0].input_shape)
    for done, (x, labels) in enumerate(batches, 1):
        mean = 0.0
        for net, scores in zip(nets, members):
            if views > 1:
                output = scores.said(net(x))
                output = output.reshape(len(labels), views, *output.shape[1:]).mean(1)
                scores.add(output, labels)
            else:
                loss, output = net.evaluate(x, labels)
                scores.add(output, labels, loss)
                output = scores.said(output) if len(nets) > 1 else output
            mean = mean + output / len(nets)
        if len(nets) > 1:
            together.add(mean, labels)
        if on_batch:
            on_batch(done, len(batches))
    if ranks is not None:
        for scores in (*members, together):
            scores.merge(ranks)
    if len(nets) == 1:
        together = members[0]
    return {"n": together.n, **together.result(), "members": [scores.result() for scores in members],
            **together.details()}
