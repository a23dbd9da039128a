"""An object keeps a connection and has no way to give it back.

## What it does

Reports a connection that is stored on `self` or `cls`, or returned by a `cached_property`, when no method
of the class or its bases releases that attribute, whatever the method is called. So is one that the factory
of a field opens for each object (`conn: Connection = field(default_factory=connect)`).

Also reports one that is stored on an object that a web framework makes for each request (`flask.g`),
when nothing in the whole project takes it off again and releases it, or only a function that is neither
registered nor called.

Also reports an `__enter__` or `__aenter__` that can raise after it took the connection: `__exit__`
runs only for a block that was entered, so nothing gives it back then.

## Why is this bad?

The connection lives as long as the object, and the caller has no means to end it sooner. Objects that
are made per request or per job take one connection each; with a pool that is a slot lost for good.

## Example

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


class Orders:
    def __init__(self):
        self.conn = pool.getconn()

    def cancel(self, order_id):
        self.conn.cursor().execute("DELETE FROM orders WHERE id = %s", (order_id,))
        self.conn.commit()
```

## Use instead

```python
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


class Orders:
    def __init__(self):
        self.conn = pool.getconn()

    def cancel(self, order_id):
        self.conn.cursor().execute("DELETE FROM orders WHERE id = %s", (order_id,))
        self.conn.commit()

    def close(self):
        pool.putconn(self.conn)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
```

A class of tests gives back in `tearDown` what `setUp` took. In an `__enter__`, do what can raise before taking
the connection, or release it and re-raise:

```python
class Transaction:
    def __init__(self, pool):
        self.pool = pool

    def __enter__(self):
        self.conn = self.pool.getconn()
        try:
            self.cur = self.conn.cursor()
        except BaseException:
            self.pool.putconn(self.conn)
            raise
        return self.cur

    def __exit__(self, *exc_info):
        self.pool.putconn(self.conn)
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Whether somebody calls the releasing method is not checked here. An object lasts as long as the process where it is
made at module level, once by a cached function, or for a global name: what it keeps is no leak, and its class is not
reported where all objects that the project is seen to make are like that. A class whose base cannot be found
is not reported, because the base may release the attribute; neither is one that derives from a library,
unless that is Python's own or a framework that makes an object for each request.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline; ``cause`` is set where an `__enter__` raises, ``reason`` where a framework ends the object."""
    holder = leak.name or leak.acquire
    if leak.cause:
        return (
            f"`{holder}` is lost when `{leak.cause}` raises while the block is entered, for the exit method"
            f" does not run then; release it and re-raise: `{leak.release}`"
        )
    if leak.reason:
        return f"`{holder}` outlives the request, and nothing in the project gives it back; {leak.reason}"
    remedy = f"release it in `{leak.undo}()`" if leak.undo else "add a `close()` that does"
    return f"`{holder}` is kept by an object that never gives it back; {remedy}: `{leak.release}`"


RULE = Rule(
    code="LC109",
    name="owner-never-releases",
    page=__doc__,
    kind=LeakKind.OWNER_NEVER_RELEASES,
    say=say,
)
