"""A generator keeps a connection while it is suspended.

## What it does

Reports a generator that holds a connection over a `yield` without a `finally` or `with` that gives it
back, and an async generator that holds one at all, unless its consumer wraps it in `aclosing`.

Where the `yield` of an async generator stands in no loop, as in a dependency of a web framework, the
loop that leaves it early (`break`, `return`) is reported instead.

Context managers (`@contextmanager`, `@asynccontextmanager`), pytest fixtures and FastAPI dependencies
are no such generators: what calls them resumes them always. They need a `finally`, and LC102 says so.

## Why is this bad?

The consumer decides whether a generator is ever resumed. `break`, an exception or a `return` in its
loop leaves it suspended at the `yield`, and what follows never runs. A sync generator is closed when
its last reference goes, so `finally` or `with` is enough. An async generator is closed by the event
loop some time later, and not at all while something refers to it: the connection stays taken.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def orders():
    conn = pool.getconn()
    cur = conn.cursor()
    cur.execute("SELECT id, total FROM orders")
    for row in cur:
        yield row
    pool.putconn(conn)
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def orders():
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("SELECT id, total FROM orders")
        for row in cur:
            yield row
    finally:
        pool.putconn(conn)
```

For an async generator, wrap it where it is consumed: `async with aclosing(orders(pool)) as rows:`.
Better still, take the connection as a parameter and let the consumer own it.

## Fix safety

The fix is never safe: it ends the loan when the generator is closed, which a consumer that stops early may do
late. For an async generator it is only shown, since its consumer must use `aclosing()`, too. A loop that leaves one
early is put into `async with aclosing(...)`: what was loaded in it may still need its connection.

## Limits

Consumers are looked for in the files that are analysed. A generator that only other packages consume
is reported.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is held while the generator sleeps, and the remedy."""
    return (
        f"`{leak.name or leak.acquire}` is held while the generator is suspended and is lost if the consumer stops"
        f" early; {leak.reason.rstrip('.') or f'release it in `finally`: `{leak.release}`'}"
    )


RULE = Rule(
    code="LC111",
    name="held-across-yield",
    page=__doc__,
    kind=LeakKind.ACROSS_YIELD,
    say=say,
)
