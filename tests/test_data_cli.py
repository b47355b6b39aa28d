"""Whole runs of `tinyconv` on small data of each kind, with the steps in the `.net` file."""

import json
import wave

import numpy as np
import pytest
from PIL import Image

from tinyconv.cli import main

NUMPY = ["--device", "numpy"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    path.write_text(text)
    return str(path)


def colours(root, n=12, side=12):
    """Class folders of reddish and bluish images."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("blue", "red")):
        (root / name).mkdir(parents=True)
        for i in range(n):
            x = rng.integers(0, 100, (side, side + i % 2, 3), dtype=np.uint8)
            x[..., 2 - 2 * k] += 150
            Image.fromarray(x).save(root / name / f"{i}.png")


def test_pca_is_kept_with_the_run_and_tencrop_averages(folder, capsys):
    colours(folder / "pics")
    net = write(folder / "a.net", """input 8x8 x3
conv 3x3 x4 -> relu -> pool global avg -> fc 2 -> softmax
data { source "pics"; validation 0.25; augment: crop 8 -> flip -> pca 0.3 -> jitter brightness=0.2; test: tencrop 8 }
train { epochs 3; batch 4; optimizer sgd lr=0.1 }
""")
    assert main(["train", net, "--out", "one", *NUMPY]) == 0
    assert main(["train", net, "--out", "two", "--epochs", "1", *NUMPY]) == 0
    axes = np.array(json.loads((folder / "two" / "config.json").read_text())["data"]["pca"])
    assert axes.shape == (3, 3) and np.abs(axes).max() > 0
    assert main(["train", "--resume", "two", "--epochs", "3", *NUMPY]) == 0
    assert (folder / "one" / "last.safetensors").read_bytes() == (folder / "two" / "last.safetensors").read_bytes()
    capsys.readouterr()
    assert main(["eval", "one/last.safetensors", "--json", *NUMPY]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 6
    assert main(["predict", "one/last.safetensors", "pics/red/0.png", "--json", *NUMPY]) == 0
    found = json.loads(capsys.readouterr().out)

    import tinyconv

    image = np.asarray(Image.open("pics/red/0.png"))
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    crops = np.stack([c for t, l in places for c in (image[t:t + 8, l:l + 8], image[t:t + 8, l:l + 8][:, ::-1])])
    mean = tinyconv.load("one/last.safetensors", device="numpy")(np.ascontiguousarray(crops)).mean(0)
    assert abs(found["probability"] - mean[found["index"]]) < 1e-5


@pytest.mark.parametrize("end, size", [("conv 1x1 x2 -> softmax", 2), ("conv 1x1 x1 -> sigmoid", 1)])
def test_masks_train(folder, capsys, end, size):
    rng = np.random.default_rng(0)
    for i in range(12):
        mask = np.zeros((10, 10), np.uint8)
        t, l = rng.integers(0, 6, 2)
        mask[t:t + 4, l:l + 4] = 255
        for name, array in (("image", mask // 2 + rng.integers(0, 60, (10, 10), dtype=np.uint8)), ("label", mask)):
            (folder / "m" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / "m" / name / f"{i}.png")
    net = write(folder / "m.net", f"""input 8x8 x1
conv 3x3 x4 -> relu -> {end}
data {{ source "m"; validation 0.25; augment: crop 8 -> flip -> rotate 5; test: crop 8 }}
train {{ epochs 6; batch 3; optimizer sgd lr=0.3 }}
""")
    assert main(["train", net, "--out", "run", "--json", *NUMPY]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-2]["train_loss"] < 0.8 * events[0]["train_loss"]


def test_sounds_train_and_are_predicted(folder, capsys):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("high", "low")):
        (folder / "s" / name).mkdir(parents=True)
        for i in range(8):
            t = np.arange(60 + 5 * (i % 3))
            tone = 9000 * np.sin(t * (2.0, 0.3)[k] + rng.random() * 6)
            with wave.open(str(folder / "s" / name / f"{i}.wav"), "wb") as out:
                out.setparams((1, 2, 8000, 0, "NONE", ""))
                out.writeframes(tone.astype("<i2").tobytes())
    net = write(folder / "s.net", """input 64 x1
conv 9 x8 -> relu -> pool global max -> fc 2 -> softmax
data { source "s"; validation 0.25; augment: fit 64 -> shift 4 -> noise 0.01; test: fit 64 }
train { epochs 20; batch 4; optimizer sgd lr=0.1 }
""")
    assert main(["train", net, "--out", "run", *NUMPY]) == 0
    capsys.readouterr()
    assert main(["predict", "run/last.safetensors", "s/low/1.wav", "s/high/2.wav", *NUMPY]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["low", "high"]


def test_what_does_not_fit_names_the_step(folder, capsys):
    colours(folder / "pics", 3)
    net = write(folder / "a.net", 'input 8x8 x3\nfc 2 -> softmax\ndata { source "pics"; test: crop 8 -> pca 0.1 }\n')
    assert main(["train", net, *NUMPY]) == 1
    assert "belongs in `augment`" in capsys.readouterr().err
    net = write(folder / "b.net", 'input 8 x3\nfc 2 -> softmax\ndata { source "pics" }\n')
    assert main(["train", net, *NUMPY]) == 1
    assert "as many axes" in capsys.readouterr().err
