"""The nets that come with the package: models/*.net beside the package when installed, above it in a clone."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from .errors import NetError


def folder() -> Path:
    """Where the models are. Never imported: the folder holds only .net files."""
    here = Path(__file__).resolve().parent
    return next((f for f in (here / "models", here.parent / "models") if f.is_dir()), here / "models")


def names() -> list[str]:
    """The names of all files of the zoo, sorted: nets, and blocks that they include."""
    return sorted(path.stem for path in folder().glob("*.net"))


def nets() -> list[str]:
    """The names of the nets, sorted: `tinyconv summary NAME`. Files of blocks have no input and are left out."""
    def is_net(name: str) -> bool:
        return "\ninput " in (folder() / f"{name}.net").read_text(encoding="utf-8")

    return sorted(filter(is_net, names()))


def find(net: str | os.PathLike) -> str:
    """The path of a net given as a path, as `-` (standard input, returned as it is) or by its name in the zoo.

    An existing file comes before a name of the zoo. Anything else is a NetError with the nearest name, or all of them.
    """
    text = os.fspath(net)
    if text == "-" or os.path.isfile(text):
        return text
    in_zoo = folder() / f"{text}.net"
    if os.path.basename(text) == text and in_zoo.is_file():
        return str(in_zoo)
    if os.path.isdir(text):
        raise NetError(f"{text} is a folder, not a net", help="give a .net file, a weights file or a name of the zoo")
    known, meant = nets(), Path(text).stem.lower()
    near = difflib.get_close_matches(meant, known)
    near.sort(key=lambda name: sorted(name) != sorted(meant))  # first one with the same letters in another order
    raise NetError(f"there is no file {text}, and no net of that name in the zoo",
                   help=f"did you mean `{near[0]}`?" if near else f"the zoo has {', '.join(known)}")
