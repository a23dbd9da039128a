"""One statement, told by its first words.

    [ROLLBACK, TO, SAVEPOINT, s]   →   ROLLBACK_TO s
    [Begin, here]                  →   UNKNOWN

What does not follow the grammar of the statement that it starts like is prose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.sql.assignments import UNKNOWN, literal_or_name, name_at, reset_events, set_events
from leakcheck.sql.event import HOLE, SqlEvent, SqlKind
from leakcheck.sql.functions import call_events, only_computes
from leakcheck.sql.tokens import PLACEHOLDER, STRING, TRANSACTION_NOUNS, begins_transaction, is_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakcheck.sql.tokens import Token

Events = tuple[SqlEvent, ...]

WRITES = frozenset(
    """INSERT UPDATE DELETE MERGE REPLACE UPSERT COPY CALL EXEC EXECUTE LOAD NOTIFY DO KILL ATTACH DETACH HANDLER
    SIGNAL PURGE""".split()
)
DEFINITIONS = frozenset(
    """CREATE ALTER DROP TRUNCATE RENAME GRANT REVOKE COMMENT ANALYZE ANALYSE VACUUM REINDEX CLUSTER CHECKPOINT REFRESH
    REASSIGN IMPORT SECURITY OPTIMIZE REPAIR CHECK FLUSH CACHE INSTALL UNINSTALL CHANGE STOP""".split()
)
_READS = frozenset("SELECT VALUES TABLE SHOW DESCRIBE DESC FETCH MOVE HELP".split())
_CHANGING = frozenset("INSERT UPDATE DELETE MERGE INTO SHARE".split())
"""Words that make a SELECT or WITH more than a read: data-changing parts, row locks, a table of the result."""


def statement_events(statement: Sequence[Token]) -> Events:
    """What a statement does, in order."""
    while statement and statement[0].word in ("(", "{", "}"):
        statement = statement[1:]
    if not statement:
        return ()
    head = statement[0].word
    known = _HEADS.get(head)
    if known is not None:
        return known(statement)
    if head in WRITES:
        return (*call_events(statement), SqlEvent(SqlKind.WRITE))
    if head in DEFINITIONS:
        return (SqlEvent(SqlKind.DDL),)
    return _query(statement) if head in _READS else UNKNOWN


def _one(kind: SqlKind, name: str | None = None, *, local: bool = False) -> Events:
    return (SqlEvent(kind, name, local),)


def _words(statement: Sequence[Token]) -> list[str]:
    """The words after the first, without WORK or TRANSACTION."""
    words = [token.word for token in statement[1:]]
    return words[1:] if words[:1] and words[0] in TRANSACTION_NOUNS else words


def _named(kind: SqlKind, statement: Sequence[Token], start: int) -> Events:
    """An event about the name at ``start``, which must end the statement."""
    if start >= len(statement) or not statement[start].is_name:
        return UNKNOWN
    name, end = name_at(statement, start)
    return _one(kind, name) if end == len(statement) else UNKNOWN


def _begin(statement: Sequence[Token]) -> Events:
    return UNKNOWN if is_block(statement) else _one(SqlKind.BEGIN)


def _start(statement: Sequence[Token]) -> Events:
    match [token.word for token in statement[1:]]:
        case ["TRANSACTION", *_] if begins_transaction(statement[1:]):
            return _one(SqlKind.BEGIN)
        case ["SLAVE" | "REPLICA" | "GROUP_REPLICATION", *_]:
            return _one(SqlKind.DDL)
        case _:
            return UNKNOWN


def _finish(kind: SqlKind, statement: Sequence[Token]) -> Events:
    """COMMIT, END, ROLLBACK or ABORT."""
    words = _words(statement)
    match words:
        case [] | ["AND", "NO", "CHAIN", *_] | ["RELEASE"] | ["NO", "RELEASE"]:
            return _one(kind)
        case ["AND", "CHAIN", *_]:
            return _one(SqlKind.CHAIN)
        case ["PREPARED", _]:
            return _one(SqlKind.WRITE)
        case ["TO", "SAVEPOINT", _, *_] if kind is SqlKind.ROLLBACK:
            return _named(SqlKind.ROLLBACK_TO, statement, len(statement) - len(words) + 2)
        case ["TO", _, *_] if kind is SqlKind.ROLLBACK:
            return _named(SqlKind.ROLLBACK_TO, statement, len(statement) - len(words) + 1)
        case ["WRITE" | "COMMENT" | "FORCE", *_] if kind is SqlKind.COMMIT:
            return _one(kind)  # of Oracle
        case [_] if statement[1].word in ("TRAN", "TRANSACTION") and statement[2].is_name:
            return _one(kind)  # of T-SQL
        case [*rest] if all(word in (HOLE, PLACEHOLDER) for word in rest):
            return _one(kind)
        case _:
            return UNKNOWN


def _commit(statement: Sequence[Token]) -> Events:
    return _finish(SqlKind.COMMIT, statement)


def _rollback(statement: Sequence[Token]) -> Events:
    return _finish(SqlKind.ROLLBACK, statement)


def _savepoint(statement: Sequence[Token]) -> Events:
    return _named(SqlKind.SAVEPOINT, statement, 1)


def _save(statement: Sequence[Token]) -> Events:
    saves = len(statement) > 2 and statement[1].word in ("TRAN", "TRANSACTION")
    return _named(SqlKind.SAVEPOINT, statement, 2) if saves else UNKNOWN


def _release(statement: Sequence[Token]) -> Events:
    has_noun = len(statement) > 2 and statement[1].word == "SAVEPOINT"
    return _named(SqlKind.RELEASE_SAVEPOINT, statement, 2 if has_noun else 1)


def _xa(statement: Sequence[Token]) -> Events:
    """The distributed transactions of MySQL."""
    match [token.word for token in statement[1:]]:
        case ["START" | "BEGIN", _, *_]:
            return _one(SqlKind.BEGIN)
        case ["COMMIT", _, *_]:
            return _one(SqlKind.COMMIT)
        case ["ROLLBACK", _, *_]:
            return _one(SqlKind.ROLLBACK)
        case ["END" | "PREPARE" | "RECOVER", *_]:
            return _one(SqlKind.WRITE)
        case _:
            return UNKNOWN


def _discard(statement: Sequence[Token]) -> Events:
    match [token.word for token in statement[1:]]:
        case ["ALL"]:
            return _one(SqlKind.DISCARD_ALL)
        case ["TEMP" | "TEMPORARY" | "PLANS" | "SEQUENCES"]:
            return _one(SqlKind.WRITE)
        case _:
            return UNKNOWN


def _listen(statement: Sequence[Token]) -> Events:
    return _named(SqlKind.LISTEN, statement, 1)


def _unlisten(statement: Sequence[Token]) -> Events:
    if [token.word for token in statement[1:]] == ["*"]:
        return _one(SqlKind.UNLISTEN)
    return _named(SqlKind.UNLISTEN, statement, 1)


def _lock(statement: Sequence[Token]) -> Events:
    """MySQL names a lock type for each table; PostgreSQL a mode after IN, or nothing."""
    words = [token.word for token in statement[1:]]
    if words[:1] == ["TABLES"] or (words[:1] == ["TABLE"] and words[-1] in ("READ", "WRITE")):
        return _one(SqlKind.LOCK_TABLES)
    postgres = words[:1] in (["TABLE"], ["INSTANCE"]) or words[-1:] in (["MODE"], ["NOWAIT"])
    return _one(SqlKind.WRITE) if postgres else UNKNOWN


def _unlock(statement: Sequence[Token]) -> Events:
    tables = [token.word for token in statement[1:]] in (["TABLES"], ["TABLE"])
    return _one(SqlKind.UNLOCK_TABLES) if tables else UNKNOWN


def _prepare(statement: Sequence[Token]) -> Events:
    match [token.word for token in statement[1:]]:
        case ["TRANSACTION", _]:
            return _one(SqlKind.COMMIT)
        case [_, "AS" | "FROM" | "(", *_]:
            return _one(SqlKind.PREPARE, name_at(statement, 1)[0])
        case _:
            return UNKNOWN


def _deallocate(statement: Sequence[Token]) -> Events:
    start = 2 if len(statement) > 2 and statement[1].word == "PREPARE" else 1
    if [token.word for token in statement[start:]] == ["ALL"]:
        return _one(SqlKind.DEALLOCATE)
    return _named(SqlKind.DEALLOCATE, statement, start)


def _create(statement: Sequence[Token]) -> Events:
    """A temporary table stays until the session ends, or the transaction with ON COMMIT DROP."""
    words = [token.word for token in statement]
    start = 2 if words[1:2] and words[1] in ("GLOBAL", "LOCAL") else 1
    if words[start : start + 1] not in (["TEMP"], ["TEMPORARY"]) or "TABLE" not in words[start + 1 : start + 2]:
        return _one(SqlKind.DDL)
    start += 5 if words[start + 2 : start + 5] == ["IF", "NOT", "EXISTS"] else 2
    drops = any(words[i : i + 3] == ["ON", "COMMIT", "DROP"] for i in range(start, len(words)))
    return _one(SqlKind.TEMP_TABLE, name_at(statement, start)[0], local=drops)


def _drop(statement: Sequence[Token]) -> Events:
    match [token.word for token in statement[1:]]:
        case ["PREPARE", *_]:
            return _named(SqlKind.DEALLOCATE, statement, 2)
        case ["TEMPORARY", *_]:
            return _one(SqlKind.WRITE)  # commits nothing on MySQL
        case _:
            return _one(SqlKind.DDL)


def _declare(statement: Sequence[Token]) -> Events:
    """A cursor lasts as long as its transaction, one WITH HOLD as long as the session."""
    words = [token.word for token in statement]
    if is_block(statement) or "CURSOR" not in words:
        return UNKNOWN
    holds = any(words[i : i + 2] == ["WITH", "HOLD"] for i in range(2, len(words)))
    return _one(SqlKind.CURSOR_HOLD, name_at(statement, 1)[0]) if holds else _one(SqlKind.READ)


def _close(statement: Sequence[Token]) -> Events:
    return _one(SqlKind.WRITE) if len(statement) == 2 and statement[1].is_name else UNKNOWN


def _use(statement: Sequence[Token]) -> Events:
    return _one(SqlKind.SET, "database") if literal_or_name(statement[1:]) or len(statement) == 2 else UNKNOWN


def _pragma(statement: Sequence[Token]) -> Events:
    """``PRAGMA name = value`` changes the connection; without a value, or with a table's name, it asks."""
    if len(statement) < 2 or not statement[1].is_name:
        return UNKNOWN
    name, end = name_at(statement, 1)
    words = [token.word for token in statement[end:]]
    asks = not words or (words[0] == "(" and name is not None and name.endswith(("_info", "_list", "_check")))
    return _one(SqlKind.READ) if asks else _one(SqlKind.PRAGMA, name)


def _explain(statement: Sequence[Token]) -> Events:
    """EXPLAIN runs nothing, EXPLAIN ANALYZE what it explains."""
    words = [token.word for token in statement[1:8]]
    if "ANALYZE" not in words and "ANALYSE" not in words:
        return _one(SqlKind.READ)
    start = next((i for i, token in enumerate(statement) if token.word in WRITES | _READS | {"WITH"}), None)
    return UNKNOWN if start is None else statement_events(statement[start:])


def _query(statement: Sequence[Token]) -> Events:
    """SELECT, WITH and SHOW: what the functions do, and READ where that is all."""
    words = {token.word for token in statement}
    found = tuple(call_events(statement))
    if "TEMP" in words and statement[0].word == "SELECT":
        into = next((i for i, t in enumerate(statement[:-1]) if t.word == "INTO"), None)
        if into is not None and statement[into + 1].word in ("TEMP", "TEMPORARY"):
            start = into + (3 if statement[into + 2 : into + 3] and statement[into + 2].word == "TABLE" else 2)
            return (*found, SqlEvent(SqlKind.TEMP_TABLE, name_at(statement, start)[0]))
    reads = words.isdisjoint(_CHANGING) and only_computes(statement)
    if found and reads:
        return found
    return (*found, SqlEvent(SqlKind.READ if reads else SqlKind.WRITE))


def _do(statement: Sequence[Token]) -> Events:
    """MySQL's DO calls functions; PostgreSQL's runs a block, whose BEGIN starts no transaction."""
    if any(token.word == STRING and token.text[0] == "$" for token in statement):
        return _one(SqlKind.WRITE)
    return (*call_events(statement), *(() if only_computes(statement) else _one(SqlKind.WRITE))) or _one(SqlKind.WRITE)


_HEADS: dict[str, Callable[[Sequence[Token]], Events]] = {
    "BEGIN": _begin,
    "START": _start,
    "COMMIT": _commit,
    "END": _commit,
    "ROLLBACK": _rollback,
    "ABORT": _rollback,
    "SAVEPOINT": _savepoint,
    "SAVE": _save,
    "RELEASE": _release,
    "XA": _xa,
    "SET": set_events,
    "RESET": reset_events,
    "DISCARD": _discard,
    "LISTEN": _listen,
    "UNLISTEN": _unlisten,
    "LOCK": _lock,
    "UNLOCK": _unlock,
    "PREPARE": _prepare,
    "DEALLOCATE": _deallocate,
    "CREATE": _create,
    "DROP": _drop,
    "DECLARE": _declare,
    "CLOSE": _close,
    "USE": _use,
    "PRAGMA": _pragma,
    "EXPLAIN": _explain,
    "WITH": _query,
    "DO": _do,
}
