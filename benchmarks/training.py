"""One training step at batch 128, forward, backward and SGD with momentum and decay, against PyTorch in both layouts.

    python benchmarks/training.py --peer-python PYTHON-WITH-TORCH [--json]
"""

from __future__ import annotations

import pairs

BATCH = 128
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
NETS = {"LeNet": LENET, "ResNet-20": RESNET20, "VGG-11-BN": VGG11}
RECIPE = dict(lr=0.001, momentum=0.9)
DECAY = 5e-4


def cases():
    return [(f"{name} b{BATCH}", {"net": name}, None) for name in NETS]


def batch(case: dict):
    import numpy as np

    rng = np.random.default_rng(0)
    channels = 1 if case["net"] == "LeNet" else 3
    return rng.random((BATCH, 32, 32, channels), np.float32), rng.integers(0, 10, BATCH).astype(np.int32)


def ours(case: dict):
    import tinyconv

    trainer = tinyconv.compile(NETS[case["net"]]).trainer(decay=DECAY, **RECIPE)
    x, labels = batch(case)
    return lambda: trainer.step(x, labels)


def torch(memory_format: str):
    def setup(case: dict):
        import torch

        layout = getattr(torch, memory_format)
        net = torch_net(case["net"]).to(memory_format=layout).train()
        x, labels = batch(case)
        x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        labels = torch.from_numpy(labels).long()
        optimizer = torch.optim.SGD(net.parameters(), weight_decay=DECAY, **RECIPE)
        loss_of = torch.nn.CrossEntropyLoss()

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(net(x), labels)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return setup


def torch_net(name: str):
    """The same net in PyTorch."""
    from torch import nn

    def cb(c, x, k, s=1):
        return [nn.Conv2d(c, x, k, s, k // 2, bias=False), nn.BatchNorm2d(x)]

    class Basic(nn.Module):
        def __init__(self, c, x, s=1):
            super().__init__()
            self.body = nn.Sequential(*cb(c, x, 3, s), nn.ReLU(inplace=True), *cb(x, x, 3))
            self.shortcut = nn.Identity() if c == x and s == 1 else nn.Sequential(*cb(c, x, 1, s))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    if name == "LeNet":
        return nn.Sequential(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
                             nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
                             nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
                             nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))
    if name == "ResNet-20":
        layers, c = [*cb(3, 16, 3), nn.ReLU(inplace=True)], 16
        for x in (16, 32, 64):
            for i in range(3):
                layers.append(Basic(c, x, 2 if i == 0 and x > 16 else 1))
                c = x
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    layers, c = [], 3
    for x in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        layers += [*cb(c, x, 3), nn.ReLU(inplace=True)] if x else [nn.MaxPool2d(2)]
        c = x or c
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


if __name__ == "__main__":
    sides = {"tinyconv": ours, "torch": torch("contiguous_format"), "torch NHWC": torch("channels_last")}
    pairs.run(__doc__, sides, cases)
