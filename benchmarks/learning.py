"""Does a recipe learn here what it learns in PyTorch? The same files, initial weights, order and augmentation.

    python benchmarks/learning.py NET --data PATH [--seeds 3] [--share 0.25] [--epochs N] [-D k=v] [--set k=v]
                                  [--input SHAPE] [--validation 0.2] [--until 0.93] [--sides tinyconv torch]
                                  [--log FILE.jsonl] [--plot FILE.png]                        (needs the bench extra)

Both sides run tinyconv's training loop on tinyconv's batches; in the second the steps are PyTorch's own: its autograd
and optimiser, in float32 and channels_last. What PyTorch has learned is measured by tinyconv on the weights it
ends an epoch with. Seed s draws the initial weights and the order; dropout is each side's own. --share trains on a part
of the training images, drawn once. --until ends a run at the first epoch with that test accuracy. --log keeps the
epochs; what a log already holds is not trained again. Where the labels are masks, the dice of each class is kept, too.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev

import numpy as np

# First, so that PyTorch shares its OpenMP, whose threads do not spin for long: see tinyconv/runtime/__init__.py
import tinyconv.runtime

import torch
import torch.nn.functional as F
from tinyconv import data
from tinyconv.train import Pipelines, Settings, make_trainer
from tinyconv.train.checkpoint import Progress
from tinyconv.train.loop import Loop
from torchnet import TorchNet


class TorchTrainer:
    """PyTorch in the place of `net.trainer(...)`: what the training loop asks of one."""

    ranks = None

    def __init__(self, net, settings: Settings):
        self.net, self.lr = net, 0.0
        self.model = TorchNet(net, memory_format=torch.channels_last)
        self.losses = net.losses
        name, options = settings.optimizer
        if options["clip"] or options["ema"] or name not in ("sgd", "adam", "adamw"):
            raise SystemExit("PyTorch's side knows sgd, adam and adamw, without clip and ema")
        decays = {f"{n.owner}.{w.name}" for n in net.graph.nodes for w in n.params if w.decay or options["decay_all"]}
        trained = self.model.trained
        groups = [{"params": [w for n, w in trained.items() if n in decays], "weight_decay": options["decay"]},
                  {"params": [w for n, w in trained.items() if n not in decays], "weight_decay": 0}]
        if name == "sgd":
            how = dict(momentum=options["momentum"], nesterov=options["nesterov"])
            self.optimizer = torch.optim.SGD(groups, lr=1, **how)
        else:
            how = dict(betas=(options["beta1"], options["beta2"]), eps=options["eps"])
            self.optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](groups, lr=1, **how)

    def step(self, x, labels, of: int | None = None) -> float:
        """`of`, the size of the batch, is for ranks; there are none."""
        x = torch.from_numpy(x)
        x = (x.float() / 255 if x.dtype == torch.uint8 else x).permute(0, 3, 1, 2)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), torch.from_numpy(labels))
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def loss(self, value, labels):
        """The `loss` lines of the net, or what its last layer says."""
        last = self.net.graph.nodes[self.net.graph.output_index].op
        lines = self.losses or (("ce" if last == "softmax" else "bce", ()),)
        total = 0
        for name, options in lines:
            options = dict(options)
            if name == "ce" and not options.get("weights"):
                one = F.cross_entropy(value, labels.long(), label_smoothing=options.get("smoothing", 0))
            elif name == "bce":
                one = F.binary_cross_entropy_with_logits(value, labels[:, None].float())
            elif name == "dice" and last == "sigmoid":
                p, target = torch.sigmoid(value), labels[:, None].float()
                both, squares = (p * target).sum((2, 3)), (p * p + target * target).sum((2, 3))
                one = (1 - (2 * both + options["smooth"]) / (squares + options["smooth"])).mean()
            else:
                raise SystemExit("PyTorch's side knows the losses ce without weights, bce, and dice of a sigmoid")
            total = total + options.get("weight", 1) * one
        return total

    def share_statistics(self) -> None:
        """There is one process."""

    def rest(self) -> None:
        """PyTorch keeps its memory."""

    @contextmanager
    def averaged(self):
        """For the loop's validation: tinyconv's net with what PyTorch has learned."""
        self.model.write_to(self.net)
        yield


SIDES = {"tinyconv": make_trainer, "torch": TorchTrainer}


class Measured(Loop):
    """The training loop, which keeps all that the last validation found."""

    def validate(self) -> dict:
        self.found = super().validate()
        return self.found


def run(side: str, seed: int, options, note) -> list[dict]:
    """The epoch events of one training."""
    lets, given = dict(pair.split("=", 1) for pair in options.D), dict(pair.split("=", 1) for pair in options.set)
    lets = {name: float(value) if "." in value else int(value) for name, value in lets.items()}
    net = tinyconv.load(options.net, seed=seed, input=options.input, set=given, **lets)
    dataset = data.open(options.data, validation=options.validation, seed=0)
    if options.share < 1:
        kept = np.random.default_rng(0).permutation(len(dataset.train))[:round(options.share * len(dataset.train))]
        dataset.train = dataset.train.take(np.sort(kept))
    if net.needs_measuring:
        net.set_input_statistics(*data.measure(dataset.train))
    settings = Settings.of(net.sections.get("train"), epochs=options.epochs, seed=seed)
    loop = Measured(net, SIDES[side](net, settings), dataset, settings, Pipelines.of(net), Progress())
    events = []
    for event in loop.epochs():
        masks = {"dice": loop.found["dice"]} if dataset.val.masks else {}
        events.append({"side": side, "seed": seed, **event, **masks})
        note(events[-1])
        if reached(events, options.until):
            break
    return events


def reached(epochs: list[dict], accuracy: float | None) -> int | None:
    """The first epoch with at least that test accuracy."""
    return next((e["epoch"] for e in epochs if accuracy is not None and e["val_accuracy"] >= accuracy), None)


def kept_epochs(path: Path | None) -> dict:
    """{(side, seed): its epochs} of a log."""
    kept: dict = {}
    for line in path.read_text().splitlines() if path and path.exists() else ():
        event = json.loads(line)
        kept.setdefault((event["side"], event["seed"]), {})[event["epoch"]] = event
    return {key: [epochs[n] for n in sorted(epochs)] for key, epochs in kept.items()}


def plot(path: str, title: str, runs: dict) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for (side, seed), epochs in runs.items():
        how = dict(color={"tinyconv": "C0", "torch": "C1"}[side], alpha=0.7, label=side if seed == 0 else None)
        for axis, key in zip(axes, ("train_loss", "val_accuracy")):
            axis.plot([e["epoch"] for e in epochs], [e[key] for e in epochs], **how)
    for axis, label in zip(axes, ("training loss", "test accuracy")):
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(title=title)
    figure.savefig(path, dpi=110)


def summary(runs: dict, until: float | None) -> list[str]:
    """What the sides reached, a line each, and how far they are apart."""
    lines, last = [], {}
    for side in dict.fromkeys(side for side, _ in runs):
        mine = [epochs for (of, _), epochs in sorted(runs.items()) if of == side]
        if until is not None:
            took = [reached(epochs, until) for epochs in mine]
            lines.append(f"{side:9} {100 * until:g} % after so many epochs: {' '.join(str(n or 'not') for n in took)}")
        last[side] = [epochs[-1]["val_accuracy"] for epochs in mine]
        lines.append(f"{side:9} last epoch {in_percent(last[side])}")
        if "dice" in mine[0][-1]:
            for i in range(len(mine[0][-1]["dice"])):
                lines.append(f"{side:9} dice of class {i} {in_percent([epochs[-1]['dice'][i] for epochs in mine])}")
    if len(last) == 2 and all(len(v) > 1 for v in last.values()):
        ours, theirs = last["tinyconv"], last["torch"]
        error = np.sqrt(stdev(ours) ** 2 / len(ours) + stdev(theirs) ** 2 / len(theirs))
        lines.append(f"difference {100 * (mean(ours) - mean(theirs)):+.2f} points, standard error {100 * error:.2f}")
    return lines


def in_percent(values: list[float]) -> str:
    spread = f" +- {100 * stdev(values):.2f} over {len(values)} seeds" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f} %{spread}: {' '.join(f'{100 * v:.2f}' for v in values)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("net")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--input", metavar="SHAPE", help="of a net for images of another size: '?x? x1'")
    parser.add_argument("--validation", type=float, help="the share of the training part to draw, by seed 0")
    parser.add_argument("--until", type=float, metavar="ACCURACY")
    parser.add_argument("-D", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--log", type=Path)
    parser.add_argument("--plot")
    options = parser.parse_args()
    runs = kept_epochs(options.log)

    def note(event: dict) -> None:
        print(json.dumps(event), flush=True)
        if options.log:
            with options.log.open("a") as log:
                log.write(json.dumps(event) + "\n")

    for seed in range(options.seeds):
        for side in options.sides:
            have = runs.get((side, seed), [])
            unfinished = options.epochs and have and have[-1]["epoch"] < options.epochs
            if not have or unfinished and not reached(have, options.until):
                begin = time.perf_counter()
                runs[side, seed] = run(side, seed, options, note)
                print(f"{side} seed {seed}: {time.perf_counter() - begin:.0f} s", flush=True)
    for line in summary(runs, options.until):
        print(line)
    if options.plot:
        plot(options.plot, Path(options.net).stem, runs)


if __name__ == "__main__":
    main()
