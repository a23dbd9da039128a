"""One transaction on a pooled connection, which goes back to the pool whatever happens (psycopg 3, async).

    async with with_transaction(pool) as conn:
        await conn.execute("UPDATE …")

Leaving the block commits; any exception, a cancelled task among them, rolls back and reaches the caller unchanged.
Role, settings, locks and listeners do not reach the next borrower, and a connection that cannot be cleaned is closed
instead of reused. The block itself neither commits nor closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

_logger = logging.getLogger(__name__)

# DISCARD ALL would also drop the statements that the driver has prepared and still counts on.
_RESET = "RESET SESSION AUTHORIZATION; RESET ALL; SELECT pg_advisory_unlock_all(); UNLISTEN *; CLOSE ALL; DISCARD TEMP"


@asynccontextmanager
async def with_transaction(pool: AsyncConnectionPool[Any]) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Commit what the block does on a connection of ``pool``, or none of it."""
    conn = await pool.getconn()
    try:
        await _begin(conn)
        try:
            yield conn
            if conn.info.transaction_status == TransactionStatus.INERROR:
                # COMMIT would answer ROLLBACK without an error, and the work would be lost in silence.
                raise psycopg.InternalError("a statement failed and its error was swallowed: nothing can be committed")
            await conn.commit()
        except BaseException:
            await _roll_back(conn)
            raise
    finally:
        # Shielded: a second cancellation must not stop the way back to the pool.
        await asyncio.shield(_give_back(pool, conn))


async def _begin(conn: psycopg.AsyncConnection[Any]) -> None:
    """End what an earlier borrower left open; from here on the driver begins a transaction by itself."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        await conn.rollback()
    await conn.set_autocommit(False)


async def _roll_back(conn: psycopg.AsyncConnection[Any]) -> None:
    try:
        await conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)


async def _give_back(pool: AsyncConnectionPool[Any], conn: psycopg.AsyncConnection[Any]) -> None:
    """Return a connection as new, or closed: the pool puts a new one in its place."""
    clean = False
    try:
        if conn.info.transaction_status != TransactionStatus.IDLE:
            await conn.rollback()
        await conn.execute(_RESET)
        await conn.commit()
        clean = not conn.closed and conn.info.transaction_status == TransactionStatus.IDLE
    except Exception:
        _logger.warning("the session could not be reset; the connection will be closed", exc_info=True)
    finally:
        try:
            if not clean:
                await conn.close()
        finally:
            await pool.putconn(conn)
