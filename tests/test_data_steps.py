"""The steps against naive loops over pixels, and their random numbers against plain integers."""

import numpy as np
import pytest
from PIL import Image

from tinyconv import data
from tinyconv.data import hashing, steps
from tinyconv.errors import NetError

PIPELINE = [("pad", {"n": 2}), ("crop", {"n": 7}), ("flip", {})]


def images(n=9, shape=(8, 9, 3), dtype=np.uint8, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return x if dtype == np.uint8 else (x / 17).astype(dtype)


def naive_bits(sample, *key):
    """splitmix64's finaliser on Python integers."""
    mask, gamma = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    state = 0
    for word in key:
        state = mix((state + word * gamma + gamma) & mask)
    return mix((mix((sample * gamma + state) & mask) + gamma) & mask)


def naive_below(sample, limit, *key):
    return int((naive_bits(sample, *key) >> 11) * 2.0**-53 * limit)


def naive(pipeline, image, sample=None, key=None):
    """One image, pixel by pixel."""
    for position, (name, args) in enumerate(pipeline):
        h, w, c = image.shape
        n = args.get("n")
        if name == "pad":
            out = np.zeros((h + 2 * n, w + 2 * n, c), image.dtype)
            for y in range(h):
                for x in range(w):
                    out[y + n, x + n] = image[y, x]
        elif name == "crop":
            top, left = (h - n) // 2, (w - n) // 2
            if key is not None:
                top = naive_below(sample, h - n + 1, *key, position, 0)
                left = naive_below(sample, w - n + 1, *key, position, 1)
            out = np.array([[image[top + y, left + x] for x in range(n)] for y in range(n)])
        elif name == "flip":
            mirrored = key is not None and naive_below(sample, 2, *key, position, 0)
            out = np.array([[image[y, w - 1 - x] for x in range(w)] for y in range(h)]) if mirrored else image
        image = out
    return image


def test_hash_is_what_plain_integers_give():
    samples = np.array([0, 1, 2, 59999, 2**40])
    for key in ((0,), (1,), (0, 0, 0), (7, 3, 2, 1), (2**63 + 5, 2**64 - 1)):
        assert hashing.bits(samples, *key).tolist() == [naive_bits(int(s), *key) for s in samples]
        assert hashing.below(samples, 9, *key).tolist() == [naive_below(int(s), 9, *key) for s in samples]
    assert hashing.bits(np.arange(3), 1).dtype == np.uint64


def test_hash_is_uniform_and_keys_are_independent():
    n = 50_000
    u = hashing.unit(np.arange(n), 3, 1)
    assert u.min() >= 0 and u.max() < 1
    counts = np.histogram(u, 100, (0, 1))[0]
    assert ((counts - n / 100) ** 2 / (n / 100)).sum() < 160  # chi-square, 99 degrees: beyond 5 sigma
    for other in ((3, 2), (4, 1), (1, 3)):
        assert abs(np.corrcoef(u, hashing.unit(np.arange(n), *other))[0, 1]) < 0.02
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("pipeline", [PIPELINE, PIPELINE[:1], PIPELINE[1:2], PIPELINE[2:], PIPELINE[::-1], [],
                                      [("pad", {"n": 0}), ("crop", {"n": 8}), ("crop", {"n": 1})]])
def test_against_the_naive_reference(pipeline, channels, dtype):
    x = images(shape=(8, 9, channels), dtype=dtype)
    before = x.copy()
    samples = np.array([5, 0, 17, 3, 2**33, 9, 8, 7, 6])
    got = steps.run(pipeline, x, samples, (11, 4))
    expected = np.stack([naive(pipeline, x[i], int(s), (11, 4)) for i, s in enumerate(samples)])
    assert got.dtype == dtype and got.shape == expected.shape and (got == expected).all()
    certain = [step for step in pipeline if step[0] != "flip"]
    plain = steps.run(certain, x)
    assert (plain == np.stack([naive(certain, image) for image in x])).all()
    assert (x == before).all()
    assert steps.output_shape(pipeline, x.shape[1:]) == got.shape[1:]


def test_images_of_differing_sizes_give_the_same_as_alone():
    x = [images(1, (8, 9, 3))[0], images(1, (9, 8, 3), seed=1)[0], images(1, (7, 7, 3), seed=2)[0]]
    samples = np.array([3, 1, 4])
    got = steps.run(PIPELINE, x, samples, (1, 2))
    assert isinstance(got, np.ndarray)
    for i in range(3):
        assert (got[i] == naive(PIPELINE, x[i], int(samples[i]), (1, 2))).all()
    assert isinstance(steps.run(PIPELINE[:1], x), list)


def test_random_crops_reach_every_window_and_flips_half():
    x = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1).repeat(4000, 0)
    corner = steps.run([("crop", {"n": 2})], x, np.arange(4000), (0, 0))[:, 0, 0, 0]
    counts = np.bincount(corner, minlength=16)
    assert (counts[[0, 1, 2, 4, 5, 6, 8, 9, 10]] > 350).all() and counts.sum() == 4000 == counts[counts > 0].sum()
    assert (counts > 0).sum() == 9
    mirrored = steps.run([("flip", {})], x, np.arange(4000), (0, 0))[:, 0, 0, 0] == 3
    assert 1850 < mirrored.sum() < 2150


def test_resize_short_side_and_antialias():
    x = images(3, (40, 61, 3))
    got = steps.run([("resize", {"n": 20})], x)
    assert got.shape == (3, 20, 31, 3)  # 61 * 20 / 40 = 30.5, rounded up
    assert (got[1] == np.asarray(Image.fromarray(x[1]).resize((31, 20), Image.Resampling.BILINEAR))).all()
    assert steps.run([("resize", {"n": 40})], x) is x
    flat = np.zeros((1, 64, 64, 1), np.uint8)
    flat[:, ::2] = 254
    assert abs(steps.run([("resize", {"n": 8})], flat).astype(int) - 127).max() <= 8  # aliasing would give 0 or 254
    for channels in (1, 2, 4, 5):
        y = images(2, (12, 9, channels))
        small = steps.run([("resize", {"n": 6})], y)
        assert small.shape == (2, 8, 6, channels)
        for c in range(channels):  # no channel is taken for opacity
            alone = steps.run([("resize", {"n": 6})], y[:1, :, :, c:c + 1].copy())
            assert (small[0, :, :, c] == alone[0, :, :, 0]).all()


def test_resize_of_floats_is_not_rounded():
    x = images(2, (12, 9, 3), np.float32)
    got = steps.run([("resize", {"n": 6})], x)
    whole = steps.run([("resize", {"n": 6})], images(2, (12, 9, 3)))
    assert got.dtype == np.float32 and np.abs(got * 17 - whole).max() <= 1.01 and (got != np.round(got)).any()
    assert np.allclose(steps.run([("resize", {"n": 5})], np.full((1, 8, 8, 2), 0.3, np.float32)), 0.3)


def test_output_shape_of_unknown_axes():
    assert steps.output_shape([("resize", {"n": 8}), ("crop", {"n": 6})], (None, None, 3)) == (6, 6, 3)
    assert steps.output_shape([("pad", {"n": 2})], (None, 5, 1)) == (None, 9, 1)
    assert steps.output_shape([("resize", {"n": 4})], (None, 5, 1)) == (None, None, 1)


def test_steps_that_cannot_be():
    for pipeline, words in (([("crop", {"n": 0})], "crop 0"), ([("resize", {"n": 0})], "resize 0"),
                            ([("flip", {})], "augment")):
        with pytest.raises(NetError, match=words):
            data.apply(pipeline, images()[0])
    with pytest.raises(NetError, match=r"`crop 12` of the images: only 8x9 x3"):
        data.apply([("crop", {"n": 12})], images()[0])


def test_an_error_carries_its_place():
    from tinyconv.lang.span import Span

    with pytest.raises(NetError) as caught:
        data.apply([("crop", {"n": 0}, Span("a.net", 3, 5, 11))], images()[0])
    (found,) = caught.value.diagnostics
    assert (found.file, found.line, found.column, found.end_column) == ("a.net", 3, 5, 11) and found.code == "E310"


def test_apply_is_the_test_pipeline_on_one_image():
    image = images(1, (20, 30, 3))[0]
    got = data.apply([("resize", {"n": 10}), ("crop", {"n": 8})], image)
    half = np.asarray(Image.fromarray(image).resize((15, 10), Image.Resampling.BILINEAR))
    assert got.flags.c_contiguous and got.shape == (1, 8, 8, 3) and (got[0] == half[1:9, 3:11]).all()


def test_schema_takes_what_the_language_page_shows():
    assert set(steps.DATA) == {"source", "validation", "augment", "test"}
    assert steps.DATA["augment"].pipeline and steps.DATA["test"].choices is steps.STEPS
    assert set(steps.STEPS) == set(steps._GEOMETRY) | set(steps._VALUES) | set(steps._MIXING)
