"""A connection, or a cursor of it, is used after the connection was given back.

## What it does

Reports a call on a connection, or on a cursor or transaction made from it, on a path where the
connection was released before.

## Why is this bad?

With psycopg2 and psycopg the call works, on a connection that another thread may have borrowed in the
meantime: two requests share one transaction, and one commits the other's rows. asyncpg raises
`InterfaceError`, SQLAlchemy `ResourceClosedError`, mysql-connector an `AttributeError`.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def names():
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT name FROM users")
    finally:
        pool.putconn(conn)
    return cur.fetchall()
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def names():
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT name FROM users")
        return cur.fetchall()
    finally:
        pool.putconn(conn)
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Reading an attribute (`conn.closed`, `cur.rowcount`) is not a use. psycopg2's default cursor has
fetched all rows already, so reading it late happens to work; it stops working with a named cursor
or another driver.
"""

from __future__ import annotations

from leakcheck.driver import UseAfterRelease
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule

_HARM: dict[str, str] = {
    UseAfterRelease.RAISES: ", and raises",
    UseAfterRelease.SHARED: ", when somebody else may have it",
    UseAfterRelease.REOPENS: ", and takes a connection anew",
}
"""What the late call does."""


def say(leak: Leak) -> str:
    """The headline: the call that comes too late."""
    harm = _HARM.get(leak.reason, "")
    holder = leak.name or leak.acquire
    return f"`{leak.cause}` runs after `{holder}` was given back{harm}; move it before the release"


RULE = Rule(
    code="LC108",
    name="used-after-release",
    page=__doc__,
    kind=LeakKind.USED_AFTER_RELEASE,
    say=say,
)
