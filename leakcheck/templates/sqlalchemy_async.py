"""One transaction on a connection of an engine, which goes back to its pool whatever happens (SQLAlchemy, async).

    async with with_transaction(engine) as conn:
        await conn.execute(text("UPDATE …"))

Leaving the block commits; any exception, a cancelled task among them, rolls back and reaches the caller unchanged. On
PostgreSQL role, settings, locks and listeners do not reach the next borrower, and a connection that cannot be cleaned
is dropped from the pool instead of reused. The block itself neither commits nor closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_logger = logging.getLogger(__name__)

# DISCARD ALL would also drop the statements that a driver has prepared and still counts on.
_RESET = {
    "postgresql": (
        "RESET SESSION AUTHORIZATION",
        "RESET ALL",
        "SELECT pg_advisory_unlock_all()",
        "UNLISTEN *",
        "CLOSE ALL",
        "DISCARD TEMP",
    )
}


@asynccontextmanager
async def with_transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Commit what the block does on a connection of ``engine``, or none of it."""
    conn = await engine.connect()
    try:
        try:
            yield conn
            if conn.in_transaction():
                # Where a statement of it has failed PostgreSQL would answer ROLLBACK to COMMIT, without an error; this
                # raises.
                await conn.execute(text("SELECT 1"))
            await conn.commit()
        except BaseException:
            await _roll_back(conn)
            raise
    finally:
        # Shielded: a second cancellation must not stop the way back to the pool.
        await asyncio.shield(_give_back(conn))


async def _roll_back(conn: AsyncConnection) -> None:
    try:
        await conn.rollback()
    except Exception:
        _logger.warning("rollback failed; the connection will be dropped", exc_info=True)


async def _give_back(conn: AsyncConnection) -> None:
    """Return the connection as new, or drop it from the pool."""
    try:
        for statement in _RESET.get(conn.dialect.name, ()):
            await conn.execute(text(statement))
        await conn.commit()
    except Exception:
        await conn.invalidate()
    finally:
        await conn.close()
