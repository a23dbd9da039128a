"""A pool, engine or client is built once for each object, call or turn of a loop.

## What it does

Reports a pool, an engine or a pooled client that is built

- by an object that is itself made again and again: in `__init__` of a view class, or of a class that a view constructs;
- in a loop, and neither kept nor closed there;
- in a function that is called in a loop, and neither keeps, returns nor closes it.

## Why is this bad?

Each object or call opens connections of its own, and nothing shares them. What a dropped pool leaves open depends on
the driver: measured on PostgreSQL 15,
[asyncpg](https://magicstack.github.io/asyncpg/current/usage.html#connection-pools) 0.32 keeps its connections for five
minutes (see LC201). Counted with Django 5.2 and Flask 3.1, a
[Django view](https://docs.djangoproject.com/en/stable/topics/class-based-views/) and
[Flask's MethodView](https://flask.palletsprojects.com/en/stable/views/#view-lifetime-and-self) are built for each
request, so that what their `__init__` builds is, too.

## Example

```python
from flask.views import MethodView
from psycopg_pool import ConnectionPool


class Orders(MethodView):
    def __init__(self):
        self.pool = ConnectionPool("dbname=shop")

    def get(self):
        with self.pool.connection() as conn:
            return conn.execute("SELECT * FROM orders").fetchall()
```

## Use instead

```python
from flask.views import MethodView
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


class Orders(MethodView):
    def get(self):
        with pool.connection() as conn:
            return conn.execute("SELECT * FROM orders").fetchall()
```

## Fix safety

Never safe: it changes when connecting happens, how many connections there are and who closes them. An engine, or a
psycopg2 pool that starts with no connection, is built for the module where it is bound to a name of its own and its
arguments are the same for each call. Otherwise none is offered; the finding says which line is in the way.

## Limits

As those of LC201. A loop that ends as soon as the pool is built is a retry, and not reported; calls from tests do
not count. A function that is called from several places may still be called once in each process, and is not reported.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is built, and how often."""
    or_else = ", or close it in each turn" if leak.reason == "turn" else ""
    built = f"`{leak.acquire}` builds a new {leak.noun} for each {leak.reason}, in {leak.cause}"
    return f"{built}; build it once and share it{or_else}"


RULE = Rule(
    code="LC202",
    name="pool-per-call",
    page=__doc__,
    kind=LeakKind.POOL_PER_CALL,
    say=say,
)
