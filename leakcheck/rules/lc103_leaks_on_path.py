"""A connection is given back on some paths and kept on others, without any error.

## What it does

Reports a checkout that a `return`, `break`, `continue`, branch, `case`, or the `else` of a loop or
`try` takes past its release, although nothing raised.

## Why is this bad?

The path that leaks is usually the quiet one: no row found, input already processed, nothing to do.
It is taken all the time, logs nothing, and costs one connection each time.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def email_of(user_id):
    conn = pool.getconn()
    cur = conn.cursor()
    cur.execute("SELECT email FROM users WHERE id = %s", (user_id,))
    row = cur.fetchone()
    if row is None:
        return None
    pool.putconn(conn)
    return row[0]
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def email_of(user_id):
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT email FROM users WHERE id = %s", (user_id,))
        row = cur.fetchone()
        if row is None:
            return None
        return row[0]
    finally:
        pool.putconn(conn)
```

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

A test is recognised when it is repeated word for word on names that did not change in between. A
checkout under one condition and its release under another that happens to mean the same look like
four paths, two of which leak.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is kept, the row on which the path leaves, and the remedy."""
    where = f" on the path that ends in line {leak.steps[-1].span.start.row}" if leak.steps else " on every path"
    if leak.cause:
        holder = leak.name or leak.acquire
        return (
            f"`{holder}` is not given back{where}, where `{leak.cause}` keeps it; let that give it back on every path"
        )
    remedy = "release it there" if leak.handed_on else "release it in `finally`"
    return f"`{leak.name or leak.acquire}` is not given back{where}; {remedy}: `{leak.release}`"


RULE = Rule(
    code="LC103",
    name="leaks-on-path",
    page=__doc__,
    kind=LeakKind.ON_PATH,
    say=say,
)
