"""Every net of the zoo: parameters and multiply-adds as published or as counted by hand here, and it trains."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

import tinyconv
from tinyconv import NetError, lang, zoo
from tinyconv.data.steps import DATA, check, output_shape
from tinyconv.graph import build
from tinyconv.train import TRAIN, Settings, make_trainer

NETS = zoo.nets()
BLOCKS = {"plain", "residual", "se"}  # files that others include


@cache
def graph(name: str):
    return build(lang.load(zoo.find(name)))


# -- the counts. Where the very variant is published, its figures; else arithmetic that knows nothing of tinyconv.

PUBLISHED = {  # params, multiply-adds of convolutions and fully connected layers
    "alexnet": (60_965_224, 724_406_816),  # weights of the ONNX model zoo's bvlc_alexnet; MACs at 227 pixels by hand
    "zfnet": (62_357_608, 1_168_032_896),  # osmr/imgclsmob; MACs by hand
    "vgg11": (132_863_336, 7_609_090_048),  # torchvision: 7.609 G
    "vgg13": (133_047_848, 11_308_466_176),  # torchvision: 11.308 G
    "vgg16": (138_357_544, 15_470_264_320),  # torchvision: 15.47 G
    "vgg19": (143_667_240, 19_632_062_464),  # torchvision: 19.632 G; the ONNX model zoo's vgg19
    "googlenet": (6_998_552, 1_582_671_872),  # weights of the ONNX model zoo's inception_v1; MACs by hand
    "resnet18": (11_689_512, 1_814_073_344),  # torchvision: 1.814 G
    "resnet34": (21_797_672, 3_663_761_408),  # torchvision: 3.664 G
    "resnet50": (25_557_032, 4_089_184_256),  # torchvision: 4.089 G
    "resnet101": (44_549_160, 7_801_405_440),  # torchvision: 7.801 G
    "resnet152": (60_192_808, 11_513_626_624),  # torchvision: 11.514 G
    "resnet20_cifar": (269_722, 40_551_040),  # a PyTorch checkpoint of option A; the paper says 0.27 M
    "se_resnet50": (28_088_024, 4_091_699_200),  # osmr/imgclsmob SE-ResNet-50b; MACs by hand
    "senet154": (115_088_984, 20_688_363_520),  # osmr/imgclsmob; MACs by hand
    "mobilenet": (4_231_976, 568_740_352),  # osmr/imgclsmob; tensorflow/models: 569 M
    "inception_v3": (23_834_568, 5_713_216_096),  # torchvision's 27,161,264 less its head: 5.713 G
}


def conv(area: int, channels: int, filters: int, positions: int = 1, bias: bool = True) -> np.ndarray:
    """(params, multiply-adds) of a convolution, or with an area of 1 at 1 position of a fully connected layer."""
    weights = area * channels * filters
    return np.array([weights + bias * filters, weights * positions])


def normed(area: int, channels: int, filters: int, positions: int) -> np.ndarray:
    """A convolution without bias and the scales and shifts of its batch normalisation."""
    return conv(area, channels, filters, positions, bias=False) + (2 * filters, 0)


def lenet5():
    """LeCun et al. 1998, section II.B, C3 in full and pooling without weights."""
    return conv(25, 1, 6, 28 ** 2) + conv(25, 6, 16, 10 ** 2) + conv(25, 16, 120) + conv(1, 120, 84) + conv(1, 84, 10)


def vgg():
    total, channels = conv(1, 96 * 3 * 3, 10), 1
    for width, side in ((24, 28), (48, 14), (96, 7)):
        total = total + normed(9, channels, width, side ** 2) + normed(9, width, width, side ** 2)
        channels = width
    return total


def alexnet():
    """Krizhevsky et al. 2012, figure 2: a filter sees half the channels where the two GPUs do not exchange."""
    convs = conv(121, 3, 96, 55 ** 2) + conv(25, 48, 256, 27 ** 2) + conv(9, 256, 384, 13 ** 2)
    convs = convs + conv(9, 192, 384, 13 ** 2) + conv(9, 192, 256, 13 ** 2)
    return convs + conv(1, 6 * 6 * 256, 4096) + conv(1, 4096, 4096) + conv(1, 4096, 1000)


def zfnet():
    """Zeiler and Fergus 2013, figure 3: maps of 110, 26 and 13 positions a side, 6 before the first full layer."""
    convs = conv(49, 3, 96, 110 ** 2) + conv(25, 96, 256, 26 ** 2) + conv(9, 256, 384, 13 ** 2)
    convs = convs + conv(9, 384, 384, 13 ** 2) + conv(9, 384, 256, 13 ** 2)
    return convs + conv(1, 6 * 6 * 256, 4096) + conv(1, 4096, 4096) + conv(1, 4096, 1000)


def googlenet():
    """Szegedy et al. 2014, table 1, without the auxiliary heads."""
    total = conv(49, 3, 64, 112 ** 2) + conv(1, 64, 64, 56 ** 2) + conv(9, 64, 192, 56 ** 2)
    channels = 192
    for side, a, b1, b2, c1, c2, d in (
            (28, 64, 96, 128, 16, 32, 32), (28, 128, 128, 192, 32, 96, 64),
            (14, 192, 96, 208, 16, 48, 64), (14, 160, 112, 224, 24, 64, 64), (14, 128, 128, 256, 24, 64, 64),
            (14, 112, 144, 288, 32, 64, 64), (14, 256, 160, 320, 32, 128, 128),
            (7, 256, 160, 320, 32, 128, 128), (7, 384, 192, 384, 48, 128, 128)):
        for area, n, m in ((1, channels, a), (1, channels, b1), (9, b1, b2), (1, channels, c1), (25, c1, c2),
                           (1, channels, d)):
            total = total + conv(area, n, m, side ** 2)
        channels = a + b2 + c2 + d
    return total + conv(1, 1024, 1000)


def inception_v3():
    """Szegedy et al. 2015, table 1 and figures 5 to 10, in torchvision's widths: rows of (side, area, in, out)."""
    rows = [(149, 9, 3, 32), (147, 9, 32, 32), (147, 9, 32, 64), (73, 1, 64, 80), (71, 9, 80, 192)]
    for n, pool in ((192, 32), (256, 64), (288, 64)):
        rows += [(35, 1, n, 64), (35, 1, n, 48), (35, 25, 48, 64), (35, 1, n, 64), (35, 9, 64, 96), (35, 9, 96, 96),
                 (35, 1, n, pool)]
    rows += [(17, 9, 288, 384), (35, 1, 288, 64), (35, 9, 64, 96), (17, 9, 96, 96)]
    for m in (128, 160, 160, 192):
        rows += [(17, 1, 768, 192), (17, 1, 768, m), (17, 7, m, m), (17, 7, m, 192),
                 (17, 1, 768, m), (17, 7, m, m), (17, 7, m, m), (17, 7, m, m), (17, 7, m, 192), (17, 1, 768, 192)]
    rows += [(17, 1, 768, 192), (8, 9, 192, 320),
             (17, 1, 768, 192), (17, 7, 192, 192), (17, 7, 192, 192), (8, 9, 192, 192)]
    for n in (1280, 2048):
        rows += [(8, 1, n, 320), (8, 1, n, 384), (8, 3, 384, 384), (8, 3, 384, 384),
                 (8, 1, n, 448), (8, 9, 448, 384), (8, 3, 384, 384), (8, 3, 384, 384), (8, 1, n, 192)]
    return sum(normed(area, n, m, side ** 2) for side, area, n, m in rows) + conv(1, 2048, 1000)


def resnet20_cifar():
    """He et al. 2015, section 4.2, n = 3: nothing is learned in a shortcut."""
    total, channels = normed(9, 3, 16, 32 ** 2) + conv(1, 64, 10), 16
    for width, side in ((16, 32), (32, 16), (64, 8)):
        total = total + normed(9, channels, width, side ** 2) + 5 * normed(9, width, width, side ** 2)
        channels = width
    return total


def resnet50():
    """He et al. 2015, table 1, with the stride in the 3x3 convolution."""
    total, channels = normed(49, 3, 64, 112 ** 2) + conv(1, 2048, 1000), 64
    for n, width, side in ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)):
        for i in range(n):
            before = side if i or side == 56 else 2 * side
            total = total + normed(1, channels, width, before ** 2) + normed(9, width, width, side ** 2)
            total = total + normed(1, width, 4 * width, side ** 2)
            if i == 0:
                total = total + normed(1, channels, 4 * width, side ** 2)
            channels = 4 * width
    return total


def excitation(channels: int):
    """Hu et al. 2017: two fully connected layers, 16 times narrower between them."""
    return conv(1, channels, channels // 16) + conv(1, channels // 16, channels)


def se_resnet50():
    return resnet50() + sum(n * excitation(c) for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048)))


def senet154():
    """Hu et al. 2017, appendix: 64 groups, twice the width, half of it before; 3x3 shortcuts where the size falls."""
    total = normed(9, 3, 64, 112 ** 2) + normed(9, 64, 64, 112 ** 2) + normed(9, 64, 128, 112 ** 2)
    channels = 128
    for n, width, side in ((3, 128, 56), (8, 256, 28), (36, 512, 14), (3, 1024, 7)):
        out = 2 * width
        for i in range(n):
            before = side if i or side == 56 else 2 * side
            total = total + normed(1, channels, width, before ** 2) + normed(9, width // 64, out, side ** 2)
            total = total + normed(1, out, out, side ** 2) + excitation(out)
            if i == 0:
                total = total + normed(1 if side == 56 else 9, channels, out, side ** 2)
            channels = out
    return total + conv(1, 2048, 1000)


def mobilenet():
    """Howard et al. 2017, table 1; a filter of a depthwise convolution sees one channel."""
    total, channels = normed(9, 3, 32, 112 ** 2), 32
    for width, side in ((64, 112), (128, 56), (128, 56), (256, 28), (256, 28), *[(512, 14)] * 6, (1024, 7), (1024, 7)):
        total = total + normed(9, 1, channels, side ** 2) + normed(1, channels, width, side ** 2)
        channels = width
    return total + conv(1, 1024, 1000)


def keywords():
    samples = ((16000 - 80) // 16 + 1) // 4
    layer = conv(3, 64, 64, samples) + (2 * 64, 0) + conv(1, 64, 64, samples)
    return conv(80, 1, 64, (16000 - 80) // 16 + 1) + (2 * 64, 0) + 6 * layer + conv(1, 64, 35)


def c3d():
    """Tran et al. 2014, figure 3; the maps before the full layers are 1x4x4 as in its released model."""
    total, channels = 0, 3
    for width, frames, side in ((64, 16, 112), (128, 16, 56), (256, 8, 28), (256, 8, 28), (512, 4, 14), (512, 4, 14),
                                (512, 2, 7), (512, 2, 7)):
        total = total + conv(27, channels, width, frames * side ** 2)
        channels = width
    return total + conv(1, 512 * 4 * 4, 4096) + conv(1, 4096, 4096) + conv(1, 4096, 101)


def unet():
    """Ronneberger et al. 2015, figure 1, padded, with batch normalisation, 256x256 pixels, one output."""
    total, channels = conv(1, 64, 1, 256 ** 2), 1
    for width, side in ((64, 256), (128, 128), (256, 64), (512, 32), (1024, 16)):
        total = total + normed(9, channels, width, side ** 2) + normed(9, width, width, side ** 2)
        channels = width
    for width, side in ((512, 32), (256, 64), (128, 128), (64, 256)):
        # 2x2 windows that do not overlap: each input position is multiplied with the whole kernel.
        total = total + conv(4, 2 * width, width, (side // 2) ** 2)
        total = total + normed(9, 2 * width, width, side ** 2) + normed(9, width, width, side ** 2)
    return total


def plain(*repeats):
    """Simonyan and Zisserman 2014, table 1."""
    total, channels = conv(1, 7 * 7 * 512, 4096) + conv(1, 4096, 4096) + conv(1, 4096, 1000), 3
    for n, width, side in zip(repeats, (64, 128, 256, 512, 512), (224, 112, 56, 28, 14)):
        for _ in range(n):
            total = total + conv(9, channels, width, side ** 2)
            channels = width
    return total


BY_HAND = {f.__name__: f for f in (lenet5, vgg, alexnet, zfnet, googlenet, inception_v3, resnet20_cifar, resnet50,
                                   se_resnet50, senet154, mobilenet, unet, keywords, c3d)}
BY_HAND |= {"vgg11": lambda: plain(1, 1, 2, 2, 2), "vgg13": lambda: plain(2, 2, 2, 2, 2),
            "vgg16": lambda: plain(2, 2, 3, 3, 3), "vgg19": lambda: plain(2, 2, 4, 4, 4)}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_params_and_macs_are_the_published_ones(name):
    assert (graph(name).params, graph(name).macs) == PUBLISHED[name]


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_params_and_macs_are_those_counted_by_hand(name):
    assert (graph(name).params, graph(name).macs) == tuple(BY_HAND[name]())


def test_every_net_has_its_counts_here():
    assert set(NETS) == PUBLISHED.keys() | BY_HAND.keys()


@pytest.mark.parametrize("width, params", [("0.75", 2_585_560), ("0.5", 1_331_592), ("0.25", 470_072)])
def test_a_narrower_mobilenet(width, params):
    """osmr/imgclsmob; table 7 of the paper: 2.6, 1.3 and 0.5 M."""
    assert build(lang.load(zoo.find("mobilenet")), {"width": width}).params == params


def test_auxiliary_heads():
    """GoogLeNet: 5x5 windows at every third of 14 positions, 1x1 x128, 1024, 1000. Inception: 1x1 x128, 5x5 x768."""
    heads = {head.name: (head.weight, head.params) for head in graph("googlenet").heads}
    full = conv(1, 4 * 4 * 128, 1024)[0] + conv(1, 1024, 1000)[0]
    assert heads == {"aux1": (0.3, conv(1, 512, 128)[0] + full), "aux2": (0.3, conv(1, 528, 128)[0] + full)}
    (head,) = graph("inception_v3").heads
    assert graph("inception_v3").params + head.params == 27_161_264  # torchvision's num_params
    assert head.macs == (normed(1, 768, 128, 25) + normed(25, 128, 768, 1) + conv(1, 768, 1000))[1]


# -- the files

def test_nets_are_all_files_but_those_of_blocks():
    assert NETS == [name for name in zoo.names() if name not in BLOCKS] and BLOCKS < set(zoo.names())
    assert all(len(graph(name).nodes) > 1 for name in NETS)
    assert all(not graph(name).nodes for name in BLOCKS)


@pytest.mark.parametrize("name", zoo.names())
def test_the_first_line_says_what_it_is(name):
    """Also that what it says is so: its number of parameters, with the heads' where it has some."""
    first, *rest = (zoo.folder() / f"{name}.net").read_text().splitlines()
    assert first.startswith("# ") and "#" not in "".join(rest)
    counts = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*,\d{3}", first)]
    if name in BLOCKS:
        assert not counts
    elif counts:
        net = graph(name)
        assert counts == [net.params, *([net.params + sum(h.params for h in net.heads)] if net.heads else [])]


@pytest.mark.parametrize("name", zoo.names())
def test_files_are_short_and_lines_fit(name):
    lines = (zoo.folder() / f"{name}.net").read_text().splitlines()
    assert len(lines) <= 55 and max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", NETS)
def test_its_recipe_can_be_followed(name):
    sections = lang.sections(lang.load(zoo.find(name)), {"data": DATA, "train": TRAIN})
    Settings.of(sections["train"])  # checks the ranges
    for step in ("augment", "test"):
        pipeline = sections["data"].get(step, [])
        check(pipeline, augment=step == "augment")
        if pipeline:  # from images larger than any input, or as large as the net's own where nothing is cropped
            shape = graph(name).input
            crops = any(step[0] in ("crop", "resizedcrop", "tencrop") for step in pipeline)
            border = pipeline[0][1]["n"] if pipeline[0][0] == "pad" else 0
            start = (500, 600) if crops else tuple(n - 2 * border for n in shape.spatial)
            assert output_shape(pipeline, (*start, shape.channels)) == (*shape.spatial, shape.channels)


@pytest.mark.parametrize("name", NETS)
def test_the_text_that_goes_with_its_weights_means_the_same(name):
    schema = {"data": DATA, "train": TRAIN}
    program = lang.load(zoo.find(name))
    alone = lang.parse(lang.inline(program, {}, {}, schema, None))
    nodes = [(node.name, node.op, node.args, node.inputs, node.shape) for node in build(alone).nodes]
    assert nodes == [(node.name, node.op, node.args, node.inputs, node.shape) for node in graph(name).nodes]
    sections = [lang.sections(p, schema) for p in (program, alone)]
    assert sections[0]["train"] == sections[1]["train"] and sections[0]["data"].keys() == sections[1]["data"].keys()


@pytest.mark.parametrize("wrong, right", [
    ("resnet5", "resnet50"), ("vgg-16", "vgg16"), ("VGG16", "vgg16"), ("vgg61", "vgg16"), ("googlenets", "googlenet"),
    ("lenet", "lenet5"), ("inception", "inception_v3"), ("mobilnet", "mobilenet"), ("unett", "unet"),
    ("resnet-50.net", "resnet50"),
])
def test_a_wrong_name_suggests(wrong, right):
    with pytest.raises(NetError) as error:
        zoo.find(wrong)
    assert error.value.help == f"did you mean `{right}`?"


def test_a_name_like_no_other_lists_the_nets_but_no_blocks():
    with pytest.raises(NetError) as error:
        zoo.find("qqqq")
    assert error.value.help == f"the zoo has {', '.join(NETS)}"


# -- training

SMALL = {  # inputs that leave at least one position at the end; the others train as they are
    "alexnet": "67x67 x3", "zfnet": "63x63 x3", "vgg11": "32x32 x3", "vgg13": "32x32 x3", "vgg16": "32x32 x3",
    "vgg19": "32x32 x3", "googlenet": "80x80 x3", "resnet18": "32x32 x3", "resnet34": "32x32 x3",
    "resnet50": "32x32 x3", "resnet101": "32x32 x3", "resnet152": "32x32 x3", "se_resnet50": "32x32 x3",
    "senet154": "32x32 x3", "mobilenet": "32x32 x3", "unet": "32x32 x1", "c3d": "16x16x16 x3",
    "keywords": "4000 x1",
}
LONG = {"inception_v3", "resnet101", "resnet152", "senet154"}  # seconds each
FULL_SIZE = ["alexnet", "zfnet", "googlenet", "resnet18", "resnet50", "mobilenet", "keywords"]


def learns(net) -> None:
    """One step on three samples (of two, `bn` of one position leaves but signs): a loss, and all weights' gradients."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, *net.input_shape), np.float32)
    labels = np.arange(3) + 1 if net.classes > 1 else (x > 0).astype(np.float32)
    recipe = Settings.of(net.sections.get("train"))
    loss, gradients = net.gradients(x, labels, seed=recipe.seed)
    trainable = {name for name, weight in net.store.specs.items() if weight.trainable}
    assert gradients.keys() == trainable
    assert [n for n, g in gradients.items() if not (np.isfinite(g).all() and g.any())] == []
    del gradients
    assert 0 < make_trainer(net, recipe).step(x, labels) == loss < 20  # as the file has it
    assert all(np.isfinite(value).all() for value in net.weights.values())


@pytest.mark.parametrize("name", NETS)
def test_every_net_trains(name, request):
    if name in LONG and request.config.getoption("--hypothesis-profile") != "full":
        pytest.skip("takes seconds: tests/full.sh runs it")
    lets = {"base": 8} if name == "unet" else {"classes": 5}
    learns(tinyconv.load(name, input=SMALL.get(name), **lets))


@pytest.mark.parametrize("name", FULL_SIZE)
def test_nets_train_at_their_own_size(name, request):
    if request.config.getoption("--hypothesis-profile") != "full":
        pytest.skip("takes seconds: tests/full.sh runs it")
    learns(tinyconv.load(name))
