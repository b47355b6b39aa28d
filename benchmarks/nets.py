"""Whole nets against every peer that is installed: inference, or with --train one step of training.

    python benchmarks/nets.py --peer-python PYTHON-WITH-THE-PEERS [--train] [--only ResNet] [--rounds 11]
                              [--avx2] [--scaling] [--markdown FILE] [--plot FILE] [--json]

Peers: PyTorch in both layouts, compiled, for inference through torch.jit, too; ONNX Runtime, OpenVINO and ncnn. All
sides have the same graph and weights (benchmarks/peers.py), and the case ends where they do not give the same output:
logits in inference, in training the losses of the first two steps (without dropout, whose draws differ, in both).

Beside each time stands a bound of any program on this machine: multiply-adds over the peak of the threads, measured
here, or weights read once from memory, whichever is more. `Winograd` is the same bound with a quarter of the
multiplications in 3x3 convolutions of stride 1, as F(4x4, 3x3) needs, its transforms for nothing.

--avx2 shows on a machine with wider vectors what one without them does: tinyconv's AVX2 kernels, and PyTorch, with the
oneDNN and MKL inside, held to that instruction set. The other peers have no such switch. --scaling compares tinyconv
with itself on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pairs
import peers
import training

# name -> (text, or a name of the zoo; batch)
PREDICTIONS = {"VGG-16": ("vgg16", 1), "ResNet-18": ("resnet18", 1), "ResNet-50": ("resnet50", 1),
               "AlexNet": ("alexnet", 1), "MobileNetV1": ("mobilenet", 1), "VGG-11-BN": (training.VGG11, 64),
               "ResNet-20": (training.RESNET20, 64), "LeNet": (training.LENET, 1)}
TOLERANCE = 1e-3    # of the largest value
TRAIN_TOLERANCE = 5e-3      # PyTorch's own layouts differ by 3e-3 in ResNet-50's second loss
OURS, ONE = "tinyconv", "one thread"


def made(source: str, train: bool):
    """The net as all sides run it: without dropout, with the plain loss of its output, in inference to its logits (a
    softmax hides what differs)."""
    import tinyconv

    text = re.sub(r"dropout [\d.]+ -> | -> dropout [\d.]+|loss [^;]*; ", "", training.make(source).text)
    return tinyconv.compile(text if train else text.replace(" -> softmax", ""))


# -- the sides

def ours(case: dict):
    folder = Path(case["folder"])
    x, net = np.load(folder / "x.npy"), made(case["source"], case["train"])
    if not case["train"]:
        return lambda: net(x)
    labels = np.load(folder / "labels.npy")
    trainer = net.trainer(decay=peers.DECAY, **peers.RECIPE)
    return lambda: trainer.step(x, labels)


def peer(name: str):
    def setup(case: dict):
        call = (peers.TRAIN if case["train"] else peers.PREDICT)[name](Path(case["folder"]), case["threads"])
        return call if case["train"] else lambda: peers.channels_last(call())

    return setup


# -- the bound

def bounds(net, batch: int, train: bool, peak: float, bandwidth: float) -> dict[str, float]:
    """Milliseconds, by "bound" and "Winograd". peak in GFLOP/s, bandwidth in GB/s.

    A step of training multiplies three times as much, but for the first layer, whose input needs no gradient; it reads
    the weights forward and backward, and their momentum.
    """
    direct = winograd = 0
    first = True
    for node in net.graph.nodes:
        if not node.macs:
            continue
        work = 2 * node.macs * batch * (1 if not train else 2 if first else 3)
        tiled = node.op == "conv" and node.args["k"] == (3, 3) and node.args["s"] == (1, 1) and node.args["g"] == 1
        direct, winograd, first = direct + work, winograd + work / (4 if tiled else 1), False
    reading = 4 * net.graph.params * (3 if train else 1) / bandwidth / 1e6
    return {"bound": max(direct / peak / 1e6, reading), "Winograd": max(winograd / peak / 1e6, reading)}


def machine(threads: int) -> dict:
    from tinyconv.cli.info import cpu_name
    from tinyconv.runtime import _cpu

    return {"cpu": cpu_name(), "isa": _cpu.isa(), "threads": threads,
            "fma_gflops": round(max(_cpu.measure_fma(threads, 0.2) for _ in range(3)), 1),
            "read_gbs": round(max(_cpu.measure_read(threads, 0.3) for _ in range(2)), 1)}


# -- the driver

def prepared(chosen: dict, options, folder: Path) -> list[tuple[str, dict, None]]:
    """Writes the nets and has the peers' Python export them; what is there already is left."""
    cases = []
    for name, (source, batch) in chosen.items():
        own = folder / f"{name}-{'train' if options.train else 'predict'}-{batch}"
        if not (own / "ready").exists():
            net = made(source, options.train)
            x, labels = training.batch(net, batch)
            peers.write(net, own, x, labels if options.train else None)
            if not options.train and not options.scaling:
                done = subprocess.run([options.peer_python, __file__, "--export", own], capture_output=True, text=True)
                if done.returncode:
                    print(f"{name}: no ONNX or ncnn: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            if not options.scaling:
                (own / "ready").touch()
        results = own / "results"
        results.mkdir(exist_ok=True)
        for old in results.iterdir():
            old.unlink()
        cases.append((f"{name} b{batch}", {"source": source, "train": options.train, "folder": str(own),
                                           "results": str(results), "threads": options.threads}, None))
    return cases


def disagreement(results: Path) -> dict[str, float]:
    """{peer: the largest difference between its results and ours, over the largest of ours}."""
    our = np.load(results / f"{OURS}.npy")
    return {path.stem: float(np.abs(np.load(path) - our).max() / np.abs(our).max())
            for path in sorted(results.iterdir()) if path.stem != OURS}


def table(results: list[pairs.Result], extras: dict[str, dict], facts: dict) -> str:
    """Markdown."""
    sides = list(dict.fromkeys(side for r in results for side in r.ms))
    titles = ["", *(f"{side} ms" for side in sides), "bound", "Winograd", "fastest peer", "ratio", "memory, MB",
              "of the leanest peer's"]
    rows = [titles, ["---"] + ["---:"] * (len(titles) - 1)]
    for r in results:
        memory = min(m for side, m in r.memory.items() if side != OURS)
        rows.append([r.case, *(f"{r.ms[side]:.3g}" if side in r.ms else "" for side in sides),
                     f"{extras[r.case]['bound']:.3g}", f"{extras[r.case]['Winograd']:.3g}", r.fastest,
                     f"{r.ratio:.2f}", f"{r.memory[OURS] / 1e6:.0f}", f"{r.memory[OURS] / memory:.2f}"])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |" for row in rows]
    about = (f"{facts['cpu']}, {facts['isa']}, {facts['threads']} threads: {facts['fma_gflops']} GFLOP/s of "
             f"multiply-adds, {facts['read_gbs']} GB/s of reading.")
    if facts["held"]:
        about += " PyTorch held to AVX2, other peers free."
    return "\n".join([about, "", *lines])


def plot(results: list[pairs.Result], path: str) -> None:
    """Bars: the time of each peer over ours."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for r in results for name in r.ratios))
    figure, axes = pyplot.subplots(figsize=(1.5 + 1.6 * len(results), 4), layout="constrained")
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        at = [j + (i - (len(names) - 1) / 2) * width for j, r in enumerate(results) if name in r.ratios]
        axes.bar(at, [r.ratios[name] for r in results if name in r.ratios], width, label=name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(results)), [r.case for r in results])
    axes.set_ylabel("time over tinyconv's (above 1: tinyconv is faster)")
    axes.legend(ncols=len(names), fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 1.14))
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has the peers installed")
    parser.add_argument("--train", action="store_true", help="a step of training instead of inference")
    parser.add_argument("--only", default="", help="nets whose name contains one of these, separated by commas")
    parser.add_argument("--peers", default="", help="only these, by name, separated by commas")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--avx2", action="store_true", help="tinyconv and PyTorch without wider vectors than AVX2's")
    parser.add_argument("--scaling", action="store_true", help="all threads against one, without peers")
    parser.add_argument("--folder", help="keeps the nets as exported for the peers here, for the next run")
    parser.add_argument("--markdown", metavar="FILE", help="writes the table, too")
    parser.add_argument("--plot", metavar="FILE", help="draws the ratios (needs matplotlib)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--export", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    return parser, parser.parse_args()


def contains(name: str, words: str) -> bool:
    return any(word in name for word in words.split(","))


def main() -> None:
    parser, options = parsed()
    if options.list:
        print(json.dumps(peers.installed()))
    elif options.export:
        peers.export(Path(options.export))
    elif options.worker:
        mine = options.worker in (OURS, ONE)
        pairs.serve(ours if mine else peer(options.worker), pairs.tinyconv_peak if mine else None)
    else:
        if options.avx2:
            os.environ.update(pairs.AVX2)  # of the bound, too
        all_cases = training.CASES if options.train else PREDICTIONS
        chosen = {name: case for name, case in all_cases.items() if contains(name, options.only)}
        if not chosen:
            parser.error(f"no net contains {options.only!r}")
        there = [ONE] if options.scaling else present(options)
        if not there:
            parser.error(f"{options.peer_python} has none of the peers: pip install -e '.[bench]' there")
        with tempfile.TemporaryDirectory() as temporary:
            measure(prepared(chosen, options, Path(options.folder or temporary)), there, options)


def present(options) -> list[str]:
    """The peers that their Python has, of those asked for."""
    there = json.loads(subprocess.run([options.peer_python, __file__, "--list"], check=True, stdout=subprocess.PIPE,
                                      text=True).stdout)
    asked = options.peers.split(",") if options.peers else there
    return [name for name in there if name in asked and (name in peers.TRAIN or not options.train)]


def measure(cases: list, there: list[str], options) -> None:
    """Every case with processes of its own, whose peak memory is then the case's."""
    facts, results, extras = machine(options.threads) | {"held": options.avx2}, [], {}
    for name, case, work in cases:
        sides = [pairs.Side(side, sys.executable if side in (OURS, ONE) else options.peer_python, [],
                            1 if side == ONE else options.threads, pairs.AVX2 if options.avx2 else None)
                 for side in (OURS, *there)]
        try:
            found = pairs.compare(sides, [(name, case, work)], options.rounds)
        finally:
            for side in sides:
                side.close()
        if not found:
            raise SystemExit(f"{name}: nothing to compare")
        apart = disagreement(Path(case["results"]))
        tolerance = TRAIN_TOLERANCE if options.train else TOLERANCE
        bad = {side: value for side, value in apart.items() if not value <= tolerance}
        if bad:
            raise SystemExit(f"{name}: results differ: {bad}")
        net = made(case["source"], case["train"])
        batch = len(np.load(Path(case["folder"]) / "x.npy", mmap_mode="r"))
        extras[name] = bounds(net, batch, case["train"], facts["fma_gflops"], facts["read_gbs"]) | {"apart": apart}
        results += found
    text = table(results, extras, facts)
    if options.markdown:
        Path(options.markdown).write_text(text + "\n")
    if options.plot:
        plot(results, options.plot)
    rows = [vars(r) | extras[r.case] for r in results]
    print(json.dumps({"machine": facts, "results": rows}, indent=1) if options.json else text)


if __name__ == "__main__":
    main()
