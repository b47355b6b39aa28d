"""The graph of a net run by PyTorch's own functions, for side-by-side comparisons: the same weights, another library."""

from __future__ import annotations

import torch
import torch.nn.functional as F

ACTIVATIONS = {"relu": F.relu, "relu6": F.relu6, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "elu": F.elu,
               "silu": F.silu, "gelu": F.gelu, "hswish": F.hardswish}


class TorchNet:
    """A 2-D net on batches (N, C, H, W). `weights` are {name: tensor} under tinyconv's names, starting as the net's.

    dtype: of weights and input. memory_format: of 4-D weights, such as torch.channels_last.
    `training` says whether batch norm takes the batch's statistics, and whether dropout drops.
    """

    def __init__(self, net, dtype=torch.float32, memory_format=torch.contiguous_format):
        self.graph, self.training = net.graph, True
        self.weights = {}
        for name, spec in net.store.specs.items():
            w = torch.from_numpy(net.store.view(name).copy()).to(dtype)
            if w.ndim == 4:
                w = w.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
            self.weights[name] = w.requires_grad_(spec.trainable)

    @property
    def trained(self) -> dict:
        """The weights that have gradients."""
        return {name: w for name, w in self.weights.items() if w.requires_grad}

    def write_to(self, net) -> None:
        """Copies the weights into tinyconv's net."""
        for name in net.weights:
            w = self.weights[name].detach()
            net.weights[name] = (w.permute(0, 2, 3, 1) if w.ndim == 4 else w).contiguous().numpy()

    def __call__(self, x):
        """What stands before the last softmax or sigmoid, as losses want it; else the output. Heads are not run."""
        values = {}
        end = self.graph.output_index
        for node in self.graph.nodes[:end + 1]:
            inputs = [values[i] for i in node.inputs] or [x]
            if node.index == end and node.op in ("softmax", "sigmoid"):
                return inputs[0]
            w = {p.name: self.weights[f"{node.owner}.{p.name}"] for p in node.params}
            values[node.index] = self.layer(node.op, node.args, inputs, w)
        return values[end]

    def layer(self, op, a, inputs, w):
        x = inputs[0]
        if op == "input":
            return (x - w["mean"].view(1, -1, 1, 1)) / w["std"].view(1, -1, 1, 1)
        if op == "conv":
            return F.conv2d(x, w["weight"], w.get("bias"), a["s"], a["p"], a["d"], a["g"])
        if op == "deconv":
            return F.conv_transpose2d(x, w["weight"], w.get("bias"), a["s"], a["p"], a["op"], a["g"], a["d"])
        if op == "fc":
            return F.linear(x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x, w["weight"], w.get("bias"))
        if op == "bn":
            return F.batch_norm(x, w["running_mean"], w["running_var"], w["weight"], w["bias"], self.training,
                                a["momentum"], a["eps"])
        if op == "lrn":
            return F.local_response_norm(x, a["n"], a["alpha"], a["beta"], a["k"])
        if op == "dropout":
            return F.dropout(x, a["p"], self.training)
        if op == "pool":
            if a["global"]:
                return x.mean((2, 3), keepdim=True)
            if a["mode"] == "max":
                return F.max_pool2d(x, a["k"], a["s"], a["p"], ceil_mode=a["ceil"])
            return F.avg_pool2d(x, a["k"], a["s"], a["p"], ceil_mode=a["ceil"], count_include_pad=False)
        if op == "pad":
            return F.pad(x, (a["n"], a["m"]) * 2 + (a["channels"],) * 2)
        if op == "concat":
            return torch.cat(inputs, 1)
        if op == "add":
            return sum(inputs[1:], x)
        if op == "mul":
            return inputs[0] * (inputs[1] if inputs[1].ndim == 4 else inputs[1][:, :, None, None])
        if op in ACTIVATIONS:
            return ACTIVATIONS[op](x)
        raise SystemExit(f"`{op}` is not in benchmarks/torchnet.py")
