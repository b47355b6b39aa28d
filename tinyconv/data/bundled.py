"""Data that comes with tinyconv.

`fashion-mnist-small` is drawn from Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a novel image dataset
for benchmarking machine learning algorithms, 2017; MIT licence, the notice is in fashion_mnist_small.LICENSE): of each
class the first 600 images of the training file and the first 100 of the test file, in file order.

They are stored, pixel for pixel, as one grey PNG of 100 columns and 70 rows of 28 x 28 images that can be looked at:
rows 0..59 are the training images, six rows a class, rows 60..69 the test images, a row a class. One PNG is a tenth
smaller than the deflated bytes, and four times as fast to decode as xz, which would save another 5 %.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .media import load

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
NAMES = {"fashion-mnist-small": "6,000 + 1,000 images of Fashion-MNIST, 28x28 x1, 10 classes, MIT licence"}


def fashion_mnist_small() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x_train uint8 (6000, 28, 28, 1), y_train int32, x_test (1000, 28, 28, 1), y_test)."""
    mosaic = load(Path(__file__).with_name("fashion_mnist_small.png"), 1)
    x = np.ascontiguousarray(mosaic.reshape(70, 28, 100, 28).swapaxes(1, 2)).reshape(7000, 28, 28, 1)
    y = np.repeat(np.arange(10, dtype=np.int32), 600)
    return x[:6000], y, x[6000:], np.repeat(np.arange(10, dtype=np.int32), 100)
