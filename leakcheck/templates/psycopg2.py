"""One transaction on a pooled connection, which goes back to the pool whatever happens (psycopg2).

    with with_transaction(pool) as conn:
        conn.cursor().execute("UPDATE …")

Leaving the block commits; any exception, a cancelled request and Ctrl-C among them, rolls back and reaches the
caller unchanged. Role, settings, locks and listeners do not reach the next borrower, and a connection that cannot be
cleaned is closed instead of reused. The block itself neither commits nor closes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import extensions
from psycopg2.pool import AbstractConnectionPool

_logger = logging.getLogger(__name__)


@contextmanager
def with_transaction(pool: AbstractConnectionPool) -> Iterator[extensions.connection]:
    """Commit what the block does on a connection of ``pool``, or none of it."""
    conn = pool.getconn()
    clean = False
    try:
        _begin(conn)
        try:
            yield conn
            if conn.info.transaction_status == extensions.TRANSACTION_STATUS_INERROR:
                # COMMIT would answer ROLLBACK without an error, and the work would be lost in silence.
                raise psycopg2.InternalError("a statement failed and its error was swallowed: nothing can be committed")
            conn.commit()
        except BaseException:
            _roll_back(conn)
            raise
        finally:
            clean = _reset(conn)
    finally:
        if clean:
            pool.putconn(conn)
        else:
            pool.putconn(conn, close=True)


def _begin(conn: extensions.connection) -> None:
    """End what an earlier borrower left open; from here on the driver begins a transaction by itself."""
    if conn.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE:
        if conn.autocommit:
            conn.cursor().execute("ROLLBACK")  # in autocommit, rollback() does nothing
        conn.rollback()
    conn.autocommit = False


def _roll_back(conn: extensions.connection) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)


def _reset(conn: extensions.connection) -> bool:
    """Whether the session is as new: no role, setting, lock or listener of this transaction is left."""
    try:
        conn.reset()
    except Exception:
        return False
    return not conn.closed and conn.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
