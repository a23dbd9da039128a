"""A role is reset on some paths and kept on others, without any error.

## What it does

Reports `SET ROLE` or `SET SESSION AUTHORIZATION` (see LC401) that a `return`, `break`, `continue`, branch or
`case` takes past its reset, although nothing raised.

## Why is this bad?

The quiet path is taken all the time, logs nothing, and each time leaves its user's rights to whoever gets the
connection next. No pool resets a role: measured on PostgreSQL 15 and 18 with those that LC401 names.

- <https://www.postgresql.org/docs/current/sql-set-role.html>

## Example

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def close_account(account):
    with pool.connection() as conn:
        conn.execute("SET ROLE clerk")
        found = conn.execute("SELECT 1 FROM accounts WHERE id = %s", (account,)).fetchone()
        if found is None:
            return
        conn.execute("DELETE FROM accounts WHERE id = %s", (account,))
        conn.execute("RESET ROLE")
```

## Use instead

```python
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def close_account(account):
    with pool.connection() as conn:
        conn.execute("SET LOCAL ROLE clerk")
        found = conn.execute("SELECT 1 FROM accounts WHERE id = %s", (account,)).fetchone()
        if found is None:
            return
        conn.execute("DELETE FROM accounts WHERE id = %s", (account,))
```

## Fix safety

Never safe: who may see what depends on it. On a connection of the function's own, and where one transaction covers
everything that needs it, SET becomes SET LOCAL. Else its end goes into `finally`, outside of autocommit behind a
rollback and with a commit of its own, and where that fails the pool drops the connection; none is offered where
something is committed, or done, behind that.

## Limits

See LC401.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: where it is kept, and the remedy."""
    if leak.paused_by:
        gone = f"goes back to the pool with `{leak.paused_by}`: the next borrower has this {leak.noun}"
        return f"`{leak.acquire}` {gone}; use SET LOCAL in each transaction"
    where = f" on the path that ends in line {leak.steps[-1].span.start.row}" if leak.steps else ""
    return f"`{leak.acquire}` is not reset{where}; send `{leak.release}` in `finally`"


RULE = Rule(
    code="LC403",
    name="role-kept-on-path",
    page=__doc__,
    kind=LeakKind.ROLE_ON_PATH,
    say=say,
)
