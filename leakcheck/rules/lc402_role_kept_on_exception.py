"""A role is reset when all goes well and kept when something raises.

## What it does

Reports `SET ROLE` or `SET SESSION AUTHORIZATION` (see LC401) whose reset an exception skips, where the pool
does not undo it: the role was set in autocommit, or in a transaction that was committed before.

## Why is this bad?

A request that fails leaves the rights of its user to the next one. Measured on PostgreSQL 15 and 18: a pool's rollback
undoes a role only where it was set in the transaction that is rolled back; asyncpg's RESET ALL does not touch it (see
LC401). The COMMIT of a transaction in which a statement failed is such a rollback too.

- <https://www.postgresql.org/docs/current/sql-set-role.html>

## Example

```python
import asyncpg


async def orders_of(pool: asyncpg.Pool, tenant):
    async with pool.acquire() as conn:
        await conn.execute("SET ROLE tenant")
        rows = await conn.fetch("SELECT * FROM orders WHERE tenant = $1", tenant)
        await conn.execute("RESET ROLE")
        return rows
```

## Use instead

```python
import asyncpg


async def orders_of(pool: asyncpg.Pool, tenant):
    async with pool.acquire() as conn:
        await conn.execute("SET ROLE tenant")
        try:
            return await conn.fetch("SELECT * FROM orders WHERE tenant = $1", tenant)
        finally:
            await conn.execute("RESET ROLE")
```

Or let the transaction do it: `SET LOCAL ROLE` inside `async with conn.transaction():`.

## Fix safety

Never safe: who may see what depends on it. On a connection of the function's own, and where one transaction covers
everything that needs it, SET becomes SET LOCAL. Else its end goes into `finally`, outside of autocommit behind a
rollback and with a commit of its own, and where that fails the pool drops the connection; none is offered where
something is committed, or done, behind that.

## Limits

A reset counts as done even where it raises itself. Where a failed transaction is known to refuse it, see LC407.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what raises, and the remedy."""
    when = f"when `{leak.cause}` raises" if leak.cause else "when something raises"
    return f"`{leak.acquire}` stays in force {when}; send `{leak.release}` in `finally`"


RULE = Rule(
    code="LC402",
    name="role-kept-on-exception",
    page=__doc__,
    kind=LeakKind.ROLE_ON_EXCEPTION,
    say=say,
)
