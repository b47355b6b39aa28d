"""How a training run shows itself on standard error: a bar on a terminal, else one plain line an epoch."""

from __future__ import annotations

import os
import sys

from .common import note


def epoch_line(event: dict, epochs: int) -> str:
    """`epoch  3/12  loss 0.4123  val loss 0.3991  val accuracy 85.60 %  lr 0.05  5.1 s  1,180 images/s`"""
    member = f"member {event['member']} " if "member" in event else ""
    parts = [f"{member}epoch {event['epoch']:{len(str(epochs))}}/{epochs}", f"loss {event['train_loss']:.4f}"]
    if event["val_loss"] is not None:
        parts.append(f"val loss {event['val_loss']:.4f}")
    if event["val_accuracy"] is not None:
        parts.append(f"val accuracy {percent(event['val_accuracy'])}")
    parts += [f"lr {event['lr']:.4g}", f"{event['seconds']:.1f} s", f"{event['images_per_second']:,.0f} images/s"]
    return "  ".join(parts)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


class Plain:
    """No terminal: a line when an epoch is done (none where JSON tells the same)."""

    def __init__(self, epochs: int, quiet: bool):
        self.epochs, self.quiet = epochs, quiet

    on_batch = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def note(self, message: str) -> None:
        note(message)

    def epoch(self, event: dict) -> None:
        if not self.quiet:
            note(epoch_line(event, self.epochs))


class Silent(Plain):
    """For ranks that do not speak."""

    def __init__(self):
        super().__init__(0, quiet=True)

    def note(self, message: str) -> None:
        pass


class Bar:
    """A terminal: the batches of the running epoch as a bar below the lines of those done."""

    def __init__(self, epochs: int):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs = epochs
        self.progress = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                 TextColumn("{task.fields[loss]}"), TimeRemainingColumn(),
                                 console=Console(stderr=True, highlight=False), transient=True, refresh_per_second=8)
        self.task = self.progress.add_task("", total=None, loss="")
        self.shown = None

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()

    def on_batch(self, phase: str, epoch: int, done: int, total: int, loss: float | None) -> None:
        if self.shown != (phase, epoch):
            self.shown = (phase, epoch)
            words = f"epoch {epoch}/{self.epochs}" if phase == "train" else "validation"
            self.progress.reset(self.task, total=total, description=words, loss="")
        text = "" if loss is None else f"loss {loss:.4f}"
        self.progress.update(self.task, completed=done, loss=text)

    def note(self, message: str) -> None:
        self.progress.console.print(message, markup=False, soft_wrap=True)

    def epoch(self, event: dict) -> None:
        self.note(epoch_line(event, self.epochs))


def make(epochs: int, quiet: bool):
    """The one that fits where standard error goes."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Bar(epochs)
    return Plain(epochs, quiet)
