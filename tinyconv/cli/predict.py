"""`tinyconv predict`: what is in these images."""

from __future__ import annotations

import click

from ..errors import NetError
from .common import device, json_option, options, print_json, report, threads, use_device
from .eval import load
from .progress import percent


@click.command()
@click.argument("weights", metavar="W")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1),
              help="Classes to name, the likeliest first.  [default: 1; 5 with --json]")
@options(threads, device, json_option)
def predict(weights, files, top, device, as_json):
    """Classify images; one line a file. A file that cannot be read is reported and the rest go on."""
    net = load(weights, use_device(device))
    if any(n not in (1, None) for n in net.graph.output.spatial):
        raise NetError(f"{weights} gives {net.graph.output} for an image, not one class: predict is for classifiers")
    top = top or (5 if as_json else 1)
    failed = False
    for file in files:
        try:
            ranked = classify(net, file)[:top]
        except NetError as error:
            failed = True
            print_json({"file": file, "error": error.message}) if as_json else report(error)
            continue
        if as_json:
            index, name, probability = ranked[0]
            print_json({"file": file, "class": name, "index": index, "probability": probability,
                        "top": [{"class": name, "probability": p} for _, name, p in ranked]})
        else:
            click.echo(f"{file}: " + ", ".join(f"{name} {percent(p)}" for _, name, p in ranked))
    return 1 if failed else 0


def classify(net, file: str) -> list[tuple[int, str, float]]:
    """(index, name, probability) of every class, the likeliest first, for one image file."""
    import numpy as np

    from .. import data
    from ..train import Pipelines

    views = data.apply(Pipelines.of(net).test, data.load(file, net.input_shape[-1]))
    wanted = net.input_shape
    if views.ndim - 1 != len(wanted) or any(w not in (None, n) for n, w in zip(views.shape[1:], wanted)):
        size = data.steps.size_words(views.shape[1:])
        raise NetError(f"{file}: {size} after the test steps; the net takes {net.graph.input}",
                       help="give an image of that size, or a `resize`/`crop`/`pad` step in `test` of the net")
    values = net(views).reshape(len(views), -1).astype(np.float64)
    if net.graph.nodes[net.graph.output_index].op not in ("softmax", "sigmoid"):
        values = np.exp(values - values.max(1, keepdims=True))
        values /= values.sum(1, keepdims=True)
    values = values.mean(0)
    if len(values) == 1:  # one sigmoid: how likely class 1 is rather than 0
        values = np.append(1 - values, values)
    names = net.class_names or ()
    names = names if len(names) == len(values) else [str(i) for i in range(len(values))]
    return [(int(i), names[i], float(values[i])) for i in np.argsort(-values, kind="stable")]
