"""The same net, data, initial weights, order and recipe here and in PyTorch: do losses, gradients and training agree?

    python benchmarks/agreement.py [--only NAME] [--json]          (needs the bench extra)

For LeNet-5, the VGG with BN of models/vgg.net (without its dropout) and a ResNet-20, on random images: the first loss
and every gradient, at batch 16, against PyTorch in float64; then at batch 128 20 steps of SGD at learning rate 0.001,
and 20 at 0.1 with momentum, where rounding grows, against how far PyTorch's own float32 strays.
PyTorch runs the layer graph through its own functions, in channels-first.

A ReLU whose input lies within rounding of 0 is open in one precision and shut in the other, and one such among millions
moves a gradient by 1e-3 of its norm, in any float32 implementation. Hence the small batch for gradients, and biases of
2 for BN, on all sides, which leave few values near 0; the figure of PyTorch's own float32 stands beside ours. With
momentum the losses of deep nets with BN stray at 0.001, too, in PyTorch's float32 as here.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

# First, so that PyTorch shares its OpenMP, whose threads do not spin for long: see tinyconv/runtime/__init__.py
import tinyconv.runtime

import torch
import torch.nn.functional as F
import training
from torchnet import TorchNet

VGG = """
input 28x28 x1
block vgg n x { repeat n { conv 3x3 x bias=off -> bn -> relu } -> pool 2 }
vgg 2 x24 -> vgg 2 x48 -> vgg 2 x96 -> fc 10 -> softmax
"""
NETS = {"LeNet": training.LENET, "ResNet-20": training.RESNET20, "VGG with BN": VGG}
GRADIENTS_BATCH, BATCH, STEPS, DECAY = 16, 128, 20, 5e-4
SLOW, FAST = dict(lr=0.001, momentum=0.0), dict(lr=0.1, momentum=0.9)
LIMITS = {"loss at step 1": 1e-4, "gradients at step 1": 1e-4, "losses, lr 0.001": 1e-4, "losses, lr 0.1": 3.0}


def settled(net):
    """The net with few ReLUs that rounding decides."""
    for name in net.weights:
        if name.startswith("bn") and name.endswith(".bias"):
            net.weights[name] = np.full_like(net.weights[name], 2)
    return net


def batches(net, batch=BATCH, steps=STEPS):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield rng.random((batch, *net.input_shape), np.float32), rng.integers(0, 10, batch).astype(np.int32)


def torch_loss(model, x, labels, dtype):
    logits = model(torch.from_numpy(x).to(dtype).permute(0, 3, 1, 2))
    return F.cross_entropy(logits, torch.from_numpy(labels).long())


def torch_gradients(net, dtype):
    model = TorchNet(net, dtype)
    loss = torch_loss(model, *next(batches(net, GRADIENTS_BATCH)), dtype)
    loss.backward()
    return loss.item(), {n: model.as_ours(n, w.grad.double()) for n, w in model.trained.items()}


def torch_losses(net, dtype, recipe):
    model = TorchNet(net, dtype)
    trained = model.trained
    decayed = {n for n in trained if n.endswith("weight") and not n.startswith("bn")}
    groups = [{"params": [w for n, w in trained.items() if n in decayed], "weight_decay": DECAY},
              {"params": [w for n, w in trained.items() if n not in decayed]}]
    optimizer = torch.optim.SGD(groups, **recipe)
    losses = []
    for x, labels in batches(net):
        optimizer.zero_grad()
        loss = torch_loss(model, x, labels, dtype)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def our_losses(net, recipe):
    trainer = net.trainer(decay=DECAY, **recipe)
    return np.array([trainer.step(x, labels) for x, labels in batches(net)])


def deviations(exact, found):
    """{weight: norm of the difference over the norm}, without gradients that are only rounding: biases before BN."""
    norms = {n: np.linalg.norm(g) for n, g in exact.items()}
    return {n: np.linalg.norm(found[n] - g) / norms[n] for n, g in exact.items() if norms[n] > 1e-12}


def compare(text):
    fresh = lambda: tinyconv.compile(text, seed=4)  # noqa: E731
    exact_loss, exact = torch_gradients(settled(fresh()), torch.float64)
    loss, ours = settled(fresh()).gradients(*next(batches(fresh(), GRADIENTS_BATCH)))
    slow, fast = (torch_losses(fresh(), torch.float64, recipe) for recipe in (SLOW, FAST))

    def strays(losses, recipe, exact):
        return np.abs(losses(fresh(), recipe) - exact).max()

    torch32 = lambda net, recipe: torch_losses(net, torch.float32, recipe)  # noqa: E731
    here, there = (strays(losses, FAST, fast) for losses in (our_losses, torch32))
    return {
        "loss at step 1": abs(loss - exact_loss) / exact_loss,
        "gradients at step 1": max(deviations(exact, ours).values()),
        "gradients, PyTorch float32": max(deviations(exact, torch_gradients(settled(fresh()), torch.float32)[1])
                                          .values()),
        "losses, lr 0.001": strays(our_losses, SLOW, slow) / slow.max(),
        "lr 0.001, PyTorch float32": strays(torch32, SLOW, slow) / slow.max(),
        "losses, lr 0.1": here / there,
        "lr 0.1, largest deviation": here,
        "lr 0.1, PyTorch float32": there,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="nets whose name contains this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    failed = False
    for name, text in NETS.items():
        if options.only not in name:
            continue
        found = compare(text)
        bad = [what for what, limit in LIMITS.items() if not found[what] <= limit]
        failed |= bool(bad)
        if options.json:
            print(json.dumps({"net": name, **found, "ok": not bad}, default=float))
            continue
        print(name)
        for what, value in found.items():
            limit = f"   at most {LIMITS[what]:g}" if what in LIMITS else ""
            print(f"  {what:28} {value:.2e}{limit}"
                  f"{'   FAILED' if what in bad else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
