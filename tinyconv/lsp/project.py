"""The open documents: their texts, what was found in them, and the files that they include."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NetError
from ..lang.reader import MAX_FILES, decode, identity, included_path, read_bytes
from .analysis import Analysis, analyse
from .outline import Definition, Outline
from .text import Text


@dataclass
class Document:
    """An open document. `sound` is the newest analysis whose graph is whole: what a hover falls back on."""

    path: str
    text: Text
    analysis: Analysis | None = None
    sound: Analysis | None = None


@dataclass(frozen=True)
class Found:
    """A definition and the file that it stands in, with that file's outline."""

    path: str
    outline: Outline
    definition: Definition


class Project:
    """Documents by path. A change in one makes the analyses of all others stale, as they may include it."""

    def __init__(self):
        self.documents: dict[str, Document] = {}

    def open(self, path: str, raw: str, encoding: str = "utf-16") -> None:
        """A document is opened, or its text replaced."""
        text = Text(raw, encoding)
        document = self.documents.get(path)
        if document is None:
            self.documents[path] = Document(path, text)
        else:
            document.text = text
        self.forget()

    def close(self, path: str) -> None:
        self.documents.pop(path, None)
        self.forget()

    def forget(self) -> None:
        for document in self.documents.values():
            document.analysis = None

    def analysis(self, path: str) -> Analysis:
        document = self.documents[path]
        if document.analysis is None:
            document.analysis = analyse(path, document.text.text, self.buffers())
            if document.analysis.is_sound:
                document.sound = document.analysis
        return document.analysis

    def buffers(self) -> dict[str, str]:
        return {identity(path): document.text.text for path, document in self.documents.items()}

    def at(self, path: str) -> Document | None:
        """The open document of this file, however its path is written."""
        if path in self.documents:
            return self.documents[path]
        wanted = identity(path)
        return next((d for d in self.documents.values() if identity(d.path) == wanted), None)

    def read(self, path: str) -> str | None:
        """The text of a file, open or on disk; None where it cannot be read."""
        document = self.at(path)
        if document is not None:
            return document.text.text
        try:
            return decode(read_bytes(path), path)
        except (OSError, ValueError, NetError):
            return None

    def outlines(self, path: str, outline: Outline) -> dict[str, Outline]:
        """{path: outline} of a document and of every file it includes, in the order in which they are read."""
        found = {path: outline}
        waiting = [path]
        seen = {identity(path)}
        while waiting and len(found) <= MAX_FILES:
            file = waiting.pop(0)
            for name, _, _ in found[file].includes:
                target = included_path(file, name)
                text = None if identity(target) in seen else self.read(target)
                seen.add(identity(target))
                if text is not None:
                    found[target] = Outline(text)
                    waiting.append(target)
        return found

    def file_level(self, path: str, outline: Outline, kind: str) -> list[Found]:
        """The blocks or lets of a document and its includes."""
        return [Found(file, each, d) for file, each in self.outlines(path, outline).items() for d in each.defined(kind)]
