"""A commit, a rollback or a BEGIN that looks right and has no effect.

## What it does

Reports

- `conn.commit()` or `conn.rollback()` of psycopg2 in autocommit, where SQL `BEGIN` opened the transaction;
- `commit()` and `rollback()` of an aiopg connection, which raise;
- `commit()` or `rollback()` of an async driver without `await`;
- `BEGIN` sent through a pool (`await pool.execute("BEGIN")`): the next statement runs on another connection;
- SQL `COMMIT` or `ROLLBACK` behind psycopg2's back, followed by further statements before its own `commit()` or
  `rollback()`.

## Why is this bad?

Everything reports success. Measured with psycopg2 2.9: in autocommit its methods send nothing, so the
transaction stays open and goes to the next borrower of the pool, whose `commit()` then saves it. After SQL
COMMIT outside autocommit the driver still believes in its transaction and sends no new BEGIN: later statements
are committed one by one, and `rollback()` does not undo them. psycopg 3 and pg8000 notice. Measured with
asyncpg 0.32: `pool.execute("BEGIN")` is undone when the connection goes back; what follows is committed
statement by statement.

- <https://www.psycopg.org/docs/usage.html#transactions-control>
- <https://magicstack.github.io/asyncpg/current/api/index.html#connection-pools>

## Example

```python
import asyncpg


async def move(pool: asyncpg.Pool, source, target, amount):
    await pool.execute("BEGIN")
    await pool.execute("UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, source)
    await pool.execute("UPDATE accounts SET balance = balance + $1 WHERE id = $2", amount, target)
    await pool.execute("COMMIT")
```

## Use instead

```python
import asyncpg


async def move(pool: asyncpg.Pool, source, target, amount):
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, source)
        await conn.execute("UPDATE accounts SET balance = balance + $1 WHERE id = $2", amount, target)
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Whether a connection is in autocommit is only known where the same function switches it, or where the same file shows
the option with which its engine or the connection itself is made.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what has no effect, and why."""
    return f"`{leak.acquire}` does not do what it says: {leak.reason}"


RULE = Rule(
    code="LC304",
    name="transaction-end-does-nothing",
    page=__doc__,
    kind=LeakKind.END_DOES_NOTHING,
    say=say,
)
