"""One transaction on a new connection, which is closed whatever happens (psycopg2).

    with with_transaction(psycopg2.connect(DSN)) as conn:
        conn.cursor().execute("UPDATE …")

Leaving the block commits; any exception, Ctrl-C among them, rolls back and reaches the caller unchanged. The
connection is closed in both cases: it belongs to the block. The block itself neither commits nor closes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import extensions

_logger = logging.getLogger(__name__)


@contextmanager
def with_transaction(conn: extensions.connection) -> Iterator[extensions.connection]:
    """Commit what the block does on ``conn``, or none of it, and close it."""
    try:
        if conn.autocommit:
            conn.autocommit = False
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
        conn.close()


def _roll_back(conn: extensions.connection) -> None:
    try:
        conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)
