"""One transaction on a new connection, which is closed whatever happens (PyMySQL).

    with with_transaction(pymysql.connect(...)) as conn:
        conn.cursor().execute("UPDATE …")

Leaving the block commits; any exception, Ctrl-C among them, rolls back and reaches the caller unchanged. The
connection is closed in both cases: it belongs to the block. The block itself neither commits nor closes. MySQL commits
by itself at CREATE, ALTER, DROP and the like.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymysql.connections import Connection

_logger = logging.getLogger(__name__)


@contextmanager
def with_transaction(conn: Connection[Any]) -> Iterator[Connection[Any]]:
    """Commit what the block does on ``conn``, or none of it, and close it."""
    try:
        conn.autocommit(False)
        try:
            yield conn
            conn.commit()
        except BaseException:
            _roll_back(conn)
            raise
    finally:
        conn.close()


def _roll_back(conn: Connection[Any]) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)
