"""Draws docs/curves.png from the lists of docs/results.md, so that the picture shows what the page says.

    python benchmarks/curves.py [--out docs/curves.png]

A list is a line `- NAME: 98.02, 98.89, ...`, a figure an epoch; each heading that has lists gets a plot. Lists whose
names agree up to a comma (`sounds, seed 0`) have one colour.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
LIST = re.compile(r"^- ([^:\n]+): ((?:\*{0,2}\d+\.\d+\*{0,2},?\s+)+)", re.MULTILINE)
COLUMNS = 3


def lists(page: str) -> dict[str, list[tuple[str, list[float]]]]:
    """heading -> (name, figures) of its lists."""
    found = {}
    for part in re.split(r"^#+ ", page, flags=re.MULTILINE):
        curves = [(name, [float(n) for n in re.findall(r"\d+\.\d+", figures)]) for name, figures in LIST.findall(part)]
        if curves:
            found[part.partition("\n")[0]] = curves
    return found


def draw(plots: dict[str, list[tuple[str, list[float]]]], path: str) -> None:
    """A plot a heading, three beside each other."""
    from matplotlib.figure import Figure

    rows = -(-len(plots) // COLUMNS)
    figure = Figure(figsize=(9.6, 2.8 * rows), layout="constrained")
    places = iter(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for (heading, curves), axes in zip(plots.items(), places):
        groups = list(dict.fromkeys(name.partition(",")[0] for name, _ in curves))
        for name, figures in curves:
            group = name.partition(",")[0]
            first = name == next(n for n, _ in curves if n.partition(",")[0] == group)
            axes.plot(range(1, len(figures) + 1), figures, color=f"C{groups.index(group)}",
                      label=group if first else None)
        axes.set_title(heading, fontsize="medium")
        axes.set(xlabel="epoch", ylabel="accuracy (%)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    for axes in places:     # what is left of the last row
        axes.set_axis_off()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", metavar="FILE", default=str(DOCS / "curves.png"))
    draw(lists((DOCS / "results.md").read_text(encoding="utf-8")), parser.parse_args().out)


if __name__ == "__main__":
    main()
