"""Random kills: `tinyconv train` is killed by SIGKILL at random moments of training, saving and resuming, again and
again, on 1 to 3 threads, until the run is done; its weights must then be those of a run that was left alone.

    python tests/kills.py [KILLS] [SEED]          50 kills, over as many runs as that takes; tests/full.sh runs it
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

NETS = {
    "one net": """\
input 8x8 x3 mean=data std=data
conv 3x3 x8 bias=off -> bn -> relu -> pool 2 -> dropout 0.3
conv 3x3 x8 -> relu -> pool global avg -> fc 3 -> softmax
data { source "data.npz"; augment: pad 1 -> crop 8 -> flip -> jitter brightness=0.2 -> mixup 0.2 }
train { epochs 40; batch 16; optimizer adamw lr=0.01 clip=1 ema=0.95; schedule plateau patience=2 warmup=2 }
""",
    "an ensemble": """\
input 8x8 x3 mean=data std=data
conv 3x3 x8 bias=off -> bn -> relu -> pool global avg -> dropout 0.2 -> fc 3 -> softmax
data { source "data.npz"; augment: pad 1 -> crop 8 -> flip }
train { epochs 12; batch 16; ensemble 3; optimizer sgd lr=0.1 momentum=0.9 decay=1e-3 nesterov; schedule cosine }
""",
}


def write_data(path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    x = rng.integers(0, 150, (300, 8, 8, 3))
    x[np.arange(300), :, :, labels] += 60
    np.savez(path, x_train=x[:240].astype("u1"), y_train=labels[:240], x_test=x[240:].astype("u1"), y_test=labels[240:])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tinyconv", "train", *map(str, arguments)]


def digests(folder: Path) -> dict[str, str]:
    """The bytes of all weights files, and the log without its times."""
    found = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in folder.rglob("*.safetensors")}
    for path in folder.rglob("log.jsonl"):
        events = map(json.loads, path.read_text().splitlines())
        found[str(path.relative_to(folder))] = repr([
            (event["event"], event.get("train_loss"), event["val_accuracy"]) for event in events])
    return found


def killed_until_done(net: Path, run: Path, rng: random.Random, longest: float) -> tuple[int, int]:
    """(kills, of them before there was a run to go on with)."""
    kills = early = 0
    while True:
        begun = (run / "config.json").exists()
        threads = ("--threads", rng.randint(1, 3))
        child = subprocess.Popen(command("--resume", run, *threads) if begun else command(net, "--out", run, *threads),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(rng.uniform(0, longest))
        child.kill()
        _, errors = child.communicate()
        if child.returncode == 0:
            return kills, early
        if child.returncode != -9:
            raise SystemExit(f"resuming failed:\n{errors}")
        kills, early = kills + 1, early + (not begun)


def main() -> None:
    wanted, seed = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 50), (2, 0)))
    rng, total = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as place:
        write_data(Path(place, "data.npz"))
        whole, longest = {}, {}
        for name, text in NETS.items():
            net = Path(place, name.replace(" ", "-") + ".net")
            net.write_text(text)
            begin = time.monotonic()
            subprocess.run(command(net, "--out", Path(place, name)), check=True, capture_output=True)
            longest[name] = time.monotonic() - begin  # so that most kills come before the end
            whole[name] = digests(Path(place, name))
        runs = 0
        while total < wanted:
            name = list(NETS)[runs % len(NETS)]
            run = Path(place, f"run-{runs}")
            kills, early = killed_until_done(Path(place, name.replace(" ", "-") + ".net"), run, rng, longest[name])
            if digests(run) != whole[name]:
                raise SystemExit(f"{name}: after {kills} kills the files differ from those of a run left alone")
            runs, total = runs + 1, total + kills
            print(f"{name}: {kills} kills, {early} of them before the folder held a run; same bits", flush=True)
    print(f"{total} kills in {runs} runs: nothing lost, nothing corrupt, final weights identical")


if __name__ == "__main__":
    main()
