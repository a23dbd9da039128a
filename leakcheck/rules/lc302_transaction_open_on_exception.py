"""A transaction is ended when all goes well and left open when something raises.

## What it does

Reports a `BEGIN` (see LC301) whose `COMMIT` an exception skips, with no rollback in a handler or `finally`, where the
connection lives on: it was given to the function, is kept on an object, or goes back to a pool that passes the open
transaction on. Where the connection is closed on that path, or its pool rolls back, nothing is reported.

In async code `except Exception` does not see cancellation: a cancelled task leaves by `CancelledError`.

## Why is this bad?

On PostgreSQL the failed transaction stays open and aborted: every later statement on this connection fails with
"current transaction is aborted", until somebody rolls back. On SQLite the next `BEGIN` fails and the write lock stays.
On MySQL the next `BEGIN` silently commits the half that was done. Measured on PostgreSQL 15 with psycopg2 2.9: its
pool, SQLAlchemy 2.1, DBUtils 3.2 and a persistent connection of Django hand a transaction that SQL began in autocommit
to the next borrower.

- <https://www.postgresql.org/docs/current/sql-rollback.html>
- <https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html>

## Example

```python
def move(conn, source, target, amount):
    cur = conn.cursor()
    cur.execute("BEGIN")
    cur.execute("UPDATE accounts SET balance = balance - %s WHERE id = %s", (amount, source))
    cur.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (amount, target))
    cur.execute("COMMIT")
```

## Use instead

```python
def move(conn, source, target, amount):
    cur = conn.cursor()
    cur.execute("BEGIN")
    try:
        cur.execute("UPDATE accounts SET balance = balance - %s WHERE id = %s", (amount, source))
        cur.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (amount, target))
        cur.execute("COMMIT")
    except BaseException:
        cur.execute("ROLLBACK")
        raise
```

Better still, use the driver's own block: `with conn.transaction():`, `with engine.begin():`, `with
transaction.atomic():`.

## Fix safety

Only where one commit ends the block that the transaction was begun in. On a connection of the function's own the fix
is safe: a `try` around the statements rolls back and raises again what was raised. It is unsafe where the function was
given the connection (its caller may count on what is open on it; there the driver's own block is preferred), where
something handles what is raised, is given the connection, or ends a transaction besides.

## Limits

A caller that rolls back whenever this function raises is not seen. What is open when the program is left by
`sys.exit()` is not reported. At the `yield` of a context manager `except Exception` is too narrow: a generator that is
closed inside the block throws `GeneratorExit` there, a worker that is stopped `SystemExit`.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what raises, and the remedy."""
    when = f"when `{leak.cause}` raises" if leak.cause else "when something raises"
    return f"`{leak.acquire}` stays open {when}{outcome(leak)}; roll back in a handler or `finally`"


def outcome(leak: Leak) -> str:
    """What happens to the transaction when the connection goes, where that is known."""
    return f" and is {leak.reason}" if leak.reason else ""


RULE = Rule(
    code="LC302",
    name="transaction-open-on-exception",
    page=__doc__,
    kind=LeakKind.TRANSACTION_ON_EXCEPTION,
    say=say,
)
