"""The only name of a connection that is still held is bound to something else.

## What it does

Reports a checkout whose variable is assigned again, in a loop, a retry or a second statement,
before the connection was given back. Rebinding to `None` and `del` count too.

## Why is this bad?

A later `finally` releases only the newest connection; the earlier ones are unreachable. A retry
loop is the usual place, and it does this exactly while the database is in trouble: every attempt
keeps one more connection.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def export(tables):
    for table in tables:
        conn = pool.getconn()
        conn.cursor().execute("SELECT export(%s)", (table,))
    pool.putconn(conn)
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def export(tables):
    for table in tables:
        conn = pool.getconn()
        try:
            conn.cursor().execute("SELECT export(%s)", (table,))
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
the pool; the finding then says which line is in the way. A name that is bound again inside the region refuses
the fix, too.

## Limits

A connection that was also put in a list, an attribute or another variable is not lost by rebinding
one of its names and is not reported here.
"""

from __future__ import annotations

from leakcheck.diagnostic import StepKind
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: which name is bound again, after what, and the remedy."""
    holder, bound = leak.name or leak.acquire, leak.steps[-1].span.start.row if leak.steps else 0
    for step in reversed(leak.steps):
        if step.kind is StepKind.RAISE:
            row, remedy = step.span.start.row, "release it there" if leak.handed_on else "release it in `finally`"
            return (
                f"`{holder}` is still held when line {row} raises, and bound again in line {bound};"
                f" {remedy}: `{leak.release}`"
            )
    return f"`{holder}` is bound again while it is held; release it first: `{leak.release}`"


RULE = Rule(
    code="LC105",
    name="checkout-overwritten",
    page=__doc__,
    kind=LeakKind.OVERWRITTEN,
    say=say,
)
