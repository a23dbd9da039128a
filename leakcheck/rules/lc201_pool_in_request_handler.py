"""A pool, engine or client is built anew for each request, event, job or rerun.

## What it does

Reports the call that builds a pool, an engine or a pooled client in code that a framework runs again and again: a
view, a dependency, a middleware, an event handler, a task, a resolver, a rerun script. Directly or through functions
of the project, with the way from the handler to the call as steps. Nothing is reported where the pool is made once
after all: memoised, kept in a global, in `app.state` or in a dictionary behind a test, or built and closed in one
function, in `finally`, by `with`, or in a handler as well.

## Why is this bad?

A pool that serves one request pools nothing: each request connects anew, and opens as many connections as the pool
starts with. Measured on PostgreSQL 15 and MariaDB 10.11, five pools made and dropped left ten connections of
[asyncpg](https://magicstack.github.io/asyncpg/current/usage.html#connection-pools) 0.32 open for five minutes, those of
asyncmy 0.2 and mariadb 1.1 for good, and those of a
[SQLAlchemy engine](https://docs.sqlalchemy.org/en/20/core/connections.html#engine-disposal) (2.1) until the garbage
collector came by. These are errors; where the driver closes what is dropped, it is a warning. In RQ each job is a
process of its own, so that a pool serves one job whatever keeps it: a note.

## Example

```python
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)


@app.route("/orders")
def orders():
    engine = create_engine("postgresql:///shop")
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(text("SELECT * FROM orders")).mappings()]
```

## Use instead

```python
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine("postgresql:///shop")


@app.route("/orders")
def orders():
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(text("SELECT * FROM orders")).mappings()]
```

Where an event loop must be running first, build the pool in the start-up hook and keep it in the application's state:

```python
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool("postgresql:///shop", timeout=10) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)
```

## Fix safety

Never safe: it changes when connecting happens, how many connections there are and who closes them. An engine, or a
psycopg2 pool that starts with no connection, is built for the module where it is bound to a name of its own and its
arguments are the same for each call. Where the file of the handler holds the `lifespan` of its application, or a
`cleanup_ctx`, any pool is built and closed there, around its `yield`, and read from the application's state. Otherwise
none is offered; the finding says which line is in the way.

## Limits

The frameworks are those of `leakcheck/frameworks/`; each file says with which version it was measured. Callers are
searched in the project around the file, six calls deep, by names that can be resolved; of a project of more than 5,000
files only the largest package around the file that has no more is searched, and a name that more than 150 files hold is
looked for in its own file. What a teardown in the same file closes is not reported. What runs a function by its name in
a string (`"app.tasks.load"`) is not seen.
"""

from __future__ import annotations

from leakcheck.diagnostic import Severity
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is built, how often, and by whom."""
    if leak.severity is Severity.NOTE:
        return (
            f"the {leak.noun} that `{leak.acquire}` builds serves one {leak.reason}, for {leak.cause} runs in a process"
            " of its own each time; a plain connection does as well"
        )
    return (
        f"`{leak.acquire}` builds a new {leak.noun} for each {leak.reason}, through {leak.cause};"
        " build it once, at start-up, and share it"
    )


RULE = Rule(
    code="LC201",
    name="pool-in-request-handler",
    page=__doc__,
    kind=LeakKind.POOL_IN_HANDLER,
    say=say,
)
