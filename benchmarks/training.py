"""The nets and batches that steps of training are measured on: forward, backward and SGD with momentum and decay."""

from __future__ import annotations

import numpy as np

LENET = """
input 32x32 x1
conv 5x5 p0 x6   -> tanh -> pool 2 avg
conv 5x5 p0 x16  -> tanh -> pool 2 avg
conv 5x5 p0 x120 -> tanh
fc 84 -> tanh -> fc 10 -> softmax
"""
RESNET20 = """
input 32x32 x3
block cb k x s=1 { conv k x s bias=off -> bn }
block shortcut x s=1 { when in == x and s == 1 { skip } else { cb 1x1 x s } }
block basic x s=1 { add { cb 3x3 x s -> relu -> cb 3x3 x | shortcut x s } -> relu }
cb 3x3 x16 -> relu
repeat 3 { basic x16 }
basic x32 s2 -> repeat 2 { basic x32 }
basic x64 s2 -> repeat 2 { basic x64 }
pool global avg -> fc 10 -> softmax
"""
VGG11 = """
input 32x32 x3
block cbr x { conv 3x3 x bias=off -> bn -> relu }
cbr x64 -> pool 2 -> cbr x128 -> pool 2 -> repeat 2 { cbr x256 } -> pool 2
repeat 2 { cbr x512 } -> pool 2 -> repeat 2 { cbr x512 } -> pool 2
fc 10 -> softmax
"""
# name -> (text, or a name of the zoo; batch)
CASES = {"LeNet": (LENET, 128), "ResNet-20": (RESNET20, 128), "VGG-11-BN": (VGG11, 128), "VGG-16": ("vgg16", 8),
         "ResNet-18": ("resnet18", 16), "ResNet-50": ("resnet50", 8), "AlexNet": ("alexnet", 64),
         "MobileNetV1": ("mobilenet", 16), "U-Net": ("unet", 4), "VGG of 28 pixels": ("vgg", 64)}


def make(source: str, **options):
    """The net of a case."""
    import tinyconv

    return tinyconv.compile(source, **options) if "\n" in source else tinyconv.load(source, **options)


def batch(net, count: int):
    """Random images, and class numbers or masks of 0 and 1."""
    rng = np.random.default_rng(0)
    x = rng.random((count, *net.input_shape), np.float32)
    if net.classes == 1:
        return x, (rng.random((count, *net.input_shape[:-1], 1)) < 0.5).astype(np.float32)
    return x, rng.integers(0, net.classes, count).astype(np.int32)
