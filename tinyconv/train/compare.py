"""What run folders say of themselves, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterable, Mapping

from ..errors import NetError
from .checkpoint import Progress, Row


def find(folders: Iterable[str]) -> list[Path]:
    """The runs in these folders, in the order of their names: a folder that is a run, or all below one that is none.
    Members of an ensemble are no runs of their own. NetError where there is none."""
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise NetError(f"there is no folder {folder}")
        configs = [folder / "config.json", *sorted(folder.rglob("config.json"))]
        runs = [path.parent for path in configs if path.is_file()]
        runs = [run for run in dict.fromkeys(runs) if run == folder or not (run.parent / "config.json").is_file()]
        if not runs:
            raise NetError(f"there are no runs in {folder}", help="give folders that `tinyconv train` wrote, or that "
                                                                  "hold such")
        found += runs
    return list(dict.fromkeys(found))


def epochs(folder: Path) -> list[dict[str, Any]]:
    """The epoch events in the log of a run."""
    return [event for event in _log(folder) if event["event"] == "epoch"]


def overview(folder: Path) -> dict[str, Any]:
    """{"run", "settings", "epochs", "of", "train_loss", "val_loss", "val_accuracy", "best_val_accuracy", "seconds"}.

    settings: {"batch": 32, "optimizer": "sgd", "optimizer.lr": 0.1, …}. epochs: done, of how many. The figures are
    those of the last epoch, None where they are not known; best_val_accuracy that of the weights in best.safetensors,
    seconds all together. An ensemble has the accuracies of all its members together, once all are done, and the mean of
    their losses.
    """
    settings = json.loads((folder / "config.json").read_text("utf-8"))["settings"]
    members = sorted(folder.glob("member-*/config.json"))
    row = {"run": str(folder), "settings": flat(settings)}
    if settings["ensemble"] > 1:
        parts = [overview(path.parent) for path in members]
        done = next((event for event in _log(folder) if event["event"] == "done"), {})
        return {**row, "epochs": min([part["epochs"] for part in parts] or [0]), "of": settings["epochs"],
                "train_loss": _mean(parts, "train_loss"), "val_loss": _mean(parts, "val_loss"),
                "val_accuracy": done.get("val_accuracy"), "best_val_accuracy": done.get("best_val_accuracy"),
                "seconds": sum(part["seconds"] for part in parts)}
    events = epochs(folder)
    keys = ("train_loss", "val_loss", "val_accuracy")
    rows = [Row(*(float("nan") if event[key] is None else event[key] for key in keys), event["lr"]) for event in events]
    best = Progress(rows).best
    return {**row, "epochs": len(events), "of": settings["epochs"],
            **{key: events[-1][key] if events else None for key in keys},
            "best_val_accuracy": None if best is None else events[best]["val_accuracy"],
            "seconds": round(sum(event["seconds"] for event in events), 4)}


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of config.json as `--set` names them: "optimizer" and "optimizer.lr"."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name in ("optimizer", "schedule"):
            found[name] = value[0]
            found.update({f"{name}.{key}": v for key, v in value[1].items()})
        elif name == "loss":
            lines = ([kind, *(f"{k}={v}" for k, v in options.items())] for kind, options in value)
            found[name] = "; ".join(map(" ".join, lines))
        else:
            found[name] = value
    return found


def differing(rows: list[Mapping[str, Any]]) -> list[str]:
    """The settings, but for `epochs`, that are not the same in all of `overview`'s rows."""
    names = dict.fromkeys(name for row in rows for name in row["settings"] if name != "epochs")
    return [name for name in names if len({json.dumps(row["settings"].get(name)) for row in rows}) > 1]


def _log(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:  # the last line of a process that was killed
            break
    return events


def _mean(parts: list[Mapping[str, Any]], key: str) -> float | None:
    values = [part[key] for part in parts if part[key] is not None]
    return sum(values) / len(values) if values else None
