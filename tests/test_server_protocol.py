"""The server through pytest-lsp, a client that is not ours and knows what other editors can do.

Every message that the server sends is checked against the types of the protocol on its way.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lsprotocol import types

pytest_lsp = pytest.importorskip("pytest_lsp", reason="pytest-lsp comes with [test]")

LEAK = """\
import sqlite3


def remove(path):
    conn = sqlite3.connect(path)
    conn.execute("DELETE FROM orders")
    conn.close()
"""
ROOT = Path(__file__).parent.parent
EDITORS = ("visual_studio_code", "neovim", "emacs")
COMMAND = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from leakcheck.__main__ import main; sys.exit(main(['server']))",
]


@pytest_lsp.fixture(params=EDITORS, config=pytest_lsp.ClientServerConfig(server_command=COMMAND))
async def client(
    request: pytest.FixtureRequest, lsp_client: pytest_lsp.LanguageClient, tmp_path: Path
) -> AsyncIterator[None]:
    """The server, initialised as by one of the editors."""
    lsp_client.feature(types.CLIENT_REGISTER_CAPABILITY)(lambda _params: None)
    await lsp_client.initialize_session(
        types.InitializeParams(
            capabilities=pytest_lsp.client_capabilities(request.param),
            workspace_folders=[types.WorkspaceFolder(uri=tmp_path.as_uri(), name="shop")],
        )
    )
    yield
    await lsp_client.shutdown_session()


def opened(client: pytest_lsp.LanguageClient, folder: Path) -> str:
    """The address of a buffer with a leak, which is open."""
    uri = (folder / "shop.py").as_uri()
    document = types.TextDocumentItem(uri=uri, language_id="python", version=1, text=LEAK)
    client.text_document_did_open(types.DidOpenTextDocumentParams(document))
    return uri


async def findings(client: pytest_lsp.LanguageClient, uri: str) -> list[types.Diagnostic]:
    """What the server says of a buffer, pushed or asked for, as the editor has it."""
    document = client.capabilities.text_document
    if document is not None and document.diagnostic is not None:
        identifier = types.TextDocumentIdentifier(uri)
        report = await client.text_document_diagnostic_async(types.DocumentDiagnosticParams(identifier))
        return list(report.items)
    await client.wait_for_notification(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    return list(client.diagnostics[uri])


@pytest.mark.asyncio
async def test_from_a_finding_to_its_fix(client: pytest_lsp.LanguageClient, tmp_path: Path) -> None:
    uri = opened(client, tmp_path)
    (found,) = await findings(client, uri)
    assert (found.code, found.source, found.range.start) == ("LC102", "leakcheck", types.Position(4, 11))
    context = types.CodeActionContext(diagnostics=[found])
    document = types.TextDocumentIdentifier(uri)
    offered = await client.text_document_code_action_async(types.CodeActionParams(document, found.range, context))
    assert [each.title for each in offered] == [
        "Take it by `with closing(sqlite3.connect(path)) as conn` (safe)",
        "Release `conn` in `finally` (safe)",
        "Ignore LC102 here, with a reason",
    ]
    first = offered[0]
    if first.edit is None:
        first = await client.code_action_resolve_async(first)
    assert first.edit is not None
    changes = first.edit.document_changes or [types.TextDocumentEdit(document, first.edit.changes[uri])]
    text = "".join(edit.new_text for change in changes for edit in change.edits)
    assert "with closing(sqlite3.connect(path)) as conn:" in text
    change = types.TextDocumentContentChangeWholeDocument(
        LEAK.replace("    conn.execute", "    conn.close()\n    conn.execute")
    )
    versioned = types.VersionedTextDocumentIdentifier(version=2, uri=uri)
    client.text_document_did_change(types.DidChangeTextDocumentParams(versioned, [change]))
    assert [each.code for each in await findings(client, uri)] == ["LC108"]
