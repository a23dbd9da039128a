"""An editor for tests: starts the real server as a process and speaks its protocol, byte by byte.

with Editor(tmp_path) as editor:
editor.open("app.py", "import psycopg2 …")
editor.diagnostics("app.py")    →   the list that was published last, once the server has settled
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

PATIENCE = 60
Message = dict[str, Any]

CAPABILITIES: Mapping[str, Any] = {
    "general": {"positionEncodings": ["utf-16"]},
    "textDocument": {
        "publishDiagnostics": {"relatedInformation": True, "versionSupport": True},
        "codeAction": {"dataSupport": True, "isPreferredSupport": True},
    },
    "workspace": {
        "workspaceEdit": {"documentChanges": True},
        "didChangeWatchedFiles": {"dynamicRegistration": True},
        "fileOperations": {"didRename": True},
        "workspaceFolders": True,
    },
}


class Editor:
    """A server process and what it said."""

    def __init__(self, *folders: Path, capabilities: Mapping[str, Any] = CAPABILITIES) -> None:
        self.workspace, self.folder = folders[0], folders[0]
        self.registered: list[Any] = []
        self.versions: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.notes: list[Message] = []
        self._numbers = itertools.count(1)
        self._incoming: queue.Queue[Message | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leakcheck", "server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folders[0],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        self.errors = b""
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._listen, self._hear_errors)]
        for thread in self._threads:
            thread.start()
        self.initialized = self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": folders[0].as_uri(),
                "workspaceFolders": [{"uri": each.as_uri(), "name": each.name} for each in folders],
                "capabilities": capabilities,
            },
        )["result"]
        self.notify("initialized", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.leave()
        self.ended()

    def leave(self) -> int:
        """Shut the server down in order; its exit status."""
        self.request("shutdown", None)
        self.notify("exit", None)
        return self.ended()

    def ended(self) -> int:
        """The exit status, once the process is gone and all it said is read."""
        status = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        return status

    # Messages

    def send(self, message: Message) -> None:
        self.send_bytes(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def send_bytes(self, body: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method: str, params: object) -> None:
        self.send({"method": method, "params": params})

    def request(self, method: str, params: object, *, cancel: bool = False) -> Message:
        """The response to a request."""
        number = next(self._numbers)
        self.send({"id": number, "method": method, "params": params})
        if cancel:
            self.notify("$/cancelRequest", {"id": number})
        return self.until(lambda message: message.get("id") == number and "method" not in message)

    def until(self, wanted: Callable[[Message], bool], patience: float = PATIENCE) -> Message:
        """The next message that is wanted; those before it are kept in ``notes``."""
        while True:
            message = self._incoming.get(timeout=patience)
            assert message is not None, f"the server is gone: {self.errors.decode()}"
            if wanted(message):
                return message
            self.notes.append(message)
            if message.get("method") == "client/registerCapability":
                self.registered.append(message["params"])
            if "id" in message and "method" in message:
                self.send({"id": message["id"], "result": None})

    def settle(self) -> None:
        """Wait until the server has said all there is to say about what it was told so far."""
        some = next(iter(self.versions))
        self.request("textDocument/diagnostic", {"textDocument": {"uri": some}})

    def said(self, method: str) -> list[Any]:
        """The parameters of the notifications and requests of this kind so far."""
        return [message["params"] for message in self.notes if message.get("method") == method]

    def _listen(self) -> None:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            length = 0
            while line.strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                line = self.process.stdout.readline()
            self._incoming.put(json.loads(self.process.stdout.read(length)))
        self._incoming.put(None)

    def _hear_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    # Buffers

    def uri(self, name: str) -> str:
        """The address of a file in the folder; an address stays what it is."""
        return name if ":" in name else (self.folder / name).as_uri()

    def open(self, name: str, text: str | None = None, *, language: str = "python") -> str:
        uri = self.uri(name)
        text = (self.folder / name).read_bytes().decode() if text is None else text
        self.texts[uri], self.versions[uri] = text, 1
        document = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})
        return uri

    def change(self, name: str, text: str, range_: Message | None = None) -> None:
        """Replace a range, or everything. ``texts`` is only kept for whole texts."""
        uri = self.uri(name)
        self.versions[uri] += 1
        change = {"text": text} if range_ is None else {"text": text, "range": range_}
        if range_ is None:
            self.texts[uri] = text
        document = {"uri": uri, "version": self.versions[uri]}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def enter(self, folder: Path) -> None:
        """Close everything, and work in another folder of the workspace from now on."""
        for uri in self.versions:
            self.close(uri)
        if self.versions:
            self.settle()
        self.folder = folder
        self.notes.clear()
        self.versions.clear()
        self.texts.clear()

    def close(self, name: str) -> None:
        self.notify("textDocument/didClose", {"textDocument": {"uri": self.uri(name)}})

    def diagnostics(self, name: str) -> list[Any]:
        """What was published last for a buffer, after the server has settled."""
        self.settle()
        published = [each for each in self.said("textDocument/publishDiagnostics") if each["uri"] == self.uri(name)]
        assert published, f"nothing was published for {name}: {self.notes} {self.errors.decode()}"
        return list(published[-1]["diagnostics"])

    def pulled(self, name: str) -> list[Any]:
        """What the server answers when asked for a buffer's diagnostics."""
        answer = self.request("textDocument/diagnostic", {"textDocument": {"uri": self.uri(name)}})
        return list(answer["result"]["items"])

    def actions(self, name: str, diagnostic: Message | None = None, only: list[str] | None = None) -> list[Any]:
        """The code actions at a diagnostic, or for the whole buffer."""
        whole = {"start": {"line": 0, "character": 0}, "end": {"line": 10_000, "character": 0}}
        context: Message = {"diagnostics": [diagnostic] if diagnostic is not None else []}
        if only is not None:
            context["only"] = only
        params = {
            "textDocument": {"uri": self.uri(name)},
            "range": diagnostic["range"] if diagnostic is not None else whole,
            "context": context,
        }
        return list(self.request("textDocument/codeAction", params)["result"])

    def apply(self, edit: Message) -> str:
        """Apply an edit of one buffer as an editor that counts UTF-16 units does; the text after it."""
        (change,) = edit["documentChanges"]
        uri = change["textDocument"]["uri"]
        assert change["textDocument"]["version"] == self.versions[uri]
        data = self.texts[uri].encode("utf-16-le")
        edits = sorted(change["edits"], key=lambda each: tuple(each["range"]["start"].values()), reverse=True)
        for each in edits:
            start, end = (_offset(self.texts[uri], each["range"][side]) for side in ("start", "end"))
            data = data[:start] + each["newText"].encode("utf-16-le") + data[end:]
        return data.decode("utf-16-le")


def _offset(text: str, position: Message) -> int:
    """Where a position of UTF-16 units is in the UTF-16 bytes of a text."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n?|\n", text))]
    return len(text[: starts[position["line"]]].encode("utf-16-le")) + 2 * position["character"]
