"""From SQL text to what it does to its session: the door of this room.

    events("BEGIN; SELECT pg_advisory_lock(7)")   →   (BEGIN, LOCK 7)

Most strings are one plain statement and are told by their first word; only the others pay for the lexer.
"""

from __future__ import annotations

import functools
import re

from leakcheck.sql.event import HOLE, SqlEvent, SqlKind
from leakcheck.sql.functions import computes

__all__ = ["HOLE", "SqlEvent", "SqlKind", "events"]

_LENGTH_LIMIT = 200_000
"""Longer texts are data, not statements that somebody wrote."""
_PLAIN = re.compile(
    r"\s*(?P<head>INSERT|UPDATE|DELETE|SELECT|ALTER|TRUNCATE|DROP\s+TABLE|CREATE\s+(?:UNIQUE\s+)?(?:TABLE|INDEX))\s"
    r"[^;$]*;?\s*",
    re.IGNORECASE,
)
"""One statement whatever its quotes and comments hold, for there is no semicolon in it."""
_EFFECTS = re.compile(r"set_config|_lock|_unlock", re.IGNORECASE)
_MORE_THAN_READS = re.compile(r"\b(?:into|for|share|update|insert|delete|merge)\b|/\*|--|\"", re.IGNORECASE)
_CALLED = re.compile(r"([\w.\ufffc]+)\s*\(")


@functools.lru_cache(maxsize=4096)
def events(text: str) -> tuple[SqlEvent, ...]:
    """What ``text`` does, in order; empty where it holds no statement."""
    if len(text) > _LENGTH_LIMIT:
        return (SqlEvent(SqlKind.UNKNOWN),)
    plain = _PLAIN.fullmatch(text)
    if plain is not None and _EFFECTS.search(text) is None:
        head = plain["head"].split()[0].upper()
        if head != "SELECT":
            return (SqlEvent(SqlKind.WRITE if head in ("INSERT", "UPDATE", "DELETE") else SqlKind.DDL),)
        if _MORE_THAN_READS.search(text) is None and all(computes(name.upper()) for name in _CALLED.findall(text)):
            return (SqlEvent(SqlKind.READ),)
    from leakcheck.sql.statements import statement_events
    from leakcheck.sql.tokens import statements

    return tuple(event for statement in statements(text) for event in statement_events(statement))
