"""The code looks as if it gave the connection back, and with this driver it does not.

## What it does

Reports a checkout whose only release is a near miss:

- `with pool.getconn() as conn:` with psycopg2 or psycopg: the block ends the transaction, no more;
- `conn.close()` on a connection of a pool that wants `putconn` or `release`;
- `async with await pool.acquire()` with aiopg, aiomysql or asyncmy: the connection is closed, its
  slot stays taken;
- `with sqlite3.connect(…)`, `with psycopg2.connect(…)`, `with pyodbc.connect(…)`: these commit or
  roll back and leave the connection open;
- a release that is a coroutine and is not awaited;
- a release to another pool than the one that lent it.

## Why is this bad?

The reader sees a `with` or a `close()` and moves on. The pool still counts the connection as lent:
after as many calls as it has slots, it is exhausted, although every call "closes" what it took.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def add_user(name):
    with pool.getconn() as conn:
        conn.cursor().execute("INSERT INTO users (name) VALUES (%s)", (name,))
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def add_user(name):
    conn = pool.getconn()
    try:
        with conn:
            conn.cursor().execute("INSERT INTO users (name) VALUES (%s)", (name,))
    finally:
        pool.putconn(conn)
```

psycopg 3 has `with pool.connection() as conn:`, which does both. For `sqlite3` and other plain
connections, `with closing(sqlite3.connect(path)) as conn:` closes, and `with conn:` inside it commits.

## Fix safety

The call that only looks like a release goes, the one that releases comes in its place, in `finally` or by the
driver's own `with`. It is safe where the connection stays in this function, in one block, and goes back the way
the program gives it back elsewhere: then the release moves into `finally`, or the driver's own `with` (else
`contextlib.closing`) takes and releases. A commit stays where it is, unless every way passes it and a `with`
that commits ends there. It is unsafe where an unknown function is given the connection, where a function inside
of this one that works on it may be called later, where a comment would be lost, or where something that others
see would come to stand before the release; and where nobody knows whether the pool rolls back, so that what is
raised is rolled back first. None is offered where the connection gets another name, is stored or returned,
where a cursor of it is used afterwards, or where a role or setting of the session would go back to the pool;
the finding then says which line is in the way. Where the checkout is entered at once, as in
`with pool.getconn() as conn`, what that `with` commits and rolls back stays as it is.

## Limits

psycopg_pool 3.3 can be told that `close()` returns the connection (`close_returns=True`). That is
honoured where the pool's construction can be seen.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: the near miss, why it is one, and the real release."""
    why = f" ({leak.reason.rstrip('.')})" if leak.reason else ""
    return f"`{leak.cause}` does not give `{leak.name or leak.acquire}` back{why}; use `{leak.release}`"


RULE = Rule(
    code="LC106",
    name="release-does-not-release",
    page=__doc__,
    kind=LeakKind.RELEASE_DOES_NOT_RELEASE,
    say=say,
)
