"""Source text: bytes decoded as Python does, cut into lines and slices."""

from __future__ import annotations

import io
import re
import tokenize

_NEWLINE = re.compile(r"\r\n?|\n")


class SourceError(Exception):
    """The bytes are not Python source: ``message`` says why, ``row`` and ``column`` where (1-based)."""

    def __init__(self, message: str, row: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message, self.row, self.column = message, row, column


class Source:
    """The text of a file and the offsets of its lines. A byte-order mark is not part of the text."""

    def __init__(self, data: bytes) -> None:
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            self.text = data.decode(encoding)
        except (SyntaxError, LookupError, UnicodeDecodeError, ValueError) as error:
            message = f"it cannot be decoded: {error}"
            raise SourceError(message) from None
        self.text = self.text.removeprefix("\ufeff")
        self._starts = [0, *(m.end() for m in _NEWLINE.finditer(self.text))]

    def rows(self, first: int, last: int) -> str:
        """The text of rows ``first`` to ``last``, 1-based and inclusive."""
        end = self._starts[last] if last < len(self._starts) else len(self.text)
        return self.text[self._starts[first - 1] : end]
