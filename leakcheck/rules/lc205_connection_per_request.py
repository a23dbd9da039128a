"""A connection is opened for each request, event, job or rerun, and no pool keeps it.

## What it does

Reports a plain `connect()` in code that a framework runs again and again, directly or through functions of the project,
whether or not the connection is closed again. Off by default: a service with few requests may well work like this.
Databases without a server (SQLite, DuckDB) are left out.

## Why is this bad?

Opening a connection costs several round trips and, in
[PostgreSQL](https://www.postgresql.org/docs/current/connect-estab.html), a process of the server. And there is no
limit: as many connections are opened as requests arrive at once, until the server refuses the next.

Measured with psycopg 3.3 and psycopg2 2.9 on PostgreSQL 18, over a local socket: to connect, ask `SELECT 1` and close
took 9 and 7 ms, to ask it on a connection of a pool 0.2 ms; at the server's limit the next connection is refused with
"too many clients already".

## Example

```python
import psycopg
from flask import Flask

app = Flask(__name__)


@app.route("/orders")
def orders():
    with psycopg.connect("dbname=shop") as conn:
        return conn.execute("SELECT * FROM orders").fetchall()
```

## Use instead

```python
from flask import Flask
from psycopg_pool import ConnectionPool

app = Flask(__name__)
pool = ConnectionPool("dbname=shop")


@app.route("/orders")
def orders():
    with pool.connection() as conn:
        return conn.execute("SELECT * FROM orders").fetchall()
```

## Fix safety

No fix is offered: a pool is a decision about the program.

## Limits

As those of LC201.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is opened, how often, and by whom."""
    return f"`{leak.acquire}` opens a new connection for each {leak.reason}, through {leak.cause}; take it from a pool"


RULE = Rule(
    code="LC205",
    name="connection-per-request",
    page=__doc__,
    kind=LeakKind.CONNECTION_PER_REQUEST,
    say=say,
    default=False,
)
