"""A role is set on a connection and never reset: whoever uses it next is this user.

## What it does

Reports `SET ROLE`, `SET SESSION AUTHORIZATION` and `set_config('role', …, false)` that no path resets before the
connection goes back to its pool, or, on a connection that the function was given, before it ends.

## Why is this bad?

The next request that gets this connection runs with the rights of this one: it reads another tenant's rows, or
fails for lack of rights. Measured on PostgreSQL 15 and 18 with every pool (psycopg2, psycopg_pool, asyncpg,
aiopg, SQLAlchemy, Django, peewee, DBUtils; PgBouncer in transaction mode): none resets a role after a commit or
in autocommit. asyncpg sends RESET ALL, which does not touch roles. Only a rollback of the transaction in which
it was set undoes it.

- <https://www.postgresql.org/docs/current/sql-set-role.html>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def orders_of(tenant):
    with pool.connection() as conn:
        conn.execute("SET ROLE tenant")
        return conn.execute("SELECT * FROM orders WHERE tenant = %s", (tenant,)).fetchall()
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def orders_of(tenant):
    with pool.connection() as conn:
        conn.execute("SET LOCAL ROLE tenant")  # ends with the transaction, however that ends
        return conn.execute("SELECT * FROM orders WHERE tenant = %s", (tenant,)).fetchall()
```

Outside a transaction (asyncpg, autocommit) open one first: there `SET LOCAL` does nothing.

## Fix safety

Never safe: who may see what depends on it. On a connection of the function's own, and where one transaction covers
everything that needs it, SET becomes SET LOCAL. Else its end goes into `finally`, outside of autocommit behind a
rollback and with a commit of its own, and where that fails the pool drops the connection; none is offered where
something is committed, or done, behind that.

## Limits

A connection that is really closed takes its role with it and is not reported, nor is one that its pool is told how to
clear, as for LC404. On a connection that the function was given it is reported only where the function goes on to use
it, and nothing else in the file resets or ends anything.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is kept, and the remedy."""
    if leak.paused_by:
        gone = f"goes back to the pool with `{leak.paused_by}`: the next borrower has this {leak.noun}"
        return f"`{leak.acquire}` {gone}; use SET LOCAL in each transaction"
    kept = f"the connection goes on with this {leak.noun}"
    return f"`{leak.acquire}` is never reset: {kept}; send `{leak.release}` in `finally`"


RULE = Rule(
    code="LC401",
    name="role-never-reset",
    page=__doc__,
    kind=LeakKind.ROLE_NEVER_RESET,
    say=say,
)
