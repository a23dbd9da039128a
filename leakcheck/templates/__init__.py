"""``with_transaction`` for each driver: what ``leakcheck init`` writes into a project, word for word.

    helper_text("psycopg2")     →   the text of the file that is written
    driver_of(text)             →   "psycopg2", where a file begins as one that was written
    is_as_written(text)         →   whether it still is, comments and layout aside

Each module stands alone and is never imported by leakcheck; the tests run them against servers.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

_NOTE = "# Written by `leakcheck init --driver {driver}`: `leakcheck init --check` shows what changed since.\n"
_HEADER = re.compile(r"# Written by `leakcheck init --driver (?P<driver>[\w-]+)`")

SERVED = {
    "psycopg2.PooledConnection": "psycopg2",
    "psycopg2.Connection": "psycopg2-connect",
    "psycopg.PooledConnection": "psycopg",
    "psycopg.AsyncPooledConnection": "psycopg-async",
    "asyncpg.PooledConnection": "asyncpg",
    "aiopg.PooledConnection": "aiopg",
    "sqlalchemy.Connection": "sqlalchemy",
    "sqlalchemy.AsyncConnection": "sqlalchemy-async",
    "sqlite3.Connection": "sqlite3",
    "aiosqlite.Connection": "aiosqlite",
    "pymysql.Connection": "pymysql",
    "mysqlclient.Connection": "mysqlclient",
    "mysql_connector.Connection": "mysql-connector",
    "mysql_connector.PooledConnection": "mysql-connector",
    "aiomysql.PooledConnection": "aiomysql",
}
"""The helper that serves each class of the drivers' files."""


@cache
def helper_text(driver: str) -> str:
    """The text of a driver's helper, as it is written. FileNotFoundError where there is none for the driver."""
    source = Path(__file__).parent / f"{driver.replace('-', '_')}.py"
    return _NOTE.format(driver=driver) + source.read_text(encoding="utf-8")


def driver_of(text: str) -> str | None:
    """The driver for which a file was written, as its first line says."""
    header = _HEADER.match(text)
    return header["driver"] if header is not None else None


def is_for(text: str, class_id: str) -> bool:
    """Whether a file was written for connections of this class of the drivers' files."""
    return driver_of(text) == SERVED.get(class_id)


def is_as_written(text: str) -> bool:
    """Whether a file is a helper that was written and means what it meant: formatters may have been at it."""
    driver = driver_of(text)
    try:
        return driver is not None and ast.dump(ast.parse(text)) == _meaning(driver)
    except (SyntaxError, ValueError, OSError):
        return False


@cache
def _meaning(driver: str) -> str:
    return ast.dump(ast.parse(helper_text(driver)))
