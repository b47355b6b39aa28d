"""Reading: bytes to text, text to a program, includes followed."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import Diagnostic
from . import ast
from .ast import Source
from .errors import SourceError
from .parser import MAX_TEXT
from .suggest import nearest
from .syntax import parse_source

MAX_FILES = 100


@dataclass
class Program:
    """One net as parsed: the items of its file, those of included files in the place of each `include`."""

    file: str
    items: list[ast.Item] = field(repr=False)
    root: list[ast.Item] = field(repr=False)                # the file's own items, includes as they stand
    sources: dict[str, Source] = field(repr=False)
    modules: dict[str, list[ast.Item]] = field(repr=False, default_factory=dict)    # {file: its own items}
    included: dict[int, str] = field(repr=False, default_factory=dict)      # id(include) -> file, "" if read before

    @property
    def files(self) -> dict[str, str]:
        """{file: text} of every file that took part."""
        return {name: source.text for name, source in self.sources.items()}

    @property
    def source(self) -> Source:
        return self.sources[self.file]

    @property
    def blocks(self) -> dict[str, ast.Block]:
        blocks: dict[str, ast.Block] = {}
        for item in self.items:
            if isinstance(item, ast.Block):
                blocks.setdefault(item.name.name, item)
        return blocks


def parse(text: str, file: str = "<text>") -> Program:
    """A program from its text; `file` names it in errors and is the place includes are found beside.

    Raises NetError with diagnostics for everything the grammar refuses.
    """
    return Reader().program(normalise(text), file)


def load(path: str | os.PathLike) -> Program:
    """A program from a file, or from standard input where `path` is `-`. Raises NetError."""
    path = os.fspath(path)
    if path == "-":
        data = sys.stdin.buffer.read(4 * MAX_TEXT + 8)
        return parse(decode(data, "<stdin>"), "<stdin>")
    try:
        data = read_bytes(path)
    except (OSError, ValueError) as error:
        raise SourceError([unreadable(path, error)], {}) from None
    return parse(decode(data, path), path)


def normalise(text: str) -> str:
    """Without byte-order mark, every line end as `\\n`. TypeError for what is no text."""
    if not isinstance(text, str):
        raise TypeError(f"a net and its input are given as text, such as \"32x32 x3\", not as {text!r}")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: str) -> bytes:
    with open(path, "rb", opener=_open_plain) as file:
        return file.read(4 * MAX_TEXT + 8)


def _open_plain(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a file")
    return descriptor


def unreadable(path: str, error: Exception, at=None) -> Diagnostic:
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file"
    else:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
    place = at.span if at is not None else (path, 0, 0, 0)
    near = nearest(os.path.basename(path), _beside(path))
    help = f"did you mean `{near}`?" if near else \
        f"it is looked for beside the file that includes it: in {os.path.dirname(path) or 'this folder'}" if at else ""
    return Diagnostic("E001", f"cannot read {path}: {reason}", *place, help=help)


def _beside(path: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(os.path.dirname(path) or ".") if name.endswith(".net"))
    except (OSError, ValueError):
        return []


def decode(data: bytes, file: str) -> str:
    """UTF-8 to text; where it is not UTF-8, a NetError with the line and column of the first bad byte."""
    if len(data) > 4 * MAX_TEXT:
        raise SourceError([Diagnostic("E101", f"the file is larger than {MAX_TEXT} characters", file)], {})
    try:
        return normalise(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        # With a byte-order mark the codec counts from after it.
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        good = normalise(data[:start].decode("utf-8", "replace"))
        line, column = good.count("\n") + 1, len(good) - good.rfind("\n")
        shown = normalise(data[:MAX_TEXT].decode("utf-8", "replace"))
        raise SourceError([Diagnostic("E002", f"byte 0x{data[start]:02x} is not valid UTF-8", file, line, column,
                                      column + 1, help="save the file as UTF-8")], {file: shown}) from None


def identity(file: str) -> str:
    """One name for all ways to write a path."""
    try:
        return os.path.realpath(file)
    except (OSError, ValueError):
        return file


def included_path(file: str, name: str) -> str:
    """The path of what `include "name"` means in `file`."""
    return os.path.normpath(os.path.join(os.path.dirname(file), name))


class Reader:
    """Reads one program. buffers: {identity: text} of files that are read from here, not from disk."""

    def __init__(self, buffers: Mapping[str, str] | None = None):
        self.buffers = buffers or {}
        self.sources: dict[str, Source] = {}
        self.problems: list[Diagnostic] = []
        self.modules: dict[str, list[ast.Item]] = {}
        self.included: dict[int, str] = {}
        self.read: set[str] = set()

    def program(self, text: str, file: str) -> Program:
        """The program of a normalised text that stands in `file`. Raises SourceError."""
        root = self.module(text, file)
        items = self.flatten(root, file, [(identity(file), file)])
        if self.problems:
            raise SourceError(self.problems, {name: s.text for name, s in self.sources.items()})
        return Program(file, items, root, self.sources, self.modules, self.included)

    def module(self, text: str, file: str) -> list[ast.Item]:
        source = self.sources[file] = Source(file, text)
        items, problems = parse_source(source)
        self.problems += problems
        self.modules[file] = items
        return items

    def flatten(self, items: list[ast.Item], file: str, chain: list[tuple[str, str]]) -> list[ast.Item]:
        flat: list[ast.Item] = []
        for item in items:
            if isinstance(item, ast.Include):
                flat += self.include(item, file, chain)
            else:
                if len(chain) > 1 and not isinstance(item, (ast.Let, ast.Block)):
                    self.foreign_item(item, chain)
                flat.append(item)
        return flat

    def foreign_item(self, item: ast.Item, chain) -> None:
        kinds = {ast.Default: "a `default`", ast.Head: "a `head`", ast.Section: "a section", ast.Pipe: "layers"}
        help = "put them into a block" if isinstance(item, ast.Pipe) else "move it to the including file"
        self.problems.append(Diagnostic(
            "E004", f"an included file holds only blocks and lets, this one has {kinds[type(item)]}", *item.span,
            help=help,
            trace=(f"included from {chain[-2][1]}",)))

    def include(self, item: ast.Include, file: str, chain: list[tuple[str, str]]) -> list[ast.Item]:
        path = included_path(file, item.path.value)
        own = identity(path)
        at = next((i for i, (known, _) in enumerate(chain) if known == own), None)
        if at is not None:
            shown = " -> ".join([name for _, name in chain[at:]] + [path])
            self.problems.append(Diagnostic("E003", f"this include is a cycle: {shown}", *item.span,
                                            help="remove one of these includes"))
            return []
        self.included[id(item)] = ""
        if own in self.read:
            return []
        self.read.add(own)
        if len(self.read) > MAX_FILES:
            self.problems.append(Diagnostic("E005", f"more than {MAX_FILES} files are included", *item.span,
                                            help="put their blocks together into fewer files"))
            return []
        try:
            text = self.buffers[own] if own in self.buffers else decode(read_bytes(path), path)
        except (OSError, ValueError) as error:
            self.problems.append(unreadable(path, error, item.path))
            return []
        except SourceError as error:
            self.problems += error.diagnostics
            self.sources.setdefault(path, Source(path, error.files[path]))
            return []
        self.included[id(item)] = path
        return self.flatten(self.module(text, path), path, [*chain, (own, path)])
