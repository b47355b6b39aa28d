"""Data parallel training: measured on this machine, and on paper for a cluster (docs/scaling.md).

    python benchmarks/scaling.py --measure [--rounds 7] [--steps 5]     (needs the mpi extra and an mpiexec)
    python benchmarks/scaling.py [--rates alexnet=70,vgg16=3.4,resnet50=11] [--bandwidth GB/s] [--latency us]
                                 [--batch 32]

--measure: VGG-11 with BN, 32x32, batch 128: two ranks of one thread against one process of two threads, in turns, each
a process of its own; the share of a step that ranks spend in sums, and the losses of both. Without it: the cost model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BACKWARD = 2 / 3  # of a step's work: dX and dW cost what the forward pass does, each
RATES = {"alexnet": 70.0, "vgg16": 3.4, "resnet50": 11.0}  # images/s a node of two cores; --rates has others


# -- the model

def all_reduce(nodes: int, size: float, bandwidth: float, latency: float) -> float:
    """Seconds of a ring: 2 (n - 1) messages of size/n bytes each (Patarasuk and Yuan 2009)."""
    return 2 * (nodes - 1) * (latency + size / nodes / bandwidth)


def step_time(nodes: int, batch: int, rate: float, size: float, buckets: int, bandwidth: float,
              latency: float) -> float:
    """Seconds of a step. Sums hide behind the backward pass, but for the last bucket's, which nothing hides."""
    compute = batch / rate
    whole = sum(all_reduce(nodes, size / buckets, bandwidth, latency) for _ in range(buckets))
    last = whole / buckets
    return compute + max(last, whole - BACKWARD * compute)


def project(name: str, rate: float, options) -> None:
    import tinyconv
    from tinyconv.runtime.ranks import BUCKET

    size = 4.0 * tinyconv.load(name).graph.params
    buckets = max(1, round(size / BUCKET))
    one = options.batch / rate
    print(f"{name}: {size / 1e6:.0f} MB of gradients, {one:.2f} s a step of {options.batch} images a node")
    for nodes in NODES:
        same = step_time(nodes, options.batch, rate, size, buckets, options.bandwidth * 1e9, options.latency * 1e-6)
        # the same whole batch, of 256 images, in ever smaller parts
        part = max(256 / nodes, 1)
        fixed = step_time(nodes, part, rate, size, buckets, options.bandwidth * 1e9, options.latency * 1e-6)
        weak, strong = one / same, 256 / rate / (fixed * nodes)
        print(f"  {nodes:4} nodes  batch {options.batch} each: {nodes * options.batch / same:8.1f} images/s, "
              f"{100 * weak:3.0f} % of {nodes} x one      batch 256 in all: {256 / fixed:7.1f} images/s, "
              f"{100 * strong:3.0f} %")


# -- two ranks on this machine

def work(steps: int) -> dict | None:
    """Steps of this rank, or of the whole batch where there is one process; what rank 0 saw."""
    import numpy as np

    import peers
    import tinyconv
    import training
    from tinyconv.data.batches import part_of
    from tinyconv.runtime.ranks import world

    ranks, spent = world(), [0.0]
    net = tinyconv.compile(training.VGG11, seed=0)
    together = {}
    if ranks is not None:
        run = ranks.run

        def timed(step, session) -> None:
            begin = time.perf_counter()
            run(step, session)
            spent[0] += time.perf_counter() - begin

        ranks.run = timed
        together = dict(ranks=ranks, sync_bn=True)
    trainer = net.trainer(decay=peers.DECAY, **peers.RECIPE, **together)
    x, labels = training.batch(net, 128)
    mine = slice(None) if ranks is None else part_of(len(x), ranks.rank, ranks.size)
    of = {} if ranks is None else {"of": len(x)}
    losses = [trainer.step(x[mine], labels[mine], **of) for _ in range(2)]  # not counted
    spent[0], begin = 0.0, time.perf_counter()
    losses += [trainer.step(x[mine], labels[mine], **of) for _ in range(steps)]
    seconds = time.perf_counter() - begin
    assert np.isfinite(losses).all()
    if ranks is not None and not ranks.leads:
        return None
    return {"images_per_second": steps * len(x) / seconds, "share": spent[0] / seconds, "losses": losses}


def measure(options) -> None:
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    mpiexec = shutil.which("mpiexec", path=beside)
    if mpiexec is None:
        raise SystemExit("there is no mpiexec: pip install mpich")
    worker = [sys.executable, __file__, "--worker", "--steps", str(options.steps)]

    def side(command: list[str], threads: int) -> dict:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                              env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        return json.loads(done.stdout)

    ratios, shares = [], []
    for _ in range(options.rounds):
        one, two = side(worker, 2), side([mpiexec, "-n", "2", *worker], 1)
        ratios.append(two["images_per_second"] / one["images_per_second"])
        shares.append(two["share"])
        print(f"two threads {one['images_per_second']:.0f}, two ranks {two['images_per_second']:.0f} images/s",
              flush=True)
    apart = max(abs(a - b) / a for a, b in zip(one["losses"], two["losses"]))
    print(f"two ranks over two threads: median {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
          f"{100 * median(shares):.1f} % of a step in sums; losses of {len(one['losses'])} steps differ by {apart:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rates", default="", help="images/s of one node, NET=RATE,…")
    parser.add_argument("--bandwidth", type=float, default=1.1, help="GB/s of a link: 1.1 is 10 Gbit/s Ethernet")
    parser.add_argument("--latency", type=float, default=30, help="microseconds a message")
    parser.add_argument("--batch", type=int, default=32, help="images a node and step")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        found = work(options.steps)
        if found:
            print(json.dumps(found))
    elif options.measure:
        measure(options)
    else:
        given = dict(pair.split("=") for pair in options.rates.split(",") if pair)
        for name, rate in {**RATES, **given}.items():
            project(name, float(rate), options)


if __name__ == "__main__":
    main()
