"""Batches: order, sizes, determinism, resuming, and a thread that ends."""

import gc
import threading
import time

import numpy as np
import pytest

from tinyconv import data
from tinyconv.data import Batches, Split
from tinyconv.data import dataset
from tinyconv.errors import NetError

AUGMENT = [("pad", {"n": 2}), ("crop", {"n": 6}), ("flip", {})]


def split(n=50, shape=(6, 6, 3)):
    x = np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)
    return Split(x, np.arange(n))


def gather(batches):
    """{label: image}: labels are unique here, so this is each sample whatever its place."""
    return {int(k): image for x, y in batches for image, k in zip(x, y)}


def no_threads_left():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        gc.collect()
        if not any(t.name.startswith("tinyconv-batches") for t in threading.enumerate()):
            return True
        time.sleep(0.01)
    return False


def test_every_sample_once_with_a_last_short_batch():
    s = split()
    b = Batches(s, 16, seed=1, epoch=2)
    found = list(b)
    assert [len(y) for _, y in found] == [16, 16, 16, 2] and len(b) == 4
    assert sorted(np.concatenate([y for _, y in found])) == list(range(50))
    for x, y in found:
        assert x.dtype == np.uint8 and y.dtype == np.int32 and x.flags.c_contiguous
        assert (x == s.images[y]).all()
    assert no_threads_left()


def test_a_batch_larger_than_the_split_is_the_split():
    b = Batches(split(5), 64)
    (only,) = list(b)
    assert len(b) == 1 and sorted(only[1]) == [0, 1, 2, 3, 4]


def test_order_by_seed_and_epoch():
    def order(**kw):
        return Batches(split(), 16, **kw).order().tolist()

    assert order(seed=1, epoch=1) == order(seed=1, epoch=1)
    assert len({tuple(order(seed=s, epoch=e)) for s in range(3) for e in range(3)}) == 9
    assert order(seed=1, epoch=1, shuffle=False) == list(range(50))
    # An order that changed with a version would change every resumed run without a word.
    assert order(seed=0, epoch=0)[:6] == [39, 29, 43, 4, 26, 1]


def test_augmentation_depends_on_the_sample_alone():
    s = split()
    reference = gather(Batches(s, 16, AUGMENT, seed=3, epoch=5))
    for kw in ({"batch": 7}, {"batch": 50}, {"batch": 1}, {"batch": 16, "shuffle": False}):
        other = gather(Batches(s, kw.pop("batch"), AUGMENT, seed=3, epoch=5, **kw))
        assert all((other[k] == reference[k]).all() for k in range(50))
    changed = gather(Batches(s, 16, AUGMENT, seed=3, epoch=6))
    assert sum((changed[k] != reference[k]).any() for k in range(50)) > 40
    ragged = Split(list(s.images), s.labels)
    other = gather(Batches(ragged, 16, AUGMENT, seed=3, epoch=5))
    assert all((other[k] == reference[k]).all() for k in range(50))


def test_start_goes_on_as_if_never_stopped():
    b = Batches(split(), 16, AUGMENT, seed=3, epoch=5)
    whole = list(b)
    for at in range(5):
        rest = list(b.start(at))
        assert len(rest) == 4 - at
        assert all((x == u).all() and (y == v).all() for (x, y), (u, v) in zip(rest, whole[at:]))


def test_test_pipeline_is_not_random():
    s = split()
    pipeline = [("pad", {"n": 2}), ("crop", {"n": 6})]
    x = np.concatenate([x for x, _ in Batches(s, 16, pipeline, shuffle=False, augment=False, seed=1)])
    assert (x == s.images).all()
    with pytest.raises(NetError, match="flip"):
        Batches(s, 16, AUGMENT, augment=False)


def test_the_thread_ends_when_the_consumer_stops_early():
    s = split(500)
    for taken in range(4):
        it = iter(Batches(s, 2, AUGMENT))
        for _ in range(taken):
            next(it)
        it.close()
        assert no_threads_left()
    for x, _ in Batches(s, 2):
        break
    del x
    assert no_threads_left()
    with pytest.raises(ZeroDivisionError):
        for _ in Batches(s, 2):
            1 / 0
    assert no_threads_left()


def test_the_queue_is_bounded():
    made = []

    class Counted:
        axes, channels = 2, 3

        def __len__(self):
            return 400

        def __getitem__(self, i):
            made.append(i)
            return np.zeros((2, 2, 3), np.uint8)

    it = iter(Batches(Split(Counted(), np.arange(400)), 4))
    next(it)
    time.sleep(0.3)
    assert len(made) <= 4 * 5
    it.close()
    assert no_threads_left()


def test_errors_come_out_in_their_batch():
    class Broken:
        axes, channels = 2, 3

        def __getitem__(self, i):
            if i == 9:
                raise NetError("cat/9.png: truncated")
            return np.zeros((2, 2, 3), np.uint8)

    it = iter(Batches(Split(Broken(), np.arange(16)), 4, shuffle=False))
    assert len(next(it)[1]) == 4 and len(next(it)[1]) == 4
    with pytest.raises(NetError, match="cat/9.png"):
        next(it)
    assert no_threads_left()


def test_another_size_is_named_with_the_step_that_mends_it():
    with pytest.raises(NetError, match=r"28x28 x1, where 32x32 x1 is needed") as caught:
        Batches(split(4, (28, 28, 1)), 2, shape=(32, 32, 1))
    assert "`pad 2`" in caught.value.help
    with pytest.raises(NetError, match=r"after the steps") as caught:
        Batches(split(4, (28, 28, 1)), 2, [("pad", {"n": 1})], shape=(100, 100, 1))
    assert "resize 100" in caught.value.help
    with pytest.raises(NetError, match="1 channel, the images have 3"):
        Batches(split(4), 2, shape=(6, 6, 1))
    odd = Split([np.zeros((6, 6, 3), np.uint8)] * 3 + [np.zeros((6, 5, 3), np.uint8)], np.arange(4), list("abcd"))
    with pytest.raises(NetError, match="d: 6x5 x3, where 6x6 x3"):
        Batches(odd, 2, shape=(6, 6, 3))
    with pytest.raises(NetError, match="x3, where"):
        list(Batches(odd, 4))
    assert len(list(Batches(odd, 2, [("resize", {"n": 4}), ("crop", {"n": 4})], shape=(4, 4, 3)))) == 2
    with pytest.raises(NetError, match="`crop 6` of d: only 6x5 x3"):
        Batches(odd, 2, [("crop", {"n": 6})], shape=(6, 6, 3))
    assert len(list(Batches(split(4), 2, shape=(None, None, 3)))) == 2


def test_images_decoded_when_needed_are_checked_in_their_batch():
    class Lazy:
        axes, channels = 2, 3

        def __getitem__(self, i):
            return np.zeros((6, 6 - (i == 3), 3), np.uint8)

    lazy = Split(Lazy(), np.arange(4), list("abcd"))
    with pytest.raises(NetError, match="d: 6x5 x3, where 6x6 x3"):
        list(Batches(lazy, 2, shape=(6, 6, 3)))


def test_a_batch_of_none():
    with pytest.raises(NetError, match="batch of 0"):
        Batches(split(), 0)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.33, 0.9, 0.999])
def test_draw_is_stratified_and_leaves_both_parts(fraction):
    labels = np.repeat([0, 1, 2, 4], [400, 30, 2, 68])
    kept, drawn = dataset.draw(labels, fraction, 5)
    assert sorted(np.concatenate([kept, drawn])) == list(range(500))
    assert len(drawn) == min(max(1, round(500 * fraction)), 499)
    counts = np.bincount(labels[drawn], minlength=5)
    assert (np.abs(counts - np.bincount(labels) * fraction) <= 1.01).all()
    assert (dataset.draw(labels, fraction, 5)[1] == drawn).all()
    if 0.01 < fraction < 0.99:
        assert set(dataset.draw(labels, fraction, 6)[1]) != set(drawn)


def test_data_api():
    assert {"open", "Batches", "apply", "load", "measure", "steps", "check_shape"} <= set(data.__all__)
