"""A psycopg 3 transaction block that is only a savepoint: nothing commits its work.

## What it does

Reports `with conn.transaction():` on a connection that is not in autocommit and has executed a statement
before, where no `commit()` follows and the connection is closed or given back by a call.

## Why is this bad?

The first statement, even a SELECT, has begun a transaction. The block inside it is then a savepoint, and
leaving it releases the savepoint and commits nothing. Measured with psycopg 3.2 and 3.3: after `close()` or
`putconn()` the rows are gone, without an error. Leaving `with psycopg.connect()` or `with pool.connection()`
commits, and is not reported.

- <https://www.psycopg.org/psycopg3/docs/basic/transactions.html#transaction-contexts>

## Example

```python
import psycopg


def rename(account, name):
    conn = psycopg.connect("dbname=shop")
    try:
        found = conn.execute("SELECT id FROM accounts WHERE id = %s", (account,)).fetchone()
        with conn.transaction():
            conn.execute("UPDATE accounts SET name = %s WHERE id = %s", (name, found[0]))
    finally:
        conn.close()
```

## Use instead

```python
import psycopg


def rename(account, name):
    conn = psycopg.connect("dbname=shop", autocommit=True)
    try:
        found = conn.execute("SELECT id FROM accounts WHERE id = %s", (account,)).fetchone()
        with conn.transaction():
            conn.execute("UPDATE accounts SET name = %s WHERE id = %s", (name, found[0]))
    finally:
        conn.close()
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

A connection that the function was given is its caller's to commit.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what the block is, and the remedy."""
    return f"`{leak.acquire}` is only a savepoint here and nothing commits: use `autocommit=True`, or call `commit()`"


RULE = Rule(
    code="LC307",
    name="savepoint-not-transaction",
    page=__doc__,
    kind=LeakKind.SAVEPOINT_ONLY,
    say=say,
)
