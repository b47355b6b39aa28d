"""Other libraries running a net of tinyconv: the same graph, the same weights, as its user would run it there.

`write` (with tinyconv) leaves a net in a folder: graph.json, weights.npz and a batch x.npy, for training labels.npy.
Everything else runs where the peers are installed, without tinyconv: `torch_net` builds the net in PyTorch
(torchnet.py), `export` writes from that the files of ONNX Runtime, OpenVINO and ncnn, and PREDICT and TRAIN have a
function a peer: (folder, threads) -> what one call is.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
from plain import described, weights_of

RECIPE = dict(lr=0.001, momentum=0.9)
DECAY = 5e-4


def write(net, folder: Path, x, labels=None) -> None:
    """net: a tinyconv net; x: float32 (N, *spatial, C)."""
    folder.mkdir(parents=True, exist_ok=True)
    loss = {"softmax": "ce", "sigmoid": "bce"}.get(net.graph.nodes[net.graph.output_index].op, "ce")
    (folder / "graph.json").write_text(json.dumps({"nodes": described(net), "loss": loss}, default=str))
    np.savez(folder / "weights.npz", **weights_of(net))
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
    """The net as a torch.fx module; takes and gives channels-first tensors."""
    from torchnet import build

    with np.load(folder / "weights.npz") as archive:
        return build(json.loads((folder / "graph.json").read_text())["nodes"], dict(archive))


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


def ncnn_net(folder: Path, threads: int):
    """ncnn's net of the folder's net.ncnn.param and net.ncnn.bin, in float32 as all sides."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
    if net.load_param(str(folder / "net.ncnn.param")) or net.load_model(str(folder / "net.ncnn.bin")):
        raise FileNotFoundError("net.ncnn.param or .bin: pnnx makes them, for batches of one")
    return net


def _ncnn(folder: Path, threads: int):
    import ncnn

    net = ncnn_net(folder, threads)
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
