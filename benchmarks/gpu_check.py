"""Is `--device gpu` right on this machine, and how fast? All comparisons in one go; says pass or fail.

    python benchmarks/gpu_check.py [--only steps|zoo|training|speed] [--json]     (needs the extras test and gpu)

  steps     every operation, forward, backward and update, on the GPU and in NumPy on the same operands
  zoo       loss and gradients of every net of models/ against the CPU's, on small inputs
  training  LeNet-5 on the bundled images, on the GPU and on the CPU: the same accuracy; a checkpoint goes on over there
  speed     a training step against the CPU, and against PyTorch's on CUDA where it is installed; no part of the verdict

Exit code 0 where all that was looked at passed, 1 where something failed or there is no GPU. --stand-in runs the checks
without a GPU, on tests/fake_cupy.py, at sizes that take seconds: it tests this script, not a device.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import tinyconv  # noqa: E402
from tinyconv import NetError, zoo  # noqa: E402
from tinyconv.runtime import array  # noqa: E402
from tinyconv.runtime.trainer import mean_loss  # noqa: E402
from tinyconv.runtime.uses import unfused  # noqa: E402

LR, SEED, STEP = 0.05, 12345678901, 3
OPTIMIZERS = {
    "sgd": {"decay": 5e-4, "nesterov": True, "clip": 0.1}, "adam": {"decay": 1e-3, "ema": 0.9},
    "adamw": {"decay": 1e-3}, "rmsprop": {"decay": 1e-3, "clip": 1.0}}
DEEP64 = {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "se_resnet50", "senet154", "mobilenet"}
SAME = 2e-5  # share of the windows of max pooling in which rounding may decide which value is the largest
TF32 = 2.0**-10 / 2.0**-22  # how much coarser products may be where CUPY_TF32 is set


@dataclass
class Result:
    """A deviation of `found` where at most `limit` is allowed; a figure without a limit is only shown."""

    check: str
    found: float
    limit: float | None = None
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.limit is None or self.found <= self.limit

    def __str__(self) -> str:
        verdict = "" if self.limit is None else f"  at most {self.limit:.1e}  {'ok' if self.ok else 'FAILED'}"
        return f"{self.check:44} {self.found:.3g}{verdict}  {self.note}".rstrip()


def on(device: str, net):
    """The same net with the same weights on another device."""
    twin = tinyconv.compile(net.text, device=device)
    twin.load_weights(dict(net.weights))
    return twin


# ---------------------------------------------------------------- steps


def each_step(net, trainer, x, labels):
    """Yields (step, operands, what the net's device wrote, what NumPy makes of the same operands)."""
    request = net.request("train", x, labels, trainer.optimizer)
    plan = net.sessions.plan(request)
    session = net.backend.prepare(plan, net.store)
    moments = trainer.moments
    rng = np.random.default_rng(3)
    for name, weight in moments.specs.items():
        moments.put(name, rng.uniform(0, 0.01, weight.shape))
    given = {"x": x, "labels": labels}

    def value(b):
        if b is None or b.role == "constant":
            return None if b is None else np.asarray(plan.constants[b.id], np.float32)
        if b.role == "input":
            return given[b.name]
        return {"weight": net.store, "state": moments}[b.role].read(b.name) if b.name else session.read(b)

    for i, step in enumerate(plan.steps):
        operands = [value(b) for b in step.inputs]
        session.run(i, i + 1, x, labels, moments, lr=LR, seed=SEED, step=STEP)
        extra = {k: {"lr": LR, "seed": SEED, "step": STEP}[k] for k in array.RUN_TIME.get(step.op, ())}
        with np.errstate(all="ignore"):
            made = getattr(array, step.op)(np, step.attrs, *operands, **extra)
        expected = list(made) if isinstance(made, tuple) else [] if made is None else [made]
        found = [None if b is None else value(b) for b in step.outputs]
        for j in array_updates(step.op):
            found.append(value(step.inputs[j]))
            expected.append(operands[j])
        yield step, operands, found, expected


def array_updates(op: str):
    from tinyconv.ops import OPS

    return OPS[op].updates


def steps(stand_in: bool, tf32: bool):
    """The worst deviation of each operation, in units of what test_twins allows the C kernels."""
    from test_twins import NETS, example
    from twins import sizes

    worst: dict[str, float] = {}
    some = list(OPTIMIZERS.items())
    for number, name in enumerate(NETS):
        net, x, labels = example(name)
        net = on("gpu", net)
        kind, options = some[number % len(some)]
        for step, operands, found, expected in each_step(net, net.trainer(kind, **options), x, labels):
            for have, want, size in zip(found, expected, sizes(step, operands, expected, None)):
                if have is None:
                    continue
                allowed = 1e-5 * np.abs(want) + 5e-6 * (size + 1e-30)
                off = (np.abs(have.astype(np.float64) - want) / allowed).max() if have.size else 0.0
                worst[step.op] = max(worst.get(step.op, 0.0), float(off if np.isfinite(have).all() else np.inf))
    products = ("conv", "conv_dx", "conv_dw", "avgpool", "avgpool_grad", "resize", "resize_grad")
    return [Result(op, off, TF32 if tf32 and op in products else 1.0) for op, off in sorted(worst.items())]


# ---------------------------------------------------------------- the zoo


def batch(net, n=4):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *net.input_shape), np.float32)
    return x, np.arange(n) % net.classes if net.classes > 1 else (x > 0).astype(np.float32)


def deviation(gradients, exact) -> float:
    """The largest distance of a gradient from the other, as a share of its norm; the share of the largest gradient's
    norm, for gradients that are 0 but for rounding (biases before a normalisation)."""
    norms = {name: float(np.linalg.norm(g)) for name, g in exact.items()}
    least = 1e-2 * max(norms.values())
    return max(float(np.linalg.norm(gradients[name] - g)) / max(norms[name], least) for name, g in exact.items())


def gradients(net, x, labels, maxima=None):
    """(loss, gradients, maxima), as `net.gradients`, but for the backward pass of max pooling going to `maxima`.

    maxima: {layer: position of each maximum in its window}, as another device found them. Where two values of a window
    are equal but for rounding, each device may take another one as its maximum. Of the 2.8 million windows of
    Inception v3 these are about five, and one of them moves the gradients before it by more (1e-3) than all other
    rounding (2e-4): with the maxima of one device on both, only the latter is compared.
    """
    found = {}
    with net.sessions.session(net.request("gradients", x, labels)) as session:
        plan = session.plan
        labels = net.labels(np.asarray(labels), plan.labels)
        for i, step in enumerate(plan.steps):
            session.run(i, i + 1, x, labels)
            for part in unfused([step]):
                if part.op == "maxpool":
                    found[part.node] = session.read(part.outputs[1])
                    if maxima:
                        session.write(part.outputs[1], maxima[part.node])
        return mean_loss(session, plan), {name: session.read(b) for name, b in plan.gradients.items()}, found


def compared(net, exact, x, labels):
    """How far apart two nets with the same weights on two devices are: (losses, relative to that of `exact`; gradients;
    share of windows whose maxima are different ones)."""
    loss, right, maxima = gradients(exact, x, labels)
    found, own, others = gradients(net, x, labels, maxima)
    apart = [np.mean(others[layer] != index) for layer, index in maxima.items()]
    return abs(found - loss) / loss, deviation(own, right), float(max(apart, default=0))


def small(name: str, device: str):
    """A net of the zoo with 5 classes, on an input of which some positions are left at its end.

    Biases of 2, of the deepest 4, keep most values away from 0, where rounding decides whether a ReLU is open: one that
    is open here and shut there moves the gradients of a small batch by more than all other rounding (at the biases of
    an untrained net, 0, those of vgg by 2e-2).
    """
    from test_zoo import LONG, SMALL

    lets = {"base": 8} if name == "unet" else {"classes": 5}
    net = tinyconv.load(name, input="64x64 x3" if name in DEEP64 else SMALL.get(name), device=device, **lets)
    for weight in net.weights:
        if weight.startswith(("bn", "fc")) and weight.endswith(".bias"):
            net.weights[weight] = np.full_like(net.weights[weight], 4 if name in LONG else 2)
    return net


def zoo_nets(stand_in: bool, tf32: bool):
    results = []
    for name in ["lenet5", "resnet20_cifar"] if stand_in else zoo.nets():
        cpu, gpu = small(name, "cpu"), small(name, "gpu")
        x, labels = batch(cpu)
        loss, off, maxima = compared(gpu, cpu, x, labels)
        coarser = 100 if tf32 else 1
        results += [Result(f"{name}: loss", loss, 1e-4 * coarser), Result(f"{name}: gradients", off, 1e-3 * coarser),
                    Result(f"{name}: other maxima", maxima, SAME * coarser)]
    return results


# ---------------------------------------------------------------- training


def training(stand_in: bool, tf32: bool):
    from tinyconv import data

    dataset = data.open("fashion-mnist-small")
    n, epochs = (256, 1) if stand_in else (len(dataset.train), 5)
    pad = [(0, 0), (2, 2), (2, 2), (0, 0)]  # LeNet-5 takes 32 x 32 pixels
    (x, labels), test = ((np.pad(split.images[:n], pad), split.labels[:n])
                         for split in (dataset.train, dataset.evaluation))
    accuracy = {}
    for device in ("cpu", "gpu"):
        net = tinyconv.load("lenet5", seed=1, device=device)
        history = net.fit(x, labels, epochs=epochs, batch=64, lr=0.05, momentum=0.9, validation=test, seed=2)
        accuracy[device] = history[-1]["val_accuracy"]
    results = [Result("LeNet-5: accuracy apart from the CPU's", abs(accuracy["gpu"] - accuracy["cpu"]), 0.02,
                      f"{accuracy['gpu']:.3f}, CPU {accuracy['cpu']:.3f}")]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "net.safetensors"))
        net.save(path)
        back = tinyconv.load(path, device="cpu")
        results.append(Result("its weights on the CPU: outputs apart", float(np.abs(back(x[:64]) - net(x[:64])).max()),
                              1e-2 if tf32 else 1e-4))
    return results


# ---------------------------------------------------------------- speed


SPEED = {"resnet20_cifar": ("32x32 x3", 128), "vgg11": ("32x32 x3", 128), "resnet50": ("224x224 x3", 32)}


def speed(stand_in: bool, tf32: bool):
    results = []
    for name, (size, n) in ({"lenet5": ("32x32 x1", 4)} if stand_in else SPEED).items():
        net = tinyconv.load(name, input=size, device="gpu", classes=10)
        x, labels = batch(net, n)
        trainer = net.trainer(lr=0.001)
        rate = n / seconds(lambda: trainer.step(x, labels), 3 if stand_in else 20)
        results.append(Result(f"{name}: images a second", rate, note=f"training step, batch {n}"))
        peer = torch_rate(on("cpu", net), x, labels)
        if peer:
            results.append(Result(f"{name}: PyTorch on CUDA", peer, note=f"ratio {rate / peer:.2f}"))
    return results


def seconds(step, rounds: int) -> float:
    """Of one call, the median; a step ends with its loss on the host."""
    times = []
    for turn in range(rounds + 2):
        begin = time.perf_counter()
        step()
        if turn >= 2:
            times.append(time.perf_counter() - begin)
    return float(np.median(times))


def torch_rate(net, x, labels, device: str = "cuda") -> float | None:
    """Images a second of the same graph in PyTorch, without TF32; None without it or its CUDA. net: one on the CPU."""
    try:
        import torch
    except ImportError:
        return None
    if device == "cuda" and not torch.cuda.is_available():
        return None
    from torchnet import TorchNet

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = TorchNet(net)
    model.module.to(device)
    sgd = torch.optim.SGD(model.module.parameters(), lr=0.001, momentum=0.9)

    def step():
        sgd.zero_grad()
        logits = model(torch.from_numpy(x).to(device).permute(0, 3, 1, 2))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long().to(device))
        loss.backward()
        sgd.step()
        return loss.item()

    return len(x) / seconds(step, 20)


CHECKS = {"steps": steps, "zoo": zoo_nets, "training": training, "speed": speed}


def put_stand_in() -> None:
    import fake_cupy

    fake_cupy.install(SimpleNamespace(setitem=lambda modules, name, module: modules.update({name: module})))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CHECKS, help="one of the checks")
    parser.add_argument("--stand-in", action="store_true", help="without a GPU: tests the script itself")
    parser.add_argument("--json", action="store_true", help="one line of JSON a result, then the verdict")
    options = parser.parse_args()
    if options.stand_in:
        put_stand_in()
    from tinyconv.runtime import cupy_device

    facts = cupy_device.facts()
    if "error" in facts:
        print(NetError(facts["error"], help=facts["help"]), file=sys.stderr)
        return 1
    print(json.dumps(facts) if options.json else ", ".join(f"{key} {value}" for key, value in facts.items()))
    ok = True
    for name, check in CHECKS.items():
        if options.only not in (None, name):
            continue
        for result in check(options.stand_in, facts["tf32"]):
            ok &= result.ok
            print(json.dumps({"part": name, **asdict(result), "ok": result.ok}) if options.json else result, flush=True)
    print(json.dumps({"pass": ok}) if options.json else "PASS" if ok else "FAIL")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
