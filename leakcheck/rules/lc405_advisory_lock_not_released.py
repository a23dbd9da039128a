"""A lock of the session is taken and not released on some path.

## What it does

Reports `pg_advisory_lock` and its kin, MySQL's `GET_LOCK` and `LOCK TABLES`, that are not released in `finally`, on a
connection that goes on living: given back to a pool that does not release it, or not the function's own.

## Why is this bad?

A session lock belongs to the connection, not to the transaction: measured on PostgreSQL 15 and 18, neither
COMMIT nor ROLLBACK releases it, and of all pools only asyncpg's own does. The connection goes on with the lock,
and everybody who waits for it waits until that connection is closed. An unlock in `finally` is not enough outside
autocommit: measured with psycopg2 2.9, psycopg 3.3 and SQLAlchemy 2.1 on PostgreSQL 18, after a statement has failed
the server refuses the unlock like all else until a rollback, and the lock stays.

- <https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>
- <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>
- <https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def rebuild(index):
    with pool.connection() as conn:
        conn.execute("SELECT pg_advisory_lock(42)")
        conn.execute("CALL rebuild(%s)", (index,))
        conn.execute("SELECT pg_advisory_unlock(42)")
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def rebuild(index):
    with pool.connection() as conn:
        conn.execute("SELECT pg_advisory_xact_lock(42)")  # ends with the transaction
        conn.execute("CALL rebuild(%s)", (index,))
```

## Fix safety

Never safe. On a connection of the function's own, and where one transaction covers everything that needs the lock, it
becomes one of the transaction. Else unlocking goes into `finally`. None is offered for a lock that is only tried.

## Limits

A lock that is taken on a connection of the function's caller and never released in it is taken to be meant for good.
What `pg_try_advisory_lock` answers is followed through names, conditions and comparisons with true, false, 1 and 0;
where it is handed on or compared otherwise, an unlock on some path is taken to know when it is due. So is a helper
whose name says that it unlocks, where it returns early.
"""

from __future__ import annotations

from leakcheck.diagnostic import Severity
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is kept and when, and the remedy."""
    if leak.reason and not leak.cause:
        return f"`{leak.acquire}` stays locked after its unlock: {leak.reason}"
    if leak.reason:
        return f"`{leak.acquire}` stays locked when `{leak.cause}` raises: {leak.reason}; roll back before the unlock"
    if leak.paused_by:
        gone = f"goes back to the pool with `{leak.paused_by}`, and an unlock behind that may reach another connection"
        return f"`{leak.acquire}` {gone}; lock on a connection of its own"
    when = f" when `{leak.cause}` raises" if leak.cause and leak.severity is Severity.WARNING else ""
    or_else = ", or use a lock of the transaction" if leak.release.startswith("pg_") else ""
    return f"`{leak.acquire}` is not released{when}; send `{leak.release}` in `finally`{or_else}"


RULE = Rule(
    code="LC405",
    name="advisory-lock-not-released",
    page=__doc__,
    kind=LeakKind.LOCK_KEPT,
    say=say,
)
