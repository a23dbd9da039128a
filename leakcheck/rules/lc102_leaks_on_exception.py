"""A connection is given back when all goes well and lost when something raises.

## What it does

Reports a checkout whose release is skipped by an exception: there is no `finally` and no `with`, a
handler is too narrow, a call stands between the checkout and the `try`, or a call such as
`conn.rollback()` stands before the release inside `finally` and raises itself.

Also reports a class whose `__exit__` gives back what `__enter__` took only where the block did not raise, and a
method that opens what its object keeps (`self.connect()`) and closes it only where nothing raised.

In async code `except Exception` does not see cancellation: a task that is cancelled at an `await`
leaves by `CancelledError`, which is no `Exception`.

## Why is this bad?

The leak waits for the worst moment. Errors come in series (the database restarts, a deployment
breaks a query), each one takes a connection with it, and the pool is empty when the database is
back. What began as a few failed requests ends as an outage that only a restart cures.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def cancel_order(order_id):
    conn = pool.getconn()
    cur = conn.cursor()
    cur.execute("UPDATE orders SET state = 'cancelled' WHERE id = %s", (order_id,))
    conn.commit()
    pool.putconn(conn)
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def cancel_order(order_id):
    conn = pool.getconn()
    try:
        cur = conn.cursor()
        cur.execute("UPDATE orders SET state = 'cancelled' WHERE id = %s", (order_id,))
        conn.commit()
    finally:
        pool.putconn(conn)
```

Keep the checkout outside the `try`: what was never acquired must not be released. Put the release
first in `finally`, or guard what comes before it: `putconn` rolls back by itself.

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

Every call may raise, except those that are known not to (logging, `print`, `len`, …; your own can be
listed under `non-raising`). A leak that only a gap between the checkout and its `try` allows is
reported as a note: it is real, and rare.

Into the `yield` of a pytest fixture nothing is raised: whatever becomes of the test, what stands behind the
`yield` runs. So a fixture needs a `finally` only for what may raise around its `yield`. Into that of
a context manager or of a FastAPI dependency the caller's exception is raised.
"""

from __future__ import annotations

from leakcheck.diagnostic import StepKind
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is lost, what raises, and the remedy."""
    holder = leak.name or leak.acquire
    when = f"when `{leak.cause}` raises" if leak.cause else _when(leak)
    if leak.gap:
        return f"`{holder}` is not given back {when}; start the `try` directly after the {leak.noun} is taken"
    remedy = "release it and re-raise" if leak.handed_on else "release it in `finally`"
    return f"`{holder}` is not given back {when}; {remedy}: `{leak.release}`"


def _when(leak: Leak) -> str:
    """The moment of the loss where no call is to blame: a block, a `yield`, a subscript."""
    for step in reversed(leak.steps):
        if step.kind is StepKind.BRANCH:
            return f"when line {step.span.start.row} finds it closed"
        if step.kind is StepKind.YIELD:
            return "when the code that uses it raises"
        if step.kind is StepKind.RAISE:
            return f"when line {step.span.start.row} raises"
    return "when something raises"


RULE = Rule(
    code="LC102",
    name="leaks-on-exception",
    page=__doc__,
    kind=LeakKind.ON_EXCEPTION,
    say=say,
)
