"""The pools of real drivers, of one connection each, and how to ask what is left on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from .program import Kind

QUESTIONS = {
    Kind.ROLE: "SELECT current_user <> session_user",
    Kind.SETTING: "SELECT current_setting('statement_timeout') = '9s' OR current_setting('search_path') LIKE 'tenant%'",
    Kind.LOCK: (
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND pid = pg_backend_pid())"
    ),
    Kind.LISTEN: "SELECT EXISTS (SELECT FROM pg_listening_channels())",
}
CLEAN = "DISCARD ALL"
_ABORTED = 3
SETUP = (
    "CREATE ROLE tenant; CREATE SCHEMA tenant; GRANT pg_read_all_stats TO tenant;"
    " CREATE TABLE public.journal (n int); GRANT ALL ON public.journal TO PUBLIC"
)


class Witness:
    """A connection of one's own, which sees what the others have written before they commit it."""

    def __init__(self, dsn: str) -> None:
        import psycopg

        self._connection = psycopg.connect(dsn, autocommit=True)

    def has_written(self, process: int) -> bool:
        """Whether the open transaction of another process has written anything: only then the server numbers it."""
        question = "SELECT backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = %s"
        found = self._connection.execute(question, (process,)).fetchone()
        return found is not None and bool(found[0])

    def close(self) -> None:
        """End it."""
        self._connection.close()


class Pools(Protocol):
    """A pool of one connection."""

    pool: Any
    witness: Witness

    def in_transaction(self, connection: Any) -> bool:  # noqa: ANN401  any driver's
        """Whether the server says that a transaction is open."""

    def process(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        """The server's process that serves the connection."""

    def backend(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        """The process of the server that serves a connection."""

    def mend(self) -> None:
        """Forget connections whose backend is gone, which their release did not survive."""

    def left(self) -> set[Kind]:
        """What whoever takes the connection next finds on it; afterwards it is as good as new."""

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run an asynchronous program to its end."""


class _Blocking:
    """A driver whose connections have the cursors of PEP 249."""

    pool: Any
    witness: Witness

    def in_transaction(self, connection: Any) -> bool:  # noqa: ANN401  any driver's
        return bool(connection.info.transaction_status)

    def backend(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        return int(connection.info.backend_pid)

    def mend(self) -> None:
        pass

    def process(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        return int(connection.info.backend_pid)

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        raise NotImplementedError

    def _questioned(self, connection: Any) -> set[Kind]:  # noqa: ANN401  any driver's
        found = {Kind.TRANSACTION} if connection.info.transaction_status else set()
        former, connection.autocommit = connection.autocommit, True
        with connection.cursor() as cursor:
            if connection.info.transaction_status == _ABORTED:
                cursor.execute("ROLLBACK")
            for kind, question in QUESTIONS.items():
                cursor.execute(question)
                if cursor.fetchone()[0]:
                    found.add(kind)
            if connection.info.transaction_status:
                cursor.execute("COMMIT")  # only now does LISTEN take effect
                cursor.execute(QUESTIONS[Kind.LISTEN])
                found |= {Kind.LISTEN} if cursor.fetchone()[0] else set()
            cursor.execute(CLEAN)
        connection.autocommit = former
        return found


class _Lending(_Blocking):
    """A pool that lends by ``getconn`` and takes back by ``putconn``."""

    def left(self) -> set[Kind]:
        connection = self.pool.getconn()
        try:
            return self._questioned(connection)
        finally:
            self.pool.putconn(connection)


class _Psycopg2(_Lending):
    def __init__(self, dsn: str) -> None:
        from psycopg2.pool import ThreadedConnectionPool

        self.pool = ThreadedConnectionPool(1, 1, dsn)

    def mend(self) -> None:
        for connection in list(self.pool._used.values()):  # its putconn raises before it forgets one
            self.pool.putconn(connection, close=True)

    def close(self) -> None:
        self.pool.closeall()


class _Psycopg(_Lending):
    def __init__(self, dsn: str) -> None:
        from psycopg_pool import ConnectionPool

        # The statements that it prepares by itself would be discarded with the rest.
        self.pool = ConnectionPool(dsn, min_size=1, max_size=1, open=True, kwargs={"prepare_threshold": None})
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of each transaction that it rolls back

    def close(self) -> None:
        self.pool.close()


class _SQLAlchemy(_Blocking):
    def __init__(self, dsn: str, *, autocommit: bool = False) -> None:
        import sqlalchemy

        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # it tells of each backend that is gone
        address = dsn.replace("postgresql:", "postgresql+psycopg2:")
        options = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
        self.pool = sqlalchemy.create_engine(address, pool_size=1, max_overflow=0, **options)

    def in_transaction(self, connection: Any) -> bool:  # noqa: ANN401  any driver's
        return super().in_transaction(connection.connection.dbapi_connection)

    def backend(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        return super().backend(connection.connection.dbapi_connection)

    def process(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        return super().process(connection.connection.dbapi_connection)

    def left(self) -> set[Kind]:
        connection = self.pool.raw_connection()
        try:
            return self._questioned(connection.dbapi_connection)
        finally:
            connection.close()

    def close(self) -> None:
        self.pool.dispose()


class _Asyncpg:
    witness: Witness

    def __init__(self, dsn: str) -> None:
        import asyncpg

        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # it complains of each transaction that it rolls back

        async def create() -> Any:  # noqa: ANN401  any driver's
            return await asyncpg.create_pool(dsn, min_size=1, max_size=1, statement_cache_size=0)

        self.pool = self._loop.run_until_complete(create())

    def in_transaction(self, connection: Any) -> bool:  # noqa: ANN401  any driver's
        return bool(connection.is_in_transaction())

    def backend(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        return int(connection.get_server_pid())

    def mend(self) -> None:
        pass

    def process(self, connection: Any) -> int:  # noqa: ANN401  any driver's
        return int(connection.get_server_pid())

    def left(self) -> set[Kind]:
        return self._loop.run_until_complete(self._left())

    async def _left(self) -> set[Kind]:
        connection = await self.pool.acquire()
        found = {Kind.TRANSACTION} if connection.is_in_transaction() else set()
        for kind, question in QUESTIONS.items():
            if await connection.fetchval(question):
                found.add(kind)
        await connection.execute(CLEAN)
        await self.pool.release(connection)
        return found

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop.run_until_complete(coroutine)

    def close(self) -> None:
        self._loop.run_until_complete(self.pool.close())
        self._loop.close()


_MAKERS = {
    "psycopg2": _Psycopg2,
    "psycopg2-autocommit": _Psycopg2,
    "psycopg": _Psycopg,
    "psycopg-autocommit": _Psycopg,
    "asyncpg": _Asyncpg,
    "sqlalchemy": _SQLAlchemy,
    "sqlalchemy-autocommit": partial(_SQLAlchemy, autocommit=True),
}


@contextmanager
def opened(name: str, dsn: str) -> Iterator[Pools]:
    """The pool of the driver that a spelling is of."""
    pools = _MAKERS[name](dsn)
    pools.witness = Witness(dsn)
    try:
        yield pools
    finally:
        pools.witness.close()
        pools.close()


def prepare(dsn: str, setup: str = SETUP) -> None:
    """Give the server what the programs name: a role and a schema."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(setup)
