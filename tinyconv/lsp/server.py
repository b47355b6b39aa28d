"""The protocol: pygls carries the messages, the other modules answer.

Documents come whole with each change; a `.net` file is small. Diagnostics wait until typing pauses for a moment, every
request sees the newest text.
"""

from __future__ import annotations

import asyncio
import os

from lsprotocol import types
from pygls import uris
from pygls.lsp.server import LanguageServer

from .. import lang
from .._version import __version__
from ..errors import Diagnostic, NetError
from . import completion, hover, navigation
from .outline import Definition, Outline
from .project import Project
from .text import Text

PAUSE = 0.15        # seconds

KINDS = {"layer": "Class", "block": "Function", "keyword": "Keyword", "word": "EnumMember", "flag": "Field",
         "key": "Property", "value": "Variable", "name": "Reference", "setting": "Property", "choice": "EnumMember",
         "function": "Function", "file": "File"}
SYMBOLS = {"block": "Function", "let": "Constant", "parameter": "Variable", "index": "Variable", "name": "Variable",
           "head": "Namespace", "section": "Namespace", "setting": "Property"}


class NetServer(LanguageServer):
    """One project of open documents, and what the editor has been told about them."""

    def __init__(self):
        super().__init__("tinyconv", __version__, types.TextDocumentSyncKind.Full)
        self.project = Project()
        self.uris: dict[str, str] = {}                          # path -> the editor's own URI for it
        self.sent: dict[str, list] = {}                         # URI -> the diagnostics that the editor shows
        self.turn = 0                                           # changes so far
        self.dismissed = False

    def path(self, uri: str) -> str:
        """The path of a document; one that has never been saved goes by its URI."""
        path = (uris.to_fs_path(uri) if uri.startswith("file:") else None) or uri
        self.uris[path] = uri
        return path

    def uri(self, path: str) -> str:
        document = self.project.at(path)
        if document is not None:
            return self.uris[document.path]
        return uris.from_fs_path(os.path.abspath(path)) or path

    @property
    def encoding(self) -> str:
        return str(getattr(self.workspace.position_encoding, "value", self.workspace.position_encoding) or "utf-16")

    def text(self, path: str) -> Text:
        """The text that positions in a file count in; empty where the file cannot be read."""
        document = self.project.at(path)
        return document.text if document else Text(self.project.read(path) or "", self.encoding)

    def offset(self, uri: str, position: types.Position) -> tuple[str, int] | None:
        """(path, offset) of a request; None where the document is not open."""
        path = self.path(uri)
        document = self.project.documents.get(path)
        return None if document is None else (path, document.text.offset(position.line, position.character))

    def update(self, uri: str, raw: str) -> None:
        self.project.open(self.path(uri), raw, self.encoding)

    # Diagnostics

    def publish(self) -> None:
        """Sends the diagnostics of the open documents, each for the file that it is about, where they have changed."""
        texts: dict[str, Text] = {}
        found: dict[str, list] = {uri: [] for uri in self.sent}
        for path in self.project.documents:
            found.setdefault(self.uri(path), [])
            for each in self.project.analysis(path).diagnostics:
                diagnostic = self.diagnostic(each, texts)
                same = found.setdefault(self.uri(each.file or path), [])
                # Two nets may include one file: the same error then, reached in other ways.
                if not any(d.code == diagnostic.code and d.range == diagnostic.range for d in same):
                    same.append(diagnostic)
                if each.file and self.project.at(each.file) is None:
                    found[self.uri(path)] += self.at_include(path, each, diagnostic)
        for uri, diagnostics in found.items():
            if self.sent.get(uri) != diagnostics:
                self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, diagnostics))
        opened = {self.uri(path) for path in self.project.documents}
        self.sent = {uri: diagnostics for uri, diagnostics in found.items() if diagnostics or uri in opened}

    def at_include(self, path: str, d: Diagnostic, full: types.Diagnostic) -> list[types.Diagnostic]:
        """An error of a file that is not open, once more where it is included: many editors show only open files."""
        place = navigation.include_of(self.project, path, self.project.analysis(path).outline, d.file)
        if place is None:
            return []
        related = types.DiagnosticRelatedInformation(types.Location(self.uri(d.file), full.range), d.message)
        return [types.Diagnostic(
            range=self.range(self.project.documents[path].text, *place), code=d.code, source="tinyconv",
            message=f"in {os.path.basename(d.file)}, line {d.line}: {d.message}", severity=full.severity,
            related_information=[related])]

    def diagnostic(self, d: Diagnostic, texts: dict[str, Text]) -> types.Diagnostic:
        lines = [d.message, *d.trace, *([f"help: {d.help}"] if d.help else [])]
        severity = types.DiagnosticSeverity.Warning if d.is_warning else types.DiagnosticSeverity.Error
        related = [types.DiagnosticRelatedInformation(
            location=types.Location(self.uri(x.file), self.span(x.file, x.line, x.column, x.end_column, texts)),
            message=x.text) for x in d.labels if x.text and x.line]
        return types.Diagnostic(
            range=self.span(d.file, d.line, d.column, d.end_column, texts), message="\n".join(lines), code=d.code,
            source="tinyconv", severity=severity, related_information=related or None)

    def span(self, file: str, line: int, column: int, end: int, texts: dict[str, Text]) -> types.Range:
        if file not in texts:
            texts[file] = self.text(file)
        text, row = texts[file], max(line - 1, 0)
        return types.Range(types.Position(row, text.character(row, max(column - 1, 0))),
                           types.Position(row, text.character(row, max(end - 1, 0))))

    def range(self, text: Text, start: int, end: int) -> types.Range:
        return types.Range(types.Position(*text.position(start)), types.Position(*text.position(end)))


server = NetServer()


# Documents


@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
def did_open(ls: NetServer, params: types.DidOpenTextDocumentParams) -> None:
    ls.update(params.text_document.uri, params.text_document.text)
    ls.publish()


@server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
async def did_change(ls: NetServer, params: types.DidChangeTextDocumentParams) -> None:
    uri = params.text_document.uri
    ls.update(uri, ls.workspace.get_text_document(uri).source)
    ls.turn += 1
    turn = ls.turn
    await asyncio.sleep(PAUSE)
    if turn == ls.turn:
        ls.publish()


@server.feature(types.TEXT_DOCUMENT_DID_SAVE)
def did_save(ls: NetServer, params: types.DidSaveTextDocumentParams) -> None:
    """Files that are not open may have changed as well."""
    ls.project.forget()
    ls.publish()


@server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
def did_close(ls: NetServer, params: types.DidCloseTextDocumentParams) -> None:
    ls.project.close(ls.path(params.text_document.uri))
    ls.publish()


# Answers


@server.feature(types.TEXT_DOCUMENT_HOVER)
def on_hover(ls: NetServer, params: types.HoverParams) -> types.Hover | None:
    at = ls.offset(params.text_document.uri, params.position)
    found = at and hover.hover(ls.project, *at)
    if not found:
        return None
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, found.text),
                       ls.range(ls.project.documents[at[0]].text, found.start, found.end))


@server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["@", "=", ">", "\""]))
def on_completion(ls: NetServer, params: types.CompletionParams) -> types.CompletionList:
    at = ls.offset(params.text_document.uri, params.position)
    if at is None:
        return types.CompletionList(is_incomplete=False, items=[])
    text, (_, offset) = ls.project.documents[at[0]].text, at
    start = completion.word_start(text.text, offset)
    items = [types.CompletionItem(
        label=found.label, kind=types.CompletionItemKind[KINDS[found.kind]], detail=found.detail or None,
        text_edit=types.TextEdit(ls.range(text, start, offset), found.text), sort_text=f"{i:04}")
        for i, found in enumerate(completion.complete(ls.project, *at))]
    return types.CompletionList(is_incomplete=False, items=items)


@server.feature(types.TEXT_DOCUMENT_DEFINITION)
def on_definition(ls: NetServer, params: types.DefinitionParams) -> types.Location | None:
    at = ls.offset(params.text_document.uri, params.position)
    if at is None:
        return None
    path, offset = at
    outline = Outline(ls.project.documents[path].text.text)
    file = navigation.included_file(ls.project, path, outline, offset)
    if file is not None:
        return types.Location(ls.uri(file), types.Range(types.Position(0, 0), types.Position(0, 0)))
    found = navigation.resolve(ls.project, path, outline, offset)
    if found is None:
        return None
    return types.Location(ls.uri(found.path), ls.range(ls.text(found.path), found.definition.start,
                                                       found.definition.end))


@server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
def on_symbols(ls: NetServer, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
    document = ls.project.documents.get(ls.path(params.text_document.uri))
    if document is None:
        return []

    def symbol(definition: Definition, start: int, end: int, children: list) -> types.DocumentSymbol:
        return types.DocumentSymbol(
            name=definition.name, kind=types.SymbolKind[SYMBOLS[definition.kind]], detail=definition.detail or None,
            range=ls.range(document.text, start, end),
            selection_range=ls.range(document.text, definition.start, definition.end),
            children=[symbol(*child) for child in children])

    return [symbol(*found) for found in navigation.symbols(Outline(document.text.text))]


@server.feature(types.TEXT_DOCUMENT_FORMATTING)
def on_formatting(ls: NetServer, params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
    """The canonical form, which has no options; nothing where the text does not parse."""
    document = ls.project.documents.get(ls.path(params.text_document.uri))
    if document is None:
        return None
    text = document.text.text
    try:
        formatted = lang.format(text)
    except NetError:
        return None
    return [] if formatted == text else [types.TextEdit(ls.range(document.text, 0, len(text)), formatted)]


@server.feature(types.SHUTDOWN)
def on_shutdown(ls: NetServer, params: None) -> None:
    ls.dismissed = True


def run() -> int:
    """Serves one editor on standard input and output; the exit code is 1 where it left without `shutdown`."""
    # Whatever else writes to standard output would be read as a message.
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        server.start_io(requests, answers)
    return 0 if server.dismissed else 1
