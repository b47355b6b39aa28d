"""Pictures of runs, by matplotlib: an extra, `pip install 'tinyconv[plot]'`."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from ..errors import NetError
from ..files import replacing


def installed() -> bool:
    return find_spec("matplotlib") is not None


def axes(count: int, height: float = 4, width: float = 5.5):
    """(figure, its axes) of so many plots beside each other, in inches; NetError without matplotlib."""
    if not installed():
        raise NetError("plots need matplotlib, which is not installed", help="pip install 'tinyconv[plot]'")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def check(path) -> None:
    """NetError where no picture can be drawn into this file: asked before the work."""
    figure, _ = axes(1)
    if _format(path) not in figure.canvas.get_supported_filetypes():
        raise NetError(f"cannot draw into {path}: no picture has that ending", help="name a .png, .svg or .pdf file")


def _format(path) -> str:
    return Path(path).suffix[1:].lower()


def save(figure, path) -> None:
    """Writes the picture, whole or not at all, in the format that the name ends in."""
    picture = io.BytesIO()
    figure.savefig(picture, format=_format(path), dpi=120)
    with replacing(path) as file:
        file.write(picture.getvalue())


def curves(path, events: Sequence[Mapping[str, Any]]) -> None:
    """Loss and accuracy of the epochs of one run."""
    measured = [event for event in events if event["val_accuracy"] is not None]
    figure, plots = axes(2 if measured else 1)
    epochs = [event["epoch"] for event in events]
    for key, words in (("train_loss", "training"), ("val_loss", "validation")):
        if all(event[key] is not None for event in events):
            plots[0].plot(epochs, [event[key] for event in events], label=words, marker=".")
    label(plots[0], "loss (nats)")
    if measured:
        plots[1].plot([event["epoch"] for event in measured], [100 * event["val_accuracy"] for event in measured],
                      label="validation", marker=".", color="C1")
        label(plots[1], "accuracy (%)")
    save(figure, path)


def compare(path, runs: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> None:
    """Validation loss and accuracy of several runs: (name, its epochs) each."""
    figure, plots = axes(2, 5)
    for name, events in runs:
        for plot, key, scale in zip(plots, ("val_loss", "val_accuracy"), (1, 100)):
            points = [(event["epoch"], scale * event[key]) for event in events if event[key] is not None]
            if points:
                plot.plot(*zip(*points), label=name, marker=".")
    label(plots[0], "validation loss (nats)")
    label(plots[1], "validation accuracy (%)")
    save(figure, path)


def rates(path, found: Mapping[str, Any]) -> None:
    """The losses of a learning-rate range test."""
    figure, (plot,) = axes(1)
    plot.plot(found["rates"], found["losses"], color="0.8", label="loss of a batch")
    plot.plot(found["rates"], found["smoothed"], label="running mean")
    plot.axvline(found["suggested"], color="C1", label=f"suggested: {found['suggested']:.2g}")
    plot.set_xscale("log")
    top = max(found["smoothed"][0] * 1.5, min(found["smoothed"]) * 2)
    plot.set_ylim(0, top)
    label(plot, "loss (nats)", "learning rate")
    save(figure, path)


def steps(path, rows: Sequence[Mapping[str, Any]], bounds: bool, title: str) -> None:
    """A bar for each step of a profile, and with `bounds` a mark at the least it could take."""
    figure, (plot,) = axes(1, 1.2 + 0.16 * len(rows), 8)
    colours = {kernel: f"C{i % 10}" for i, kernel in enumerate(dict.fromkeys(row["kernel"] for row in rows))}
    for kernel, colour in colours.items():
        at = [i for i, row in enumerate(rows) if row["kernel"] == kernel]
        plot.barh(at, [rows[i]["ms"] for i in at], color=colour, label=kernel)
    if bounds:
        plot.plot([row["bound_ms"] for row in rows], range(len(rows)), "k|", label="bound")
    plot.set_yticks(range(len(rows)), [f"{row['layer']} {row['op']}" for row in rows], fontsize=6)
    plot.set_ylim(len(rows) - 0.5, -0.5)
    plot.set(xlabel="ms", title=title)
    plot.legend(fontsize="small")
    save(figure, path)


def label(plot, y: str, x: str = "epoch") -> None:
    plot.set_xlabel(x)
    plot.set_ylabel(y)
    plot.grid(alpha=0.3)
    if plot.get_legend_handles_labels()[0]:
        plot.legend(fontsize="small")
