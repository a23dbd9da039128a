"""One transaction on a connection, which is closed or goes back to its pool whatever happens (MySQL Connector/Python).

    with with_transaction(pool.get_connection()) as conn:
        conn.cursor().execute("UPDATE …")

Leaving the block commits; any exception, Ctrl-C among them, rolls back and reaches the caller unchanged. The
connection belongs to the block: one of a pool goes back to it, which resets the session, another is closed. The block
itself neither commits nor closes. MySQL commits by itself at CREATE, ALTER, DROP and the like.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from mysql.connector.abstracts import MySQLConnectionAbstract
from mysql.connector.errors import Error
from mysql.connector.pooling import PooledMySQLConnection

_logger = logging.getLogger(__name__)
_Connection = TypeVar("_Connection", MySQLConnectionAbstract, PooledMySQLConnection)


@contextmanager
def with_transaction(conn: _Connection) -> Iterator[_Connection]:
    """Commit what the block does on ``conn``, or none of it, and give it back."""
    try:
        if not conn.in_transaction:
            conn.start_transaction()
        try:
            yield conn
            conn.commit()
        except BaseException:
            _roll_back(conn)
            raise
    finally:
        _give_back(conn)


def _roll_back(conn: MySQLConnectionAbstract | PooledMySQLConnection) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed", exc_info=True)


def _give_back(conn: MySQLConnectionAbstract | PooledMySQLConnection) -> None:
    try:
        conn.close()
    except Error:
        # Of a connection that is dead this says so, and puts it back all the same: its pool connects anew.
        _logger.warning("the connection was lost", exc_info=True)
