"""One transaction on a pooled connection, which goes back to the pool whatever happens (MySQL Connector/Python).

    with with_transaction(pool) as conn:
        conn.cursor().execute("UPDATE …")

Leaving the block commits; any exception, Ctrl-C among them, rolls back and reaches the caller unchanged. The pool
resets the session when it gets the connection back. The block itself neither commits nor closes. MySQL commits by
itself at CREATE, ALTER, DROP and the like.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mysql.connector.errors import Error
from mysql.connector.pooling import MySQLConnectionPool, PooledMySQLConnection

_logger = logging.getLogger(__name__)


@contextmanager
def with_transaction(pool: MySQLConnectionPool) -> Iterator[PooledMySQLConnection]:
    """Commit what the block does on a connection of ``pool``, or none of it."""
    conn = pool.get_connection()
    try:
        conn.start_transaction()
        try:
            yield conn
            conn.commit()
        except BaseException:
            _roll_back(conn)
            raise
    finally:
        _give_back(conn)


def _roll_back(conn: PooledMySQLConnection) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed", exc_info=True)


def _give_back(conn: PooledMySQLConnection) -> None:
    try:
        conn.close()
    except Error:
        # Of a connection that is dead this says so, and puts it back all the same: the pool connects anew.
        _logger.warning("the connection was lost; the pool will open another one", exc_info=True)
