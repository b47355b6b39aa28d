"""Which data a command works on: the `--data` option, the run a weights file comes from, or the net's own section."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import NetError


def chosen(net, data: str | None, file: str, skip_bad: bool, seed: int) -> dict[str, Any]:
    """How to open the data of a net, as plain JSON data: {"source", "validation", "skip_bad", "seed"}.

    data: the `--data` option. file: the `.net` file, which relative paths in its text count from. seed: that validation
    data are drawn by; all members of an ensemble have the same. NetError where the net names no data and none was
    given.
    """
    section = net.sections.get("data", {})
    source = data
    if source is None:
        if "source" not in section:
            raise NetError("the net names no data", help="give some by --data PATH, or `data { source … }` in the net")
        _, name, *_ = section["source"] if isinstance(section["source"], tuple) else ("text", section["source"])
        source = name if known(name) else os.path.join(os.path.dirname(file), os.path.expanduser(name))
    path = os.path.expanduser(source)
    # What is nowhere stays as it was written, so that the error can say whether it nearly is a known name.
    path = os.path.abspath(path) if not known(source) and os.path.lexists(path) else source
    return {"source": path, "validation": section.get("validation"), "skip_bad": skip_bad, "seed": seed}


def known(name: str) -> bool:
    """Whether it is the name of a data set, not a path."""
    from ..data import NAMES

    return name in NAMES


def open_data(how: dict[str, Any]):
    """The data set that `chosen` described, or that a run folder's config.json has."""
    import numpy as np

    from .. import data
    from .common import note

    dataset = data.open(how["source"], validation=how["validation"], seed=how["seed"], skip_bad=how["skip_bad"])
    if "pca" in how:
        dataset.train.colour_axes = np.array(how["pca"])
    for message in dataset.skipped[:5]:
        note(f"skipped: {message}")
    if len(dataset.skipped) > 5:
        note(f"skipped: {len(dataset.skipped) - 5} more")
    return dataset


def measured(how: dict[str, Any], dataset, steps) -> dict[str, Any]:
    """`how` with what the steps of `augment` take from the training set, to be kept with the run: the axes of `pca`."""
    if any(step[0] == "pca" for step in steps):
        return {**how, "pca": dataset.train.colour_axes.tolist()}
    return how


def of_run(weights: str) -> dict[str, Any] | None:
    """The data that the run which wrote a weights file was trained with; None where it lies in no run folder."""
    path = Path(weights).parent / "config.json"
    try:
        return json.loads(path.read_text("utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
