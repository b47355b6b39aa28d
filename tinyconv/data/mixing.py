"""Steps that mix each sample of a batch with the next one in it (the last with the first).

The papers train on both labels, weighted lambda and 1 - lambda. Here the label is drawn: the sample's own with
probability lambda, else the other's. The loss is linear in the labels, so its expectation and that of its gradient are
the papers'; the gradient is a little noisier, and labels stay class numbers. lambda is drawn for each sample.
"""

from __future__ import annotations

import numpy as np

from .draws import Draw

_LABEL, _PLACE, _SHARE = 0, 1, 3  # numbers of the draws; the share takes as many as it needs


def partners(values: np.ndarray) -> np.ndarray:
    """The other sample of each, (n, …) as given."""
    return np.roll(values, -1, 0)


def chosen(values: np.ndarray, draw: Draw, share: np.ndarray) -> np.ndarray:
    """Labels or masks (n, …) of the mixed samples: each one's own with probability `share` (n,), else the other's."""
    kept = draw.unit(_LABEL) < share
    return np.where(kept.reshape(-1, *(1,) * (values.ndim - 1)), values, partners(values))


def mixup(x: np.ndarray, draw: Draw, alpha: float) -> np.ndarray:
    """lambda x + (1 - lambda) times the other, lambda ~ Beta(alpha, alpha) (Zhang et al. 2018)."""
    share = mixup_share(x.shape, draw, alpha).astype(np.float32).reshape(-1, *(1,) * (x.ndim - 1))
    y = share * x + (1 - share) * partners(x)
    return np.rint(y, out=y).astype(np.uint8) if x.dtype == np.uint8 else y


def mixup_share(shape: tuple, draw: Draw, alpha: float) -> np.ndarray:
    """lambda of each sample, (n,), for a batch of any shape."""
    return draw.beta(alpha, alpha, _SHARE)


def cutmix(x: np.ndarray, draw: Draw, alpha: float) -> np.ndarray:
    """A window of 1 - lambda of the area from the other, lambda ~ Beta(alpha, alpha), anywhere within the picture (Yun
    et al. 2019, who let it hang over the border)."""
    y, other = np.array(x), partners(x)
    for i, (top, left, tall, wide) in enumerate(zip(*_windows(x.shape, draw, alpha))):
        place = (i, ..., slice(top, top + tall), slice(left, left + wide), slice(None))
        y[place] = other[place]
    return y


def cutmix_share(shape: tuple, draw: Draw, alpha: float) -> np.ndarray:
    """The part of each picture that is its own, (n,), for a batch of that shape (n, *axes, c)."""
    _, _, tall, wide = _windows(shape, draw, alpha)
    return 1 - tall * wide / (shape[-3] * shape[-2])


def _windows(shape: tuple, draw: Draw, alpha: float) -> tuple[np.ndarray, ...]:
    """(top, left, height, width), arrays (n,) in pixels."""
    h, w = shape[-3:-1]
    side = np.sqrt(1 - draw.beta(alpha, alpha, _SHARE))
    tall, wide = np.rint(h * side).astype(int), np.rint(w * side).astype(int)
    top, left = ((draw.unit(_PLACE + i) * (room + 1)).astype(int) for i, room in enumerate((h - tall, w - wide)))
    return top, left, tall, wide
