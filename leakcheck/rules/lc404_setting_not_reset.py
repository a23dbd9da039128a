"""A setting is changed for the session and survives the connection's return to its pool.

## What it does

Reports `SET x = …` and `set_config('x', …, false)` on a connection that is taken from a pool and given back without
`RESET x`, `RESET ALL` or `SET x = DEFAULT` on some path, where that pool does not reset settings.

## Why is this bad?

The next borrower works with a `search_path`, a `statement_timeout`, a time zone or a tenant of somebody else. Measured
on PostgreSQL 15 and MariaDB 10.11: after a commit, and in autocommit, settings survive in the pools of psycopg2 2.9,
psycopg_pool 3.3, aiopg 1.4, SQLAlchemy 2.1 (also on asyncpg), Django, peewee 4.5 and DBUtils 3.2; on MySQL in
SQLAlchemy, aiomysql, asyncmy and DBUtils, where a rollback does not undo them either. asyncpg's own pool,
mysql.connector's and mariadb's reset them, and are not reported. A custom setting such as `app.tenant` is left as an
empty string by a reset, never as NULL.

- <https://www.postgresql.org/docs/current/sql-set.html>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def orders_of(tenant):
    with pool.connection() as conn:
        conn.execute("SELECT set_config('app.tenant', %s, false)", (tenant,))
        return conn.execute("SELECT * FROM orders").fetchall()
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def orders_of(tenant):
    with pool.connection() as conn:
        conn.execute("SELECT set_config('app.tenant', %s, true)", (tenant,))  # ends with the transaction
        return conn.execute("SELECT * FROM orders").fetchall()
```

A setting that every connection is to have belongs into the pool's `configure=` or the connection's options.

## Fix safety

Never safe. On a connection of the function's own, and where one transaction covers everything that needs it, SET
becomes SET LOCAL. Else RESET goes into `finally`, outside of autocommit behind a rollback and with a commit of its own;
it sets back to the session's default. None is offered where something is committed, or done, behind that.

## Limits

Only pools that are known are reported, unless the project tells them how to clear a connection: by `reset=`, or by a
function that SQLAlchemy's pool calls on `checkin`, `checkout` or `reset` and that resets something. An engine that the
function builds itself, and that lends this one connection only, has no next borrower. What the driver keeps on its own
side (`conn.autocommit = True`, `row_factory`) goes on, too, and is no setting of the server: not reported. On a
connection that the function was given, a setting is taken to be meant for good, unless the function commits it on a
session, which gives its connection back by that. What a generator sets on a session before it lends that is reported
where somebody is seen to commit: in a `with` block, in a function for whose parameter a framework calls the generator,
or in one that either hands the session to.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is kept, and the remedy."""
    if leak.paused_by:
        gone = f"goes back to the pool with `{leak.paused_by}`: the next borrower gets it"
        remedy = "use SET LOCAL in each transaction" if leak.may_be_local else f"set it back before: `{leak.release}`"
        return f"`{leak.acquire}` {gone}; {remedy}"
    remedy = (
        f"use SET LOCAL, or `{leak.release}` in `finally`" if leak.may_be_local else f"`{leak.release}` in `finally`"
    )
    return f"`{leak.acquire}` outlives this checkout: the next borrower gets it; {remedy}"


RULE = Rule(
    code="LC404",
    name="setting-not-reset",
    page=__doc__,
    kind=LeakKind.SETTING_KEPT,
    say=say,
)
