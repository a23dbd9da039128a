"""SET LOCAL where no transaction is open: the server ignores it.

## What it does

Reports `SET LOCAL …`, `SET LOCAL ROLE` and `set_config(…, true)` on a connection that is in autocommit with no
transaction open, through a pool, and in a middleware of Django: `ATOMIC_REQUESTS` opens its transaction for the view.

## Why is this bad?

The setting ends with the transaction, which is that one statement. Measured on PostgreSQL 15 and 18: `SET
LOCAL` gives a warning (25P01) that no driver shows by default, `set_config` not even that. What follows runs
without the timeout, in the wrong schema, or with the rights of the login role instead of the tenant's.

- <https://www.postgresql.org/docs/current/sql-set.html>

## Example

```python
import asyncpg


async def orders_of(pool: asyncpg.Pool, tenant):
    async with pool.acquire() as conn:
        await conn.execute("SET LOCAL ROLE tenant")
        return await conn.fetch("SELECT * FROM orders WHERE tenant = $1", tenant)
```

## Use instead

```python
import asyncpg


async def orders_of(pool: asyncpg.Pool, tenant):
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL ROLE tenant")
        return await conn.fetch("SELECT * FROM orders WHERE tenant = $1", tenant)
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Where the connection comes from the caller it is not known whether a transaction is open, and nothing is
reported. Several statements in one string are one transaction for the server, and are not reported either.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is ignored."""
    return f"`{leak.acquire}` sets something for a transaction, and none is open here: it has no effect"


RULE = Rule(
    code="LC408",
    name="set-local-outside-transaction",
    page=__doc__,
    kind=LeakKind.LOCAL_OUTSIDE,
    say=say,
)
