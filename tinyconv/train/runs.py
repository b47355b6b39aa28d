"""The run folder: what a training run leaves behind, and all that continuing it needs.

  net.net            the self-contained text
  config.json        settings, where the data came from and its fingerprint
  log.jsonl          the epoch events, one a line
  best.safetensors   the weights of the epoch with the best validation accuracy
  last.safetensors   the weights, `optimizer.*` and `state.*` of the last finished epoch, or of an interrupted one
  init.safetensors   weights that were taken from another file to begin with
  environment.json   the machine and the versions that it began with
  .lock              held while a process trains here
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np

from .. import weights
from .._version import __version__
from ..errors import NetError
from ..files import TEMPORARY, remove_leftovers, replacing
from .settings import Settings

FORMAT = 1


class UsageError(NetError):
    """The folder or the options do not fit together: nothing was started, nothing was changed."""


class Run:
    """An open, locked run folder; made by `start` and `resume`. A context manager that releases the lock.

    folder: Path. text: the `.net` text. settings: Settings. data: what the caller gave `start`, unchanged. fingerprint:
    of the data. resumed: whether `resume` made it. ranks: the processes that train it together (runtime/ranks.py), or
    None; sync_bn: whether batch norm takes the statistics of them all.
    """

    ranks = None
    sync_bn = False

    def __init__(self, folder: Path, lock: int | None, text: str, settings: Settings, data: Mapping[str, Any],
                 fingerprint: Mapping[str, Any], resumed: bool):
        self.folder, self.text, self.settings = folder, text, settings
        self.data, self.fingerprint, self.resumed = dict(data), dict(fingerprint), resumed
        self._lock: int | None = lock

    leads = property(lambda self: self.ranks is None or self.ranks.leads)  # whether this process writes
    best = property(lambda self: self.folder / "best.safetensors")
    last = property(lambda self: self.folder / "last.safetensors")
    initial = property(lambda self: self.folder / "init.safetensors")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the folder. Closing twice is harmless."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def check_text(self, text: str) -> None:
        """For `train NET --resume DIR`: UsageError unless `text` (self-contained) is the net of this run."""
        if text != self.text:
            raise UsageError(f"the net given differs from the one of this run, {self.folder / 'net.net'}",
                             help="leave the net out to go on with the run's own, or train into another folder")

    def log(self, event: Mapping[str, Any]) -> None:
        """Appends one line to log.jsonl; it is on the disk when this returns."""
        try:
            with open(self.folder / "log.jsonl", "ab") as file:
                file.write(json.dumps(event).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise NetError(f"cannot write {self.folder / 'log.jsonl'}: {error.strerror or error}") from error

    def keep_log(self, epochs: int) -> list[dict[str, Any]]:
        """Cuts log.jsonl down to the events of the first `epochs` epochs (a killed process may have written one more,
        or part of one) and returns them."""
        path = self.folder / "log.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        events = [(line, event) for line in lines if (event := _event(line)) and event["epoch"] <= epochs]
        if len(events) < len(lines):
            with replacing(path) as file:
                file.writelines(line for line, _ in events)
        return [event for _, event in events]

    def write_config(self) -> None:
        """Writes config.json from the attributes."""
        config = {"format": FORMAT, "tinyconv": __version__, "settings": self.settings.to_json(), "data": self.data,
                  "fingerprint": self.fingerprint}
        with replacing(self.folder / "config.json") as file:
            file.write((json.dumps(config, indent=2) + "\n").encode())


def start(folder: str | os.PathLike | None, *, stem: str, text: str, settings: Settings, data: Mapping[str, Any],
          fingerprint: Mapping[str, Any], initial: Mapping[str, np.ndarray] | None = None,
          environment: Mapping[str, Any] | None = None) -> Run:
    """Makes the folder of a new run: `folder`, or where it is None `runs/<stem>`, `runs/<stem>-2`, … the first that
    is not there yet. `data` is plain JSON data by which the caller finds the data set again. `initial`: weights to
    begin with, all or some; kept in the folder. `environment`: what is to be noted of the machine, as JSON data.

    A folder that is not empty, or in use, is a UsageError.
    """
    path = _new_folder(stem) if folder is None else Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror or error}") from error
    lock = _lock(path)
    try:
        if any(not _begun(entry, text) for entry in path.iterdir()):
            raise UsageError(f"{path} is not empty", help=f"`--resume {path}` goes on with the run in it; "
                                                          "or give another folder by `--out`")
        remove_leftovers(path)
        run = Run(path, lock, text, settings, data, fingerprint, resumed=False)
        if initial:
            weights.write(run.initial, initial)
        else:  # of a `start` that was killed
            run.initial.unlink(missing_ok=True)
        with replacing(path / "net.net") as file:
            file.write(text.encode())
        if environment:
            with replacing(path / "environment.json") as file:
                file.write((json.dumps(environment, indent=2) + "\n").encode())
        run.write_config()  # last: a folder with a config.json can be resumed
        return run
    except BaseException:
        os.close(lock)
        raise


def resume(folder: str | os.PathLike, *, epochs: int | None = None) -> Run:
    """Opens a run folder to go on with; `epochs` replaces how many it trains in all. A folder that holds no run, or is
    in use, is a UsageError."""
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise UsageError(f"{path} holds no run to resume" if path.is_dir() else f"there is no folder {path}",
                         help=f"`--out {path}` starts one there")
    lock = _lock(path)
    try:
        remove_leftovers(path)
        try:
            config = json.loads((path / "config.json").read_text("utf-8"))
            text = (path / "net.net").read_bytes().decode()
            if config["format"] != FORMAT:
                raise UsageError(f"{path} was made by tinyconv {config['tinyconv']}, which writes another format")
            settings = Settings.from_json(config["settings"])
            run = Run(path, lock, text, settings, config["data"], config["fingerprint"], resumed=True)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise NetError(f"cannot resume {path}: net.net or config.json is missing or damaged ({error!r})") from error
        if epochs is not None and epochs != settings.epochs:
            run.settings = dataclasses.replace(settings, epochs=epochs)
            run.write_config()
        return run
    except BaseException:
        os.close(lock)
        raise


def together(ranks, sync_bn: bool, make: Callable[[], Run]) -> Run:
    """The run of all ranks: rank 0 makes it, holds its lock and writes; the others have a copy."""
    run = make() if ranks.leads else None
    told = ranks.tell(run and [str(run.folder), run.text, run.settings.to_json(), run.data, run.fingerprint,
                               run.resumed])
    if run is None:
        folder, text, settings, data, fingerprint, resumed = told
        run = Run(Path(folder), None, text, Settings.from_json(settings), data, fingerprint, resumed)
    run.ranks, run.sync_bn = ranks, sync_bn
    return run


def _new_folder(stem: str) -> Path:
    number, path = 1, Path("runs") / stem
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def _begun(entry: Path, text: str) -> bool:
    """Whether `entry` is nothing but what an earlier `start` with the same text leaves when killed half-way."""
    if entry.name == "net.net":
        return entry.read_bytes() == text.encode()
    passing = entry.name.startswith(".") and entry.name.endswith(TEMPORARY)
    return passing or entry.name in (".lock", "environment.json", "init.safetensors")


def _lock(folder: Path) -> int:
    """A descriptor that holds the folder's lock; the system drops it with the process, however that ends."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UsageError(f"cannot write in {folder}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise UsageError(f"{folder} is in use by another run" + (f" (process {holder})" if holder else "")) from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("epoch"), int) else None
