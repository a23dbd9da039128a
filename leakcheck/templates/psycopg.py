"""One transaction on a pooled connection, which goes back to the pool whatever happens (psycopg 3).

    with with_transaction(pool) as conn:
        conn.execute("UPDATE …")

Leaving the block commits; any exception, Ctrl-C among them, rolls back and reaches the caller unchanged. Role,
settings, locks and listeners do not reach the next borrower, and a connection that cannot be cleaned is closed
instead of reused. The block itself neither commits nor closes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

_logger = logging.getLogger(__name__)

# DISCARD ALL would also drop the statements that the driver has prepared and still counts on.
_RESET = "RESET SESSION AUTHORIZATION; RESET ALL; SELECT pg_advisory_unlock_all(); UNLISTEN *; CLOSE ALL; DISCARD TEMP"


@contextmanager
def with_transaction(pool: ConnectionPool[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Commit what the block does on a connection of ``pool``, or none of it."""
    conn = pool.getconn()
    clean = False
    try:
        _begin(conn)
        try:
            yield conn
            if conn.info.transaction_status == TransactionStatus.INERROR:
                # COMMIT would answer ROLLBACK without an error, and the work would be lost in silence.
                raise psycopg.InternalError("a statement failed and its error was swallowed: nothing can be committed")
            conn.commit()
        except BaseException:
            _roll_back(conn)
            raise
        finally:
            clean = _reset(conn)
    finally:
        try:
            if not clean:
                conn.close()  # the pool puts a new one in its place
        finally:
            pool.putconn(conn)


def _begin(conn: psycopg.Connection[Any]) -> None:
    """End what an earlier borrower left open; from here on the driver begins a transaction by itself."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        conn.rollback()
    conn.autocommit = False


def _roll_back(conn: psycopg.Connection[Any]) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)


def _reset(conn: psycopg.Connection[Any]) -> bool:
    """Whether the session is as new: no role, setting, lock or listener of this transaction is left."""
    try:
        conn.execute(_RESET)
        conn.commit()
    except Exception:
        return False
    return not conn.closed and conn.info.transaction_status == TransactionStatus.IDLE
