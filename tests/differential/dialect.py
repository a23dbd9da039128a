"""How each driver is spoken: the texts of a checkout, a release and some work, and the module's first lines.

Input: a flavour's base name. Output: its ``Dialect``, e.g. of ``sync-pool`` the checkout is ``pool.getconn()``.
"""

from __future__ import annotations

from dataclasses import dataclass

ENVIRONMENT = "awork, bag, cond, ctx, items, lock, owner, pair, registry, settings, use, work"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The texts of one driver."""

    name: str
    is_async: bool
    is_pool: bool
    imports: tuple[str, ...]
    setup: tuple[str, ...]
    checkout: str
    release: str  # with {} for the connection
    error: str  # the driver's own exception
    scopes: tuple[str, ...]  # `with` headers that release nothing, {} for the connection
    managed: tuple[str, ...]  # `with` headers that check out and release
    managed_weight: int = 6
    is_plain: bool = True  # checkout and release are the driver's own
    unpacks: bool = False  # a checkout gives two values

    def give_back(self, name: str) -> str:
        """The release of the connection ``name``."""
        return self.release.format(name)

    def preamble(self, *imports: str) -> list[str]:
        """The first lines of the module, with more ``imports``."""
        return [
            *self.imports,
            *imports,
            f"from app.env import {ENVIRONMENT}",
            "",
            "logger = logging.getLogger(__name__)",
            'DSN = "dbname=app"',
            *self.setup,
            "",
            "",
            "class Other(Exception):",
            '    """An error of the program."""',
            "",
            "",
        ]


SYNC_POOL = Dialect(
    name="sync-pool",
    is_async=False,
    is_pool=True,
    imports=(
        "import logging",
        "from contextlib import ExitStack, closing, contextmanager",
        "import psycopg2",
        "import psycopg2.pool",
    ),
    setup=("pool = psycopg2.pool.SimpleConnectionPool(1, 5, DSN)",),
    checkout="pool.getconn()",
    release="pool.putconn({})",
    error="psycopg2.Error",
    scopes=("with {}:", "with {}.cursor() as cur:", "with {0}, {0}.cursor() as cur:"),
    managed=(),
)
SYNC_PLAIN = Dialect(
    name="sync-plain",
    is_async=False,
    is_pool=False,
    imports=("import logging", "from contextlib import ExitStack, closing, contextmanager", "import psycopg2"),
    setup=(),
    checkout="psycopg2.connect(DSN)",
    release="{}.close()",
    error="psycopg2.Error",
    scopes=SYNC_POOL.scopes,
    managed=("with closing(psycopg2.connect(DSN)) as {}:",),
)
ASYNC_POOL = Dialect(
    name="async-pool",
    is_async=True,
    is_pool=True,
    imports=("import asyncio", "import logging", "from contextlib import asynccontextmanager", "import asyncpg"),
    setup=("pool = asyncpg.create_pool(DSN)",),
    checkout="await pool.acquire()",
    release="await pool.release({})",
    error="asyncpg.PostgresError",
    scopes=("async with {}.transaction():",),
    managed=("async with pool.acquire() as {}:",),
)
ASYNC_PLAIN = Dialect(
    name="async-plain",
    is_async=True,
    is_pool=False,
    imports=("import asyncio", "import logging", "from contextlib import asynccontextmanager", "import asyncpg"),
    setup=(),
    checkout="await asyncpg.connect(DSN)",
    release="await {}.close()",
    error="asyncpg.PostgresError",
    scopes=ASYNC_POOL.scopes,
    managed=(),
)
DIALECTS = (SYNC_POOL, SYNC_PLAIN, ASYNC_POOL, ASYNC_PLAIN)
