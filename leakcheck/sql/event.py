"""The events: what a statement does to its session, whatever the dialect."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

HOLE = "\ufffc"
"""Stands in SQL text for a part that is not known: the value of a variable, say."""


class SqlKind(StrEnum):
    """What a statement, or a function called in it, does."""

    BEGIN = "begin"
    COMMIT = "commit"  # also END and PREPARE TRANSACTION
    ROLLBACK = "rollback"  # also ABORT
    CHAIN = "chain"  # COMMIT or ROLLBACK AND CHAIN: ends a transaction and opens another
    SAVEPOINT = "savepoint"
    RELEASE_SAVEPOINT = "release-savepoint"
    ROLLBACK_TO = "rollback-to"
    SET_TRANSACTION = "set-transaction"  # also SET CONSTRAINTS
    SET_AUTOCOMMIT = "set-autocommit"  # named "on", "off" or None
    SET_ROLE = "set-role"
    RESET_ROLE = "reset-role"
    SET_AUTHORIZATION = "set-authorization"
    RESET_AUTHORIZATION = "reset-authorization"
    SET = "set"
    RESET = "reset"
    RESET_ALL = "reset-all"
    DISCARD_ALL = "discard-all"
    PRAGMA = "pragma"  # of SQLite, with a value
    LOCK = "lock"  # pg_advisory_lock and its kin
    UNLOCK = "unlock"
    UNLOCK_ALL = "unlock-all"
    GET_LOCK = "get-lock"  # of MySQL
    RELEASE_LOCK = "release-lock"
    RELEASE_ALL_LOCKS = "release-all-locks"
    LOCK_TABLES = "lock-tables"  # of MySQL; PostgreSQL's LOCK TABLE ends with its transaction and is a WRITE
    UNLOCK_TABLES = "unlock-tables"
    LISTEN = "listen"
    UNLISTEN = "unlisten"
    PREPARE = "prepare"
    DEALLOCATE = "deallocate"
    TEMP_TABLE = "temp-table"
    CURSOR_HOLD = "cursor-hold"
    DDL = "ddl"  # commits implicitly on MySQL and Oracle
    READ = "read"  # proven: no function is called that may do anything but compute
    WRITE = "write"  # anything else that neither ends a transaction nor changes the session
    UNKNOWN = "unknown"  # the first word is not known, or this is no SQL


class SqlEvent(Struct, frozen=True):
    """One effect. ``name`` is what it is about where the text says so, in lower case unless it is quoted.

    ``local`` says that it ends with the transaction: ``SET LOCAL``, ``pg_advisory_xact_lock``, ``ON COMMIT DROP``.
    """

    kind: SqlKind
    name: str | None = None
    local: bool = False
