"""The open buffers, over the files on disk.

    documents.open(uri, 1, text)
    documents.snapshot().read("app/db.py")    →   the bytes of the buffer, or of the file where none is open

A snapshot does not change while it is analysed, whatever is typed meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lsprotocol import types
from msgspec import Struct
from pygls.uris import from_fs_path, to_fs_path

from leakcheck.diagnostic import Position, Span
from leakcheck.project.files import SUFFIXES, displayed, read_file
from leakcheck.server.positions import Positions

_UNTITLED = "untitled:"


class Document(Struct, frozen=True):
    """One version of an open buffer. ``name`` is how the engine spells its path."""

    uri: str
    name: str
    version: int
    text: Positions

    @property
    def data(self) -> bytes:
        """The bytes that saving it would write."""
        text = self.text.text
        try:
            return text.encode(_encoding(text))
        except (UnicodeEncodeError, LookupError):
            return text.encode("utf-8", "surrogatepass")


class Change(Struct, frozen=True):
    """The text of ``span`` was replaced; ``end`` is the position after what stands there now."""

    span: Span
    end: Position


class Snapshot(Struct, frozen=True):
    """The buffers at one moment, by name, and those of them that have findings. ``read`` falls back on the disk."""

    documents: Mapping[str, Document]
    reported: frozenset[str]
    _data: Mapping[str, bytes]
    _disk: Disk

    def read(self, path: str) -> bytes:
        """The bytes of a file as the editor shows it."""
        if path.startswith(_UNTITLED):
            return self._data[path]
        name = displayed(path)
        found = self._data.get(name)
        if found is None and self._data:
            found = self._data.get(displayed(os.path.realpath(path)))  # a link to what is open
        return found if found is not None else self._disk.read(name)


class Disk:
    """Files that are read again only when they changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], bytes]] = {}

    def read(self, path: str) -> bytes:
        """The bytes of a regular file; OSError where there is none."""
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            self._known[path] = known = (stamp, read_file(path))
        return known[1]


class Documents:
    """What is open. Buffers that are no Python files are not kept."""

    def __init__(self) -> None:
        self.encoding: str = types.PositionEncodingKind.Utf16
        self._open: dict[str, Document] = {}
        self._disk = Disk()

    def __iter__(self) -> Iterator[Document]:
        return iter(self._open.values())

    def get(self, uri: str) -> Document | None:
        """The open buffer with this address."""
        return self._open.get(uri)

    def named(self, name: str) -> Document | None:
        """The open buffer of a path."""
        return next((each for each in self if each.name == name), None)

    def on_disk(self, path: str) -> bytes:
        """The bytes of a file that is not open."""
        return self._disk.read(path)

    def open(self, uri: str, language: str, version: int, text: str) -> Document | None:
        """Keep a buffer; None where it is not ours to check."""
        name = _name(uri, language)
        if name is None:
            return None
        self._open[uri] = document = Document(uri, name, version, Positions(text, self.encoding))
        return document

    def change(
        self, uri: str, version: int, changes: Sequence[types.TextDocumentContentChangeEvent]
    ) -> tuple[Document, list[Change]] | None:
        """The buffer after the changes, and what they did; None where it is not open."""
        document = self._open.get(uri)
        if document is None:
            return None
        text, done = document.text, []
        for change in changes:
            start, end, content = _replaced(text, change)
            after = Positions(text.text[:start] + content + text.text[end:], self.encoding)
            done.append(Change(Span(text.at(start), text.at(end)), after.at(start + len(content))))
            text = after
        self._open[uri] = document = Document(uri, document.name, version, text)
        return document, done

    def close(self, uri: str) -> Document | None:
        """Forget a buffer; what is on disk counts again."""
        return self._open.pop(uri, None)

    def snapshot(self, reported: Iterable[str]) -> Snapshot:
        """The buffers as they are now; ``reported`` are those that have findings."""
        named = {document.name: document for document in self}
        data = {name: document.data for name, document in named.items()}
        return Snapshot(named, frozenset(reported), data, self._disk)


def _replaced(text: Positions, change: types.TextDocumentContentChangeEvent) -> tuple[int, int, str]:
    """Which offsets a change replaces, and by what. Of a new whole text only the middle that differs counts."""
    if isinstance(change, types.TextDocumentContentChangePartial):
        start, end = text.offset(change.range.start), text.offset(change.range.end)
        return min(start, end), max(start, end), change.text
    former, new = text.text, change.text
    shorter = min(len(former), len(new))
    start = next((at for at, (old, now) in enumerate(zip(former, new, strict=False)) if old != now), shorter)
    tail = 0
    while tail < shorter - start and former[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, len(former) - tail, new[start : len(new) - tail]


def _name(uri: str, language: str) -> str | None:
    if uri.startswith(_UNTITLED):
        return uri if language == "python" else None
    path = to_fs_path(uri)
    if not path or not (path.endswith(SUFFIXES) or (language == "python" and not path.endswith(".pyi"))):
        return None
    return displayed(path)


def address(name: str) -> str:
    """The address of a path as the engine spells it."""
    return name if name.startswith(_UNTITLED) else from_fs_path(os.path.abspath(name)) or ""


def _encoding(text: str) -> str:
    """The encoding that the text asks for in its first two lines."""
    import tokenize

    lines = iter(text.encode("utf-8", "surrogatepass").splitlines(keepends=True)[:2])
    try:
        encoding = tokenize.detect_encoding(lambda: next(lines, b""))[0]
    except SyntaxError:
        return "utf-8"
    return "utf-8" if encoding == "utf-8-sig" else encoding
