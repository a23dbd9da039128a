"""Something slow happens between the first statement of a transaction and its commit.

## What it does

Reports an HTTP request, a call of a boto3 client or of a gRPC stub, a sleep, a subprocess, a mail, a queue wait or
user input while a transaction is certainly open and later committed, in the function itself or in project functions
that it calls. In Django's `transaction.atomic()` that is after the first statement in the block.

## Why is this bad?

The transaction holds its row locks and its connection for as long as the other side takes. When that service is
slow, every request that needs the same rows waits, and the pool runs out: its outage becomes yours. Measured on
PostgreSQL 15 and 18: even a transaction that has only read holds up `ALTER TABLE`, and every new reader queues
behind that. Measured with Django 5.2 on psycopg 3: entering `atomic()` sends nothing, the first statement in it begins.

- <https://docs.djangoproject.com/en/stable/topics/db/transactions/#performing-actions-after-commit>
- <https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT>

## Example

```python
import requests
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def pay(order):
    with pool.connection() as conn:
        conn.execute("UPDATE orders SET state = 'paying' WHERE id = %s", (order,))
        requests.post("https://pay.example", json={"order": order}, timeout=30)
```

## Use instead

```python
import requests
from psycopg_pool import ConnectionPool

pool = ConnectionPool("dbname=shop")


def pay(order):
    with pool.connection() as conn:
        conn.execute("UPDATE orders SET state = 'paying' WHERE id = %s", (order,))
    requests.post("https://pay.example", json={"order": order}, timeout=30)
```

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Calls on objects of unknown classes, and slow calls more than two project functions away, are not seen. What Django's
models send is known by the names of their methods only: `save()`, `Order.objects.create(...)`; what a project function
sends before the slow call is not.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is slow, and the remedy."""
    where = f" in `{leak.reason}`" if leak.reason else ""
    return f"`{leak.acquire}` waits{where} while a transaction is open and holds its locks; do it before or after"


RULE = Rule(
    code="LC306",
    name="slow-call-in-transaction",
    page=__doc__,
    kind=LeakKind.SLOW_CALL,
    say=say,
)
