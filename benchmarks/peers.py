"""Other libraries running a net of tinyconv: the same graph, the same weights, as its user would run it there.

`write` (with tinyconv) leaves a net in a folder: graph.json, weights.npz and a batch x.npy, for training labels.npy.
Everything else runs where the peers are installed, without tinyconv: `torch_net` builds the net in PyTorch, `export`
writes from that the files of ONNX Runtime, OpenVINO and ncnn, and PREDICT and TRAIN have a function a peer:
(folder, threads) -> what one call is.
"""

from __future__ import annotations

import importlib.util
import json
import operator
import os
from pathlib import Path

import numpy as np

ENDS = ("softmax", "sigmoid")   # the last layer when it is one of these belongs to the loss, and peers run without it
RECIPE = dict(lr=0.001, momentum=0.9)
DECAY = 5e-4


def write(net, folder: Path, x, labels=None) -> None:
    """net: a tinyconv net; x: float32 (N, *spatial, C)."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = list(net.graph.nodes)
    loss = {"softmax": "ce", "sigmoid": "bce"}.get(nodes[-1].op, "ce")
    if nodes[-1].op in ENDS:
        nodes.pop()
    rows = [{"name": n.name, "op": n.op, "args": n.args, "inputs": n.inputs, "owner": n.owner,
             "shape": [*n.shape.spatial, n.shape.channels]} for n in nodes]
    text = json.dumps({"nodes": rows, "loss": loss}, default=str)
    (folder / "graph.json").write_text(text)
    np.savez(folder / "weights.npz", **net.weights)
    np.save(folder / "x.npy", x)
    if labels is not None:
        np.save(folder / "labels.npy", labels)


def installed() -> list[str]:
    """The peers that can be imported here."""
    needs = {"torch": "torch", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino", "ncnn": "ncnn"}
    have = {name for name, module in needs.items() if importlib.util.find_spec(module)}
    return [name for name in PREDICT if name in have or name.startswith("torch") and "torch" in have]


# -- PyTorch

def torch_net(folder: Path):
    """The net as a torch.fx module: straight Python, as if written by hand; takes and gives channels-first tensors."""
    from torch import cat, fx, nn

    description = json.loads((folder / "graph.json").read_text())
    with np.load(folder / "weights.npz") as archive:
        weights = dict(archive)
    nodes = description["nodes"]
    readers = [sum(i in other["inputs"] for other in nodes) for i in range(len(nodes))]
    root, graph = nn.Module(), fx.Graph()
    values = []
    x = graph.placeholder("x")
    for node in nodes:
        inputs = [values[i] for i in node["inputs"]] or [x]
        if node["op"] == "input":
            values.append(x)
        elif node["op"] == "add":
            total = inputs[0]
            for other in inputs[1:]:
                total = graph.call_function(operator.add, (total, other))
            values.append(total)
        elif node["op"] == "concat":
            values.append(graph.call_function(cat, (inputs, 1)))
        else:
            before = nodes[node["inputs"][0]]
            root.add_module(node["name"], _module(node, before["shape"], weights, readers[node["inputs"][0]] == 1))
            values.append(graph.call_module(node["name"], (inputs[0],)))
    graph.output(values[-1])
    return fx.GraphModule(root, graph)


def _module(node: dict, before: list[int], weights: dict, only_reader: bool):
    """One layer. before: the shape of what flows in, (*spatial, channels)."""
    import torch
    from torch import nn

    op, a, name = node["op"], node["args"], node["owner"]

    def filled(module):
        with torch.no_grad():
            for part, tensor in (*module.named_parameters(), *module.named_buffers()):
                if part != "num_batches_tracked":
                    value = torch.from_numpy(weights[f"{name}.{part}"])
                    if op == "fc" and part == "weight":       # its columns are in channels-last order
                        value = value.reshape(-1, *before).movedim(-1, 1).flatten(1)
                    tensor.copy_(value.movedim(-1, 1) if value.ndim == 4 else value)
        return module

    if op == "conv":
        bias = f"{name}.bias" in weights
        return filled(nn.Conv2d(before[-1], node["shape"][-1], a["k"], a["s"], a["p"], a["d"], a["g"], bias))
    if op == "deconv":
        bias = f"{name}.bias" in weights
        return filled(nn.ConvTranspose2d(before[-1], node["shape"][-1], a["k"], a["s"], a["p"], a["op"], a["g"], bias,
                                         a["d"]))
    if op == "fc":
        linear = filled(nn.Linear(int(np.prod(before)), node["shape"][-1], f"{name}.bias" in weights))
        return nn.Sequential(nn.Flatten(), linear) if len(before) > 1 else linear
    if op == "bn":
        return filled(nn.BatchNorm2d(before[-1], a["eps"], a["momentum"]))
    if op == "pool":
        if a["global"]:
            return nn.AdaptiveAvgPool2d(1) if a["mode"] == "avg" else nn.AdaptiveMaxPool2d(1)
        return (nn.MaxPool2d if a["mode"] == "max" else nn.AvgPool2d)(a["k"], a["s"], a["p"], ceil_mode=a["ceil"])
    if op == "lrn":
        return nn.LocalResponseNorm(a["n"], a["alpha"], a["beta"], a["k"])
    if op == "dropout":
        return nn.Dropout(a["p"])
    if op == "relu":
        return nn.ReLU(inplace=only_reader)
    if op == "tanh":
        return nn.Tanh()
    raise NotImplementedError(f"{node['name']}: benchmarks/peers.py does not know {op} yet")


def torch_input(folder: Path, memory_format: str = "contiguous_format"):
    """The batch, channels-first in shape."""
    import torch

    layout = getattr(torch, memory_format)
    return torch.from_numpy(np.load(folder / "x.npy")).permute(0, 3, 1, 2).contiguous(memory_format=layout)


def channels_last(y) -> np.ndarray:
    """An output (N, C, H, W) or (N, n) as tinyconv gives it."""
    y = np.asarray(y)
    return np.ascontiguousarray(np.moveaxis(y, 1, -1)).reshape(len(y), *y.shape[2:], y.shape[1])


def _torch(memory_format: str, compiled: bool = False):
    def setup(folder: Path, threads: int):
        import torch

        net = torch_net(folder).eval().to(memory_format=getattr(torch, memory_format))
        x = torch_input(folder, memory_format)
        net = torch.compile(net) if compiled else net

        def call():
            with torch.inference_mode():
                return net(x).numpy()

        return call

    return setup


def _torch_jit(folder: Path, threads: int):
    import torch

    x = torch_input(folder)
    with torch.inference_mode():
        net = torch.jit.optimize_for_inference(torch.jit.trace(torch_net(folder).eval(), x))

    def call():
        with torch.inference_mode():
            return net(x).numpy()

    return call


def _torch_step(memory_format: str, compiled: bool = False):
    def setup(folder: Path, threads: int):
        import torch

        net = torch_net(folder).train().to(memory_format=getattr(torch, memory_format))
        optimizer = torch.optim.SGD(net.parameters(), weight_decay=DECAY, **RECIPE)
        labels = torch.from_numpy(np.load(folder / "labels.npy"))
        if json.loads((folder / "graph.json").read_text())["loss"] == "bce":
            loss_of, labels = torch.nn.BCEWithLogitsLoss(), labels.permute(0, 3, 1, 2).contiguous()
        else:
            loss_of, labels = torch.nn.CrossEntropyLoss(), labels.long()
        x = torch_input(folder, memory_format)
        model = torch.compile(net) if compiled else net

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return setup


# -- inference engines

def export(folder: Path) -> None:
    """net.onnx, and where pnnx is installed net.ncnn.param and net.ncnn.bin."""
    import subprocess
    import sys

    import torch

    net, x = torch_net(folder).eval(), torch_input(folder)
    torch.onnx.export(net, (x,), folder / "net.onnx", input_names=["x"], output_names=["y"], dynamo=True, verbose=False,
                      external_data=False)
    if len(x) == 1 and importlib.util.find_spec("pnnx"):
        torch.jit.trace(net, x).save(folder / "net.pt")
        shape = ",".join(map(str, x.shape))
        command = [Path(sys.executable).parent / "pnnx", "net.pt", f"inputshape=[{shape}]", "fp16=0"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _onnxruntime(folder: Path, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(folder / "net.onnx", options, providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(image_input(folder))
    return lambda: session.run(None, {"x": x})[0]


def _openvino(folder: Path, threads: int):
    import openvino

    how = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(folder / "net.onnx", "CPU", how).create_infer_request()
    x = np.ascontiguousarray(image_input(folder))
    return lambda: request.infer({0: x}, share_inputs=True)[0]


def _ncnn(folder: Path, threads: int):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False    # float32, as all sides
    net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
    net.load_param(str(folder / "net.ncnn.param"))
    net.load_model(str(folder / "net.ncnn.bin"))
    image = np.ascontiguousarray(image_input(folder)[0])
    x = ncnn.Mat(image).clone()    # a Mat does not own its array

    def call():
        extractor = net.create_extractor()
        extractor.input("in0", x)
        return np.array(extractor.extract("out0")[1])[None]

    return call


def image_input(folder: Path) -> np.ndarray:
    """The batch as (N, C, H, W)."""
    return np.moveaxis(np.load(folder / "x.npy"), -1, 1)


PREDICT = {"torch": _torch("contiguous_format"), "torch NHWC": _torch("channels_last"),
           "torch compiled": _torch("contiguous_format", True), "torch jit": _torch_jit,
           "ONNX Runtime": _onnxruntime, "OpenVINO": _openvino, "ncnn": _ncnn}
TRAIN = {"torch": _torch_step("contiguous_format"), "torch NHWC": _torch_step("channels_last"),
         "torch compiled": _torch_step("contiguous_format", True)}
