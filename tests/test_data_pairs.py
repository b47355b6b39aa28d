"""Training data from Python code: iterables and indexed sources of (x, label)."""

import numpy as np
import pytest

import tinyconv
from tinyconv.data import Batches, media, pairs
from tinyconv.errors import NetError

NET = "input 6x6 x1\nconv 3x3 x4 -> relu -> pool global avg -> fc 2 -> softmax"


def some(n=40, shape=(6, 6, 1)):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    return (rng.random((n, *shape)) / 4 + 0.5 * y.reshape(-1, *[1] * len(shape))).astype(np.float32), y


class Source:
    """Like a data set of other libraries: `len` and `[i]`, no IndexError at the end."""

    def __init__(self, x, y):
        self.x, self.y, self.asked = x, y, 0

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        self.asked += 1
        return self.x[i % len(self.y)], self.y[i % len(self.y)]


@pytest.mark.parametrize("form", [Source, lambda x, y: zip(x, y), lambda x, y: list(zip(x, y.tolist()))])
def test_fit_on_pairs_is_fit_on_arrays(form):
    x, y = some()
    expected = tinyconv.compile(NET, seed=1, device="numpy").fit(x, y, epochs=2, batch=8, seed=3, validation=(x, y))
    got = tinyconv.compile(NET, seed=1, device="numpy").fit(form(x, y), epochs=2, batch=8, seed=3,
                                                           validation=form(x, y))
    assert [(e["train_loss"], e["val_loss"]) for e in got] == [(e["train_loss"], e["val_loss"]) for e in expected]
    turned = [(np.moveaxis(image, -1, 0), label) for image, label in zip(x, y)]
    third = tinyconv.compile(NET, seed=1, device="numpy").fit(turned, epochs=2, batch=8, seed=3, layout="NCHW")
    assert [e["train_loss"] for e in third] == [e["train_loss"] for e in expected]


def test_what_is_too_large_is_asked_for_again(monkeypatch):
    x, y = some()
    monkeypatch.setattr(media, "MEMORY_LIMIT", 1000)
    source = Source(x, y)
    split = pairs(source)
    assert source.asked == 40 and not isinstance(split.images, np.ndarray) and split.shape == (None, None, 1)
    for (a, b), (c, d) in zip(Batches(split, 8, seed=1), Batches(tinyconv.data.Split(x, y), 8, seed=1)):
        assert (a == c).all() and (b == d).all()
    part = split.take(np.array([5, 2]))
    assert (part.images[0] == x[5]).all() and part.labels.tolist() == [1, 0]
    assert isinstance(pairs(zip(x, y)).images, np.ndarray)


def test_masks_and_differing_sizes():
    split = pairs([(np.zeros((4, 5, 1), np.uint8), np.full((4, 5), k)) for k in range(2)])
    assert split.masks and split.labels.shape == (2, 4, 5)
    assert pairs([(np.zeros((4, 5, 1), np.uint8), 0), (np.zeros((4, 6, 1), np.uint8), 1)]).shape == (4, None, 1)


@pytest.mark.parametrize("source, error, words", [
    ([1, 2], TypeError, "item 0 is no pair"), ([], NetError, "no samples"),
    ([(np.zeros((6, 6, 1)), 0)], TypeError, "sample 0 holds float64"),
    ([(np.zeros((6, 6, 1), "f4"), 0), (np.zeros((6, 6, 1), "f4"), 0.5)], TypeError, "label 1 is float64")])
def test_what_is_no_pair(source, error, words):
    with pytest.raises(error, match=words):
        pairs(source)
