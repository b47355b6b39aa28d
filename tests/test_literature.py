"""Networks of the literature that are not in the zoo, each written from the language's page alone (tests/literature).

They come out with the published number of parameters, to the last one, and with the published multiply-adds to every
digit that was printed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinyconv
from tinyconv import lang
from tinyconv.graph import build

FOLDER = Path(__file__).parent / "literature"

# Parameters, heads included, and billions of multiply-adds (None: not published for this input, or counted otherwise).
TORCHVISION = {  # `num_params` and `_ops` of its weights
    "alexnet_one_column": (61_100_840, "0.714"),
    "vgg16_bn": (138_365_992, "15.470"),
    "googlenet_bn": (6_624_904, "1.498"),
    "densenet121": (7_978_856, "2.834"),
    "squeezenet1_0": (1_248_424, "0.819"),
    "squeezenet1_1": (1_235_496, "0.349"),
    "mobilenet_v2": (3_504_872, "0.301"),
    "mobilenet_v3_small": (2_542_856, "0.057"),
    "mobilenet_v3_large": (5_483_032, "0.217"),
    "mnasnet": (4_383_312, "0.314"),
    "efficientnet_b0": (5_288_548, "0.386"),
    "shufflenet_v2": (2_278_604, "0.145"),
    "resnext50_32x4d": (25_028_904, "4.230"),
    "wide_resnet50_2": (68_883_240, "11.398"),
    "regnet_x_400mf": (5_495_976, "0.414"),
    "regnet_y_400mf": (4_344_144, "0.402"),
    "convnext_tiny": (28_589_128, "4.456"),
    "fcn_resnet50": (35_322_218, "152.717"),
    "deeplabv3_resnet50": (42_004_074, "178.722"),
    "r3d_18": (33_371_472, "40.697"),
    "r2plus1d_18": (31_505_325, "40.519"),
}
OTHERS = {
    "preresnet18": (11_687_848, None),  # osmr/imgclsmob
    "densenet100_cifar": (769_162, None),  # osmr/imgclsmob; the paper says 0.8 M
    "wrn_28_10": (36_479_194, None),  # osmr/imgclsmob; the paper says 36.5 M
    "resnet110_cifar": (1_727_962, "0.253"),  # tensor sizes of a PyTorch checkpoint; the paper says 1.7 M
    "xception": (22_855_952, None),  # table 3 of the paper; trainable parameters of Keras
    "darknet19": (20_842_376, "2.79"),  # osmr/imgclsmob; the paper says 5.58 billion operations
    "darknet53": (41_609_928, None),  # osmr/imgclsmob
    "convmixer_1536_20": (51_625_960, None),  # timm; the paper says 51.6 M
    "vdsr": (664_704, "612.6"),  # "665 K" and "612.6 G" for 720p in Ahn et al. 2018, table 1
    "unet_valid": (31_030_658, None),  # summaries of PyTorch and Keras implementations
    "m5_speech": (26_915, None),  # PyTorch's tutorial on the speech commands data
}


def by_hand(*layers: tuple) -> int:
    """Weights and biases of (kernel area, channels, filters, bias)."""
    return sum(area * n * m + m * bias for area, n, m, bias in layers)


BY_HAND = {
    # Table 2 of the paper with a bias in each layer.
    "nin_cifar": by_hand((25, 3, 192, 1), (1, 192, 160, 1), (1, 160, 96, 1), (25, 96, 192, 1), *[(1, 192, 192, 1)] * 2,
                         (9, 192, 192, 1), (1, 192, 192, 1), (1, 192, 10, 1)),
    # Tables 1 and 2 of the paper, which says 1.4 M.
    "allconv_cifar": by_hand((9, 3, 96, 1), *[(9, 96, 96, 1)] * 2, (9, 96, 192, 1), *[(9, 192, 192, 1)] * 3,
                             (1, 192, 192, 1), (1, 192, 10, 1)),
    # The paper's 12,464 weights, and a slope of PReLU for each channel.
    "fsrcnn": 12_464 + 56 + 5 * 12 + 56,
    # 17 layers; the inner ones without bias, but with scale and shift.
    "dncnn": by_hand((9, 1, 64, 1), *[(9, 64, 64, 0)] * 15, (9, 64, 1, 1)) + 15 * 2 * 64,
    # 30 layers: two taps to a tanh and a sigmoid half, then to the residual and to the skip half.
    "wavenet": by_hand((1, 1, 32, 1), *[(2, 32, 64, 1), (1, 32, 32, 1), (1, 32, 32, 1)] * 30, (1, 32, 256, 1),
                       (1, 256, 256, 1)),
}
PUBLISHED = {**TORCHVISION, **OTHERS, **{name: (params, None) for name, params in BY_HAND.items()}}


def graph(name: str):
    return build(lang.load(str(FOLDER / f"{name}.net")))


@pytest.mark.parametrize("name", PUBLISHED)
def test_params_and_macs_are_the_published_ones(name):
    net, (params, billions) = graph(name), PUBLISHED[name]
    assert net.params + sum(head.params for head in net.heads) == params
    if billions:
        digits = len(billions.partition(".")[2])
        assert f"{(net.macs + sum(head.macs for head in net.heads)) / 1e9:.{digits}f}" == billions


def test_every_file_is_held_to_a_figure():
    assert {path.stem for path in FOLDER.glob("*.net")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_takes_few_lines_and_no_warnings(name):
    assert len((FOLDER / f"{name}.net").read_text().splitlines()) <= 40
    assert graph(name).warnings == []


# -- they run, forward and backward

SMALL = {  # inputs that leave at least one position at the end
    "densenet100_cifar": "8x8 x3", "squeezenet1_1": "32x32 x3", "mobilenet_v2": "32x32 x3",
    "mobilenet_v3_small": "32x32 x3", "mnasnet": "32x32 x3", "efficientnet_b0": "32x32 x3",
    "shufflenet_v2": "32x32 x3", "regnet_y_400mf": "32x32 x3", "convnext_tiny": "32x32 x3",
    "fcn_resnet50": "17x24 x3", "deeplabv3_resnet50": "17x24 x3", "unet_valid": "188x188 x1", "fsrcnn": "12x9 x1",
    "dncnn": "12x9 x1", "wavenet": "100 x1", "m5_speech": None, "nin_cifar": "16x16 x3", "darknet19": "32x32 x3",
    "xception": "71x71 x3", "r2plus1d_18": "4x16x16 x3",
}
LONG = {"densenet100_cifar", "convnext_tiny", "fcn_resnet50", "deeplabv3_resnet50", "unet_valid", "darknet19",
        "xception", "r2plus1d_18"}  # seconds each
UNUSED = {"wavenet": {"conv90.weight", "conv90.bias"}}  # the residual half of the last layer: nothing comes after it


@pytest.mark.parametrize("name", SMALL)
def test_it_trains(name, request):
    if name in LONG and request.config.getoption("--hypothesis-profile") != "full":
        pytest.skip("takes seconds: tests/full.sh runs it")
    net = tinyconv.load(FOLDER / f"{name}.net", input=SMALL[name])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, *net.input_shape), np.float32)
    output = net(x)
    if net.graph.nodes[net.graph.output_index].op == "softmax":
        labels = rng.integers(0, net.classes, output.shape[:-1])
    else:
        labels = rng.standard_normal(output.shape, np.float32)
    loss, gradients = net.gradients(x, labels)
    assert np.isfinite(loss) and gradients.keys() == {n for n, w in net.store.specs.items() if w.trainable}
    assert {n for n, g in gradients.items() if not (np.isfinite(g).all() and g.any())} == UNUSED.get(name, set())
    assert np.isfinite(net.trainer(lr=0.001).step(x, labels))
