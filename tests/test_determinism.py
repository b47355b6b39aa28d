"""Every optimiser and schedule, with augmentation, clipping, averaged weights and frozen layers: the same bits on
another number of threads, and over an interruption."""

import numpy as np
import pytest
from test_train_net import Stopping, dataset

import tinyconv
from tinyconv import train, weights

NET = """\
let classes = 3
input 8x8 x2 mean=data std=data
conv 3x3 x6 bias=off -> bn -> relu -> pool 2 -> dropout 0.3
conv 3x3 x8 -> relu -> pool global avg -> fc classes -> softmax
data {{ augment: {augment} }}
train {{ epochs 2; batch 20; seed 5; optimizer {optimizer}; schedule {schedule}; {more} }}
"""
RECIPES = [
    ("pad 1 -> crop 8 -> flip", "sgd lr=0.1 momentum=0.9 nesterov clip=1", "plateau patience=0 warmup=1", "patience 5"),
    ("resizedcrop 8 -> erase", "adam lr=0.01 ema=0.9", "onecycle", "loss ce smoothing=0.1"),
    ("affine rotate=20 translate=0.1 -> noise 0.1", "adamw lr=0.01 decay=0.1", "cosine warmup=0.5",
     'freeze "conv1 bn1"'),
    ("shift 1 -> flip -> mixup", "rmsprop lr=0.001 momentum=0.9 ema=0.99 clip=2", "polynomial", "loss focal"),
    ("cutmix", "sgd lr=0.05 decay=1e-3 decay_all ema=0.5", "exponential factor=0.5", "loss ce weights=data"),
    ("cutout 3", "adam lr=0.01", "step at=1", "ensemble 2"),
]


def run(folder, recipe, threads, **callbacks):
    """Begins, or goes on with, a run; the bytes of its weights files."""
    text = NET.format(**dict(zip(("augment", "optimizer", "schedule", "more"), recipe)))
    net, data = tinyconv.compile(text), dataset()
    if (folder / "config.json").exists():
        opened = train.resume(folder)
    else:
        opened = train.start(folder, stem="", text=net.text, settings=train.Settings.of(net.sections["train"]), data={},
                             fingerprint=train.fingerprint(data))
    ensemble = opened.settings.ensemble > 1
    with opened, tinyconv.threads(threads):
        loop = train.train_ensemble if ensemble else train.train
        loop(net.fresh if ensemble else net.fresh(opened.settings.seed), data, opened, **callbacks)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("recipe", RECIPES, ids=[f"{r[1].split()[0]}-{r[2].split()[0]}" for r in RECIPES])
def test_the_same_bits_whatever_happens(tmp_path, recipe):
    whole = run(tmp_path / "whole", recipe, 1)
    assert run(tmp_path / "threads", recipe, 3) == whole
    with pytest.raises(train.Interrupted):
        run(tmp_path / "resumed", recipe, 2, on_batch=Stopping(3))
    assert run(tmp_path / "resumed", recipe, 1) == whole
    tensors, _ = weights.read(next((tmp_path / "whole").rglob("last.safetensors")))
    assert all(np.isfinite(value).all() for value in tensors.values() if value.dtype == np.float32)
