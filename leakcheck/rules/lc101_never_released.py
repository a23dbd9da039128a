"""A connection is checked out and nothing ever gives it back.

## What it does

Reports a connection, session or other checkout that no path of the function releases, returns,
stores or hands to anybody who would.

## Why is this bad?

Each call of the function takes one connection for good. Most pools keep a reference to what they
lent, so the garbage collector cannot help: psycopg2, psycopg, asyncpg, aiomysql and
mysql-connector lose the slot silently. After as many calls as the pool has connections, every
request fails or waits. SQLAlchemy and DBUtils take a forgotten checkout back when it is collected,
but only then, and until then it stays open in its transaction.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def count_orders():
    conn = pool.getconn()
    cur = conn.cursor()
    cur.execute("SELECT count(*) FROM orders")
    return cur.fetchone()[0]
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def count_orders():
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT count(*) FROM orders")
        return cur.fetchone()[0]
    finally:
        pool.putconn(conn)
```

With psycopg, asyncpg or SQLAlchemy use the pool's own context manager: `with pool.connection()`,
`async with pool.acquire()`, `with engine.connect()`.

## Fix safety

The fix is safe where the connection stays in this function, or is returned, and goes back the way the program
gives it back elsewhere: then the release moves into `finally`, or the driver's own `with` (else
`contextlib.closing`) takes and releases; what is returned is given back where something raises before that. A
commit stays where it is, unless every way passes it and a `with` that commits ends there. It is unsafe where an
unknown function is given the connection, where a function inside of this one that works on it may be called
later, or where something that others see would come to stand before the release; and where nobody knows whether
the pool rolls back, so that what is raised is rolled back first. None is offered where the connection gets
another name, is stored, where a cursor of it is used afterwards, or where a role or setting would go back to
the pool; the finding then says which line is in the way.

## Limits

A function that cannot be found is taken to borrow what it is given, unless its name says that it
releases (`close`, `release`, `putconn`, `cleanup`, …). If such a function does give the
connection back, say so with a suppression and its reason.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is lost, and the call that would give it back."""
    return f"`{leak.name or leak.acquire}` is never given back; release it in `finally`: `{leak.release}`"


RULE = Rule(
    code="LC101",
    name="never-released",
    page=__doc__,
    kind=LeakKind.NEVER_RELEASED,
    say=say,
)
