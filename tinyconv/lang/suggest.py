"""Suggestions for misspelt names."""

from __future__ import annotations

import re
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
    "convolutional": "conv {}",
    "conv": "conv {}",
    "maxpooling": "pool {}",
    "averagepooling": "pool {} avg",
    "avgpooling": "pool {} avg",
    "globalaveragepooling": "pool global avg",
    "globalmaxpooling": "pool global",
    "adaptivemaxpool": "pool {} adaptive",
    "maxunpool": "up {}",
    "softmaxlayer": "softmax",
    "logsoftmax": "softmax",
    "fullconnected": "fc {}",
    "innerproduct": "fc {}",
    "connected": "fc {}",
    "separableconv": "conv {} dw",
    "conv2dtranspose": "deconv {}",
    "convtranspose2d": "deconv {}",
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
    "lrelu": "leaky {}",
    "leakyrelu": "leaky {}",
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
    "diceloss": "dice",
    "focalloss": "focal",
    "multistep": "step",
    "multisteplr": "step",
    "steplr": "step",
    "exponentiallr": "exponential",
    "poly": "polynomial",
    "polynomiallr": "polynomial",
    "onecyclelr": "onecycle",
    "epoch": "epochs",
    "batchsize": "batch",
    "minibatch": "batch",
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
}
PARAMETERS = {
    "stride": "s", "strides": "s", "padding": "p", "pad": "p", "dilation": "d", "dilate": "d", "groups": "g",
    "group": "g",
    "out": "x", "outputs": "x", "planes": "x", "numfilters": "x", "numoutput": "x", "ch": "x", "ksize": "k", "ks": "k",
    "channels": "x", "filters": "x", "units": "x", "outchannels": "x", "features": "x", "kernel": "k",
    "kernelsize": "k",
    "size": "k", "weightdecay": "decay", "learningrate": "lr", "sigma": "init", "rate": "p", "gamma": "factor",
    "milestones": "at", "depthwise": "dw", "epsilon": "eps", "average": "avg", "mean": "avg", "maximum": "max",
    "labelsmoothing": "smoothing", "slope": "a", "alpha": "a", "outputpadding": "op", "poolsize": "k",
    "outputsize": "k", "scalefactor": "k", "outfeatures": "x", "dilationrate": "d", "numgroups": "g",
    "negativeslope": "a", "usebias": "bias",
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


def plain_name(word: str) -> str:
    """Another library's name without its capitals, underscores and number of axes: `Conv2d` is `conv`."""
    return re.sub("[123]d$", "", word.lower().replace("_", "").replace("-", ""))


def foreign(word: str, known: Iterable[str]) -> str:
    """What other tools' name `word` is here (`maxpool` is `pool`), or ""."""
    name, known = plain_name(word), set(known)
    for table in (PARAMETERS, FOREIGN):
        text = table.get(name, "")
        if text and text.split()[0] in known:
            return text
    return name if name in known and name != word else ""


def elsewhere(word: str) -> str:
    """As `foreign`, where it is not known what the reader knows."""
    name = plain_name(word)
    return FOREIGN.get(name, "" if name == word else name).replace(" {}", "").replace("{} ", "")


KEYWORDS = ("let", "default", "include", "block", "head", "repeat", "when", "else", "as", "and", "or", "not")

# Keywords of other languages, with the line they stand in made one of this language.


def _condition(line: str) -> str:
    found = re.match(r"\w+\s+([^{:]*)", line)
    return f"write `when {found.group(1).strip()} {{ … }}`" if found else "write `when CONDITION { … }`"


def _otherwise(line: str) -> str:
    return _condition(line).replace("`when", "`else when")


def _else(line: str) -> str:
    return "write `else { … }`"


def _loop(line: str) -> str:
    found = re.match(r"for\s+(\w+)\s+in\s+(?:range\s*\()?\s*(?:0\s*\.\.\s*)?([\w.]+)", line)
    return f"write `repeat {found.group(2)} as {found.group(1)} {{ … }}`" if found else "write `repeat n { … }`"


def _definition(line: str) -> str:
    found = re.match(r"\w+\s+(\w+)\s*([^{:]*)", line)
    params = " ".join(re.sub(r"[(),]", " ", found.group(2)).split()) if found else ""
    return f"write `block {found.group(1)} {params + ' ' if params else ''}{{ … }}`" if found else \
        "write `block NAME { … }`"


def _inclusion(line: str) -> str:
    found = re.match(r"#?\w+\s+[\"'<]?([\w./-]+)", line)
    name = found.group(1) if found else "file.net"
    return f'write `include "{name if name.endswith(".net") else name + ".net"}"`'


def _constant(line: str) -> str:
    found = re.match(r"\w+\s+(\w+)\s*:?=?\s*([^;#]*)", line)
    return f"write `let {found.group(1)} = {found.group(2).strip()}`" if found else "write `let NAME = VALUE`"


def _end(line: str) -> str:
    return "remove it: braces end with `}`, and the last layer is the output"


KEYWORDS_ELSEWHERE = {
    "if": _condition, "unless": _condition, "elif": _otherwise, "elseif": _otherwise, "elsif": _otherwise,
    "otherwise": _else,
    "for": _loop, "while": _loop, "loop": _loop, "foreach": _loop, "def": _definition, "function": _definition,
    "fn": _definition, "func": _definition, "class": _definition, "define": _definition, "module": _definition,
    "import": _inclusion, "from": _inclusion, "require": _inclusion, "using": _inclusion, "use": _inclusion,
    "const": _constant, "var": _constant, "val": _constant, "set": _constant, "end": _end, "begin": _end,
    "return": _end, "output": _end, "done": _end,
}
BRACES_ELSEWHERE = {"residual": "add { … | skip }", "res": "add { … | skip }", "parallel": "concat { … | … }",
                    "branches": "concat { … | … }", "inception": "concat { … | … }", "sequential": "… -> …",
                    "layers": "… -> …", "layer": "conv 3x3 x64", "times": "repeat n { … }"}
SECTIONS_ELSEWHERE = {"training": "train", "fit": "train", "optimization": "train", "solver": "train", "hyper": "train",
                      "dataset": "data", "input_data": "data", "loader": "data", "transform": "data",
                      "trian": "train", "tain": "train", "Train": "train", "Data": "data", "dta": "data"}
# Values of keys in other libraries.
VALUES_ELSEWHERE = {
    "true": "on", "yes": "on", "false": "off", "no": "off", "none": "off", "null": "off", "same": "half", "valid": "0",
    "kaiming": "he", "kaiming_normal": "he", "he_normal": "he", "msra": "he", "he_uniform": "he",
    "kaiming_uniform": "he", "glorot": "xavier", "glorot_uniform": "xavier", "xavier_uniform": "xavier",
    "xavier_normal": "xavier", "gaussian": "normal(0.01)", "normal": "normal(0.01)", "random": "normal(0.01)",
    "zero": "zeros", "average": "avg", "mean": "avg", "maximum": "max", "bilinear": "linear", "dataset": "data",
}
# The parameter that a layer's first positional fills.
FIRST_PARAMETERS = {"conv": "k", "deconv": "k", "pool": "k", "fc": "x", "up": "k", "crop": "k", "dropout": "p",
                    "droppath": "p", "dropblock": "p", "lrn": "n", "gn": "g", "elu": "a", "leaky": "a", "scale": "v",
                     "shuffle": "g"}
# Settings that are keys of another line here.
SETTINGS_ELSEWHERE = {
    "lr": "optimizer sgd lr={}", "learning_rate": "optimizer sgd lr={}", "learningrate": "optimizer sgd lr={}",
    "momentum": "optimizer sgd momentum={}", "decay": "optimizer sgd decay={}", "nesterov": "optimizer sgd nesterov",
    "weight_decay": "optimizer sgd decay={}", "batch_size": "batch {}", "batchsize": "batch {}",
    "num_epochs": "epochs {}", "max_epochs": "epochs {}", "epoch": "epochs {}", "random_seed": "seed {}",
    "smoothing": "loss ce smoothing={}", "label_smoothing": "loss ce smoothing={}",
    "warmup": "schedule cosine warmup={}",
    "lr_schedule": "schedule {}", "scheduler": "schedule {}", "optimiser": "optimizer {}", "optim": "optimizer {}",
    "early_stopping": "patience {}", "early_stop": "patience {}",
    "criterion": "loss {}", "dataset": "source {}", "path": "source {}",
}
