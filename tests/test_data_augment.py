"""The random steps against naive loops in double precision, their statistics, masks, views, and their independence of
batch and threads."""

import numpy as np
import pytest
from PIL import Image

from tinyconv import data, lang
from tinyconv.data import Batches, Split, dataset, steps
from tinyconv.data.draws import Draw
from tinyconv.errors import NetError
from tinyconv.sections import SECTIONS

KEY = (7, 3)
SAMPLES = np.array([4, 0, 19, 2**33, 5, 6])


def images(n=6, shape=(9, 12, 3), dtype=np.uint8, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return x if dtype == np.uint8 else (x / 255).astype(np.float32)


def parse(text):
    """The steps as a `.net` file gives them."""
    program = lang.parse(f"input 8x8 x3\nconv 3 x4\ndata {{ augment: {text} }}")
    return lang.sections(program, SECTIONS)["data"]["augment"]


def run(text, x, key=KEY, samples=SAMPLES, **kw):
    return steps.run(parse(text), x, samples[:len(x)], key, **kw)


def draws(n=6):
    """Those of the first step."""
    return Draw(SAMPLES[:n], (*KEY, 0))


# --- geometry

@pytest.mark.parametrize("shape, size", [((20, 2), (7,)), ((9, 12, 3), (5, 8)), ((4, 6, 5, 1), (3, 3, 5))])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop_and_shift_in_any_number_of_axes(shape, size, dtype):
    x = images(shape=shape, dtype=dtype)
    text = "x".join(map(str, size))
    step = [("crop", {"n": size})] if len(size) == 1 else parse(f"crop {text}")
    got = steps.run(step, x, SAMPLES, KEY)
    for i in range(len(x)):
        at = [int(draws().below(s - k + 1, a)[i]) for a, (s, k) in enumerate(zip(shape, size))]
        assert (got[i] == x[(i, *(slice(t, t + k) for t, k in zip(at, size)))]).all()
    moved = steps.run([("shift", {"n": 2})], x, SAMPLES, KEY)
    for i in range(len(x)):
        by = [2 - int(draws().below(5, a)[i]) for a in range(len(size))]
        expected = np.zeros_like(x[i])
        for place in np.ndindex(*shape[:-1]):
            source = tuple(p - b for p, b in zip(place, by))
            if all(0 <= s < n for s, n in zip(source, shape)):
                expected[place] = x[(i, *source)]
        assert (moved[i] == expected).all()


def test_fit_crops_what_is_long_and_fills_what_is_short():
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1)
    assert steps.run([("fit", {"n": 9})], x)[0, :, 0].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 0]
    assert steps.run([("fit", {"n": 3})], x)[0, :, 0].tolist() == [2, 3, 4]
    many = steps.run([("fit", {"n": 9})], x.repeat(200, 0), np.arange(200), KEY)[:, :, 0]
    starts = many.argmax(1) - 5
    assert set(starts) == {0, 1, 2, 3} and (many.sum(1) == 21).all()
    mixed = steps.run([("fit", {"n": (4, 4)})], [images(1, (3, 9, 1))[0], images(1, (7, 2, 1))[0]])
    assert mixed.shape == (2, 4, 4, 1)
    assert steps.output_shape([("fit", {"n": 9})], (None, 2)) == (9, 2)


def test_flip_vertical():
    x = images(200)
    got = steps.run(parse("flip vertical"), x, np.arange(200), KEY)
    turned = np.array([(g == a[::-1]).all() for g, a in zip(got, x)])
    assert 70 < turned.sum() < 130 and (got[~turned] == x[~turned]).all()


def test_resizedcrop_windows_are_within_their_limits():
    from tinyconv.data.geometry import windows

    n = 4000
    draw = Draw(np.arange(n), (1, 2, 3))
    top, left, tall, wide = map(np.array, windows(240, 320, draw, (0.08, 1), (3 / 4, 4 / 3)))
    assert (top >= 0).all() and (left >= 0).all() and (top + tall <= 240).all() and (left + wide <= 320).all()
    share, ratio = tall * wide / (240 * 320), wide / tall
    assert share.min() > 0.07 and share.max() <= 1 and ratio.min() > 0.7 and ratio.max() < 1.4
    rng, areas = np.random.default_rng(0), []
    while len(areas) < n:  # what the distribution is: area and shape until a window fits
        area, shape = rng.uniform(0.08, 1) * 240 * 320, np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        if np.sqrt(area * shape) <= 320 and np.sqrt(area / shape) <= 240:
            areas.append(area / (240 * 320))
    for level in (0.2, 0.4, 0.6, 0.8):
        assert abs(np.mean(share < level) - np.mean(np.array(areas) < level)) < 0.04
    roomy = tall < 120
    assert abs(np.mean(top[roomy] / (240 - tall[roomy])) - 0.5) < 0.02
    # A shape that cannot fit gives the largest window in the middle.
    top, left, tall, wide = windows(10, 100, draw, (1, 1), (0.5, 2))
    assert set(tall) == {10} and set(wide) == {20} and set(left) == {40} and set(top) == {0}


def test_resizedcrop_takes_the_pixels_of_its_window():
    from tinyconv.data.geometry import windows

    x = images(shape=(40, 50, 3))
    got = run("resizedcrop 16", x)
    assert got.shape == (6, 16, 16, 3)
    top, left, tall, wide = windows(40, 50, draws(), (0.08, 1), (0.75, 1.3333))
    for i in range(6):
        part = x[i, top[i]:top[i] + tall[i], left[i]:left[i] + wide[i]]
        small = np.asarray(Image.fromarray(part).resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(small - got[i])[1:-1, 1:-1].max() <= 8 and np.abs(small - got[i]).mean() < 2  # not its border


def naive_affine(image, turn, slant, size, move):
    """Each pixel of the result from where it lay, bilinear, in double precision; pixel i covers i..i+1."""
    h, w, c = image.shape
    matrix = size * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ \
        np.array([[1, np.tan(slant)], [0, 1]])
    back, middle = np.linalg.inv(matrix), np.array([w / 2, h / 2])
    out = np.zeros((h, w, c))
    for y in range(h):
        for x in range(w):
            sx, sy = back @ (np.array([x + 0.5, y + 0.5]) - middle - move) + middle
            if not (0 <= sx < w and 0 <= sy < h):
                continue
            sx, sy = sx - 0.5, sy - 0.5
            x0, y0 = int(np.floor(sx)), int(np.floor(sy))
            for dy, dx in np.ndindex(2, 2):
                weight = (dx * (sx - x0) + (1 - dx) * (1 - sx + x0)) * (dy * (sy - y0) + (1 - dy) * (1 - sy + y0))
                out[y, x] += weight * image[min(max(y0 + dy, 0), h - 1), min(max(x0 + dx, 0), w - 1)]
    return out


@pytest.mark.parametrize("dtype, channels", [(np.uint8, 3), (np.uint8, 1), (np.float32, 2)])
def test_affine_and_rotate_against_the_naive_reference(dtype, channels):
    x = images(shape=(9, 12, channels), dtype=dtype)
    d, tolerance = draws(), 1.01 if dtype == np.uint8 else 1e-4
    text = "affine rotate=30 translate=0.2 scale=0.7,1.4 shear=15"
    for got, angle, slant, move, size in (
            (run(text, x), 30, 15, 0.2, d.between(0.7, 1.4, 2)), (run("rotate 50", x), 50, 0, 0, np.ones(6))):
        for i in range(6):
            turn, lean = (np.deg2rad((2 * d.unit(k)[i] - 1) * v) for k, v in ((0, angle), (1, slant)))
            shift = move * np.array([12 * (2 * d.unit(3)[i] - 1), 9 * (2 * d.unit(4)[i] - 1)])
            assert np.abs(naive_affine(x[i].astype(float), turn, lean, size[i], shift) - got[i]).max() <= tolerance
    assert (run("affine", x) == x).all()


def test_frames_of_a_clip_move_together():
    frame = images(shape=(1, 9, 12, 3))
    clip = frame.repeat(4, 1)
    for text in ("rotate 30", "resizedcrop 6", "flip", "crop 4x5x5"):
        got = run(text, clip)
        assert (got == got[:, :1]).all() and got.shape[1] == 4


def test_tencrop_is_five_places_and_their_mirrors():
    x = images(2)
    got = steps.run([("tencrop", {"n": 5})], x).reshape(2, 10, 5, 5, 3)
    for i in range(2):
        for k, (t, l) in enumerate(((0, 0), (0, 7), (4, 0), (4, 7), (2, 3))):
            part = x[i, t:t + 5, l:l + 5]
            assert (got[i, k] == part).all() and (got[i, 5 + k] == part[:, ::-1]).all()
    ragged = steps.run([("tencrop", {"n": 5})], [x[0], x[1, :7]])
    assert ragged.shape == (20, 5, 5, 3) and (ragged[:10] == got[0]).all()
    assert steps.views([("resize", {"n": 9}), ("tencrop", {"n": 5})]) == 10 and steps.views([]) == 1
    assert (steps.run(steps.single([("tencrop", {"n": 5})]), x) == got[:, 4]).all()
    (x, y), *_ = Batches(Split(images(3), [2, 0, 1]), 2, [("tencrop", {"n": 5})], shuffle=False, augment=False,
                         shape=(5, 5, 3))
    assert x.shape == (20, 5, 5, 3) and y.tolist() == [2, 0]


# --- values

@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_jitter_against_its_definition(dtype):
    x = images(dtype=dtype)
    got = run("jitter brightness=0.4 contrast=0.3 saturation=0.5 hue=0.1", x).astype(float)
    top = 255 if dtype == np.uint8 else 1
    luma = np.array([0.299, 0.587, 0.114])
    axis = np.ones(3) / np.sqrt(3)
    d = draws()
    for i in range(6):
        bright, contrast, saturation = (1 + v * (2 * d.unit(k)[i] - 1) for k, v in enumerate((0.4, 0.3, 0.5)))
        turn = 2 * np.pi * 0.1 * (2 * d.unit(3)[i] - 1)
        image = x[i].astype(float)
        mean = (image @ luma).mean()
        image = saturation * image + (1 - saturation) * (image @ luma)[..., None]
        along = (image @ axis)[..., None] * axis
        image = along + np.cos(turn) * (image - along) + np.sin(turn) * np.cross(axis, image)
        image = bright * (contrast * image + (1 - contrast) * mean)
        expected = np.clip(np.rint(image), 0, 255) if dtype == np.uint8 else image
        assert np.abs(got[i] - expected).max() <= (1 if top == 255 else 1e-5)
    assert (run("jitter", x) == x).all()


def test_jitter_leaves_greys_grey_and_takes_grey_images():
    grey = images(shape=(5, 5, 1)).repeat(3, -1)
    turned = run("jitter saturation=0.9 hue=0.5", grey)
    assert np.abs(turned.astype(int) - grey).max() <= 1
    assert run("jitter brightness=0.5 contrast=0.5", images(shape=(5, 5, 1))).shape == (6, 5, 5, 1)
    with pytest.raises(NetError, match="only for RGB"):
        run("jitter hue=0.1", images(shape=(5, 5, 1)))


def test_pca_measures_and_shifts_along_the_eigenvectors():
    rng = np.random.default_rng(0)
    colours = (rng.normal(size=(40, 8, 8, 3)) @ np.array([[30, 28, 25], [5, 0, -5], [1, -2, 1]]) + 128)
    x = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    split = Split(x, np.zeros(40))
    covariance = np.cov((x / 255.0).reshape(-1, 3).T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    assert np.allclose(np.abs(split.colour_axes), np.abs(vectors * values), atol=1e-9)
    assert (split.colour_axes[np.abs(split.colour_axes).argmax(0), range(3)] > 0).all()
    lazy = Split(list(x), np.zeros(40))
    assert (lazy.colour_axes == split.colour_axes).all()
    flat = np.full((20000, 1, 1, 3), 0.5, np.float32)
    bound = steps.bind(parse("pca 0.5"), split)
    moved = steps.run(bound, flat, np.arange(20000), KEY)[:, 0, 0].astype(float) - 0.5
    axes = split.colour_axes
    assert np.allclose(np.cov(moved.T), 0.25 * axes @ axes.T, atol=0.02 * 0.25 * values.max() ** 2)
    assert (steps.run(bound, x, np.arange(40), KEY)[0] != x[0]).any()
    with pytest.raises(NetError, match="pca"):
        dataset.principal_axes(Split(images(shape=(4, 4, 1)), np.zeros(6)))


def test_noise_is_normal_and_independent():
    x = np.full((50, 40, 50, 1), 100, np.uint8)
    added = steps.run(parse("noise 0.05"), x, np.arange(50), KEY).astype(float) - 100
    assert abs(added.mean()) < 0.1 and abs(added.std() - 0.05 * 255) < 0.1
    f = steps.run([("noise", {"sigma": 1})], np.zeros((50, 2001, 1), np.float32), np.arange(50), KEY)[..., 0]
    assert abs(f.mean()) < 0.02 and abs(f.std() - 1) < 0.01 and abs((f**4).mean() - 3) < 0.15
    even, odd = f[:, ::2][:, :1000], f[:, 1::2]
    for a, b in ((f[0], f[1]), (f[:, :-1].ravel(), f[:, 1:].ravel()), (even.ravel(), odd.ravel())):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


def test_cutout_and_erase():
    x = np.full((500, 16, 20, 1), 9, np.uint8)
    cut = steps.run(parse("cutout 6"), x, np.arange(500), KEY)[..., 0]
    assert set(np.unique(cut)) == {0, 9}
    areas = (cut == 0).sum((1, 2))
    assert areas.max() == 36 and areas.min() >= 9  # the centre is inside
    assert (cut == 0).any(0).all()
    d = Draw(np.arange(500), (*KEY, 0))
    for i in range(5):
        t, l = int(d.below(16, 0)[i]) - 3, int(d.below(20, 1)[i]) - 3
        expected = np.array([[0 if t <= y < t + 6 and l <= c < l + 6 else 9 for c in range(20)] for y in range(16)])
        assert (cut[i] == expected).all()
    erased = steps.run(parse("erase 0.3 area=0.1,0.2"), x, np.arange(500), KEY)[..., 0]
    share = (erased == 0).mean((1, 2))
    assert 110 < (share > 0).sum() < 190 and 0.08 < share[share > 0].min() and share.max() < 0.23
    audio = steps.run([("cutout", {"n": 4})], np.ones((6, 30, 1), np.float32), SAMPLES, KEY)
    assert ((audio == 0).sum((1, 2)) <= 4).all() and (audio == 0).any()


# --- masks, batches, what cannot be

@pytest.mark.parametrize("text", ["pad 3 -> crop 11 -> flip", "flip vertical -> shift 3", "rotate 20",
                                  "affine rotate=10 scale=0.8,1.2 translate=0.1 -> crop 16",
                                  "resizedcrop 16 scale=0.5,1",
                                  "resize 31 -> crop 20 -> jitter brightness=0.01 -> noise 0.01"])
@pytest.mark.parametrize("ragged", [False, True])
def test_image_and_mask_move_together(text, ragged):
    yy, xx = np.mgrid[:24, :28]
    masks = np.stack([((yy - 12) ** 2 + (xx - 10 - i) ** 2 < 60) for i in range(8)]).astype(np.uint8)
    x = (masks * 200)[..., None]
    if ragged and "crop" in text:
        x, masks = [*x, x[0][:22]], [*masks, masks[0][:22]]
    split = Split(list(x) if ragged else x, list(masks) if ragged else masks)
    for images, labels in Batches(split, 4, parse(text), seed=2):
        assert labels.dtype == np.int32 and labels.shape == images.shape[:3] and set(np.unique(labels)) == {0, 1}
        assert np.mean((images[..., 0] > 100) == labels) > 0.97
        if "rotate" not in text and "resize" not in text:
            assert ((images[..., 0] > 0) == labels).all()


EVERY = ("resize 20 -> resizedcrop 18 -> pad 2 -> crop 20 -> shift 2 -> flip -> rotate 9 -> affine rotate=5 -> "
         "fit 16 -> jitter brightness=0.2 hue=0.1 -> pca 0.1 -> noise 0.02 -> cutout 4 -> erase")


def test_every_step_depends_on_the_sample_alone():
    x = images(24, (18, 22, 3))
    split = Split(x, np.arange(24))
    pipeline = parse(EVERY)

    def gather(source, batch, **kw):
        return {int(k): image for a, b in Batches(source, batch, pipeline, seed=5, epoch=2, **kw) for image, k in
                zip(a, b)}

    reference = gather(split, 24, threads=1)
    for source, batch, kw in ((split, 24, {"threads": 1}), (split, 5, {"threads": 4}), (split, 7, {"shuffle": False}),
                              (Split(list(x), np.arange(24)), 6, {"threads": 3})):
        other = gather(source, batch, **kw)
        assert all((other[k] == reference[k]).all() for k in range(24))
    assert len({image.tobytes() for image in reference.values()}) == 24


@pytest.mark.parametrize("text, words", [
    ("crop 0", "no pixels"), ("crop 8x0", "no pixels"), ("erase 1.5", "`p` of `erase`"),
    ("resizedcrop 8 scale=1,0.5", "no range"), ("resizedcrop 8 scale=0,1", "above 0"),
    ("resizedcrop 8 scale=0.5", "range"),
    ("jitter hue=0.7", "up to 0.5"), ("jitter contrast=-1", "0 or more"), ("tencrop 8", "in `test`"),
    ("crop ?x8", "every axis")])
def test_steps_that_cannot_be(text, words):
    with pytest.raises(NetError, match=words):
        steps.check(parse(text), True)


@pytest.mark.parametrize("name", sorted(set(steps.STEPS) - {"pad", "crop", "fit", "resize", "tencrop"}))
def test_random_steps_are_refused_in_test(name):
    args = {p.name: p.default if p.name != "degrees" else 5 for p in steps.STEPS[name].params}
    with pytest.raises(NetError, match="belongs in `augment`"):
        data.apply([(name, args)], images()[0])


def test_steps_that_do_not_fit_the_data():
    for pipeline, shape, words in (([("crop", {"n": (3, 3)})], (9, 1), "they have 1 axis"),
                                   ([("resize", {"n": 3})], (9, 1), "needs two axes"),
                                   ([("flip", {"axis": "vertical"})], (9, 1), "needs two axes"),
                                   ([("crop", {"n": 12})], (9, 1), "only 9 x1"),
                                   ([("pca", {"sigma": 1})], (9, 9, 1), "only for RGB")):
        with pytest.raises(NetError, match=words):
            steps.output_shape(pipeline, shape)
    with pytest.raises(NetError, match="masks"):
        Batches(Split(images(), np.zeros((6, 9, 12), np.uint8)), 2, [("tencrop", {"n": 5})], augment=False)


# --- mixing

@pytest.mark.parametrize("a", [0.2, 1, 2])
def test_beta_has_its_moments(a):
    drawn = Draw(np.arange(40000), (3, 1)).beta(a, a, 0)
    assert 0 <= drawn.min() and drawn.max() <= 1
    assert abs(drawn.mean() - 0.5) < 0.01 and abs(drawn.var() - 1 / (4 * (2 * a + 1))) < 0.005


def one_hot(n=400):
    """Images of two colours that tell their label."""
    y = np.arange(n) % 2
    return Split(np.broadcast_to(y[:, None, None, None], (n, 20, 30, 1)).astype(np.float32), y)


def test_mixup_draws_the_label_by_its_share():
    shares, hits = [], []
    for epoch in range(5):
        for x, labels in Batches(one_hot(), 50, parse("mixup 1"), seed=1, epoch=epoch):
            assert (x == x[:, :1, :1]).all()  # one value an image: the share of class 1
            mixed = (x[:, 0, 0, 0] > 0) & (x[:, 0, 0, 0] < 1)
            shares += x[mixed, 0, 0, 0].tolist()
            hits += labels[mixed].tolist()
    shares, hits = np.array(shares), np.array(hits)
    assert len(shares) > 500 and abs(shares.mean() - 0.5) < 0.05
    for low in (0, 0.25, 0.5, 0.75):
        some = (shares >= low) & (shares < low + 0.25)
        assert abs(hits[some].mean() - shares[some].mean()) < 0.1


def test_cutmix_pastes_a_window_of_the_next_image():
    areas, hits = [], []
    for epoch in range(5):
        for x, labels in Batches(one_hot(), 50, parse("cutmix"), seed=1, epoch=epoch):
            for image, label in zip(x[..., 0], labels):
                values = np.unique(image)
                if len(values) == 2:
                    areas.append(image.mean())
                    hits.append(label)
                    corners = [image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]]
                    inside = np.argwhere(image != max(corners, key=corners.count))
                    tall, wide = inside.max(0) - inside.min(0) + 1 if len(inside) else (0, 0)
                    assert len(inside) in (tall * wide, 600 - tall * wide)
    areas, hits = np.array(areas), np.array(hits)
    for low in (0, 0.5):
        some = (areas >= low) & (areas < low + 0.5)
        assert abs(hits[some].mean() - areas[some].mean()) < 0.1


def test_mixed_masks_follow_their_images():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (40, 8, 9), dtype=np.uint8)
    split = Split(masks[..., None] * np.uint8(200), masks)
    for x, labels in Batches(split, 10, parse("flip -> cutmix"), seed=1):
        assert ((x[..., 0] > 0) == labels).all()
    for x, labels in Batches(split, 10, parse("mixup 0.5"), seed=1):
        assert ((x[..., 0] == 200) <= (labels == 1)).all() and ((x[..., 0] == 0) <= (labels == 0)).all()


def test_mixing_goes_on_and_is_the_same_with_any_threads():
    split = one_hot()
    whole = list(Batches(split, 30, parse("mixup -> noise 0.1"), seed=1, threads=3))
    listed = Batches(Split(list(split.images), split.labels), 30, parse("mixup -> noise 0.1"), seed=1)
    assert all((a == c).all() and (b == d).all() for (a, b), (c, d) in zip(whole, listed, strict=True))
    again = list(Batches(one_hot(), 30, parse("mixup -> noise 0.1"), seed=1, threads=1).start(4))
    assert all((a == c).all() and (b == d).all() for (a, b), (c, d) in zip(whole[4:], again))
    with pytest.raises(NetError, match="put `mixup` last"):
        steps.check(parse("mixup -> crop 4"), True)
    with pytest.raises(NetError, match="one size"):
        steps.run(parse("mixup"), [images(1)[0], images(1, (4, 4, 3))[0]], SAMPLES, KEY)
