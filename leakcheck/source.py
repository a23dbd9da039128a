"""Source text: bytes decoded as Python does, cut into lines and slices."""

from __future__ import annotations

import io
import re
import tokenize

from msgspec import Struct

_NEWLINE = re.compile(r"\r\n?|\n")


class SourceError(Exception):
    """The bytes are not Python source: ``message`` says why, ``row`` and ``column`` where (1-based)."""

    def __init__(self, message: str, row: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message, self.row, self.column = message, row, column


class Failure(Struct, frozen=True):
    """Why a file was not analysed."""

    message: str
    row: int
    column: int


def encoding_of(data: bytes) -> str:
    """The encoding of source bytes, by their mark or cookie; SyntaxError where there is no such encoding."""
    return tokenize.detect_encoding(io.BytesIO(data).readline)[0]


class Source:
    """The text of a file and the offsets of its lines. A byte-order mark is not part of the text."""

    def __init__(self, data: bytes) -> None:
        try:
            self.text = data.decode(encoding_of(data))
        except (SyntaxError, LookupError, UnicodeDecodeError, ValueError) as error:
            message = f"it cannot be decoded: {error}"
            raise SourceError(message) from None
        self.text = self.text.removeprefix("\ufeff")
        self._starts = [0, *(m.end() for m in _NEWLINE.finditer(self.text))]

    @classmethod
    def of_text(cls, text: str) -> Source:
        """The source whose text is known, whatever its bytes are."""
        made = cls(b"")
        made.text = text
        made._starts = [0, *(m.end() for m in _NEWLINE.finditer(text))]
        return made

    def rows(self, first: int, last: int) -> str:
        """The text of rows ``first`` to ``last``, 1-based and inclusive."""
        end = self._starts[last] if last < len(self._starts) else len(self.text)
        return self.text[self._starts[first - 1] : end]


def source_of(data: bytes) -> Source | Failure:
    """The text of a file, or why it has none."""
    try:
        return Source(data)
    except SourceError as error:
        return Failure(error.message, error.row, error.column)
