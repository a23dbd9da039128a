"""One transaction on a pooled connection, which goes back to the pool whatever happens (aiopg).

    async with with_transaction(pool) as conn:
        cursor = await conn.cursor()
        await cursor.execute("UPDATE …")

Leaving the block commits; any exception, a cancelled task among them, rolls back and reaches the caller unchanged.
Role, settings, locks and listeners do not reach the next borrower, and a connection that cannot be cleaned is closed
instead of reused. The block itself neither commits nor closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiopg
import psycopg2
from psycopg2 import extensions

_logger = logging.getLogger(__name__)

# One statement at a time: in the implicit transaction of a string of several, DISCARD is refused.
_RESET = (
    "RESET SESSION AUTHORIZATION",
    "RESET ALL",
    "SELECT pg_advisory_unlock_all()",
    "UNLISTEN *",
    "CLOSE ALL",
    "DISCARD TEMP",
)


@asynccontextmanager
async def with_transaction(pool: aiopg.Pool) -> AsyncIterator[aiopg.Connection]:
    """Commit what the block does on a connection of ``pool``, or none of it."""
    conn = await pool.acquire()
    try:
        # The driver is always in autocommit: its own commit() and rollback() raise.
        await _execute(conn, "BEGIN")
        try:
            yield conn
            if conn.raw.info.transaction_status == extensions.TRANSACTION_STATUS_INERROR:
                # COMMIT would answer ROLLBACK without an error, and the work would be lost in silence.
                raise psycopg2.InternalError("a statement failed and its error was swallowed: nothing can be committed")
            await _execute(conn, "COMMIT")
        except BaseException:
            await _roll_back(conn)
            raise
    finally:
        # Shielded: a second cancellation must not stop the way back to the pool.
        await asyncio.shield(_give_back(pool, conn))


async def _execute(conn: aiopg.Connection, statement: str) -> None:
    cursor = await conn.cursor()
    try:
        await cursor.execute(statement)
    finally:
        cursor.close()


async def _roll_back(conn: aiopg.Connection) -> None:
    try:
        await _execute(conn, "ROLLBACK")
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)


async def _give_back(pool: aiopg.Pool, conn: aiopg.Connection) -> None:
    """Return a connection as new, or closed."""
    clean = False
    try:
        for statement in _RESET:
            await _execute(conn, statement)
        clean = conn.raw.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
    except Exception:
        _logger.warning("the session could not be reset; the connection will be closed", exc_info=True)
    finally:
        try:
            if not clean:
                conn.close()
        finally:
            await pool.release(conn)
