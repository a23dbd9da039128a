"""Source lines as a terminal shows them: where each code point ends up once tabs, wide and odd characters are drawn.

In ``shown("漢 = 1")`` the second code point has the offset 2: the first takes two columns.
"""

from __future__ import annotations

import unicodedata

from msgspec import Struct

_TAB = 4
_LONGEST = 300  # of a line's code points; generated files hold lines of megabytes


class Shown(Struct, frozen=True):
    """A line ready to print. ``offsets`` holds the screen column at which each code point starts, and the end."""

    text: str
    offsets: tuple[int, ...]

    def offset(self, column: int) -> int:
        """The screen column, from 0, of a 1-based code-point column; past the end of the line, its end."""
        return self.offsets[min(max(column - 1, 0), len(self.offsets) - 1)]

    def __len__(self) -> int:
        """The columns that the line takes on the screen, without trailing blanks."""
        return self.offsets[-1] - (len(self.text) - len(self.text.rstrip()))


def shown(line: str) -> Shown:
    """A line of source with tabs as blanks and what would move the cursor or reorder text made visible."""
    line = line.rstrip("\r\n")
    text: list[str] = []
    offsets: list[int] = []
    at = 0
    for character in line[:_LONGEST]:
        offsets.append(at)
        drawn, width = _drawn(character, at)
        text.append(drawn)
        at += width
    offsets.append(at)
    if len(line) > _LONGEST:
        text.append("…")
    return Shown("".join(text), tuple(offsets))


def _drawn(character: str, at: int) -> tuple[str, int]:
    """What to print for a code point, and how many columns that takes."""
    if " " <= character <= "~":
        return character, 1
    if character == "\t":
        width = _TAB - at % _TAB
        return " " * width, width
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me"}:
        return character, 0
    if not character.isprintable():
        return ("�", 1)
    return character, 2 if unicodedata.east_asian_width(character) in "WF" else 1
