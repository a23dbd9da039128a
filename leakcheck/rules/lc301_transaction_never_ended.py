"""A transaction is begun and no path commits it or rolls it back.

## What it does

Reports `BEGIN` or `START TRANSACTION` sent as SQL, or a driver's own call for it (`conn.begin()`, `tr.start()`,
`start_transaction()`), which nothing ends: no `COMMIT`, `END`, `ROLLBACK` or `ABORT`, and no `commit()` or
`rollback()` of the same connection, also through another cursor or a project function that is given the
connection.

## Why is this bad?

What becomes of the work is then up to the pool. Measured on PostgreSQL 15 and 18: psycopg_pool, psycopg2's
pool, SQLAlchemy and asyncpg roll back when the connection is given back, silently: the statements succeeded and
nothing was saved. With psycopg2 in autocommit the rollback does nothing either, and the open transaction goes
to the next borrower, whose `commit()` saves rows that it never wrote. Until then the locks are held and the
server shows `idle in transaction`.

- <https://www.postgresql.org/docs/current/sql-begin.html>
- <https://www.psycopg.org/docs/connection.html#connection.autocommit>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def cancel_order(order_id):
    conn = pool.getconn()
    try:
        conn.execute("BEGIN")
        conn.execute("UPDATE orders SET state = 'cancelled' WHERE id = %s", (order_id,))
    finally:
        pool.putconn(conn)
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def cancel_order(order_id):
    with pool.connection() as conn, conn.transaction():
        conn.execute("UPDATE orders SET state = 'cancelled' WHERE id = %s", (order_id,))
```

## Fix safety

No fix is offered: whether COMMIT or ROLLBACK is meant is not visible. Change the code by hand, as shown above.

## Limits

On a connection that the function was given, or finds on `self`, it is reported only where no other function of the file
ends transactions, and not in a function whose name says that it begins one: its callers are followed instead.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what was begun, and what the pool makes of it."""
    return f"`{leak.acquire}` is never followed by COMMIT or ROLLBACK{outcome(leak)}"


def outcome(leak: Leak) -> str:
    """What happens to the transaction when the connection goes, where that is known."""
    return f": it is {leak.reason}" if leak.reason else ""


RULE = Rule(
    code="LC301",
    name="transaction-never-ended",
    page=__doc__,
    kind=LeakKind.TRANSACTION_NEVER_ENDED,
    say=say,
)
