"""Single convolutions, all three passes, against PyTorch in both of its layouts.

    python benchmarks/layers.py --peer-python PYTHON-WITH-TORCH [--only 'dw'] [--json]

Both sides get weights as the user has them: what they pack or reorder for a call is part of it.
"""

from __future__ import annotations

import pairs

# name, batch, size, channels in, channels out, kernel, stride
LAYERS = [
    ("64ch 56x56", 8, 56, 64, 64, 3, 1),
    ("128ch 28x28", 8, 28, 128, 128, 3, 1),
    ("256ch 14x14", 8, 14, 256, 256, 3, 1),
    ("512ch 7x7", 8, 7, 512, 512, 3, 1),
    ("16ch 32x32", 128, 32, 16, 16, 3, 1),
    ("3-64ch 224x224 7x7 s2", 8, 224, 3, 64, 7, 2),
    ("128-256ch 28x28 s2", 8, 28, 128, 256, 3, 2),
    ("256-64ch 56x56 1x1", 8, 56, 256, 64, 1, 1),
]
PASSES = ("forward", "dx", "dw")


def cases():
    out = []
    for name, batch, size, c, k, kernel, stride in LAYERS:
        after = (size - 1) // stride + 1  # padding is half the kernel, all kernels odd
        work = 2.0 * batch * after * after * kernel * kernel * c * k
        for which in PASSES:
            case = dict(batch=batch, size=size, after=after, c=c, k=k, kernel=kernel, stride=stride, which=which)
            out.append((f"{name} {which}", case, work))
    return out


def arrays(case: dict):
    """x (n, h, w, c), w (k, kh, kw, c), dy (n, oh, ow, k)."""
    import numpy as np

    rng = np.random.default_rng(0)
    n, size, after, c, k, kernel = (case[name] for name in ("batch", "size", "after", "c", "k", "kernel"))
    shapes = ((n, size, size, c), (k, kernel, kernel, c), (n, after, after, k))
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def ours(case: dict):
    from tinyconv import kernels

    x, w, dy = arrays(case)
    how = dict(stride=case["stride"], padding=case["kernel"] // 2)
    return {"forward": lambda: kernels.conv(x, w, **how),
            "dx": lambda: kernels.conv_dx(dy, w, size=case["size"], **how),
            "dw": lambda: kernels.conv_dw(x, dy, kernel=case["kernel"], **how)}[case["which"]]


def torch(memory_format: str):
    def setup(case: dict):
        import torch

        layout = getattr(torch, memory_format)
        x, w, dy = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in arrays(case))
        stride, padding = [case["stride"]] * 2, [case["kernel"] // 2] * 2
        if case["which"] == "forward":
            return lambda: torch.nn.functional.conv2d(x, w, None, stride, padding)
        mask = [case["which"] == "dx", case["which"] == "dw", False]
        how = (None, stride, padding, [1, 1], False, [0, 0], 1, mask)
        return lambda: torch.ops.aten.convolution_backward(dy, x, w, *how)

    return setup


if __name__ == "__main__":
    sides = {"tinyconv": ours, "torch": torch("contiguous_format"), "torch NHWC": torch("channels_last")}
    pairs.run(__doc__, sides, cases)
