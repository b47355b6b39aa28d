"""Two data sets to learn from where none can be fetched: sounds (1-D) and volumes (3-D), made here, the same by seed.

    python benchmarks/synthetic.py sounds FOLDER [--train 200] [--test 50] [--seed 0]
    python benchmarks/synthetic.py volumes FOLDER [--train 150] [--test 50] [--seed 0]

`sounds`: 8 classes of one second at 8 kHz, 16-bit WAV: a steady tone, its odd harmonics alone, a rise and a fall in
pitch, vibrato, tremolo, one pluck and several. Pitch (150 to 600 Hz), phases, loudness, onset and the noise, 0 to 15 dB
below the sound, are random.

`volumes`: 8 classes of 24x24x24 values, uint8 in .npy files: a ball, cube, cylinder, cone, torus, shell, rod and three
crossed rods, turned, moved and of a random size, lighter or darker than a ground that is brighter on one side, under
noise of a quarter to a half of the difference. Sizes are drawn so that every class fills as many voxels; no class has a
brightness or spread of values of its own.

--train and --test are files a class, in FOLDER/train/CLASS and FOLDER/test/CLASS.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path

import numpy as np

RATE = 8000             # samples a second, and in a sound
SIDE = 24               # voxels along each axis


# -- sounds

def harmonics(phase: np.ndarray, pitch: float, rng, odd: bool) -> np.ndarray:
    """Sines at multiples of the pitch below 3 kHz, of amplitude 1/k; phase in turns."""
    return sum(np.sin(2 * np.pi * (k * phase + rng.random())) / k
               for k in range(1, int(3000 / pitch) + 1, 2 if odd else 1))


def plucks(t: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Exponential decays, with a time constant of 0.1 s, from each of these times until the next."""
    since = t - starts[np.maximum(np.searchsorted(starts, t, "right") - 1, 0)]
    return np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.1), 0.0)


def sound(name: str, rng) -> np.ndarray:
    """float64 (RATE,) within -1 and 1."""
    t = np.arange(RATE) / RATE
    pitch = 150 * 4 ** rng.random()
    swing = np.sin(2 * np.pi * (rng.uniform(4, 7) * t + rng.random()))
    bend = rng.uniform(0.4, 1.0) * (t - 0.5)                                            # octaves
    octaves = {"rise": bend, "fall": -bend, "vibrato": 0.08 * swing}.get(name, 0 * t)
    tone = harmonics(np.cumsum(pitch * 2 ** octaves) / RATE, pitch, rng, name == "odd")
    first = rng.uniform(0, 0.2)
    envelope = {"tremolo": 1 + 0.8 * swing, "pluck": plucks(t, np.array([first])),
                "plucks": plucks(t, np.arange(first, 1, 1 / rng.uniform(4, 7)))}.get(name, np.where(t < first, 0, 1))
    clean = tone * envelope
    noise = rng.normal(0, 1, RATE) * 10 ** (-rng.uniform(0, 15) / 20)
    both = clean / np.sqrt(np.mean(clean ** 2)) + noise
    return both / np.abs(both).max() * rng.uniform(0.2, 1)


def write_sound(path: Path, values: np.ndarray) -> None:
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(values * 32767).astype("<i2").tobytes())


# -- volumes

def rod(a, b, c, radius=0.35):
    """Along the axis a, from -1 to 1."""
    return (b * b + c * c <= radius ** 2) & (np.abs(a) <= 1)


# What lies inside a shape, in its own coordinates, and how much room it takes there.
SHAPES = {
    "ball": (lambda x, y, z: x * x + y * y + z * z <= 1, 4 / 3 * np.pi),
    "cube": (lambda x, y, z: np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z)) <= 1, 8),
    "cylinder": (lambda x, y, z: rod(z, x, y, 0.8), 2 * np.pi * 0.8 ** 2),
    "cone": (lambda x, y, z: (np.hypot(x, y) <= (1 - z) / 2) & (z >= -1), 2 / 3 * np.pi),
    "torus": (lambda x, y, z: (np.hypot(x, y) - 1) ** 2 + z * z <= 0.4 ** 2, 2 * np.pi ** 2 * 0.4 ** 2),
    "shell": (lambda x, y, z: np.abs(np.sqrt(x * x + y * y + z * z) - 0.85) <= 0.15, 4 / 3 * np.pi * (1 - 0.7 ** 3)),
    "rod": (rod, 2 * np.pi * 0.35 ** 2),
    # Two crossing cylinders of radius r share 16/3 r^3, three 8 (2 - sqrt 2) r^3 (Steinmetz solids).
    "crossed": (lambda x, y, z: rod(x, y, z) | rod(y, z, x) | rod(z, x, y),
                6 * np.pi * 0.35 ** 2 - (16 - 8 * (2 - 2 ** 0.5)) * 0.35 ** 3),
}


def volume(name: str, rng) -> np.ndarray:
    """uint8 (SIDE, SIDE, SIDE, 1)."""
    inside, room = SHAPES[name]
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * 3, indexing="ij"), -1)
    size = (rng.uniform(500, 1000) / room) ** (1 / 3)
    shape = inside(*np.moveaxis((grid - rng.uniform(-2, 2, 3)) @ turned / size, -1, 0))
    ground = 128 + grid @ rng.normal(0, 1.5, 3)
    values = ground + rng.choice([-1, 1]) * rng.uniform(40, 80) * shape + rng.normal(0, 20, shape.shape)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)[..., None]


def write_volume(path: Path, values: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), values)


SETS = {"sounds": (("tone", "odd", "rise", "fall", "vibrato", "tremolo", "pluck", "plucks"), sound, write_sound, 200),
        "volumes": (tuple(SHAPES), volume, write_volume, 150)}


def write(what: str, folder: Path, train: int | None = None, test: int = 50, seed: int = 0) -> None:
    """Files for each class: `train` of them (None: as many as the set is meant to have) and `test`."""
    classes, make, save, usual = SETS[what]
    for number, name in enumerate(classes):
        for part, (role, count) in enumerate((("train", usual if train is None else train), ("test", test))):
            target = folder / role / name
            target.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                save(target / f"{i:04}", make(name, np.random.default_rng((seed, number, part, i))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, help="files a class to train on")
    parser.add_argument("--test", type=int, default=50, help="files a class to test on")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.set, options.folder, options.train, options.test, options.seed)


if __name__ == "__main__":
    main()
