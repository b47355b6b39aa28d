"""Event files for TensorBoard, by its own writer: an extra, `pip install 'tinyconv[tensorboard]'`."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from ..errors import NetError
from ..train import compare

SCALARS = {"train_loss": "loss/train", "val_loss": "loss/validation", "val_accuracy": "accuracy/validation", "lr": "lr"}


def check() -> None:
    """NetError where TensorBoard is missing: asked before the work."""
    if not find_spec("tensorboard"):
        raise NetError("event files need tensorboard, which is not installed",
                       help="pip install 'tinyconv[tensorboard]'")


class Board:
    """Writes the epochs of a run into DIR/tensorboard, those of an ensemble's members into folders below. What the log
    has from before is written anew, so that nothing is there twice or missing after an interruption."""

    def __init__(self, folder: Path):
        self.place = folder / "tensorboard"
        self.writers: dict[str, object] = {}
        self.written: set[tuple[str, int]] = set()
        if self.place.is_dir():
            shutil.rmtree(self.place)
        for run in (folder, *sorted(path.parent for path in folder.glob("member-*/log.jsonl"))):
            for event in compare.epochs(run):
                self.epoch(event, "" if run == folder else run.name)

    def epoch(self, event: dict, below: str | None = None) -> None:
        """An epoch event; of a member it names the member."""
        from tensorboard.summary import Writer

        if below is None:
            below = f"member-{event['member']}" if "member" in event else ""
        if (below, event["epoch"]) in self.written:
            return
        self.written.add((below, event["epoch"]))
        if below not in self.writers:
            self.writers[below] = Writer(str(self.place / below))
        writer = self.writers[below]
        for key, tag in SCALARS.items():
            if event[key] is not None:
                writer.add_scalar(tag, event[key], event["epoch"])
        writer.flush()

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()
