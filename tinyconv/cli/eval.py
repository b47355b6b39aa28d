"""`tinyconv eval`: loss and accuracy of trained weights."""

from __future__ import annotations

import click

from ..errors import NetError
from .common import data_option, device, json_option, options, print_json, skip_bad, threads, use_device
from .progress import percent


TABLE = 30  # classes that a table has room for


@click.command("eval")
@click.argument("weights", metavar="W...", nargs=-1, required=True)
@options(data_option)
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images at a time.")
@options(threads, device, skip_bad, json_option)
def evaluate(weights, data, batch, device, skip_bad, as_json):
    """Measure weights files on the test images of their data, or of --data; several are an ensemble.

    What is measured: the test split, else the validation split, else all there is. Losses are in nats. Up to 30 classes
    each has a line with its precision, recall, IoU and dice.
    """
    from .. import train as training

    device = use_device(device)
    nets = [load(path, device) for path in weights]
    same(nets, weights)
    dataset, split = test_data(nets[0], weights[0], data, skip_bad)
    steps = training.Pipelines.of(nets[0]).test
    fits(nets[0], dataset, split, steps)
    found = training.evaluate(nets, split, batch, steps)
    if as_json:
        print_json(found)
        return
    lines = list(zip(weights, found["members"])) if len(nets) > 1 else []
    for name, values in [*lines, ("ensemble" if lines else weights[0], found)]:
        shares = [f"{words} {percent(values[key])}" for key, words in (("accuracy", "accuracy"), ("top5", "top 5"))
                  if values[key] is not None]
        distance = [f"mean distance {values['mae']:.4g}"] if "mae" in values else []
        click.echo(f"{name}: {', '.join([*shares, *distance])}, loss {values['loss']:.4f}, {found['n']:,} images")
    for line in class_table(found, nets[0].class_names or dataset.classes):
        click.echo(line)


def class_table(found: dict, names: list[str] | None) -> list[str]:
    """A line a class: its precision, recall, IoU and dice, what it is taken for most often; for up to 30 classes."""
    counts = found.get("confusion", ())
    if not 2 <= len(counts) <= TABLE:
        return []
    names = names if names and len(names) == len(counts) else [str(i) for i in range(len(counts))]
    width = max(len("class"), *map(len, names))
    lines = [f"{'class':{width}}      count  precision    recall       IoU      dice  taken most often for"]
    for i, row in enumerate(counts):
        wrong = max((n, -j) for j, n in enumerate(row) if j != i)
        shares = (found[key][i] for key in ("precision", "recall", "iou", "dice"))
        cells = ["-" if share is None else percent(share) for share in shares]
        other = f"{names[-wrong[1]]} ({wrong[0]:,})" if wrong[0] else ""
        lines.append(f"{names[i]:{width}} {sum(row):10,} {cells[0]:>10}" + "".join(f"{c:>10}" for c in cells[1:])
                     + f"  {other}".rstrip())
    return lines


def load(path: str, device: str):
    """The net of a weights file."""
    from .. import net

    if not path.endswith(".safetensors"):
        raise click.UsageError(f"{path} is no weights file: give a .safetensors file written by `tinyconv train`")
    return net.load(path, device=device)


def same(nets: list, names) -> None:
    """Members of an ensemble answer the same question."""
    from ..train import Pipelines

    for net, name in zip(nets[1:], names[1:]):
        for what, a, b in (("classes", nets[0].classes, net.classes), ("input", nets[0].input_shape, net.input_shape),
                           ("class names", nets[0].class_names, net.class_names),
                           ("test steps", plain(Pipelines.of(nets[0]).test), plain(Pipelines.of(net).test))):
            if a != b:
                raise NetError(f"{names[0]} and {name} differ in their {what}: {a} and {b}",
                               help="an ensemble is of nets for the same images and classes")


def plain(steps) -> list:
    return [(step[0], step[1]) for step in steps]


def test_data(net, path: str, data: str | None, skip_bad: bool):
    """(data set, the split to measure). With --data nothing is drawn from a set that has no test split: all counts."""
    from .sources import chosen, of_run, open_data

    recorded = of_run(path)
    if data is None and recorded is not None:
        how = {**recorded, "skip_bad": skip_bad or recorded["skip_bad"]}
    else:
        how = chosen(net, data, path, skip_bad, net.sections.get("train", {}).get("seed", 0))
        if data is not None:
            how["validation"] = 0
    dataset = open_data(how)
    return dataset, dataset.evaluation


def fits(net, dataset, split, steps) -> None:
    """NetError where the images or labels are not what the net knows."""
    from .. import data
    from ..train.fitness import known_classes

    data.check_shape(split, steps, net.input_shape)
    names, known = dataset.classes or [], net.class_names or []
    classes = known_classes(net)
    if len(split) and max(labels.max() for labels in split.label_arrays) >= classes:
        raise NetError(f"{dataset.name} has {len(names)} classes, the net has {classes}")
    numbered = all(name.isdigit() for name in names) or all(name.isdigit() for name in known)
    if names and known and names != known and not numbered:
        differ = next((i for i, (a, b) in enumerate(zip(names, known)) if a != b), min(len(names), len(known)))
        raise NetError(f"the classes of {dataset.name} are not those of the net: class {differ} is "
                       f"{(names + ['missing'])[differ]!r} there and {(known + ['missing'])[differ]!r} here")
