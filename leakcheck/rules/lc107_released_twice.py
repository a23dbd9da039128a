"""The same checkout is given back a second time.

## What it does

Reports a release of a connection that was already released on some path, for drivers where the
second release raises or damages the pool. Drivers that take it as a no-op (asyncpg, SQLAlchemy,
DBUtils, mariadb, every plain `close()`) are not reported.

## Why is this bad?

psycopg2 raises `PoolError: trying to put unkeyed connection`, psycopg 3 raises `ValueError`, aiopg
and aiomysql raise `AssertionError`, asyncmy raises `KeyError`: from a `finally`, where it hides the
error that led there. mysql-connector raises *and* adds a connection to its queue, so that another
borrower's `close()` fails later.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def stock_of(item):
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT stock FROM items WHERE id = %s", (item,))
        row = cur.fetchone()
        if row is None:
            pool.putconn(conn)
            return 0
        return row[0]
    finally:
        pool.putconn(conn)
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def stock_of(item):
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT stock FROM items WHERE id = %s", (item,))
        row = cur.fetchone()
        if row is None:
            return 0
        return row[0]
    finally:
        pool.putconn(conn)
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

A release counts as done even where the call raises, so `putconn` in a `try` body and again in its
`except` is reported.
"""

from __future__ import annotations

from leakcheck.driver import ReleaseTwice
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule

_HARM: dict[str, str] = {
    ReleaseTwice.RAISES: ", which raises",
    ReleaseTwice.CORRUPTS: ", which raises and upsets the pool",
}
"""What the second release does."""


def say(leak: Leak) -> str:
    """The headline: the second release, and what it breaks where the driver says so."""
    harm = _HARM.get(leak.reason, "")
    return f"`{leak.name or leak.acquire}` was already given back when `{leak.cause}` runs{harm}; release it once"


RULE = Rule(
    code="LC107",
    name="released-twice",
    page=__doc__,
    kind=LeakKind.RELEASED_TWICE,
    say=say,
)
