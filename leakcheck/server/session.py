"""What is open, what is known of it, and when it is analysed again.

A change waits for a moment without typing, then all open buffers are analysed as they are, on a thread of its own.
What comes back for a buffer that has changed meanwhile is dropped. While a buffer does not parse, its last
findings stay, moved with the text, without fixes.

    result = await session.settled(uri)    # the findings of the buffer as it is now
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from leakcheck.diagnostic import Diagnostic
from leakcheck.project.large_stack import on_large_stack
from leakcheck.server.documents import Change, Document, Documents, Snapshot
from leakcheck.server.projects import Outcome, Projects
from leakcheck.server.shifting import shifted

if TYPE_CHECKING:
    from lsprotocol import types

PAUSE = 0.15
"""Seconds without typing before an analysis starts that nobody waits for."""


class Result(Struct, frozen=True):
    """The findings of one version of a buffer. ``kept`` are former ones that stay while it does not parse."""

    document: Document
    found: tuple[Diagnostic, ...]
    kept: tuple[Diagnostic, ...] = ()

    @property
    def shown(self) -> tuple[Diagnostic, ...]:
        """All that the editor is to show, in order."""
        return tuple(sorted((*self.kept, *self.found), key=lambda each: each.sort_key))


class Editor(Protocol):
    """What a session says, and to whom."""

    def show(self, results: Sequence[Result]) -> None:
        """New findings."""

    def complain(self, message: str) -> None:
        """A fault of the user's, with its remedy."""

    def log(self, message: str) -> None:
        """A fault of ours."""


class Session:
    """One editor's buffers. Everything but ``Projects`` runs on the event loop."""

    def __init__(self, editor: Editor) -> None:
        self.documents = Documents()
        self.results: dict[str, Result] = {}
        self._editor = editor
        self._projects = Projects(())
        self._worker = ThreadPoolExecutor(1, "leakcheck-session")
        self._asked = self._answered = 0
        self._forgetful = False
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._said: set[str] = set()

    # What happens in the editor

    def folders(self, paths: Sequence[str]) -> None:
        """The folders of the workspace."""
        self._projects = Projects(paths)
        self._worker.submit(_prepare)
        self.touch()

    def open(self, uri: str, language: str, version: int, text: str) -> None:
        """A buffer was opened."""
        if self.documents.open(uri, language, version, text) is not None:
            self.touch(0)

    def change(self, uri: str, version: int, changes: Sequence[types.TextDocumentContentChangeEvent]) -> None:
        """A buffer was changed."""
        changed = self.documents.change(uri, version, changes)
        if changed is None:
            return
        document, done = changed
        for other, result in self.results.items():
            found, kept = (_shifted(each, document.name, done) for each in (result.found, result.kept))
            self.results[other] = replace(result, found=found, kept=kept)
        self.touch()

    def close(self, uri: str) -> None:
        """A buffer was closed."""
        if self.documents.close(uri) is not None:
            self.results.pop(uri, None)
            self.touch()

    def forget(self) -> None:
        """Files appeared, vanished or moved, or a configuration was changed."""
        self._forgetful = True
        self.touch()

    # When it is analysed

    def touch(self, pause: float = PAUSE) -> None:
        """Analyse again after a pause."""
        self._asked += 1
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(pause, self._start)

    async def settled(self, uri: str) -> Result | None:
        """The findings of the buffer as it is now; None where it is not open, or has no findings yet."""
        wanted = self._asked
        while self._answered < wanted:
            if self._running is None:
                self._start()
            assert self._running is not None
            await asyncio.shield(self._running)
        result, document = self.results.get(uri), self.documents.get(uri)
        return result if result is not None and result.document is document else None

    async def fixed(self, uri: str, rows: range) -> Result | None:
        """The findings of the buffer as it is now, those in these rows with their fixes; None while it is broken."""
        result = await self.settled(uri)
        if result is None or result.kept or not result.found:
            return None if result is None or result.kept else result
        snapshot = self.documents.snapshot(())
        loop = asyncio.get_running_loop()
        work = partial(self._projects.fixed, snapshot, result.document.name, rows)
        found = await loop.run_in_executor(self._worker, on_large_stack, work)
        if found is None or self.documents.get(uri) is not result.document:
            return None
        return replace(result, found=found)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        asked = self._asked
        snapshot = self.documents.snapshot(
            result.document.name for result in self.results.values() if result.found or result.kept
        )
        try:
            work = partial(self._projects.check, snapshot, renewed=self._forgetful)
            self._forgetful = False
            outcome = await asyncio.get_running_loop().run_in_executor(self._worker, on_large_stack, work)
            self._take(snapshot, outcome)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the editor's session
            import traceback

            trace = "".join(traceback.format_exception(error))
            self._editor.log(f"internal failure, please report it: {trace}")
        finally:
            self._answered, self._running = asked, None
        if self._asked > asked and self._timer is None:
            self._start()  # the pause ended while this round ran

    def _take(self, snapshot: Snapshot, outcome: Outcome) -> None:
        changed: list[Result] = []
        for name, found in outcome.findings.items():
            document = snapshot.documents[name]
            if self.documents.get(document.uri) is not document:
                continue  # typed on, or closed: the next round says what is true
            former = self.results.get(document.uri)
            kept: tuple[Diagnostic, ...] = ()
            if name in outcome.broken and former is not None:
                kept = former.kept + tuple(each for each in former.found if each.code != "LC900")
            self.results[document.uri] = result = Result(document, found, kept)
            changed.append(result)
        self._editor.show(changed)
        for message in outcome.messages:
            if message not in self._said:
                self._editor.complain(message)
        for failure in outcome.failures:
            if failure not in self._said:
                self._editor.log(f"internal failure, please report it: {failure}")
        self._said = {*outcome.messages, *outcome.failures}


def _shifted(findings: tuple[Diagnostic, ...], name: str, changes: Sequence[Change]) -> tuple[Diagnostic, ...]:
    for change in changes:
        findings = tuple(new for each in findings if (new := shifted(each, name, change)) is not None)
    return findings


def _prepare() -> None:
    """Import what the first buffer needs."""
    import leakcheck.ownership.functions
    import leakcheck.rules  # noqa: F401
