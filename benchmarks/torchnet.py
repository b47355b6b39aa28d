"""The graph of a net in PyTorch: the same layers and weights, as straight Python, as if written by hand."""

from __future__ import annotations

import operator

import numpy as np
import torch
import torch.nn.functional as F
from plain import described, weights_of
from torch import fx, nn

ACTIVATIONS = {"relu6": F.relu6, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "silu": F.silu, "gelu": F.gelu,
               "hswish": F.hardswish}


class TorchNet:
    """A 2-D net of tinyconv on batches (N, C, H, W), with the weights it has now, in training mode.

    dtype: of weights and input. memory_format: of 4-D weights, such as torch.channels_last. It gives what stands before
    a last softmax or sigmoid, as losses want it; else the output. Heads are not run.
    """

    def __init__(self, net, dtype=torch.float32, memory_format=torch.contiguous_format):
        nodes = described(net)
        self.module = build(nodes, weights_of(net)).to(dtype=dtype, memory_format=memory_format).train()
        self.flattened = {f"{node['owner']}.weight": nodes[node["inputs"][0]]["shape"]
                          for node in nodes if node["op"] == "fc"}
        self.trained = dict(self.module.named_parameters())     # {tinyconv's name of a weight: parameter}

    def __call__(self, x):
        return self.module(x)

    def as_ours(self, name: str, tensor) -> np.ndarray:
        """A weight, or its gradient, in tinyconv's layout."""
        if name in self.flattened:
            *spatial, channels = self.flattened[name]
            tensor = tensor.reshape(-1, channels, *spatial).movedim(1, -1).flatten(1)
        return (tensor.movedim(1, -1) if tensor.ndim == 4 else tensor).detach().cpu().contiguous().numpy()

    def write_to(self, net) -> None:
        """Copies the weights into tinyconv's net."""
        for name, tensor in self.module.state_dict().items():
            if name in net.weights:
                net.weights[name] = self.as_ours(name, tensor)


def build(nodes: list[dict], weights: dict[str, np.ndarray]) -> fx.GraphModule:
    """The module of `plain.described` layers, its parts under tinyconv's names; takes and gives channels-first."""
    readers = [sum(i in other["inputs"] for other in nodes) for i in range(len(nodes))]
    root, graph = nn.Module(), fx.Graph()
    values = []
    x = graph.placeholder("x")
    for node in nodes:
        inputs = [values[i] for i in node["inputs"]] or [x]
        before = [nodes[i] for i in node["inputs"]]
        value = _function(graph, node, inputs, before)
        if value is None:
            shape = before[0]["shape"] if before else node["shape"]
            layer = _module(node, shape, weights, before and readers[node["inputs"][0]] == 1)
            if not hasattr(root, node["owner"]):                # else an earlier layer has the same weights
                root.add_module(node["owner"], layer)
            flat = node["op"] == "fc" and len(shape) > 1
            value = graph.call_module(node["owner"], (graph.call_function(torch.flatten, (inputs[0], 1)) if flat else
                                                      inputs[0],))
        values.append(value)
    graph.output(values[-1])
    return fx.GraphModule(root, graph)


def _function(graph: fx.Graph, node: dict, inputs: list, before: list[dict]):
    """The call of a layer that is a plain function; None for others."""
    op, a = node["op"], node["args"]
    if op == "add":
        total = inputs[0]
        for other in inputs[1:]:
            total = graph.call_function(operator.add, (total, other))
        return total
    if op == "concat":
        return graph.call_function(torch.cat, (inputs, 1))
    if op == "mul":
        one, other = inputs
        if len(before[1]["shape"]) == 1:
            other = graph.call_method("unflatten", (other, 1, (-1, 1, 1)))
        return graph.call_function(operator.mul, (one, other))
    if op == "pad":
        return graph.call_function(F.pad, (inputs[0], (a["n"], a["m"]) * 2 + (a["channels"],) * 2))
    if op in ACTIVATIONS:
        return graph.call_function(ACTIVATIONS[op], (inputs[0],))
    return None


class Normalize(nn.Module):
    """(x - mean) / std, a number a channel."""

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("std", torch.from_numpy(std.copy()))

    def forward(self, x):
        return (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)


def _module(node: dict, before: list[int], weights: dict, only_reader: bool) -> nn.Module:
    """One layer with its weights. before: the shape of what flows in, (*spatial, channels)."""
    op, a, name, channels = node["op"], node["args"], node["owner"], node["shape"][-1]
    bias = f"{name}.bias" in weights
    if op == "input":
        mean, std = (weights.get(f"{name}.{part}") for part in ("mean", "std"))
        plain = mean is None or not mean.any() and (std == 1).all()
        return nn.Identity() if plain else Normalize(mean, std)
    if op == "conv":
        return _filled(nn.Conv2d(before[-1], channels, a["k"], a["s"], a["p"], a["d"], a["g"], bias), node, weights)
    if op == "deconv":
        return _filled(nn.ConvTranspose2d(before[-1], channels, a["k"], a["s"], a["p"], a["op"], a["g"], bias, a["d"]),
                       node, weights)
    if op == "fc":
        return _filled(nn.Linear(int(np.prod(before)), channels, bias), node, weights, before)
    if op == "bn":
        return _filled(nn.BatchNorm2d(before[-1], a["eps"], a["momentum"]), node, weights)
    if op == "pool":
        if a["global"]:
            return nn.AdaptiveAvgPool2d(1) if a["mode"] == "avg" else nn.AdaptiveMaxPool2d(1)
        if a["mode"] == "max":
            return nn.MaxPool2d(a["k"], a["s"], a["p"], ceil_mode=a["ceil"])
        return nn.AvgPool2d(a["k"], a["s"], a["p"], ceil_mode=a["ceil"], count_include_pad=False)
    if op == "lrn":
        return nn.LocalResponseNorm(a["n"], a["alpha"], a["beta"], a["k"])
    if op == "dropout":
        return nn.Dropout(a["p"])
    if op == "relu":
        return nn.ReLU(inplace=bool(only_reader))
    raise NotImplementedError(f"{node['name']}: benchmarks/torchnet.py does not know {op} yet")


def _filled(module: nn.Module, node: dict, weights: dict, flattened: list[int] | None = None) -> nn.Module:
    """The module with its weights. flattened: the shape before an fc, whose columns are in channels-last order here."""
    with torch.no_grad():
        for part, tensor in (*module.named_parameters(), *module.named_buffers()):
            if part != "num_batches_tracked":
                value = torch.from_numpy(weights[f"{node['owner']}.{part}"])
                if flattened and part == "weight":
                    value = value.reshape(-1, *flattened).movedim(-1, 1).flatten(1)
                tensor.copy_(value.movedim(-1, 1) if value.ndim == 4 else value)
    return module
