"""Edits to text. Knows positions and nothing of syntax.

    edited("a = 1", [Edit(span of "1", "2")])   →   "a = 2"

Every position is that of the text before any of the edits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Fix, Position

_END = re.compile(r"\r\n?|\n")
_BINDING = re.compile(r"(\w+) = ")


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text after the edits, which do not overlap."""
    starts = [0, *(match.end() for match in _END.finditer(text))]

    def offset(position: Position) -> int:
        if position.row > len(starts):
            return len(text)
        return starts[position.row - 1] + position.column - 1

    for edit in sorted(edits, key=lambda one: one.span, reverse=True):
        text = text[: offset(edit.span.start)] + edit.content + text[offset(edit.span.end) :]
    return text


def chosen(found: Iterable[Diagnostic], least: Applicability) -> list[tuple[Diagnostic, Fix]]:
    """The fixes to apply in one round, in the order of the file: of two that overlap the first."""
    taken: list[Edit] = []
    picked: list[tuple[Diagnostic, Fix]] = []
    for one in found:
        if one.fix is not None and one.fix.applicability >= least and not overlap(one.fix.edits, taken):
            taken += one.fix.edits
            picked.append((one, one.fix))
    return picked


def overlap(edits: Sequence[Edit], taken: Sequence[Edit]) -> bool:
    """Whether two fixes touch the same place or insert the same name; the same import is one round's work each, too."""
    return any(
        new.span == old.span
        or (new.span.start < old.span.end and old.span.start < new.span.end)
        or (_inserted(new) is not None and _inserted(new) == _inserted(old))
        for new in edits
        for old in taken
    )


def _inserted(edit: Edit) -> str | None:
    """The variable that a line of its own gives a value: each of two functions may have its pool moved out of it."""
    found = _BINDING.match(edit.content) if edit.span.start == edit.span.end else None
    return found[1] if found is not None else None
