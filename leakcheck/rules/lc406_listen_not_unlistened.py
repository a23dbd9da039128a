"""A pooled connection goes back while it still listens.

## What it does

Reports `LISTEN` on a connection from a pool that is given back without `UNLISTEN` on some path, where the pool does not
do that itself.

## Why is this bad?

The server goes on sending notifications to a connection that somebody else has now: they are read by nobody, or by the
wrong one, and pile up in the client. Measured on PostgreSQL 15: of the PostgreSQL pools only asyncpg's own unlistens;
with a warning it also drops what `add_listener` subscribed (0.32), so neither is reported there; below SQLAlchemy,
whose pool only rolls back, both are. Behind PgBouncer in transaction mode the listener gets nothing and the notifier
receives them.

- <https://www.postgresql.org/docs/current/sql-listen.html>
- <https://magicstack.github.io/asyncpg/current/api/index.html#asyncpg.connection.Connection.add_listener>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop", kwargs={"autocommit": True})


def first_job():
    with pool.connection() as conn:
        conn.execute("LISTEN jobs")
        return next(conn.notifies()).payload
```

## Use instead

```python
import psycopg


def first_job():
    with psycopg.connect("dbname=shop", autocommit=True) as conn:  # a connection of its own, closed at the end
        conn.execute("LISTEN jobs")
        return next(conn.notifies()).payload
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Only pools that are known are reported.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what goes on, and the remedy."""
    remedy = f"end it by `{leak.release}` in `finally`, or use a connection of its own"
    return f"`{leak.acquire}` goes on after the connection is given back; {remedy}"


RULE = Rule(
    code="LC406",
    name="listen-not-unlistened",
    page=__doc__,
    kind=LeakKind.LISTENING_KEPT,
    say=say,
)
