"""From SQL text to what it does to its session: the door of this room.

    events("BEGIN; SELECT pg_advisory_lock(7)")   →   (BEGIN, LOCK 7)

Most strings are one plain statement and are told by their first word; only the others pay for the lexer.
"""

from __future__ import annotations

import functools
import re

from leakcheck.sql.event import HOLE, SqlEvent, SqlKind

__all__ = ["HOLE", "SqlEvent", "SqlKind", "events"]

_LENGTH_LIMIT = 200_000
"""Longer texts are data, not statements that somebody wrote."""
_PLAIN = re.compile(r"\s*(?P<head>INSERT|UPDATE|DELETE|SELECT|ALTER|TRUNCATE)\s[^;$]*;?\s*", re.IGNORECASE)
"""One statement whatever its quotes and comments hold, for there is no semicolon in it."""
_NEEDS_LEXER = re.compile(r"set_config|lock|into|for|share|/\*|--|\(", re.IGNORECASE)
_CALLS = re.compile(r"set_config|_lock|_unlock|_locks", re.IGNORECASE)
_KINDS = {"SELECT": SqlKind.READ, "ALTER": SqlKind.DDL, "TRUNCATE": SqlKind.DDL}


@functools.lru_cache(maxsize=4096)
def events(text: str) -> tuple[SqlEvent, ...]:
    """What ``text`` does, in order; empty where it holds no statement."""
    if len(text) > _LENGTH_LIMIT:
        return (SqlEvent(SqlKind.UNKNOWN),)
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        head = plain["head"].upper()
        trigger = _NEEDS_LEXER if head == "SELECT" else _CALLS
        if trigger.search(text) is None:
            return (SqlEvent(_KINDS.get(head, SqlKind.WRITE)),)
    from leakcheck.sql.statements import statement_events
    from leakcheck.sql.tokens import statements

    return tuple(event for statement in statements(text) for event in statement_events(statement))
