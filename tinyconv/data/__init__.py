"""Data: sources, augmentation and batches, all of it NumPy arrays in and out.

Samples are uint8 or float32, channels last; labels int32 from 0, or masks of them. Nothing here
decides how uint8 becomes numbers: the net divides by 255.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import steps
from .batches import Batches, check_shape
from .dataset import Dataset, Split, measure
from .media import load
from .pairs import pairs
from .sources import NAMES, open

__all__ = ["NAMES", "Batches", "Dataset", "Split", "apply", "check_shape", "load", "measure", "open", "pairs", "steps"]


def apply(pipeline: Sequence[tuple], image: np.ndarray) -> np.ndarray:
    """The test pipeline on one sample (*axes, c), for `predict`: (views, *axes', c); random crops become centre crops.

    There is one view, or with `tencrop` ten, whose predictions are to be averaged. NetError where the steps do not fit
    the image, or hold one that belongs to `augment` only.
    """
    steps.check(pipeline, augment=False)
    return np.ascontiguousarray(steps.run(pipeline, image[None]))
