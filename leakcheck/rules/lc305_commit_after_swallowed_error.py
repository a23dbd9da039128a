"""An error inside a PostgreSQL transaction is swallowed, and the transaction is committed.

## What it does

Reports a commit (a call, SQL `COMMIT`, or the end of a `with` block that commits) on a path on which a
statement of the same transaction raised, a handler took the error, and nothing rolled back: no `ROLLBACK`, no
savepoint around the statement.

## Why is this bad?

After the error the transaction is aborted. PostgreSQL answers ROLLBACK to its COMMIT, and no driver but pg8000 tells:
measured on PostgreSQL 15 with psycopg2 2.9, psycopg 3.3, asyncpg 0.32, SQLAlchemy 2.1, Django, aiopg 1.4 and peewee
4.5, the commit reports success and none of the rows, those of the statements before the error among them, is there. A
swallowed timeout (`wait_for`) has the same effect. MySQL, MariaDB and SQLite commit the rest instead, and are not
reported.

- <https://www.postgresql.org/docs/current/tutorial-transactions.html>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def load(rows):
    with pool.connection() as conn:
        for row in rows:
            try:
                conn.execute("INSERT INTO items VALUES (%s)", (row,))
            except Exception as error:
                print("skipped", row, error)
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def load(rows):
    with pool.connection() as conn:
        for row in rows:
            try:
                with conn.transaction():  # a savepoint: what fails is undone alone
                    conn.execute("INSERT INTO items VALUES (%s)", (row,))
            except Exception as error:
                print("skipped", row, error)
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Only statements that the function itself executes are followed, on drivers that speak to nothing but PostgreSQL, and
on SQLAlchemy where the same file shows the engine's URL. Another statement before the commit raises by itself, and an
error that is raised again after the commit is not swallowed: neither is reported. Nor is a transaction in which nothing
was written but what failed: nothing else is lost there.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what failed, and what the commit makes of it."""
    return (
        f"`{leak.acquire}` commits nothing after `{leak.cause}` has failed: the server rolls back and reports success"
    )


RULE = Rule(
    code="LC305",
    name="commit-after-swallowed-error",
    page=__doc__,
    kind=LeakKind.COMMIT_AFTER_ERROR,
    say=say,
)
