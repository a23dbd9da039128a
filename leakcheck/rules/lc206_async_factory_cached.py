"""A cache keeps the coroutine that builds a pool or a connection, not what it builds.

## What it does

Reports `functools.cache` and `functools.lru_cache` on an `async def` that builds a pool or opens a connection.

## Why is this bad?

Calling an `async def` makes a coroutine, and that is what the
[cache](https://docs.python.org/3/library/functools.html#functools.lru_cache) keeps. A coroutine can be awaited once:
measured with Python 3.11 and asyncpg 0.32, the second `await` raises RuntimeError "cannot reuse already awaited
coroutine", so that every request after the first fails.

## Example

```python
from functools import cache

import asyncpg


@cache
async def get_pool():
    return await asyncpg.create_pool("postgresql:///shop")
```

## Use instead

```python
import asyncio

import asyncpg

_pool = None
_lock = asyncio.Lock()


async def get_pool():
    global _pool
    async with _lock:
        if _pool is None:
            _pool = await asyncpg.create_pool("postgresql:///shop")
    return _pool
```

Without the lock, five first calls at the same time built five pools.

## Fix safety

No fix is offered: where the pool should live is a decision about the program.

## Limits

Caches of other libraries are taken to know about coroutines, as `async_lru.alru_cache` does.
"""

from __future__ import annotations

from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.rule import Rule


def say(leak: Leak) -> str:
    """The headline: what is cached, and what happens."""
    return (
        f"the cache of {leak.cause} keeps a coroutine, not the {leak.noun} that `{leak.acquire}` gives:"
        " the second await raises RuntimeError; keep the result in a variable behind a lock"
    )


RULE = Rule(
    code="LC206",
    name="async-factory-cached",
    page=__doc__,
    kind=LeakKind.ASYNC_FACTORY_CACHED,
    say=say,
)
