"""The same net, data, initial weights, order and recipe here and in PyTorch: do losses, gradients and training agree?

    python benchmarks/agreement.py [--json]          (needs the bench extra)

For LeNet-5, a VGG with BN and a ResNet-20, at batch 128: the first loss and every gradient against PyTorch in float64;
20 steps at learning rate 0.001; 20 steps at 0.1, where rounding grows, against how far PyTorch's own float32 strays.
PyTorch runs the layer graph through its own functions, in channels-first.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch
import torch.nn.functional as F

import tinyconv
import training

STEPS, MOMENTUM, DECAY = 20, 0.9, 5e-4
LIMITS = {"loss at step 1": 1e-4, "gradients at step 1": 1e-4, "losses, lr 0.001": 1e-4, "losses, lr 0.1": 3.0}


class TorchNet:
    """The graph of a net in PyTorch functions: logits from an (N, C, H, W) batch."""

    def __init__(self, net, dtype):
        self.graph = net.graph
        self.weights = {}
        for name, value in net.weights.items():
            w = torch.from_numpy(value).to(dtype)
            if w.ndim == 4:
                w = w.permute(0, 3, 1, 2).contiguous()
            self.weights[name] = w.requires_grad_("running" not in name)

    def __call__(self, x):
        values = {}
        for node in self.graph.nodes:
            if node.op == "softmax":
                return values[node.inputs[0]]
            inputs = [values[i] for i in node.inputs] or [x]
            w = {p.name: self.weights.get(f"{node.owner}.{p.name}") for p in node.params}
            values[node.index] = self.layer(node.op, node.args, inputs, w)
        return values[self.graph.output_index]

    @staticmethod
    def layer(op, a, inputs, w):
        x = inputs[0]
        if op == "input":
            return x
        if op == "conv":
            return F.conv2d(x, w["weight"], w.get("bias"), a["s"], a["p"], a["d"], a["g"])
        if op == "fc":
            return F.linear(x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x, w["weight"], w.get("bias"))
        if op == "bn":
            return F.batch_norm(x, w["running_mean"], w["running_var"], w["weight"], w["bias"], True,
                                a["momentum"], a["eps"])
        if op == "pool":
            if a["global"]:
                return x.mean((2, 3), keepdim=True)
            pool = F.max_pool2d if a["mode"] == "max" else F.avg_pool2d
            return pool(x, a["k"], a["s"], a["p"])
        if op == "add":
            return sum(inputs[1:], x)
        return {"relu": F.relu, "tanh": torch.tanh}[op](x)


def batches(channels):
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        yield rng.random((128, 32, 32, channels), np.float32), rng.integers(0, 10, 128).astype(np.int32)


def torch_losses(net, dtype, lr):
    model = TorchNet(net, dtype)
    trained = {n: w for n, w in model.weights.items() if w.requires_grad}
    plain = [w for n, w in trained.items() if n.endswith("weight") and not n.startswith("bn")]
    groups = [{"params": plain, "weight_decay": DECAY},
              {"params": [w for w in trained.values() if not any(w is p for p in plain)]}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM)
    losses, first = [], {}
    for x, labels in batches(net.input_shape[-1]):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(torch.from_numpy(x).to(dtype).permute(0, 3, 1, 2)), torch.from_numpy(labels).long())
        loss.backward()
        if not first:
            first = {n: w.grad.numpy().copy() for n, w in trained.items()}
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), first


def our_losses(net, lr):
    trainer = net.trainer(lr=lr, momentum=MOMENTUM, decay=DECAY)
    return np.array([trainer.step(x, labels) for x, labels in batches(net.input_shape[-1])])


def compare(text):
    fresh = lambda: tinyconv.compile(text, seed=4)  # noqa: E731
    exact, gradients = torch_losses(fresh(), torch.float64, 0.001)
    loss, ours = fresh().gradients(*next(batches(fresh().input_shape[-1])))
    worst, where = 0.0, ""
    for name, g in gradients.items():
        g = g.transpose(0, 2, 3, 1) if g.ndim == 4 else g
        if np.linalg.norm(g) < 1e-12:  # a bias before batch normalisation: 0 but for rounding
            continue
        error = np.linalg.norm(ours[name] - g) / np.linalg.norm(g)
        worst, where = max((worst, where), (error, name))
    slow = our_losses(fresh(), 0.001)
    fast, single = torch_losses(fresh(), torch.float64, 0.1)[0], torch_losses(fresh(), torch.float32, 0.1)[0]
    strays, theirs = np.abs(our_losses(fresh(), 0.1) - fast), np.abs(single - fast)
    return {
        "loss at step 1": abs(loss - exact[0]) / exact[0],
        "gradients at step 1": worst,
        "worst gradient": where,
        "losses, lr 0.001": np.abs(slow - exact).max() / exact.max(),
        "losses, lr 0.1": strays.max() / theirs.max(),
        "lr 0.1, largest deviation": strays.max(),
        "lr 0.1, PyTorch float32": theirs.max(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    failed = False
    for name, text in training.NETS.items():
        found = compare(text)
        bad = [what for what, limit in LIMITS.items() if not found[what] <= limit]
        failed |= bool(bad)
        if as_json:
            print(json.dumps({"net": name, **found, "ok": not bad}, default=float))
            continue
        print(name)
        for what, value in found.items():
            limit = f"   at most {LIMITS[what]:g}" if what in LIMITS else ""
            print(f"  {what:28} {value if isinstance(value, str) else format(value, '.2e')}{limit}"
                  f"{'   FAILED' if what in bad else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
