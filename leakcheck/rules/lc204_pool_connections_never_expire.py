"""The connections of a pool are kept however old they are.

## What it does

Reports a pool or an engine built without the argument that limits the age of its connections, where the library has
one and sets no limit by default: `pool_recycle` of SQLAlchemy, aiopg and aiomysql, `max_lifetime_session` of oracledb,
`stale_timeout` of peewee. Off by default, since many servers and networks keep idle connections for ever.

## Why is this bad?

Firewalls, load balancers and MySQL's `wait_timeout` drop connections that were idle, and say nothing: the next request
that gets one fails or hangs. A connection that lives for ever also keeps its server process with all its memory, and
stays on the old server after a failover. Measured with SQLAlchemy 2.1 on psycopg 3.3 and PostgreSQL 18, where the
server ends connections that idle for a second: the next statement fails with OperationalError; with `pool_recycle=1`,
or `pool_pre_ping=True`, it succeeds. See
[SQLAlchemy's page](https://docs.sqlalchemy.org/en/20/core/pooling.html#setting-pool-recycle).

## Example

```python
from sqlalchemy import create_engine

engine = create_engine("mysql+pymysql://shop@db/shop")
```

## Use instead

```python
from sqlalchemy import create_engine

engine = create_engine("mysql+pymysql://shop@db/shop", pool_recycle=1800)
```

## Fix safety

No fix is offered: the right age depends on what lies between the program and its server.

## Limits

Arguments given as `**options` are not seen, and then nothing is reported; neither is anything for SQLite.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what keeps its connections, and the argument that would end that."""
    return (
        f"the connections of `{leak.acquire}` never expire; set {leak.cause}, below what the network and server allow"
    )


RULE = Rule(
    code="LC204",
    name="pool-connections-never-expire",
    page=__doc__,
    kind=LeakKind.POOL_NEVER_EXPIRES,
    say=say,
    default=False,
)
