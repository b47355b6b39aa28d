"""Where names are defined, and what a document defines."""

from __future__ import annotations

from ..lang.reader import identity, included_path
from .outline import Definition, Outline, Statement, Token
from .project import Found, Project


def resolve(project: Project, path: str, outline: Outline, offset: int) -> Found | None:
    """The definition of the name at an offset; None for built-ins, keywords and what is not defined."""
    at = outline.at(offset)
    if at is None:
        return None
    statement, token = at
    own = next((d for d in outline.definitions if d.start == token.start), None)
    if own is not None:
        return Found(path, outline, own)
    name = token.text.lstrip("@ \t")
    if token.kind == "ref":
        local = outline.names(outline.frame_at(offset), offset)
    elif token.kind == "name" and not is_key(statement, token):
        local = outline.values(outline.frame_at(offset), offset)
    else:
        return None
    found = next((Found(path, outline, d) for d in local if d.name == name), None)
    if found is not None or token.kind == "ref":
        return found
    known = project.file_level(path, outline, "block") + project.file_level(path, outline, "let")
    return next((f for f in known if f.definition.name == name), None)


def is_key(statement: Statement, token: Token) -> bool:
    """Whether a word is the key of `key=value`, which names a parameter of what is called."""
    position = statement.tokens.index(token)
    following = [t.text for t in statement.tokens[position + 1:position + 3]]
    return statement.head not in ("let", "block") and following[:1] == ["="] and following[1:] != ["="]


def included_file(project: Project, path: str, outline: Outline, offset: int) -> str | None:
    """The path of the include that an offset is on, None elsewhere or where there is no such file."""
    for name, start, end in outline.includes:
        if start <= offset <= end:
            target = included_path(path, name)
            return target if project.read(target) is not None else None
    return None


def include_of(project: Project, path: str, outline: Outline, file: str) -> tuple[int, int] | None:
    """Start and end of the include in `path` that brings in `file`, be it by another file; None where none does."""
    for name, start, end in outline.includes:
        target = included_path(path, name)
        text = project.read(target)
        if text is not None and any(identity(f) == identity(file) for f in project.outlines(target, Outline(text))):
            return start, end
    return None


def symbols(outline: Outline) -> list[tuple[Definition, int, int, list]]:
    """The document's outline: (definition, start, end, children), in the order of the text.

    Start and end are those of the whole, braces included. Children of a block are its parameters and lets, of a
    section its settings; `name`s are those of the file's own layers.
    """
    frames = {}
    for frame in outline.frames:
        if frame.parent is outline.file:
            frames.setdefault((frame.kind, frame.name), []).append(frame)
    found = []
    for definition in sorted(outline.file.definitions, key=lambda d: d.start):
        mine = [f for f in frames.get((definition.kind, definition.name), ()) if f.start > definition.start]
        frame = min(mine, key=lambda f: f.start) if mine else None
        children = []
        if frame is not None and definition.kind == "section":
            settings = [s for s in outline.statements if s.frame is frame and s.tokens and not s.setting]
            names = [Definition("setting", s.head, s.tokens[0].start, frame) for s in settings]
            children = [(d, d.start, s.tokens[-1].end, []) for d, s in zip(names, settings)]
        elif frame is not None:
            children = [(d, d.start, d.end, []) for d in sorted(frame.definitions, key=lambda d: d.start)
                        if d.kind != "name"]
        end = definition.end
        if frame is not None:
            end = frame.end if frame.end > 0 else len(outline.text)
        found.append((definition, definition.start, end, children))
    return found
