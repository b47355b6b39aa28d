"""Files are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator

from .errors import NetError

TEMPORARY = ".tmp"


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path` for writing; leaving the block puts it in the place of `path`.

    The order (write, fsync the file, rename, fsync the folder) means that whoever looks, after a crash or a power cut
    too, finds either the old file or the new one in full. When anything fails the temporary file is removed and the old
    one stays; a failure of the system (a full disk, no right to write, no such folder) is a NetError that says so.
    A symbolic link stays a link, to the new content.
    """
    shown = os.fspath(path)
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise NetError(f"cannot write {shown}: it is not a plain file")
    temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY}")
    try:
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
            sync_folder(target.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        kept = "; the file that was there is unchanged" if target.exists() else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise NetError(f"cannot write {shown}: {error.strerror or error}{kept}",
                       help="make room on that disk, or write to another" if full else "") from error


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of writers that were killed. Only for a folder that no one else writes to."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)
