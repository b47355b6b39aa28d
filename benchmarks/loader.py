"""Images a second of decoding and augmentation, on one thread.

    python benchmarks/loader.py [--only WORD] [--seconds 1] [--train] [--json]

Counted in processor time of the making of batches, so other load disturbs little; what `Batches` can deliver is this
times the cores that the network leaves free. --train tells what the network makes of it, by the clock: images a second
that it trains on from memory and from files, and that the loader gives while nothing else runs. Pictures are made here:
smooth random colours with noise, JPEG quality 90, a large one of about 100 kB as photos have, in folders of classes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import tinyconv
from tinyconv import data, lang
from tinyconv.data import Batches, Split, media
from tinyconv.sections import SECTIONS

SETS = {"32x32": (32, 32, 2000), "500x375": (375, 500, 60), "4000x3000": (3000, 4000, 4)}
SMALL = "pad 4 -> crop 32 -> flip"
LARGE = "resize 256 -> crop 224 -> flip"
# (name, set, whether decoded for each batch, steps)
CASES = [
    ("32x32 from memory", "32x32", False, SMALL),
    ("32x32 JPEG", "32x32", True, SMALL),
    ("500x375 from memory", "500x375", False, LARGE),
    ("500x375 JPEG", "500x375", True, LARGE),
    ("500x375 JPEG, AlexNet", "500x375", True, LARGE + " -> pca 0.1"),
    ("500x375 JPEG, Inception", "500x375", True, "resizedcrop 224 -> flip -> jitter brightness=0.4 contrast=0.4 "
                                                "saturation=0.4"),
    ("4000x3000 JPEG", "4000x3000", True, LARGE),
    *((f"{side}: {step}", side, False, start + step) for side, start in (("32x32", ""), ("500x375", "crop 224 -> "))
      for step in ("flip", "shift 4", "rotate 15", "affine rotate=10 scale=0.8,1.2", "resizedcrop 32",
                   "jitter brightness=0.4 contrast=0.4 saturation=0.4 hue=0.1", "pca 0.1", "noise 0.05", "cutout 8",
                   "erase")),
]


def write_pictures(folder: Path, h: int, w: int, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        noisy = np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC)) + rng.normal(0, 16, (h, w, 3))
        target = folder / "ab"[i % 2] / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(target, quality=90)


def steps_of(text: str) -> list:
    program = lang.parse(f"input 8x8 x3\nconv 3 x4\ndata {{ augment: {text} }}")
    return lang.sections(program, SECTIONS)["data"]["augment"]


def rate(split: Split, steps: list, seconds: float, batch: int) -> float:
    """Samples a processor second, over at least `seconds` of it."""
    batches = Batches(split, batch, steps)
    order = batches.order()
    batches.make(order[:batch])
    begun, done = time.process_time(), 0
    while (spent := time.process_time() - begun) < seconds:
        first = done % len(order)
        done += len(batches.make(order[first:first + batch])[1])
    return done / spent


def opened(folder: Path, each_time: bool) -> Split:
    """The set in memory, or one that is decoded for each batch and keeps nothing."""
    limit, media.MEMORY_LIMIT = media.MEMORY_LIMIT, 0 if each_time else media.MEMORY_LIMIT
    try:
        return data.open(folder, validation=0).train
    finally:
        media.MEMORY_LIMIT = limit


# (net, set, steps, batch)
TRAINED = [("resnet20_cifar", "32x32", SMALL, 64), ("resnet18", "500x375", LARGE, 8),
           ("alexnet", "500x375", "resize 256 -> crop 227 -> flip -> pca 0.1", 32)]


def train(options: argparse.Namespace) -> int:
    for name, pictures, text, batch in (case for case in TRAINED if options.only in f"{case[0]} {case[1]}"):
        with tempfile.TemporaryDirectory() as place:
            h, w, count = SETS[pictures]
            write_pictures(Path(place), h, w, min(count, 4 * batch) if h > 32 else count)
            net = tinyconv.load(name, classes=2)
            net.set_input_statistics([0.5] * 3, [0.25] * 3)
            found = training(Path(place), net, steps_of(text), options.seconds, batch)
        shares = {key: round(rate / found["ready"], 3) for key, rate in found.items()}
        row = {"net": name, "pictures": pictures, "images_per_second": found, "of_ready": shares}
        print(json.dumps(row), flush=True)
    return 0


def training(folder: Path, net, steps: list, seconds: float, batch: int) -> dict[str, float]:
    """Images a second that the net trains on, by the clock: from an array that is ready, from the folder as it is
    opened (decoded once where it fits into memory), from one decoded for each batch; and, as "loader", that come from
    the last when there is no net. In turns, the median of three."""
    fixed = opened(folder, False)
    batches = Batches(fixed, 1, steps, shape=net.input_shape)
    ready = Split(np.concatenate([batches.make(np.array([i]))[0] for i in range(len(fixed))]), fixed.labels)
    fresh, step = opened(folder, True), net.trainer(lr=1e-4).step
    sources = {"ready": (ready, [], step), "folder": (fixed, steps, step), "decoded": (fresh, steps, step),
               "loader": (fresh, steps, lambda x, labels: None)}
    rates = {name: [] for name in sources}
    for _ in range(4):
        for name, (split, made_by, use) in sources.items():
            begun, done, epoch = time.perf_counter(), 0, 0
            while (spent := time.perf_counter() - begun) < seconds:
                for x, labels in Batches(split, batch, made_by, epoch=epoch):
                    use(x, labels)
                    done += len(labels)
                epoch += 1
            rates[name].append(done / spent)
    return {name: round(float(np.median(found[1:])), 1) for name, found in rates.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="cases that have this word in their name")
    parser.add_argument("--seconds", type=float, default=1.0, help="processor time a case")
    parser.add_argument("--train", action="store_true", help="training speed instead, by where the images come from")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.train:
        return train(options)
    cases = [case for case in CASES if options.only in case[0]]
    results = []
    with tempfile.TemporaryDirectory() as place:
        for name in dict.fromkeys(case[1] for case in cases):
            write_pictures(Path(place, name), *SETS[name])
        for name, pictures, each_time, text in cases:
            found = rate(opened(Path(place, pictures), each_time), steps_of(text), options.seconds,
                         min(32, SETS[pictures][2]))
            results.append({"case": name, "steps": text, "images_per_second": round(found, 1)})
            if not options.json:
                print(f"{found:10,.0f} images/s  {name:44} {text}", flush=True)
    if options.json:
        json.dump({"tinyconv": tinyconv.__version__, "results": results}, sys.stdout)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
