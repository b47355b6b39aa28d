"""The masks of dropout, droppath and dropblock: shares, shapes, scale of the survivors, what they depend on."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

import tinyconv
from test_layers_norms import devices, dimensions, example
from tinyconv.layers.dropout import corner_rate


def training_output(net, x, seed=0, step=0):
    """What the last layer puts out in a pass of training (its own loss's gradient is not looked at)."""
    request = net.request("train", x, x, optimizer=net.trainer().optimizer)
    with net.sessions.session(request) as session:
        steps = session.plan.steps
        last = max(i for i, s in enumerate(steps) if s.pass_ == "forward")
        session.run(0, last + 1, x, x, None, seed=seed, step=step)
        return session.read(steps[last].outputs[0])


def dropped_by(text, size, device, batch, channels, p, **which):
    """The mask of dropped values, after a look at the survivors."""
    net = tinyconv.compile(f"input {'x'.join(map(str, size))} x{channels}\n{text}", device=device)
    x = np.random.default_rng(2).uniform(1, 2, (batch, *size, channels)).astype(np.float32)
    np.testing.assert_array_equal(net(x), x)  # identity in inference
    y = training_output(net, x, **which)
    survivors = x * (np.float32(1) / (np.float32(1) - np.float32(p)))
    np.testing.assert_array_equal(y, np.where(y == 0, 0, survivors))
    return y == 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@dimensions
@devices
def test_droppath(p, size, device):
    mask = dropped_by(f"droppath {p}", size, device, 2000, 3, p).reshape(2000, -1)
    assert (mask == mask[:, :1]).all()  # whole samples
    assert abs(mask[:, 0].mean() - p) < 4 * math.sqrt(p * (1 - p) / 2000)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@dimensions
@devices
def test_dropout(p, size, device):
    mask = dropped_by(f"dropout {p}", size, device, 300, 12, p)
    assert abs(mask.mean() - p) < 4 * math.sqrt(p * (1 - p) / mask.size)


def opened(mask, size):
    """The union of the blocks of `size` that fit into the mask: the mask itself where it is made of such blocks."""
    out = np.zeros_like(mask)
    for corner in itertools.product(*(range(n - k + 1) for n, k in zip(mask.shape[1:-1], size))):
        at = (slice(None), *(slice(c, c + k) for c, k in zip(corner, size)))
        whole = mask[at].all(axis=tuple(range(1, mask.ndim - 1)), keepdims=True)
        out[at] |= whole
    return out


BLOCKS = [((60,), "size=7", (7,)), ((14, 15), "", (7, 7)), ((13, 9), "size=2x5", (2, 5)),
          ((6, 7, 8), "size=3", (3, 3, 3)), ((9, 8), "size=1", (1, 1)), ((4, 12), "size=6", (4, 6))]


@pytest.mark.parametrize("p", [0.05, 0.25, 0.6])
@pytest.mark.parametrize("size, text, block", BLOCKS, ids=str)
@devices
def test_dropblock(p, size, text, block, device):
    batch, channels = 50, 20
    mask = dropped_by(f"dropblock {p} {text}", size, device, batch, channels, p)
    assert (opened(mask, block) == mask).all()  # contiguous blocks, inside the map
    shares = mask.mean(axis=tuple(range(1, mask.ndim - 1)))  # each sample's and channel's, independent of each other
    assert abs(shares.mean() - p) < 4.5 * shares.std() / math.sqrt(shares.size)
    between = np.corrcoef(shares, rowvar=False)[np.triu_indices(channels, 1)]
    assert abs(between.mean()) < 0.05


@devices
def test_dropblock_larger_than_the_map_drops_channels(device):
    mask = dropped_by("dropblock 0.3 size=50", (4, 5), device, 200, 10, 0.3).reshape(200, 20, 10)
    assert (mask == mask[:, :1]).all()
    assert abs(mask.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 2000)


@pytest.mark.parametrize("text", ["dropout 0.4", "droppath 0.4", "dropblock 0.4 size=3"])
@devices
def test_masks_depend_on_seed_step_and_layer_alone(text, device):
    def draw(twice="", **which):
        return dropped_by(twice + text, (6, 5), device, 40, 4, 0.4, **which)

    first = draw(seed=1, step=1)
    assert (draw(seed=1, step=1) == first).all()
    for other in (draw(seed=2, step=1), draw(seed=1, step=2), draw("scale 1 -> ", seed=1, step=1)):
        assert 0.3 < (other != first).mean() < 0.65  # two independent draws of 0.4 differ in 0.48


@pytest.mark.parametrize("text", ["dropout 0.4", "droppath 0.4", "dropblock 0.4 size=3"])
@devices
def test_masks_of_the_parts_of_a_batch_are_those_of_the_batch(text, device):
    """Ranks, which take a part each, drop together what one process does."""
    net = tinyconv.compile(f"input 6x5 x4\n{text} -> fc 3", device=device)
    x, y = example((6, 5), 9, channels=4), np.zeros((9, 3), np.float32)
    whole = net.request("gradients", x, y)

    def gradient(request, x):
        with net.sessions.session(request) as session:
            session.run(0, len(session.plan.steps), x, np.ones((len(x), 3), np.float32), seed=5, step=7)
            return len(x) * session.read(session.plan.gradients["fc1.weight"])

    parts = [gradient(replace(whole, batch=n, first=first), x[first:first + n]) for first, n in ((0, 4), (4, 5))]
    np.testing.assert_allclose(sum(parts), gradient(whole, x), rtol=1e-4, atol=1e-4)


def test_nothing_is_run_for_a_share_of_nothing():
    net = tinyconv.compile("input 8x8 x3\nconv 1 x4 -> dropout 0 -> droppath 0 -> dropblock 0 -> fc 2")
    x = example((8, 8), channels=3)
    plan = net.sessions.plan(net.request("gradients", x, np.zeros((4, 2), np.float32)))
    assert not [s for s in plan.steps if s.op.startswith("drop")]


@pytest.mark.parametrize("spatial, size", [((9,), (4,)), ((7, 6), (3, 3)), ((5, 4, 6), (2, 4, 3)), ((6, 6), (1, 1))])
@pytest.mark.parametrize("p", [1e-4, 0.1, 0.5, 0.95])
def test_rate_of_corners(spatial, size, p):
    """The expected share by counting each position's blocks; for few blocks the rate of Ghiasi et al."""
    covered = np.zeros(spatial)
    for corner in itertools.product(*(range(n - k + 1) for n, k in zip(spatial, size))):
        covered[tuple(slice(c, c + k) for c, k in zip(corner, size))] += 1
    rate = corner_rate(p, size, spatial)
    assert (1 - (1 - rate) ** covered).mean() == pytest.approx(p, rel=1e-9)
    if p < 1e-3:
        fits = math.prod(n - k + 1 for n, k in zip(spatial, size))
        assert rate == pytest.approx(p / math.prod(size) * math.prod(spatial) / fits, rel=5e-3)
