"""Findings that move with the text around them, while what was typed does not parse.

shifted(diagnostic, "app/db.py", change)    →   the diagnostic where it now stands; None where it was typed over
"""

from __future__ import annotations

from msgspec.structs import replace

from leakcheck.diagnostic import Diagnostic, Position, Span
from leakcheck.server.documents import Change


def shifted(diagnostic: Diagnostic, name: str, change: Change) -> Diagnostic | None:
    """The diagnostic after a change in the file ``name``, which may be its own or that of a step."""
    steps = tuple(
        replace(step, span=_moved_span(step.span, change)) if step.path == name else step for step in diagnostic.steps
    )
    if diagnostic.path != name:
        return replace(diagnostic, steps=steps)
    if _touches(change.span, diagnostic.span):
        return None
    # A fix was made for the text as it was.
    return replace(
        diagnostic,
        span=_moved_span(diagnostic.span, change),
        statement=_moved_span(diagnostic.statement, change),
        steps=steps,
        fix=None,
        other_fixes=(),
    )


def _touches(changed: Span, span: Span) -> bool:
    return changed.start < span.end and span.start < max(changed.end, Position(changed.start.row, changed.start.column))


def _moved_span(span: Span, change: Change) -> Span:
    start = _moved(span.start, change)
    behind = change.span.start == change.span.end == span.end  # what is added there is no part of it
    return Span(start, max(start, span.end if behind else _moved(span.end, change)))


def _moved(position: Position, change: Change) -> Position:
    """Where a position is after a change; one inside the replaced text moves to its start."""
    start, end = change.span.start, change.span.end
    if position < start:
        return position
    if position < end:
        return start
    if position.row > end.row:
        return Position(position.row + change.end.row - end.row, position.column)
    return Position(change.end.row, position.column + change.end.column - end.column)
