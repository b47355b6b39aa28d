"""What the readers of sources give, before it is checked and divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..errors import NetError
from .dataset import Split


@dataclass
class Parts:
    """What a reader found: splits by their role (train, val, test), class names, messages of what was skipped."""

    splits: dict[str, Split]
    classes: list[str]
    skipped: list[str] = field(default_factory=list)


Reader = Callable[[bool], Parts]  # takes skip_bad


def numbered(splits: dict[str, Split], label: str) -> list[str]:
    """Class names '0', '1', … up to the highest label of the training part; NetError where most have no sample."""
    if "train" not in splits or not len(splits["train"]):
        return []
    labels = splits["train"].labels
    present = np.unique(labels)
    top = int(present[-1])
    if len(present) < (top + 1) / 2:
        at = int(np.argmax((labels == top).reshape(len(labels), -1).any(1)))
        raise NetError(f"{label}: label {top} out of range (image {at}): only {len(present)} different labels are used",
                       help="labels count from 0 without gaps")
    return [str(i) for i in range(top + 1)]


def listed(names: list[str]) -> str:
    """The first dozen, for messages."""
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
