"""One transaction on a new connection, which is closed whatever happens (sqlite3).

    with with_transaction(sqlite3.connect("shop.db")) as conn:
        conn.execute("UPDATE …")

Leaving the block commits; any exception, Ctrl-C among them, rolls back and reaches the caller unchanged. The
connection is closed in both cases: it belongs to the block. The block itself neither commits nor closes.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_logger = logging.getLogger(__name__)


@contextmanager
def with_transaction(conn: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Commit what the block does on ``conn``, or none of it, and close it."""
    try:
        try:
            yield conn
            conn.commit()
        except BaseException:
            _roll_back(conn)
            raise
    finally:
        conn.close()


def _roll_back(conn: sqlite3.Connection) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)
