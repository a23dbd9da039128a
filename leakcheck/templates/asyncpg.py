"""One transaction on a pooled connection, which goes back to the pool whatever happens (asyncpg).

    async with with_transaction(pool) as conn:
        await conn.execute("UPDATE …")

Leaving the block commits; any exception, a cancelled task among them, rolls back and reaches the caller unchanged.
The role does not reach the next borrower (the pool itself resets the rest), and a connection that cannot be cleaned is
closed instead of reused. The block itself neither commits nor closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def with_transaction(pool: asyncpg.Pool[Any]) -> AsyncIterator[Any]:
    """Commit what the block does on a connection of ``pool``, or none of it."""
    conn = await pool.acquire()
    try:
        transaction = conn.transaction()
        await transaction.start()
        try:
            yield conn
            # Once a statement has failed COMMIT would answer ROLLBACK without an error; this raises.
            await conn.execute("SELECT 1")
            await transaction.commit()
        except BaseException:
            await _roll_back(transaction)
            raise
    finally:
        # Shielded: a second cancellation must not stop the way back to the pool.
        await asyncio.shield(_give_back(pool, conn))


async def _roll_back(transaction: Any) -> None:
    try:
        await transaction.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)


async def _give_back(pool: asyncpg.Pool[Any], conn: Any) -> None:
    """Return a connection as new, or closed: the pool puts a new one in its place."""
    try:
        if conn.is_in_transaction():
            raise asyncpg.InterfaceError("the transaction is still open")
        # The pool's own reset leaves the role; DISCARD ALL would break the driver's prepared statements.
        await conn.execute("RESET SESSION AUTHORIZATION; DISCARD TEMP")
    except Exception:
        try:
            conn.terminate()
        except asyncpg.InterfaceError:
            _logger.warning("the connection was gone already", exc_info=True)
    finally:
        await pool.release(conn)
