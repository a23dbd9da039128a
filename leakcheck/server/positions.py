"""Places in a text, between ours (rows and columns from 1, in code points) and the editor's (from 0, in code units).

    positions = Positions("x = '🙂'; y = 1", PositionEncodingKind.Utf16)
    positions.to_editor(Position(1, 10))    →   line 0, character 10    (🙂 is two units)

Nothing else in leakcheck counts code units.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from lsprotocol import types

from leakcheck.diagnostic import Position, Span

_NEWLINE = re.compile(r"\r\n?|\n")
_BYTE_ORDER_MARK = "\ufeff"


class Positions:
    """The lines of one version of a text. A byte-order mark is part of the editor's text, and not of ours."""

    def __init__(self, text: str, encoding: str) -> None:
        self.text = text
        self._encoding = encoding
        self._starts = [0, *(match.end() for match in _NEWLINE.finditer(text))]
        self._marked = text.startswith(_BYTE_ORDER_MARK)

    @property
    def rows(self) -> int:
        """How many rows there are; behind a last newline is an empty one."""
        return len(self._starts)

    def line(self, row: int) -> str:
        """The text of a row without its newline, as the editor has it."""
        end = self._starts[row] if row < self.rows else len(self.text)
        return self.text[self._starts[row - 1] : end].rstrip("\r\n")

    def to_editor(self, position: Position) -> types.Position:
        """Our position in the editor's units; one outside the text becomes the nearest inside."""
        row = min(max(position.row, 1), self.rows)
        line = self.line(row)
        column = max(position.column - 1, 0) + self._shift(row) if row == position.row else len(line)
        return types.Position(row - 1, self._units(line[:column]))

    def to_range(self, span: Span) -> types.Range:
        """Our span in the editor's units."""
        return types.Range(self.to_editor(span.start), self.to_editor(span.end))

    def offset(self, position: types.Position) -> int:
        """The editor's position as an offset into the text; one outside the text becomes the nearest inside."""
        if position.line < 0:
            return 0
        if position.line >= self.rows:
            return len(self.text)
        line = self.line(position.line + 1)
        start = self._starts[position.line]
        if line.isascii() or self._encoding == types.PositionEncodingKind.Utf32:
            return start + min(max(position.character, 0), len(line))
        left = position.character
        for column, character in enumerate(line):
            left -= self._units(character)
            if left < 0:  # also inside a character: in front of it
                return start + column
        return start + len(line)

    def at(self, offset: int) -> Position:
        """Our position of an offset into the text."""
        row = bisect_right(self._starts, offset)
        return Position(row, max(offset - self._starts[row - 1] + 1 - self._shift(row), 1))

    def from_editor(self, position: types.Position) -> Position:
        """The editor's position in ours."""
        return self.at(self.offset(position))

    def to_span(self, range_: types.Range) -> Span:
        """The editor's range in ours."""
        return Span(self.from_editor(range_.start), self.from_editor(range_.end))

    def _shift(self, row: int) -> int:
        return 1 if self._marked and row == 1 else 0

    def _units(self, text: str) -> int:
        if text.isascii():
            return len(text)
        match self._encoding:
            case types.PositionEncodingKind.Utf8:
                return len(text.encode("utf-8", "surrogatepass"))
            case types.PositionEncodingKind.Utf32:
                return len(text)
            case _:
                return len(text) + sum(character > "\uffff" for character in text)
