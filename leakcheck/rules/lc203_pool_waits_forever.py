"""An exhausted pool makes its callers wait without end.

## What it does

Reports a pool whose connections are taken without a timeout everywhere in the project: of asyncpg, aiomysql, asyncmy
and oracledb, which wait for ever by default, and of DBUtils, peewee and redis-py where the constructor's arguments say
so. One call with a timeout (`acquire(timeout=5)`, `wait_for(pool.acquire(), 5)`, `async with timeout(5):`) is enough to
be silent, and so is a project in which nothing takes a connection from such a pool.

## Why is this bad?

When all connections are in use, or lost, each further request waits and says nothing: no error, no log line, no
failing health check, until the process is restarted. With a timeout the first of them fails and names the place.
Measured on PostgreSQL 15 and MariaDB 10.11:
[asyncpg](https://magicstack.github.io/asyncpg/current/api/index.html#asyncpg.pool.Pool.acquire) 0.32,
[aiomysql](https://aiomysql.readthedocs.io/en/stable/pool.html) 0.3 and asyncmy 0.2 wait for ever, SQLAlchemy 2.1 and
psycopg_pool 3.3 wait 30 seconds, aiopg 1.4 waits 60; psycopg2, mysql-connector and mariadb fail at once.

## Example

```python
import asyncpg


async def orders(pool: asyncpg.Pool):
    async with pool.acquire() as conn:
        return await conn.fetch("SELECT * FROM orders")


async def serve(run):
    async with asyncpg.create_pool("postgresql:///shop") as pool:
        await run(pool)
```

## Use instead

```python
import asyncpg


async def orders(pool: asyncpg.Pool):
    async with pool.acquire(timeout=10) as conn:
        return await conn.fetch("SELECT * FROM orders")


async def serve(run):
    async with asyncpg.create_pool("postgresql:///shop") as pool:
        await run(pool)
```

## Fix safety

No fix is offered: how long a caller may wait is a decision about the program.

## Limits

Statements that the pool itself runs (`pool.fetch()`) are not looked at. Which of several pools of one library a call
takes from is not asked: one call with a timeout is enough for all.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what waits, and for what."""
    exhausted = f"when the {leak.noun} that `{leak.acquire}` builds is exhausted, {leak.cause}"
    if leak.reason:
        return f"{exhausted} makes its callers wait for ever; without it they fail, and say so"
    return f"{exhausted} waits for ever; give it a timeout, so that it fails and says so"


RULE = Rule(
    code="LC203",
    name="pool-waits-forever",
    page=__doc__,
    kind=LeakKind.POOL_WAITS,
    say=say,
)
