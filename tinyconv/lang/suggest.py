"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable

# What other tools and papers call things; offered only where the first word is something the reader knows.
FOREIGN = {
    "maxpool": "pool {}",
    "avgpool": "pool {} avg",
    "averagepool": "pool {} avg",
    "meanpool": "pool {} avg",
    "globalavgpool": "pool global avg",
    "globalaveragepool": "pool global avg",
    "gap": "pool global avg",
    "globalpool": "pool global avg",
    "globalmaxpool": "pool global",
    "adaptiveavgpool": "pool {} adaptive avg",
    "adaptivepool": "pool {} adaptive",
    "batchnorm": "bn",
    "batchnormalization": "bn",
    "batchnormalisation": "bn",
    "norm": "bn",
    "layernorm": "ln",
    "layernormalization": "ln",
    "groupnorm": "gn {}",
    "localresponsenorm": "lrn {}",
    "dense": "fc {}",
    "linear": "fc {}",
    "fullyconnected": "fc {}",
    "convolution": "conv {}",
    "convtranspose": "deconv {}",
    "transposedconv": "deconv {}",
    "convolutiontranspose": "deconv {}",
    "upconv": "deconv {}",
    "depthwise": "conv {} dw",
    "depthwiseconv": "conv {} dw",
    "dwconv": "conv {} dw",
    "upsample": "up {}",
    "upsampling": "up {}",
    "interpolate": "up {}",
    "resize": "up {}",
    "concatenate": "concat",
    "cat": "concat",
    "merge": "concat",
    "sum": "add",
    "plus": "add",
    "multiply": "mul",
    "identity": "skip",
    "lrelu": "leaky",
    "leakyrelu": "leaky",
    "swish": "silu",
    "hardswish": "hswish",
    "hardsigmoid": "hsigmoid",
    "logistic": "sigmoid",
    "dropout2d": "dropout {}",
    "spatialdropout": "dropout {}",
    "stochasticdepth": "droppath {}",
    "channelshuffle": "shuffle {}",
    "zeropad": "pad {}",
    "padding": "pad {}",
    "centercrop": "crop {}",
    "flat": "flatten",
    "view": "reshape {}",
    "randomcrop": "crop {}",
    "randomhorizontalflip": "flip",
    "horizontalflip": "flip",
    "hflip": "flip",
    "fliplr": "flip",
    "mirror": "flip",
    "randomflip": "flip",
    "crossentropy": "ce",
    "softmaxcrossentropy": "ce",
    "crossentropyloss": "ce",
    "binarycrossentropy": "bce",
    "l2": "mse",
    "epoch": "epochs",
    "batchsize": "batch",
    "minibatch": "batch",
    "momentum": "sgd momentum={}",
    "lrschedule": "schedule",
    "scheduler": "schedule",
    "optim": "optimizer",
    "optimiser": "optimizer",
    "criterion": "loss",
    "objective": "loss",
    "path": "source",
    "dataset": "source",
    "augmentation": "augment",
    "cosineannealing": "cosine",
    "steplr": "step",
}
PARAMETERS = {
    "stride": "s", "strides": "s", "padding": "p", "pad": "p", "dilation": "d", "dilate": "d", "groups": "g", "group": "g",
    "channels": "x", "filters": "x", "units": "x", "outchannels": "x", "features": "x", "kernel": "k", "kernelsize": "k",
    "size": "k", "weightdecay": "decay", "learningrate": "lr", "sigma": "init", "rate": "p", "gamma": "factor",
    "milestones": "at", "depthwise": "dw", "epsilon": "eps", "average": "avg", "mean": "avg", "maximum": "max",
    "labelsmoothing": "smoothing", "slope": "a", "alpha": "a", "outputpadding": "op",
}


def distance(a: str, b: str, limit: int) -> int:
    """Edit distance with neighbouring letters swapped counting one; `limit + 1` where it is larger than `limit`."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before, row = [], list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that `word` most likely meant, or "". At most one edit for words under three letters, else two."""
    if len(word) > 60:
        return ""
    limit = 1 if len(word) < 3 else 2
    best, best_key = "", (limit + 1, True)
    for candidate in candidates:
        if candidate == word:
            continue
        # A suggestion that shares no letter is no help: `a` is one edit from `b`.
        d = distance(word.lower(), candidate.lower(), limit)
        key = (d, candidate[:1] != word[:1])
        if d < len(candidate) and d < len(word) and key < best_key and d <= limit:
            best, best_key = candidate, key
    return best


def foreign(word: str, known: Iterable[str]) -> str:
    """What other tools' name `word` is here (`maxpool` is `pool`), or ""."""
    plain = word.lower().replace("_", "").rstrip("123d") if word[-1:].lower() == "d" else word.lower().replace("_", "")
    known = set(known)
    for table in (PARAMETERS, FOREIGN):
        text = table.get(plain, "")
        if text and text.split()[0] in known:
            return text
    return ""
