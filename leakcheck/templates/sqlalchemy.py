"""One transaction on a connection of an engine, which goes back to its pool whatever happens (SQLAlchemy).

    with with_transaction(engine) as conn:
        conn.execute(text("UPDATE …"))

Leaving the block commits; any exception, Ctrl-C among them, rolls back and reaches the caller unchanged. On PostgreSQL
role, settings, locks and listeners do not reach the next borrower, and a connection that cannot be cleaned is dropped
from the pool instead of reused. The block itself neither commits nor closes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

_logger = logging.getLogger(__name__)

# DISCARD ALL would also drop the statements that a driver has prepared and still counts on.
_RESET = {
    "postgresql": (
        "RESET SESSION AUTHORIZATION",
        "RESET ALL",
        "SELECT pg_advisory_unlock_all()",
        "UNLISTEN *",
        "CLOSE ALL",
        "DISCARD TEMP",
    )
}


@contextmanager
def with_transaction(engine: Engine) -> Iterator[Connection]:
    """Commit what the block does on a connection of ``engine``, or none of it."""
    conn = engine.connect()
    clean = False
    try:
        try:
            yield conn
            if conn.in_transaction():
                # Where a statement of it has failed PostgreSQL would answer ROLLBACK to COMMIT, without an error; this
                # raises.
                conn.execute(text("SELECT 1"))
            conn.commit()
        except BaseException:
            _roll_back(conn)
            raise
        finally:
            clean = _reset(conn)
    finally:
        try:
            if not clean:
                conn.invalidate()
        finally:
            conn.close()


def _roll_back(conn: Connection) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be dropped", exc_info=True)


def _reset(conn: Connection) -> bool:
    """Whether the session is as new: no role, setting, lock or listener of this transaction is left."""
    try:
        for statement in _RESET.get(conn.dialect.name, ()):
            conn.execute(text(statement))
        conn.commit()
    except Exception:
        return False
    return True
