"""Lists of files with their labels, in CSV or, with pyarrow (the extra `parquet`), in Parquet files."""

from __future__ import annotations

import csv
import io

import numpy as np

from ..errors import NetError
from . import media
from .files import Files
from .folders import ROLES, TRAIN_LISTS, decoded
from .parts import Parts, Reader, listed, numbered

SUFFIXES = tuple(name.removeprefix("train") for name in TRAIN_LISTS)
_FILE, _LABEL, _SPLIT = ("file", "filename", "path", "image"), ("label", "class"), ("split", "set")

Line = tuple[str, list[str]]  # where it stands, for messages, and its cells


def probe(files: Files) -> Reader | str:
    found = [(role, role + suffix) for role in ROLES for suffix in SUFFIXES if role + suffix in files.inside()]
    if "train" not in dict(found):
        return "no such file"
    twice = next((role for role in ROLES if [r for r, _ in found].count(role) > 1), None)
    if twice:
        return f"both {twice}.csv and {twice}.parquet: keep one of them"
    return lambda skip_bad: read(files, dict(found), skip_bad)


def read(files: Files, found: dict[str, str], skip_bad: bool) -> Parts:
    """Splits of lists: a row a file, with columns `file` and `label`, and perhaps `split` (train, val or test); in CSV
    without a first row of names, file and label in this order. Paths count from the list. Labels are numbers from 0, or
    names: then the sorted names of the training part are the classes."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for role, name in found.items():
        for file, label, split in _rows(files.read(name), name, files.path(name)):
            rows.setdefault(split or role, []).append((file, label))
    if "train" not in rows:
        raise NetError(f"{files.label}: no row of the split `train`")
    numbers = all(label.isdecimal() for of_role in rows.values() for _, label in of_role)
    classes = sorted({label for _, label in rows["train"]})
    position = {name: i for i, name in enumerate(classes)}
    skipped: list[str] = []
    splits = {}
    for role, of_role in rows.items():
        strange = next((row for row in of_role if not numbers and row[1] not in position), None)
        if strange:
            raise NetError(f"{files.path(strange[0])}: class `{strange[1]}` is not in the training part",
                           help=f"the classes are {listed(classes)}")
        labels = np.array([int(label) if numbers else position[label] for _, label in of_role], np.int32)
        splits[role] = decoded(files, [file for file, _ in of_role], labels, skip_bad, skipped)
    return Parts(splits, numbered(splits, files.label) if numbers else classes, skipped)


def _rows(data: bytes, name: str, label: str) -> list[tuple[str, str, str]]:
    """(file, label, split or "") of each row."""
    lines = (_parquet_lines if name.lower().endswith(".parquet") else _csv_lines)(data, label)
    top = lines[0][1]
    names = [cell.lower() for cell in top]
    columns = [next((names.index(n) for n in wanted if n in names), None) for wanted in (_FILE, _LABEL, _SPLIT)]
    if columns[0] is None or columns[1] is None:
        if not (top and media.kind(top[0])):
            raise NetError(f"{label}: no columns `file` and `label` in its first row: {listed(top)}",
                           help="write `file,label` above the rows")
        columns = [0, 1, 2 if len(top) > 2 else None]
    else:
        lines = lines[1:]
    rows = []
    for where, line in lines:
        cells = ["" if at is None else line[at] if at < len(line) else "" for at in columns]
        if not cells[0] or not cells[1]:
            raise NetError(f"{label}: {where} has no {'file' if not cells[0] else 'label'}")
        if not media.kind(cells[0]):
            raise NetError(f"{label}: {where}: `{cells[0]}` is no image, .npy or .wav file")
        if cells[2] not in ("", *ROLES):
            raise NetError(f"{label}: {where}: split `{cells[2]}`", help=f"splits are {', '.join(ROLES)}")
        rows.append((cells[0], cells[1], cells[2]))
    return rows


def _csv_lines(data: bytes, label: str) -> list[Line]:
    """At least one."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NetError(f"{label}: not text in UTF-8") from error
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    lines = [(f"line {reader.line_num}", [cell.strip() for cell in row]) for row in reader if any(row)]
    if not lines:
        raise NetError(f"{label}: an empty list")
    return lines


def _parquet_lines(data: bytes, label: str) -> list[Line]:
    """The names of the columns, then a line a row; columns that no list has a use for are not read."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise NetError(f"{label}: Parquet needs pyarrow, which is not installed",
                       help="pip install 'tinyconv[parquet]', or write the list as CSV") from None
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
        used = [name for name in names if name.lower() in (*_FILE, *_LABEL, *_SPLIT)]
        table = file.read(columns=used).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise NetError(f"{label}: cannot be read as Parquet: {error}") from error
    rows = zip(*(table[name] for name in used))
    cells = [["" if value is None else str(value).strip() for value in row] for row in rows]
    return [("the first row", used or names), *((f"row {i}", row) for i, row in enumerate(cells, 1))]
