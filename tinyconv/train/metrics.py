"""What outputs are worth beside labels: losses, hits, the confusion of classes, distances."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime import array, array_loss
from ..runtime.losses import measuring, terms

SHOWN = 100  # classes up to which the confusion matrix is given


class Scores:
    """Sums over batches for one net, or for the mean of several.

    What is counted follows from the last layer and the labels. "classes": of all channels one is right. "yes or no":
    each value of a sigmoid is right or wrong, by 0.5. "numbers": targets to come near to.
    """

    def __init__(self, net, targets: bool):
        last = net.graph.nodes[net.graph.output_index].op
        self.kind = "yes or no" if last == "sigmoid" else "numbers" if targets else "classes"
        self.net, self.logits = net, last != "softmax"
        self.n = self.values = self.first = self.five = 0
        self.loss = self.distance = 0.0
        classes = {"classes": net.classes, "yes or no": 2, "numbers": 0}[self.kind]
        self.confusion = np.zeros((classes, classes), np.int64)  # rows: labels, columns: what the net says

    def said(self, output: np.ndarray) -> np.ndarray:
        """float64: what can be averaged over nets and views. Probabilities for classes and for yes or no."""
        output = output.astype(np.float64)
        if self.kind != "classes" or not self.logits:
            return output
        return array.softmax(np, {}, output)

    def add(self, output: np.ndarray, labels: np.ndarray, loss: float | None = None) -> None:
        """Counts a batch. output: (n, *spatial, c). loss: its mean; None where the output is what `said` gave, or a
        mean of such: then it is computed here, by the same losses."""
        if self.kind != "classes":
            labels = labels.reshape(output.shape)
        self.n += len(labels)
        self.values += labels.size
        self.loss += len(labels) * (self._loss(output, labels) if loss is None else loss)
        if self.kind == "numbers":
            self.distance += float(np.abs(output.astype(np.float64) - labels).sum())
            return
        if self.kind == "classes":
            flat, truth = output.reshape(-1, output.shape[-1]), labels.reshape(-1)
            first, five = hits(flat, truth)
            self.first, self.five = self.first + first, self.five + five
            found = flat.argmax(1)
        else:
            found, truth = output.reshape(-1) >= 0.5, labels.reshape(-1) >= 0.5
            self.first += int((found == truth).sum())
        count = len(self.confusion)
        self.confusion += np.bincount(truth * count + found, minlength=count * count).reshape(count, count)

    def _loss(self, said: np.ndarray, labels: np.ndarray) -> float:
        tiny = np.finfo(np.float32).tiny
        total, graph = 0.0, self.net.graph
        for term in terms(graph, graph.output_index, self.kind == "classes", measuring(self.net.losses)):
            value = said
            if term.op in ("xent", "bce", "focal"):  # these are of logits
                value = np.log(np.maximum(said, tiny))
                value = value if term.op == "xent" else value - np.log(np.maximum(1 - said, tiny))
            loss, _ = getattr(array_loss, term.op)(np, {**term.attrs, "scale": 1}, value, labels)
            total += term.weight * float(loss[0])
        return total

    def merge(self, ranks) -> None:
        """Adds what the other ranks of a data parallel training have counted."""
        counts = np.array([self.n, self.values, self.first, self.five], np.int64)
        self.n, self.values, self.first, self.five = ranks.sums(counts).tolist()
        self.loss, self.distance = ranks.sum(self.loss, self.distance)
        self.confusion = ranks.sums(self.confusion)

    def result(self) -> dict[str, Any]:
        """{"loss", "accuracy", "top5"}: top5 of classes alone, accuracy not of numbers; else None."""
        return {"loss": self.loss / self.n, "accuracy": None if self.kind == "numbers" else self.first / self.values,
                "top5": self.five / self.values if self.kind == "classes" else None}

    def details(self) -> dict[str, Any]:
        """What goes beyond `result`.

        Of numbers {"mae"}. Else, a number a class (of yes or no: two), None where there is nothing to divide by:
        {"precision": right among those said, "recall": right among those that are, "iou": right / (said or are),
        "dice": 2 right / (said + are)}, and up to 100 classes {"confusion": [[count, …], …]}, a row a label.
        """
        if self.kind == "numbers":
            return {"mae": self.distance / self.values}
        right, are, said = self.confusion.diagonal(), self.confusion.sum(1), self.confusion.sum(0)
        found = {"precision": _shares(right, said), "recall": _shares(right, are),
                 "iou": _shares(right, are + said - right), "dice": _shares(2 * right, are + said)}
        return found if len(right) > SHOWN else {**found, "confusion": self.confusion.tolist()}


def _shares(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
    return [int(p) / int(w) if w else None for p, w in zip(part, whole)]


def hits(output: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """How many labels have the largest output, and one of the five largest."""
    own = output[np.arange(len(labels)), labels][:, None]
    before = np.arange(output.shape[1]) < labels[:, None]
    rank = (output > own).sum(1) + ((output == own) & before).sum(1)
    rank[~np.isfinite(output).all(1)] = output.shape[1]
    return int((rank == 0).sum()), int((rank < min(5, output.shape[1])).sum())
