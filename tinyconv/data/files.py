"""A folder or a zip archive seen the same way: names of files, their bytes, and the folders they are in.

Archives are never extracted: members are read through `zipfile`, so a member cannot be written anywhere. What unpacks
to more than memory could sensibly hold is refused before it is unpacked.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from pathlib import Path

from ..errors import NetError

# The largest single file that is read whole, in bytes after unpacking; a larger one is taken for a mistake or a bomb.
LIMIT = 8 << 30
# Deflate cannot reach more than about 1,032 to 1 and images hardly compress at all; only small files may look extreme.
RATIO_LIMIT = 200
RATIO_FREE = 64 << 20
DEPTH = 3  # train/CLASS/image is the deepest layout


def too_large(size: int, packed: int) -> bool:
    """Whether `size` bytes out of `packed` ones are more than what is unpacked here."""
    return size > LIMIT or (size > RATIO_FREE and size > RATIO_LIMIT * packed)


def reason(error: BaseException) -> str:
    """The plain words of an exception, without paths and numbers of errors."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


class BadFile(NetError):
    """A file whose contents are truncated or corrupt. What `skip_bad` skips, and nothing else."""

    def __init__(self, message: str):
        super().__init__(message, help="replace or remove the file, or skip bad files explicitly with --skip-bad")


class Files:
    """The files under a root. `names`: sorted relative paths with `/`; `folders`: relative too, without the root."""

    def __init__(self, label: str, names: list[str], folders: set[str], prefix: str = ""):
        self.label = label
        self.prefix = prefix
        for name in [*names, *folders]:
            parent = name.rpartition("/")[0]
            while parent and parent not in folders:
                folders.add(parent)
                parent = parent.rpartition("/")[0]
        self.names = sorted(names)
        self.folders = folders
        self._children: dict[str, list[str]] = {}
        self._inside: dict[str, list[str]] = {}
        for name in self.names:
            self._inside.setdefault(name.rpartition("/")[0], []).append(name)
        for name in sorted(folders):
            self._children.setdefault(name.rpartition("/")[0], []).append(name)

    def inside(self, folder: str = "") -> list[str]:
        """Files directly in a folder, sorted."""
        return self._inside.get(folder, [])

    def children(self, folder: str = "") -> list[str]:
        """Folders directly in a folder, sorted."""
        return self._children.get(folder, [])

    def path(self, name: str) -> str:
        """How messages call a file."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """The whole file. NetError when it cannot be read."""
        raise NotImplementedError

    def size(self, name: str) -> int:
        """Bytes of the file (unpacked)."""
        raise NotImplementedError


class Folder(Files):
    def __init__(self, path: Path):
        self.root = path
        names: list[str] = []
        folders: set[str] = set()
        self._scan("", 1, names, folders)
        super().__init__(str(path), names, folders)

    def _scan(self, folder: str, depth: int, names: list[str], folders: set[str]) -> None:
        here = self.root / folder if folder else self.root
        try:
            with os.scandir(here) as entries:
                found = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise NetError(f"{here}: {reason(error)}") from error
        for name, is_dir in found:
            inner = f"{folder}/{name}" if folder else name
            if not is_dir:
                names.append(inner)
                continue
            folders.add(inner)
            if depth < DEPTH:
                self._scan(inner, depth + 1, names, folders)

    def path(self, name: str) -> str:
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        return read_file(self.root / name)

    def size(self, name: str) -> int:
        try:
            return os.stat(self.root / name).st_size
        except OSError as error:
            raise NetError(f"{self.path(name)}: {reason(error)}") from error


class Loose(Folder):
    """Files under a folder that are named elsewhere, as in a list: the folder itself is not searched."""

    def __init__(self, path: Path):
        self.root = path
        Files.__init__(self, str(path), [], set())


class Archive(Files):
    """A zip archive; `prefix` is a folder that holds everything and is left out of the names."""

    def __init__(self, path: Path, prefix: str = ""):
        self.root = path
        try:
            self.zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise NetError(f"{path}: cannot be read as a zip archive: {reason(error)}") from error
        names, folders = [], set()
        for info in self.zip.infolist():
            name = info.filename
            parts = name.rstrip("/").split("/")
            if ".." in parts or name.startswith("/") or ":" in parts[0]:
                raise NetError(f"{path}: member `{name}` points outside the archive")
            # `__MACOSX/` and `._name` are what macOS adds beside the real members.
            if not name.startswith(prefix) or name == prefix or any(p.startswith((".", "__MACOSX")) for p in parts):
                continue
            inner = name[len(prefix):]
            if info.is_dir():
                folders.add(inner.rstrip("/"))
            else:
                names.append(inner)
        super().__init__(str(path), names, folders, prefix)

    def path(self, name: str) -> str:
        return f"{self.root}: {self.prefix}{name}"

    def read(self, name: str) -> bytes:
        if self.prefix + name not in self.zip.NameToInfo:
            raise NetError(f"{self.path(name)}: no such member of the archive")
        info = self.zip.getinfo(self.prefix + name)
        if too_large(info.file_size, info.compress_size):
            raise NetError(f"{self.path(name)}: unpacks to {info.file_size:,} bytes, which is refused",
                           help="unpack the archive yourself and give the folder")
        try:
            return self.zip.read(info)
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            # RuntimeError is zipfile's word for an encrypted member.
            raise BadFile(f"{self.path(name)}: cannot be read: {reason(error)}") from error

    def size(self, name: str) -> int:
        return self.zip.getinfo(self.prefix + name).file_size

    def close(self) -> None:
        self.zip.close()


class Tarball(Files):
    """The regular files of a tar archive, read at once, without the folders they are in."""

    def __init__(self, path: Path):
        self.root = path
        self._data: dict[str, bytes] = {}
        total = 0
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if not member.isfile():
                        continue
                    total += member.size
                    if total > LIMIT:
                        raise NetError(f"{path}: unpacks to more than {LIMIT >> 30} GiB, which is refused")
                    self._data[member.name.rpartition("/")[2]] = archive.extractfile(member).read()
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise NetError(f"{path}: cannot be read as a tar archive: {reason(error)}") from error
        super().__init__(str(path), list(self._data), set())

    def path(self, name: str) -> str:
        return f"{self.root}: {name}"

    def read(self, name: str) -> bytes:
        return self._data[name]

    def size(self, name: str) -> int:
        return len(self._data[name])


def read_file(path: Path) -> bytes:
    """The bytes of a file on disk. NetError with the system's reason when it cannot be read or is absurdly large."""
    try:
        if os.stat(path).st_size > LIMIT:
            raise NetError(f"{path}: larger than {LIMIT >> 30} GiB, which is not read into memory")
        return Path(path).read_bytes()
    except OSError as error:
        raise NetError(f"{path}: {reason(error)}") from error
