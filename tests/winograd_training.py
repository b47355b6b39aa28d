"""Training with Winograd's convolutions and with direct ones alone: the curves of the loss cannot be told apart.

    python tests/winograd_training.py [STEPS]        a small VGG and a ResNet-20, three seeds each

Rounding sends any two runs apart after some steps. So the yardstick is a run of direct convolutions whose weights
begin a rounding error away: the mean distance of Winograd's curve from the direct one, in windows of steps, is to stay
within three times that run's, or within 1 % of the loss.
"""

import sys

import numpy as np

import tinyconv
from tinyconv.runtime import cpu

NETS = {"vgg": {"width": 16}, "resnet20_cifar": {}}
WINDOW, BATCH = 20, 32


def images(shape, count: int, rng) -> tuple:
    """Ten patterns of four coarse squares a side, shifted, under noise."""
    patterns = rng.normal(size=(10, 4, 4, shape[-1])).repeat(-(-shape[0] // 4), 1).repeat(-(-shape[1] // 4), 2)
    labels = rng.integers(0, 10, count).astype(np.int32)
    shifted = [np.roll(patterns[i, :shape[0], :shape[1]], rng.integers(-3, 4, 2), (0, 1)) for i in labels]
    return (np.stack(shifted) + 3 * rng.normal(size=(count, *shape))).astype(np.float32), labels


def curve(name: str, seed: int, steps: int, winograd: bool, moved: float = 0.0) -> np.ndarray:
    """Mean losses of windows of steps; moved: by what share weights begin elsewhere."""
    before, cpu.ALGORITHMS[None] = cpu.ALGORITHMS[None], 0 if winograd else cpu.ALGORITHMS["igemm"]
    try:
        net = tinyconv.load(name, seed=seed, **NETS[name])
        for weight in net.weights:
            net.weights[weight] = net.weights[weight] * np.float32(1 + moved)
        rng, trainer = np.random.default_rng(seed), net.trainer(lr=0.02, momentum=0.9)
        x, labels = images(net.input_shape, 64 * BATCH, rng)
        losses = []
        for step in range(steps):
            part = slice(step % 64 * BATCH, (step % 64 + 1) * BATCH)
            losses.append(trainer.step(x[part], labels[part]))
        return np.reshape(losses[:steps // WINDOW * WINDOW], (-1, WINDOW)).mean(1)
    finally:
        cpu.ALGORITHMS[None] = before


def main(steps: int) -> bool:
    fine = True
    for name in NETS:
        direct, winograd, moved = (np.array([curve(name, seed, steps, *run) for seed in range(3)])
                                   for run in ((False,), (True,), (False, 2e-7)))
        distance, yardstick = (np.abs(c - direct).mean() for c in (winograd, moved))
        fine &= bool(distance <= max(3 * yardstick, 0.01 * direct.mean())) and not (winograd == direct).all()
        print(f"{name}: loss {direct[:, 0].mean():.3f} to {direct[:, -1].mean():.4f}, with Winograd "
              f"{winograd[:, -1].mean():.4f}; distance {distance:.2e}, of a rounding error {yardstick:.2e}")
    return fine


if __name__ == "__main__":
    sys.exit(not main(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
