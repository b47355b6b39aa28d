"""Single layers against PyTorch (oneDNN) and ncnn, matrix products against NumPy (OpenBLAS).

    python benchmarks/kernels.py --peer-python PYTHON-WITH-THE-PEERS [--only 'resnet'] [--rounds 7] [--threads 2]
                                 [--avx2] [--scaling] [--plot FILE] [--json]

All three passes; ncnn's are forward ones of a single image, which it gets in the blocks of channels that its layers
exchange. All passes of ours run as a net's steps do, made ready once. Forward passes have their weights packed
beforehand; gradients pack theirs, for in training they are new in every step, and PyTorch reorders them in every call.
--avx2 holds all but ncnn to that instruction set.

The bound is the roofline of Williams, Waterman and Patterson (2009): operations over the peak of the FMA units, or
operands read and written once over the bandwidth of memory, whichever is more, both measured in turns with the layers.
A layer can be faster than its bound: Winograd's algorithm multiplies less, and small operands stay in the caches.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from math import prod
from pathlib import Path
from statistics import geometric_mean

import pairs

OURS, ONE = "tinyconv", "one thread"
PASSES = ("forward", "dx", "dw")
PRODUCTS = [(512, 3136, 576), (64, 12544, 576), (256, 196, 2304), (2048, 2048, 2048), (64, 64, 64), (8, 4096, 1024),
            (1000, 10, 1000), (31, 33, 1025)]  # m, n, k
WORST = 10

# name, batch, size, channels in and out, kernel[, what differs from stride 1, half the kernel as padding, ...].
# fc is a kernel of 1 on a map of 1; of transposed layers everything is that of the convolution whose adjoint they are.
LAYERS = [
    ("vgg16 conv1_1", 1, (224, 224), 3, 64, 3), ("vgg16 conv1_2", 1, (224, 224), 64, 64, 3),
    ("vgg16 conv2_2", 1, (112, 112), 128, 128, 3), ("vgg16 conv3_2", 1, (56, 56), 256, 256, 3),
    ("vgg16 conv4_2", 1, (28, 28), 512, 512, 3), ("vgg16 conv5_1", 1, (14, 14), 512, 512, 3),
    ("vgg16 fc1", 1, (1,), 25088, 4096, 1), ("vgg16 fc2 n8", 8, (1,), 4096, 4096, 1),
    ("alexnet conv1", 1, (224, 224), 3, 64, 11, {"stride": 4, "padding": 2}),
    ("alexnet conv2", 1, (27, 27), 64, 192, 5), ("alexnet conv3 n16", 16, (13, 13), 192, 384, 3),
    ("alexnet fc1", 1, (1,), 9216, 4096, 1), ("alexnet fc1 n64", 64, (1,), 9216, 4096, 1),
    ("resnet conv1", 1, (224, 224), 3, 64, 7, {"stride": 2}),
    ("resnet conv1 n8", 8, (224, 224), 3, 64, 7, {"stride": 2}),
    ("resnet18 64-128 s2", 1, (56, 56), 64, 128, 3, {"stride": 2}),
    ("resnet18 64-128 1x1 s2", 1, (56, 56), 64, 128, 1, {"stride": 2}),
    ("resnet18 128-256 s2", 1, (28, 28), 128, 256, 3, {"stride": 2}),
    ("resnet18 256-512 s2", 1, (14, 14), 256, 512, 3, {"stride": 2}),
    ("resnet18 256-512 1x1 s2", 1, (14, 14), 256, 512, 1, {"stride": 2}),
    ("resnet18 512", 1, (7, 7), 512, 512, 3), ("resnet50 64-256 n8", 8, (56, 56), 64, 256, 1),
    ("resnet50 256-64 n8", 8, (56, 56), 256, 64, 1), ("resnet50 512-128 n8", 8, (28, 28), 512, 128, 1),
    ("resnet50 256-1024 n8", 8, (14, 14), 256, 1024, 1), ("resnet50 2048-512", 1, (7, 7), 2048, 512, 1),
    ("resnet50 512-2048", 1, (7, 7), 512, 2048, 1),
    ("resnet50 256-512 1x1 s2 n8", 8, (56, 56), 256, 512, 1, {"stride": 2}),
    ("resnet50 128 s2 n8", 8, (56, 56), 128, 128, 3, {"stride": 2}), ("resnet50 fc n16", 16, (1,), 2048, 1000, 1),
    ("mobilenet conv1", 1, (224, 224), 3, 32, 3, {"stride": 2}),
    ("mobilenet dw 32", 1, (112, 112), 32, 32, 3, {"groups": 32}),
    ("mobilenet dw 64 s2", 1, (112, 112), 64, 64, 3, {"groups": 64, "stride": 2}),
    ("mobilenet dw 128", 1, (56, 56), 128, 128, 3, {"groups": 128}),
    ("mobilenet dw 512", 1, (14, 14), 512, 512, 3, {"groups": 512}),
    ("mobilenet dw 1024", 1, (7, 7), 1024, 1024, 3, {"groups": 1024}),
    ("mobilenet dw 128 n16", 16, (56, 56), 128, 128, 3, {"groups": 128}),
    ("mobilenet dw 512 n16", 16, (14, 14), 512, 512, 3, {"groups": 512}),
    ("mobilenet pw 32-64", 1, (112, 112), 32, 64, 1), ("mobilenet pw 512", 1, (14, 14), 512, 512, 1),
    ("efficientnet dw 5x5", 1, (28, 28), 240, 240, 5, {"groups": 240}),
    ("convnext dw 7x7", 1, (56, 56), 96, 96, 7, {"groups": 96}),
    ("convnext stem", 1, (224, 224), 3, 96, 4, {"stride": 4, "padding": 0}),
    ("resnext 32 groups of 4", 1, (56, 56), 128, 128, 3, {"groups": 32}),
    ("two groups of 48", 8, (27, 27), 96, 256, 5, {"groups": 2}),
    ("shufflenet 1x1", 1, (28, 28), 240, 240, 1, {"groups": 3}),
    ("lenet conv1 n128", 128, (28, 28), 1, 6, 5), ("lenet conv2 n128", 128, (14, 14), 6, 16, 5, {"padding": 0}),
    ("resnet20 conv1 n128", 128, (32, 32), 3, 16, 3), ("resnet20 16 n128", 128, (32, 32), 16, 16, 3),
    ("resnet20 16-32 s2 n128", 128, (32, 32), 16, 32, 3, {"stride": 2}), ("resnet20 64 n128", 128, (8, 8), 64, 64, 3),
    ("vgg11 3-64 n64", 64, (32, 32), 3, 64, 3), ("vgg11 512 n64", 64, (4, 4), 512, 512, 3),
    ("unet up 128-64", 4, (64, 64), 64, 128, 2, {"stride": 2, "padding": 0, "transposed": True}),
    ("dcgan up 256-128", 16, (32, 32), 128, 256, 4, {"stride": 2, "padding": 1, "transposed": True}),
    ("deeplab dilated", 1, (28, 28), 256, 256, 3, {"dilation": 2, "padding": 2}),
    ("aspp dilated", 1, (28, 28), 256, 256, 3, {"dilation": 6, "padding": 6}),
    ("wavenet 1-D dilated", 8, (4096,), 64, 64, 3, {"dilation": 8, "padding": 8}),
    ("tcn 1-D", 16, (1000,), 64, 128, 9), ("m5 1-D first", 16, (16000,), 1, 64, 80, {"stride": 4, "padding": 38}),
    ("c3d 3-D", 1, (16, 28, 28), 64, 64, 3),
    ("r3d conv1 3-D", 1, (8, 112, 112), 3, 64, (3, 7, 7), {"stride": (1, 2, 2), "padding": (1, 3, 3)}),
    ("r2plus1d in time", 1, (8, 56, 56), 64, 64, (3, 1, 1), {"padding": (1, 0, 0)}),
    ("x3d dw 3-D", 1, (16, 28, 28), 32, 32, 3, {"groups": 32}),
]


# -- the cases

def layer(name, batch, size, c, k, kernel, options=None) -> dict:
    """A case: what all sides need to know of a layer, an entry an axis."""
    given = {"stride": 1, "dilation": 1, "groups": 1, "transposed": False} | (options or {})
    axes = len(size)
    kernel, stride, dilation = (_axes(value, axes) for value in (kernel, given["stride"], given["dilation"]))
    padding = _axes(given.get("padding", [(n - 1) // 2 for n in kernel]), axes)
    after = [(n + 2 * p - d * (f - 1) - 1) // s + 1 for n, p, d, f, s in zip(size, padding, dilation, kernel, stride)]
    return {"x": (batch, *size, c), "w": (k, *kernel, c // given["groups"]), "y": (batch, *after, k),
            "stride": stride, "padding": padding, "dilation": dilation, "groups": given["groups"],
            "transposed": given["transposed"]}


def _axes(value, axes: int) -> list[int]:
    return [value] * axes if isinstance(value, int) else list(value)


def layer_cases() -> list:
    cases = []
    for entry in LAYERS:
        case = layer(*entry)
        work = 2.0 * prod(case["y"]) * prod(case["w"][1:])
        cases += [(f"{entry[0]} {which}", case | {"which": which}, work) for which in PASSES]
    return cases


def product_cases() -> list:
    return [(f"product {m}x{n}x{k}", {"x": (m, k), "w": (k, n), "y": (m, n)}, 2.0 * m * n * k) for m, n, k in PRODUCTS]


def moved(case: dict) -> int:
    """Bytes of all operands."""
    return 4 * sum(prod(case[name]) for name in ("x", "w", "y"))


def arrays(case: dict):
    """x, w, y (also as a gradient), channels last, at whole cache lines, as a net's own and PyTorch's are."""
    import numpy as np

    rng, found = np.random.default_rng(0), []
    for name in ("x", "w", "y"):
        raw = np.empty(prod(case[name]) + 16, np.float32)
        begin = -raw.ctypes.data % 64 // 4
        found.append(raw[begin:begin + prod(case[name])].reshape(case[name]))
        rng.standard_normal(case[name], np.float32, out=found[-1])
    return tuple(found)


# -- the sides

def ours(case: dict):
    x, w, y = arrays(case)
    if "which" not in case:
        from tinyconv import kernels

        return lambda: kernels.gemm(x, w)
    which = {"forward": "conv", "dx": "conv_dx", "dw": "conv_dw"}[case["which"]]
    if case["transposed"]:  # its forward pass is the convolution's data gradient, and the other way round
        which = {"conv": "conv_dx", "conv_dx": "conv"}.get(which, which)
    return step(which, case, x, w, y)


def step(which: str, case: dict, x, w, y):
    """A net's step: a program made once, for memory that stays; gradients pack their weights in every call."""
    from tinyconv.runtime import _cpu, threads
    from tinyconv.runtime.cpu import PASSES, address, conv_shape
    from tinyconv.runtime.store import aligned

    def ints_of(algorithm):
        return conv_shape(case["x"], case["y"], case["w"][1:-1], case, algorithm)

    ints, forward, steps = ints_of(None), case["which"] == "forward", []
    operand, out = {"conv": (x, y), "conv_dx": (y, x), "conv_dw": (x, w)}[which]
    out = aligned(4 * out.size).view("float32").reshape(out.shape)
    arrays = [operand, y if which == "conv_dw" else w, out]
    if which != "conv_dw" and not forward and _cpu.conv_unpacked(ints, PASSES[which]):
        ints = ints_of("unpacked")
    elif which != "conv_dw":
        arrays.append(aligned(4 * _cpu.conv_packed(ints, PASSES[which])))
        steps.append(("pack", [(1, 0), (3, 0)], [*ints, PASSES[which]], []))
    no_bias = [(-1, 0)] * (which == "conv")
    steps.append((which, [(0, 0), (3 if steps else 1, 0), *no_bias, (2, 0)], ints, []))
    program, at = _cpu.Program(steps), [address(array) for array in arrays]
    scratch = aligned(max(*program.scratch(threads.get()), 1))

    def call(first: int = len(steps) - 1 if forward else 0):
        program.run(first, len(steps), at, address(scratch), threads.get())
        return arrays  # operand, w or y, what comes out; so they live as long as the call

    call(0)
    return call


def one_thread(case: dict):
    import tinyconv

    call = ours(case)

    def alone():
        with tinyconv.threads(1):
            return call()

    return alone


def numpy(case: dict):
    a, b, _ = arrays(case)
    return lambda: a @ b


def torch(memory_format: str):
    def setup(case: dict):
        import torch

        axes = len(case["x"]) - 2
        last = "channels_last" if axes == 2 else "channels_last_3d" if axes == 3 else "contiguous_format"
        layout = getattr(torch, last if memory_format == "channels_last" else memory_format)
        order = (0, axes + 1, *range(1, axes + 1))
        x, w, y = (torch.from_numpy(a).permute(order).contiguous(memory_format=layout) for a in arrays(case))
        if all(n == 1 for n in case["x"][1:-1]):
            return linear(torch, x.flatten(1), w.flatten(1), y.flatten(1), case["which"])
        how = [case["stride"], case["padding"], case["dilation"], case["transposed"], [0] * axes, case["groups"]]
        if case["transposed"]:
            x, y = y, x
        if case["which"] == "forward":
            return lambda: torch.ops.aten.convolution(x, w, None, *how)
        mask = [case["which"] == "dx", case["which"] == "dw", False]
        return lambda: torch.ops.aten.convolution_backward(y, x, w, None, *how, mask)

    return setup


def linear(torch, x, w, y, which: str):
    return {"forward": lambda: torch.nn.functional.linear(x, w), "dx": lambda: y @ w, "dw": lambda: y.t() @ x}[which]


def ncnn(case: dict):
    """A net of this layer alone."""
    import ncnn
    import numpy as np
    import peers

    (_, *size, c), (k, *kernel, _) = case["x"], case["w"]
    flat = prod(size) == 1
    x, w, _ = arrays(case)
    # its parameters by number: channels, bias, weights; kernel, dilation, stride, padding in x, from 11 on in y; groups
    values = {0: k, 1: 0, 2: w.size} if flat else {0: k, 5: 0, 6: w.size, 7: case["groups"]}
    for number, pair in enumerate(() if flat else (kernel, case["dilation"], case["stride"], case["padding"]), 1):
        values |= {number + 10: pair[0], number: pair[1]}
    kind = "InnerProduct" if flat else "Convolution" if case["groups"] == 1 else "ConvolutionDepthWise"
    text = " ".join(f"{number}={value}" for number, value in values.items())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "net.ncnn.param").write_text(f"7767517\n3 3\nInput in0 0 1 in0\nDropout x 1 1 in0 x\n"
                                                  f"{kind} y 1 1 x y {text}\n")
        Path(folder, "net.ncnn.bin").write_bytes(bytes(4) + np.moveaxis(w, -1, 1).tobytes())  # 4 bytes: float32
        net = peers.ncnn_net(Path(folder), int(os.environ["OMP_NUM_THREADS"]))
    image = x.reshape(c) if flat else np.moveaxis(x[0], -1, 0).copy()
    before = net.create_extractor()
    before.input("in0", ncnn.Mat(image).clone())  # a Mat does not own its array
    packed = before.extract("x", 1)[1]

    def call():
        extractor = net.create_extractor()
        extractor.input("x", packed)
        return extractor.extract("y", 1)  # 1: in blocks of channels, as its next layer would take it

    return call


def takes(side: str, case: dict) -> bool:
    """ncnn is for inference on one image; its layers of one and three axes, and transposed ones, are left out."""
    one = case["x"][0] == 1 and (len(case["x"]) == 4 or prod(case["x"][1:-1]) == 1)
    return side != "ncnn" or (one and case["which"] == "forward" and not case["transposed"])


SETUPS = {OURS: ours, ONE: one_thread, "numpy": numpy, "torch": torch("contiguous_format"),
          "torch NHWC": torch("channels_last"), "ncnn": ncnn}


# -- the driver

def measure(options, names: list[str], cases: list) -> tuple[list[pairs.Result], list[float]]:
    """The results, and the bandwidth (GB/s) measured before each case while all sides are stopped."""
    from tinyconv.runtime import _cpu

    sides = [pairs.Side(name, sys.executable if name in (OURS, ONE, "numpy") else options.peer_python, [],
                        options.threads, pairs.AVX2 if options.avx2 else None) for name in names]
    results, reads = [], []
    try:
        for case in cases:
            reads.append(_cpu.measure_read(options.threads, 0.01))
            results += pairs.compare([s for s in sides if takes(s.name, case[1])], [case], options.rounds)
    finally:
        for side in sides:
            side.close()
    return results, reads


def summary(results: list[pairs.Result], scaling: bool) -> str:
    worst = sorted(results, key=lambda r: r.ratio)[:WORST]
    mean, what = geometric_mean(r.ratio for r in results), "one thread" if scaling else "the fastest peer"
    lines = [f"geometric mean of {len(results)}: {mean:.2f}; the {len(worst)} worst ({what} over tinyconv):"]
    return "\n".join(lines + [f"  {r.ratio:.2f}  {r.case}" for r in worst])


def roofline(results: list[pairs.Result], bytes_of: dict[str, int], peak: float, read: float, path: str) -> None:
    """GFLOP/s over operations a byte, a mark a case, under the two bounds of the machine."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for which, mark in zip((*PASSES, "product"), "o^sx"):
        chosen = [r for r in results if r.case.endswith(f" {which}") or r.case.startswith(f"{which} ")]
        intensity = [r.gflops * r.ms[OURS] * 1e6 / bytes_of[r.case] for r in chosen]
        axes.scatter(intensity, [r.gflops for r in chosen], marker=mark, s=16, label=which)
    ends = [0.1, peak / read, 1000]
    axes.plot(ends, [min(peak, read * x) for x in ends], color="black", linewidth=0.8,
              label=f"{peak:.0f} GFLOP/s, {read:.0f} GB/s")
    axes.set(xscale="log", yscale="log", xlabel="operations a byte of the operands", ylabel="GFLOP/s")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has the peers installed")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--avx2", action="store_true", help="all but ncnn without wider vectors than AVX2's")
    parser.add_argument("--scaling", action="store_true", help="all threads against one, without peers")
    parser.add_argument("--plot", metavar="FILE", help="draws the roofline (needs matplotlib)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        pairs.serve(SETUPS[options.worker], pairs.tinyconv_peak if options.worker == OURS else None)
        return
    results, reads, bytes_of, tables = [], [], {}, []
    for cases, peers in ((product_cases(), ["numpy"]), (layer_cases(), ["torch", "torch NHWC", "ncnn"])):
        chosen = [case for case in cases if options.only in case[0]]
        if not chosen:
            continue
        names = [OURS, *([ONE] if options.scaling else peers)]
        found, bandwidths = measure(options, names, chosen)
        bytes_of |= {name: moved(case) for name, case, _ in chosen}
        tables.append(pairs.table(found, names))
        results, reads = results + found, reads + bandwidths
    if not results:
        parser.error(f"no case contains {options.only!r}")
    peak, read = max(r.gflops / r.peak_fraction for r in results), max(reads)
    if options.plot:
        roofline(results, bytes_of, peak, read, options.plot)
    if options.json:
        print(json.dumps({"fma_gflops": peak, "read_gbs": read, "results": [vars(r) for r in results]}, indent=1))
    else:
        print("\n\n".join([f"peak {peak:.0f} GFLOP/s, memory {read:.0f} GB/s", *tables,
                           summary(results, options.scaling)]))


if __name__ == "__main__":
    main()
