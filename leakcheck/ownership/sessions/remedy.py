"""The statement that ends what is held on a connection, in the words of its server.

SET search_path TO a        →   RESET search_path
SET @@SESSION.sql_mode = ''  →   SET SESSION sql_mode = DEFAULT
"""

from __future__ import annotations

import re

from leakcheck.ownership.sessions.session import Held, HeldKind
from leakcheck.sql.event import SqlKind

_ENDINGS = {
    HeldKind.TRANSACTION: "COMMIT",
    HeldKind.SAVEPOINT: "commit()",
    HeldKind.ROLE: "RESET ROLE",
    HeldKind.AUTHORIZATION: "RESET SESSION AUTHORIZATION",
    HeldKind.SETTING: "RESET {name}",
    HeldKind.LOCK: "pg_advisory_unlock(…)",
    HeldKind.LISTEN: "UNLISTEN {name}",
}
_OTHERWISE = {
    SqlKind.GET_LOCK: "RELEASE_LOCK(…)",
    SqlKind.LOCK_TABLES: "UNLOCK TABLES",
    SqlKind.PRAGMA: "PRAGMA {name} = …",
}
_OF_MYSQL = frozenset({
    "foreign_key_checks", "group_concat_max_len", "innodb_lock_wait_timeout", "max_execution_time",
    "max_statement_time", "net_read_timeout", "net_write_timeout", "sql_log_bin", "sql_mode", "sql_safe_updates",
    "unique_checks", "wait_timeout",
})  # fmt: skip
_USES = re.compile(r"\s*USE\b", re.IGNORECASE)


def remedy(held: Held, dialect: str) -> str:
    """What would end it; ``dialect`` is that of the driver, where it has one."""
    if held.kind is HeldKind.LISTEN and not held.text:
        return "remove_listener(…)"  # it was a driver's method that subscribed
    ending = _OTHERWISE.get(held.by) or _ENDINGS[held.kind]
    if held.by is SqlKind.SET and _USES.match(held.text):
        ending = "USE …"
    elif held.by is SqlKind.SET and _is_of_mysql(held, dialect):
        ending = "SET SESSION {name} = DEFAULT"
    elif held.kind is HeldKind.ROLE and dialect == "mysql":
        ending = "SET ROLE NONE"
    return ending.format(name=held.name or "…")


def may_be_local(held: Held, dialect: str) -> bool:
    """Whether the server has a form of the statement that ends with the transaction: PostgreSQL's SET LOCAL."""
    return held.by is SqlKind.SET and not _USES.match(held.text) and not _is_of_mysql(held, dialect)


def _is_of_mysql(held: Held, dialect: str) -> bool:
    return dialect == "mysql" or "@@" in held.text or held.name in _OF_MYSQL
