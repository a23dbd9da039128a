"""A transaction is ended on some paths and left open on others, without any error.

## What it does

Reports a `BEGIN` (see LC301) that a `return`, `break`, `continue`, branch or `case` takes past its `COMMIT` and
`ROLLBACK`, although nothing raised, or that ends only in the handler for errors.

## Why is this bad?

The path that leaves it open is usually the quiet one: nothing to do, already done. What was sent so far is rolled back
by the pool without a word, or goes to the next borrower of the connection: measured on PostgreSQL 15, psycopg_pool 3.3,
asyncpg 0.32 and SQLAlchemy 2.1 do the former, psycopg2 2.9 in autocommit the latter (see LC301). On a connection that
lives on, the locks are held until somebody ends the transaction by chance.

- <https://www.postgresql.org/docs/current/tutorial-transactions.html>

## Example

```python
from sqlalchemy import create_engine, text

engine = create_engine("postgresql://localhost/shop")


def reserve(item):
    with engine.connect() as conn:
        transaction = conn.begin()
        left = conn.execute(text("UPDATE items SET taken = true WHERE id = :i RETURNING left"), {"i": item}).scalar()
        if left == 0:
            return False
        transaction.commit()
        return True
```

## Use instead

```python
from sqlalchemy import create_engine, text

engine = create_engine("postgresql://localhost/shop")


def reserve(item):
    with engine.begin() as conn:
        left = conn.execute(text("UPDATE items SET taken = true WHERE id = :i RETURNING left"), {"i": item}).scalar()
        return left != 0
```

## Fix safety

A rollback in front of the `return`, `break` or `continue` is shown, for a reader to judge, where one commit ends the
block that the transaction was begun in. It is never written.

## Limits

A path that relies on the pool's rollback on purpose is reported as well: say `ROLLBACK` there. Not reported is a path
on which nothing can have been written, where the pool rolls back what it is given: nothing is lost there.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: where it is left open, and what becomes of it."""
    where = f" on the path that ends in line {leak.steps[-1].span.start.row}" if leak.steps else ""
    return f"`{leak.acquire}` is neither committed nor rolled back{where}{outcome(leak)}"


def outcome(leak: Leak) -> str:
    """What happens to the transaction when the connection goes, where that is known."""
    return f": it is {leak.reason}" if leak.reason else ""


RULE = Rule(
    code="LC303",
    name="transaction-open-on-path",
    page=__doc__,
    kind=LeakKind.TRANSACTION_ON_PATH,
    say=say,
)
