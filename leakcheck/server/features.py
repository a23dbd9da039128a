"""What the protocol asks for: the only module that knows pygls.

    serve()    →   the exit status, once the editor has gone

Buffers are kept by ``documents``, not by pygls, which counts lines as ``str.splitlines`` does.
"""

from __future__ import annotations

import gc
import logging
import re
import sys
from collections.abc import Sequence
from typing import Any

from lsprotocol import types
from msgspec.structs import replace
from pygls.exceptions import JsonRpcException, PyglsError
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.uris import to_fs_path

from leakcheck import __version__
from leakcheck.reader import decoded
from leakcheck.server import actions
from leakcheck.server.documents import Document
from leakcheck.server.positions import Positions
from leakcheck.server.rendering import SOURCE, Pages, Renderer
from leakcheck.server.session import Result, Session

_WATCHED = ("**/*.py", "**/*.pyw", "**/*.toml", "**/.gitignore", "**/leakcheck-baseline.json")
_PULL = types.DiagnosticOptions(inter_file_dependencies=True, workspace_diagnostics=False, identifier=SOURCE)
_ACTIONS = types.CodeActionOptions(code_action_kinds=list(actions.KINDS), resolve_provider=True)
_CONFIGURATIONS = re.compile(r"\.toml$|/\.gitignore$|-baseline\.json$")
_ALL_ROWS = range(1, 1 << 30)
_log = logging.getLogger("leakcheck.server")


class _Protocol(LanguageServerProtocol):
    """The protocol, with our own buffers, and an answer to every request."""

    _server: Server

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        self._server.session.open(document.uri, document.language_id, document.version, document.text)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        document = params.text_document
        self._server.session.change(document.uri, document.version, params.content_changes)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        if self._server.session.documents.get(uri) is not None:
            self._server.session.close(uri)
            self._server.publish(uri, None, [])

    def structure_message(self, data: dict[str, Any]) -> Any:  # noqa: ANN401 - as in the base class
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if "id" in data and "method" in data:
                self._send_response(data["id"], error=error.to_response_error())
            raise


class Server(LanguageServer):
    """One editor's server."""

    def __init__(self) -> None:
        super().__init__("leakcheck", __version__, protocol_cls=_Protocol)
        self.session = Session(self)
        self.pages = Pages()
        self._texts: dict[str, tuple[bytes, Positions]] = {}
        self._shown: dict[str, list[types.Diagnostic]] = {}
        self._pulls = self._refreshes = False

    # What the editor can do

    def begin(self, capabilities: types.ClientCapabilities) -> None:
        """Learn what the editor can do."""
        document, workspace = capabilities.text_document, capabilities.workspace
        self._pulls = document is not None and document.diagnostic is not None
        diagnostics = workspace.diagnostics if workspace is not None else None
        self._refreshes = self._pulls and diagnostics is not None and bool(diagnostics.refresh_support)
        self.session.documents.encoding = self.workspace.position_encoding or types.PositionEncodingKind.Utf16
        self.folders()

    def watch(self) -> None:
        """Ask to be told of changes on disk."""
        workspace = self.client_capabilities.workspace
        watched = workspace.did_change_watched_files if workspace is not None else None
        if watched is not None and watched.dynamic_registration:
            options = types.DidChangeWatchedFilesRegistrationOptions(
                [types.FileSystemWatcher(each) for each in _WATCHED]
            )
            method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
            self.client_register_capability(
                types.RegistrationParams([types.Registration("leakcheck-watch", method, options)])
            )

    def folders(self) -> None:
        """Take over the folders of the workspace."""
        uris = [folder.uri for folder in self.workspace.folders.values()] or [self.workspace.root_uri or ""]
        self.session.folders([path.rstrip("/") or "/" for uri in uris if (path := to_fs_path(uri))])

    # What it is told

    def show(self, results: Sequence[Result]) -> None:
        """New findings."""
        changed = False
        for result in results:
            uri = result.document.uri
            shown = self.rendered(result)
            changed = changed or self._shown.get(uri) != shown
            self._shown[uri] = shown
            if not self._pulls:
                self.publish(uri, result.document.version, shown)
        if changed and self._refreshes:
            self.workspace_diagnostic_refresh(None)

    def publish(self, uri: str, version: int | None, shown: list[types.Diagnostic]) -> None:
        """Push the diagnostics of a buffer, to an editor that does not ask for them."""
        if not shown and version is None:
            self._shown.pop(uri, None)
        if not self._pulls:
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, shown, version))

    def rendered(self, result: Result) -> list[types.Diagnostic]:
        """The diagnostics of a buffer."""
        document = self.client_capabilities.text_document
        published = document.publish_diagnostics if document is not None else None
        related = published is not None and bool(published.related_information)
        renderer = Renderer(self.pages, self._text, related)
        return [renderer.diagnostic(finding, result.document) for finding in result.shown]

    def complain(self, message: str) -> None:
        """Tell the user of a fault that has a remedy."""
        self.window_show_message(types.ShowMessageParams(types.MessageType.Error, f"leakcheck: {message}"))

    def log(self, message: str) -> None:
        """Write a fault of ours where those who report it find it."""
        self.window_log_message(types.LogMessageParams(types.MessageType.Error, message))

    def report_server_error(self, error: Exception, source: type[PyglsError | JsonRpcException]) -> None:
        """What cannot be handled goes to the log: it is the editor's fault or ours, and nothing the user can mend."""
        _log.error("%s: %s", source.__name__, error)

    def _text(self, path: str) -> Positions | None:
        document = self.session.documents.named(path)
        if document is not None:
            return document.text
        try:
            data = self.session.documents.on_disk(path)
        except OSError:
            return None
        known = self._texts.get(path)
        if known is None or known[0] is not data:
            known = self._texts[path] = (data, Positions(decoded(data), self.session.documents.encoding))
        return known[1]

    # Code actions

    async def offered(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """The actions for a range, without their edits if the editor asks for these later."""
        uri, only = params.text_document.uri, params.context.only
        first, last = params.range.start.line + 1, params.range.end.line + 1
        found: list[types.CodeAction] = []
        if actions.matching(types.CodeActionKind.QuickFix, only):
            result = await self.session.fixed(uri, range(first, last + 1))
            if result is not None:
                wanted = result.document.text.to_span(params.range)
                near = [each for each in result.found if actions.meets(each.span, wanted)]
                offers = actions.actions(result.document.text.text, near)
                found += [self._action(result, each, first, last) for each in offers]
        if only is not None and actions.matching(actions.FIX_ALL, only):
            result = await self.session.fixed(uri, _ALL_ROWS)
            every = actions.fix_all(result.found) if result is not None else None
            if result is not None and every is not None:
                found.append(self._action(result, every, _ALL_ROWS.start, _ALL_ROWS.stop))
        return found

    async def resolved(self, action: types.CodeAction) -> types.CodeAction:
        """The action with its edits; without them if the buffer has changed since it was offered."""
        data = action.data if isinstance(action.data, dict) else {}
        rows = data.get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, int) for row in rows) or len(rows) != 2:
            return action
        result = await self.session.fixed(str(data.get("uri")), range(rows[0], rows[1] + 1))
        if result is None or result.document.version != data.get("version"):
            return action
        every = actions.fix_all(result.found)
        offers = actions.actions(result.document.text.text, result.found)
        for each in (*offers, *([every] if every is not None else [])):
            if each.key == data.get("action"):
                action.edit = self._edit(result.document, each)
        return action

    def _action(self, result: Result, action: actions.Action, first: int, last: int) -> types.CodeAction:
        data = {"uri": result.document.uri, "version": result.document.version, "action": action.key}
        return types.CodeAction(
            title=action.title,
            kind=action.kind,
            diagnostics=self.rendered(replace(result, found=action.findings)),
            is_preferred=action.preferred or None,
            edit=None if self._resolves_edits() else self._edit(result.document, action),
            data={**data, "rows": [first, last]},
        )

    def _resolves_edits(self) -> bool:
        document = self.client_capabilities.text_document
        action = document.code_action if document is not None else None
        resolve = action.resolve_support if action is not None else None
        return action is not None and bool(action.data_support) and resolve is not None and "edit" in resolve.properties

    def _edit(self, document: Document, action: actions.Action) -> types.WorkspaceEdit:
        edits = [types.TextEdit(document.text.to_range(each.span), each.content) for each in action.edits]
        workspace = self.client_capabilities.workspace
        edit = workspace.workspace_edit if workspace is not None else None
        if edit is None or not edit.document_changes:
            return types.WorkspaceEdit(changes={document.uri: edits})
        versioned = types.OptionalVersionedTextDocumentIdentifier(uri=document.uri, version=document.version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(versioned, list(edits))])


def _server() -> Server:
    server = Server()

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.begin(params.capabilities)

    @server.feature(types.INITIALIZED)
    def initialized(_params: types.InitializedParams) -> None:
        server.watch()

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def folders_changed(_params: types.DidChangeWorkspaceFoldersParams) -> None:
        server.folders()

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        if _CONFIGURATIONS.search(params.text_document.uri):
            server.session.forget()

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def watched(params: types.DidChangeWatchedFilesParams) -> None:
        moved = any(each.type != types.FileChangeType.Changed for each in params.changes)
        if moved or any(_CONFIGURATIONS.search(each.uri) for each in params.changes):
            server.session.forget()
        else:
            server.session.touch()

    @server.feature(types.WORKSPACE_DID_CREATE_FILES, _FILES)
    @server.feature(types.WORKSPACE_DID_RENAME_FILES, _FILES)
    @server.feature(types.WORKSPACE_DID_DELETE_FILES, _FILES)
    def moved(_params: types.CreateFilesParams) -> None:  # pygls takes `object` for the server
        server.session.forget()

    @server.feature(types.TEXT_DOCUMENT_DIAGNOSTIC, _PULL)
    async def pulled(params: types.DocumentDiagnosticParams) -> types.DocumentDiagnosticReport:
        result = await server.session.settled(params.text_document.uri)
        return types.RelatedFullDocumentDiagnosticReport(server.rendered(result) if result is not None else [])

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, _ACTIONS)
    async def offered(params: types.CodeActionParams) -> list[types.CodeAction]:
        return await server.offered(params)

    @server.feature(types.CODE_ACTION_RESOLVE)
    async def resolved(action: types.CodeAction) -> types.CodeAction:
        return await server.resolved(action)

    return server


_FILES = types.FileOperationRegistrationOptions([types.FileOperationFilter(types.FileOperationPattern("**/*"), "file")])


def serve() -> int:
    """Serve on the standard streams until the editor leaves: 0 where it said so before, else 1."""
    gc.enable()  # a run of the command line ends before it pays; a server stays
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="leakcheck: %(name)s: %(message)s")
    server = _server()
    try:
        server.start_io()
    finally:
        server.pages.close()
    return 0 if server.protocol._shutdown else 1
