"""A connection is taken and bound to nothing, so nothing can give it back.

## What it does

Reports a checkout whose value gets no name: a call chained onto it
(`pool.getconn().cursor()`), a bare call, or a function that keeps or returns only the cursor.

## Why is this bad?

The cursor does not own its connection. Closing it, or letting it go, does not put the connection
back, and the connection itself can no longer be reached. A plain connection may be closed when the
garbage collector finds it; a pooled one is lost.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def users():
    cur = pool.getconn().cursor()
    cur.execute("SELECT name FROM users")
    return cur.fetchall()
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def users():
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT name FROM users")
        return cur.fetchall()
    finally:
        pool.putconn(conn)
```

## Fix safety

The fix gives the checkout a name in a line of its own and releases that in `finally`, or by the driver's own
`with`. It is safe where the checkout is the first thing that its statement evaluates, where `conn` means
nothing else in the function, and where nothing that needs the connection leaves it; else none is offered.

## Limits

`asyncpg`'s `pool.acquire()` without `await` takes nothing and is not reported.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: nobody holds the checkout, and what to do first."""
    if leak.name is not None:
        return f"only a cursor of `{leak.name}` leaves the function; nobody can call `{leak.release}` any more"
    return (
        f"the {leak.noun} from `{leak.acquire}` is bound to nothing and cannot be given back;"
        f" keep it in a name and release it: `{leak.release}`"
    )


RULE = Rule(
    code="LC104",
    name="checkout-discarded",
    page=__doc__,
    kind=LeakKind.DISCARDED,
    say=say,
)
