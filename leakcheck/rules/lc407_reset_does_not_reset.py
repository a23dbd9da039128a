"""It looks reset and is not.

## What it does

Reports a role or setting whose only reset on some path has no effect:

- `RESET ALL` for a role, or `RESET ROLE` for a session authorization;
- `RESET ROLE` in a transaction that is rolled back, by the code or by the pool, while the role was set in an earlier
  one;
- any reset in a transaction in which a statement has failed, while the role was set in an earlier one;
- `DISCARD ALL` in a transaction, which a driver that is not in autocommit always has open;
- `DISCARD ALL` through asyncpg, which breaks its statement cache.

## Why is this bad?

Somebody has thought of the reset, so nobody looks again. Measured on PostgreSQL 15 and 18: `role` and
`session_authorization` are exempt from RESET ALL; a rollback brings back a role that was reset in it; after an
error the server refuses the reset (25P02) until a rollback; DISCARD ALL fails inside a transaction block (25001);
after DISCARD ALL through asyncpg 0.30 and 0.32 (and psycopg before 3.3) prepared statements that the driver counts
on are gone, for good.

- <https://www.postgresql.org/docs/current/sql-reset.html>
- <https://www.postgresql.org/docs/current/sql-discard.html>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def orders_of(tenant):
    with pool.connection() as conn:
        conn.execute("SET ROLE tenant")
        rows = conn.execute("SELECT * FROM orders WHERE tenant = %s", (tenant,)).fetchall()
        conn.execute("RESET ALL")
        return rows
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def orders_of(tenant):
    with pool.connection() as conn:
        conn.execute("SET ROLE tenant")
        rows = conn.execute("SELECT * FROM orders WHERE tenant = %s", (tenant,)).fetchall()
        conn.execute("RESET ROLE")
        return rows
```

## Fix safety

Never safe. The reset that was meant is put beside the one without effect, or a reset that is rolled back gets a
transaction of its own. None is offered for DISCARD ALL, which resets more than can be seen here.

## Limits

Whether the role was set in an earlier transaction is only known on a connection that the function takes itself.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is still in force, and why."""
    why = f": {leak.reason}" if leak.reason else ""
    return f"`{leak.acquire}` is still in force after its reset{why}"


RULE = Rule(
    code="LC407",
    name="reset-does-not-reset",
    page=__doc__,
    kind=LeakKind.RESET_DOES_NOT_RESET,
    say=say,
)
