"""What could be written at the cursor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..lang.callee import ANY, Callee, show_default
from ..lang.scope import INITS
from ..lang.signature import REQUIRED, Param, Setting
from ..lang.values import FUNCTIONS
from ..layers import LAYERS
from ..sections import SECTIONS
from .outline import Definition, Outline, Statement
from .project import Found, Project

STAGES = {"repeat": "repeat 2 { … }", "when": "when in == x { … } else { … }"}
ITEMS = {"let": "let name = 1", "default": "default conv init=he", "include": 'include "blocks.net"',
         "block": "block name x { … }", "head": "head name weight=0.3 { @x -> … }", "data": "data { … }",
         "train": "train { … }"}


@dataclass(frozen=True)
class Completion:
    """`kind`: layer, block, keyword, word, flag, key, value, name, setting, choice, function or file."""

    label: str
    kind: str
    detail: str = ""
    insert: str = ""

    @property
    def text(self) -> str:
        return self.insert or self.label


def complete(project: Project, path: str, offset: int) -> list[Completion]:
    """Every completion at an offset of an open document; the editor picks those that fit what is typed already."""
    text = project.documents[path].text.text
    word = text[word_start(text, offset):offset]
    before = Outline(text[:offset - len(word)], cut=True)
    if before.inside == "comment":
        return []
    statement = before.statement
    if before.inside == "text":
        return files(path, before) if statement.head == "include" else []
    if offset > len(word) and text[offset - len(word) - 1] in "0123456789.":
        return []                                           # in the middle of a number
    at = Place(project, path, before, statement, offset, Outline(text))
    if word.startswith("@"):
        return references(at)
    if before.frame.kind == "section":
        return in_section(at)
    return unique(in_flow(at))


def word_start(text: str, offset: int) -> int:
    """Where the word begins that ends at an offset, the `@` of a reference included."""
    typed = re.search(r"(?:@[ \t]*)?[A-Za-z_]\w*\Z|@[ \t]*\Z", text[max(0, offset - 200):offset])
    return offset - len(typed.group()) if typed else offset


@dataclass(frozen=True)
class Place:
    """Where completion is asked for: `before` is the outline of what stands before it, `whole` of all the text."""

    project: Project
    path: str
    before: Outline
    statement: Statement
    offset: int
    whole: Outline

    @property
    def words(self) -> list[str]:
        return [t.text for t in self.statement.tokens]

    def blocks(self) -> list[Found]:
        """The blocks that can be called here; one cannot contain itself."""
        inside = {frame.name for frame in self.before.frame.chain() if frame.kind == "block"}
        return [f for f in self.project.file_level(self.path, self.whole, "block") if f.definition.name not in inside]

    def values(self) -> list[Definition]:
        local = self.before.values(self.before.frame, self.offset + 1)
        own = {d.name for d in local}
        lets = [f.definition for f in self.project.file_level(self.path, self.whole, "let")]
        return local + [d for d in lets if d.name not in own]


def unique(found: Iterable[Completion]) -> list[Completion]:
    return list({item.label: item for item in reversed(list(found))}.values())[::-1]


def in_flow(at: Place) -> list[Completion]:
    words = at.words
    last = words[-1] if words else ""
    if not words:
        return stages(at)
    head = words[0]
    if last == "as" or (head in ("block", "head") and len(words) == 1) or head == "let" and len(words) < 3:
        return []                                           # a new name
    if head == "include":
        return []
    if head == "default" and len(words) == 1:
        return [layer(name) for name in LAYERS]
    if head == "}":
        return [Completion("as", "keyword")]
    if head in ("repeat", "when", "let", "block") or last in ("and", "or", "not"):
        more = [Completion("as", "keyword")] if head == "repeat" else []
        return expression(at) + more
    callee = called(at, words[1] if head == "default" else head)
    if last == "=":
        key = words[-2]
        return key_values(at, callee, key) + expression(at)
    if re.fullmatch(r"[-+*/^(,<>]|==|!=|<=|>=", last):
        return expression(at)
    found = arguments(callee) if callee else []
    found += blocks(at) if callee and callee.what == "block" else []
    if head not in ("head", "default"):
        found += [Completion("as", "keyword", "name the output")] + values(at)
    return found


# Layers


def stages(at: Place) -> list[Completion]:
    found = [layer(name) for name in LAYERS]
    found += blocks(at)
    found += [Completion(word, "keyword", detail) for word, detail in STAGES.items()]
    if at.statement.lead == "}":
        found += [Completion("else", "keyword"), Completion("as", "keyword", "name the output")]
    frame = at.before.frame
    if frame.kind == "file" and at.statement.lead in ("", "}"):
        found += [Completion(word, "keyword", detail) for word, detail in ITEMS.items()]
    elif at.statement.lead in ("{", ""):
        found.append(Completion("let", "keyword", ITEMS["let"]))
    return found + [Completion(d.name, "value", f"parameter of {d.frame.name}") for d in at.values()
                    if d.kind == "parameter"]


def blocks(at: Place) -> list[Completion]:
    return [Completion(f.definition.name, "block", f"block {f.definition.detail}") for f in at.blocks()]


def layer(name: str) -> Completion:
    return Completion(name, "layer", Callee(name, LAYERS[name].signature.params).usage())


def called(at: Place, name: str) -> Callee | None:
    """What a name calls here: a built-in or a block."""
    if name in LAYERS:
        return Callee(name, LAYERS[name].signature.params)
    found = next((f for f in at.blocks() if f.definition.name == name), None)
    if found is None:
        return None
    frame = next(f for f in found.outline.frames if f.kind == "block" and f.name == name)
    params = [Param(d.name, ANY, d.detail or REQUIRED, positional=True) for d in frame.definitions
              if d.kind == "parameter"]
    return Callee(name, params, "block")


def arguments(callee: Callee) -> list[Completion]:
    """Flags, keys, switches and words of what is called."""
    found = []
    for param in callee.params.values():
        about = described(param)
        if "switch" in param.kinds and "number" not in param.kinds:
            found.append(Completion(param.name, "word", about))
        elif param.kind == "word":
            pass                                            # its words stand for it
        elif len(param.name) == 1:
            found.append(Completion(param.name, "flag", about))
        else:
            found.append(Completion(f"{param.name}=", "key", about))
        found += [Completion(word, "word", f"{param.name} of {callee.name}") for word in param.words
                  if param.kind == "word"]
    return found


def described(param: Param) -> str:
    kind = "" if param.kind == ANY else param.kind.replace("|", " or ")
    if param.default is REQUIRED:
        return f"{kind}, required".lstrip(", ")
    default = "" if param.default is None else f"default {show_default(param.default)}"
    return ", ".join(part for part in (kind, default) if part)


def key_values(at: Place, callee: Callee | None, key: str) -> list[Completion]:
    param = callee.params.get(key) if callee else None
    if param is None:
        return []
    words = [*param.words]
    words += ["on", "off"] if "switch" in param.kinds else []
    found = [Completion(word, "word", key) for word in words]
    if "init" in param.kinds:
        found += [Completion(word, "word", key) for word in INITS] + [Completion("normal(", "function", "normal(σ)")]
    if "name" in param.kinds:
        found += [Completion(word, "word", "shared weights") for word in shared(at.whole)]
    if ANY in param.kinds:
        found += [layer(name) for name in LAYERS] + blocks(at)
    return found


def shared(outline: Outline) -> list[str]:
    """The names that `share=` has elsewhere in the text."""
    return sorted({m.group(1) for m in re.finditer(r"\bshare\s*=\s*([A-Za-z_]\w*)", outline.text)})


# Expressions


def values(at: Place) -> list[Completion]:
    found = [Completion(d.name, "value", f"{d.kind} {d.detail}".strip()) for d in at.values()]
    if any(frame.kind == "block" for frame in at.before.frame.chain()):
        found.append(Completion("in", "value", "channels that enter the block"))
    return found


def expression(at: Place) -> list[Completion]:
    functions = [Completion(f"{name}(", "function") for name in FUNCTIONS]
    return values(at) + functions + [Completion(word, "keyword") for word in ("on", "off", "and", "or", "not")]


def references(at: Place) -> list[Completion]:
    names = at.before.names(at.before.frame, at.offset + 1)
    if any(frame.kind == "head" for frame in at.before.frame.chain()):
        known = {d.name for d in names}         # heads are built last: what is named below is there as well
        names += [d for d in at.whole.defined("name") if d.name not in known]
    return unique(Completion(f"@{d.name}", "name", d.detail) for d in names)


# Sections and files


def in_section(at: Place) -> list[Completion]:
    words = at.words
    if not words and not at.statement.setting:
        return [Completion(name, "setting", usage_of(setting), f"{name}:" if setting.pipeline else "")
                for name, setting in SECTIONS.get(at.before.frame.name, {}).items()]
    setting, chosen = setting_of(at.statement)
    if setting is None:
        return []
    if setting.choices is not None and not chosen:
        return [Completion(name, "choice", Callee(name, s.params).usage()) for name, s in setting.choices.items()]
    callee = callee_of(setting, chosen)
    if words[-1:] == ["="]:
        return key_values(at, callee, words[-2]) + values(at)
    return arguments(callee) if callee else []


def setting_of(statement: Statement) -> tuple[Setting | None, str]:
    """The setting that a statement of a section belongs to, and the choice or step that it names, as far as typed."""
    words = [t.text for t in statement.tokens]
    setting = SECTIONS.get(statement.frame.name, {}).get(statement.setting or statement.head)
    return setting, "".join(words[:1] if statement.setting else words[1:2])


def callee_of(setting: Setting, chosen: str) -> Callee | None:
    """What the arguments are given to; None where it is a choice that there is not."""
    if setting.choices is None:
        return Callee(setting.name, setting.params)
    return Callee(chosen, setting.choices[chosen].params) if chosen in setting.choices else None


def usage_of(setting: Setting) -> str:
    if setting.choices is None:
        return Callee(setting.name, setting.params).usage()
    return f"{setting.name}{':' if setting.pipeline else ''} {' | '.join(setting.choices)}"


def files(path: str, before: Outline) -> list[Completion]:
    """The `.net` files that the text of an `include` could go on with."""
    typed = before.statement.tokens[-1].text[1:]
    folder = os.path.join(os.path.dirname(path), os.path.dirname(typed))
    try:
        names = sorted(os.listdir(folder or "."))
    except (OSError, ValueError):
        return []
    return [Completion(name, "file") for name in names if name.endswith(".net")
            and os.path.join(folder, name) != path]
