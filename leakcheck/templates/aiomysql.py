"""One transaction on a pooled connection, which goes back to the pool whatever happens (aiomysql).

    async with with_transaction(pool) as conn:
        cursor = await conn.cursor()
        await cursor.execute("UPDATE …")

Leaving the block commits; any exception, a cancelled task among them, rolls back and reaches the caller unchanged. A
connection whose transaction could not be ended is closed instead of reused. The block itself neither commits nor
closes. MySQL commits by itself at CREATE, ALTER, DROP and the like.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomysql

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def with_transaction(pool: aiomysql.Pool) -> AsyncIterator[aiomysql.Connection]:
    """Commit what the block does on a connection of ``pool``, or none of it."""
    conn = await pool.acquire()
    clean = False
    try:
        await conn.autocommit(False)
        try:
            yield conn
            await conn.commit()
            clean = True
        except BaseException:
            clean = await _roll_back(conn)
            raise
    finally:
        if not clean:
            conn.close()
        pool.release(conn)


async def _roll_back(conn: aiomysql.Connection) -> bool:
    """Whether the transaction is over."""
    try:
        await conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)
        return False
    return True
