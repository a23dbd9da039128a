"""One transaction on a new connection, which is closed whatever happens (aiosqlite).

    async with with_transaction(await aiosqlite.connect("shop.db")) as conn:
        await conn.execute("UPDATE …")

Leaving the block commits; any exception, a cancelled task among them, rolls back and reaches the caller unchanged. The
connection is closed in both cases: it belongs to the block. The block itself neither commits nor closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def with_transaction(conn: aiosqlite.Connection) -> AsyncIterator[aiosqlite.Connection]:
    """Commit what the block does on ``conn``, or none of it, and close it."""
    try:
        try:
            yield conn
            await conn.commit()
        except BaseException:
            await _roll_back(conn)
            raise
    finally:
        # Shielded: a second cancellation must not stop the closing.
        await asyncio.shield(conn.close())


async def _roll_back(conn: aiosqlite.Connection) -> None:
    try:
        await conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be closed", exc_info=True)
