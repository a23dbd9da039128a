"""A second connection is taken from a pool while one of the same pool is held.

## What it does

Reports a checkout from a pool, written here or made by a project function that is called here, while
a connection of the same pool is held. A statement that the pool itself runs (`await pool.fetch(…)`) takes a connection,
too, for as long as it lasts. A session of SQLAlchemy holds one from its first statement to its `commit()`,
`rollback()` or `close()`.

## Why is this bad?

When as many workers as the pool has connections each hold their first, all of them wait for a second
that nobody can give back. asyncpg, aiomysql and asyncmy wait forever, SQLAlchemy and psycopg fail
after 30 seconds, psycopg2 fails at once. It shows under load only, and then stops everything.

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def log_action(text):
    with pool.connection() as conn:
        conn.execute("INSERT INTO actions (text) VALUES (%s)", (text,))


def cancel_order(order_id):
    with pool.connection() as conn:
        conn.execute("DELETE FROM orders WHERE id = %s", (order_id,))
        log_action(f"cancelled {order_id}")
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def log_action(conn, text):
    conn.execute("INSERT INTO actions (text) VALUES (%s)", (text,))


def cancel_order(order_id):
    with pool.connection() as conn:
        conn.execute("DELETE FROM orders WHERE id = %s", (order_id,))
        log_action(conn, f"cancelled {order_id}")
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Two pools are the same when they are reached by the same name, two sessions where one engine, or one factory, makes
them. A second session is told where it is made, so not where only its statements come after those of the first. Plain
`connect()` calls share no pool and are not reported.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: the second checkout, and what is held meanwhile."""
    held = f"`{leak.name}`" if leak.name else f"one {leak.noun}"
    return (
        f"`{leak.cause or leak.acquire}` takes a second {leak.noun} from the pool while {held} is held;"
        " pass the first one on, or give it back before"
    )


RULE = Rule(
    code="LC110",
    name="nested-checkout",
    page=__doc__,
    kind=LeakKind.NESTED_CHECKOUT,
    say=say,
)
