"""Every ``with_transaction`` that leakcheck writes, on a real server and under the faults it exists for.

The contract: leaving the block commits; whatever is raised, rolls back and reaches the caller as it was; the connection
comes back in every case, as new. Each test takes the only connection of a pool and then asks for it again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sessions.server import running

psycopg = pytest.importorskip("psycopg")

# Drivers leave the socket of an attempt that failed, or of a server that died, to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

Run = Callable[[str], Awaitable[list[Any]]]
Transaction = Callable[[], Any]  # an async context manager that gives a Run


def template(name: str) -> Any:
    return import_module(f"leakcheck.templates.{name}").with_transaction


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with running() as found:
        with psycopg.connect(found, autocommit=True) as admin:
            admin.execute("CREATE ROLE tenant")
            admin.execute("CREATE TABLE kept (n int)")
            admin.execute("CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            admin.execute("INSERT INTO late VALUES (1)")
        yield found


def runner(conn: Any) -> Run:
    """SQL by a cursor of a synchronous connection."""

    async def run(sql: str) -> list[Any]:
        cursor = conn.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []

    return run


@asynccontextmanager
async def psycopg2_pool(dsn: str) -> AsyncIterator[Transaction]:
    from psycopg2.pool import ThreadedConnectionPool

    pool = ThreadedConnectionPool(1, 1, dsn)

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Run]:
        with template("psycopg2")(pool) as conn:
            yield runner(conn)

    yield transaction
    pool.closeall()


@asynccontextmanager
async def psycopg2_connection(dsn: str) -> AsyncIterator[Transaction]:
    import psycopg2

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Run]:
        with template("psycopg2_connect")(psycopg2.connect(dsn)) as conn:
            yield runner(conn)

    yield transaction


@asynccontextmanager
async def psycopg_pool(dsn: str) -> AsyncIterator[Transaction]:
    from psycopg_pool import ConnectionPool

    with ConnectionPool(dsn, min_size=1, max_size=1, timeout=10, open=True) as pool:

        @asynccontextmanager
        async def transaction() -> AsyncIterator[Run]:
            with template("psycopg")(pool) as conn:
                yield runner(conn)

        yield transaction


@asynccontextmanager
async def psycopg_async_pool(dsn: str) -> AsyncIterator[Transaction]:
    from psycopg_pool import AsyncConnectionPool

    async with AsyncConnectionPool(dsn, min_size=1, max_size=1, timeout=10, open=False) as pool:

        @asynccontextmanager
        async def transaction() -> AsyncIterator[Run]:
            async with template("psycopg_async")(pool) as conn:

                async def run(sql: str) -> list[Any]:
                    cursor = await conn.execute(sql)
                    return list(await cursor.fetchall()) if cursor.description else []

                yield run

        yield transaction


@asynccontextmanager
async def asyncpg_pool(dsn: str) -> AsyncIterator[Transaction]:
    import asyncpg

    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:

        @asynccontextmanager
        async def transaction() -> AsyncIterator[Run]:
            async with template("asyncpg")(pool) as conn:
                yield conn.fetch

        yield transaction


@asynccontextmanager
async def aiopg_pool(dsn: str) -> AsyncIterator[Transaction]:
    aiopg = pytest.importorskip("aiopg")
    async with aiopg.create_pool(dsn, minsize=1, maxsize=1, timeout=10) as pool:

        @asynccontextmanager
        async def transaction() -> AsyncIterator[Run]:
            async with template("aiopg")(pool) as conn:

                async def run(sql: str) -> list[Any]:
                    cursor = await conn.cursor()
                    try:
                        await cursor.execute(sql)
                        return list(await cursor.fetchall()) if cursor.description else []
                    finally:
                        cursor.close()

                yield run

        yield transaction


@asynccontextmanager
async def sqlalchemy_engine(dsn: str) -> AsyncIterator[Transaction]:
    from sqlalchemy import create_engine, text

    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg2:"), pool_size=1, max_overflow=0)

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Run]:
        with template("sqlalchemy")(engine) as conn:

            async def run(sql: str) -> list[Any]:
                result = conn.execute(text(sql))
                return list(result) if result.returns_rows else []

            yield run

    yield transaction
    engine.dispose()


@asynccontextmanager
async def sqlalchemy_async_engine(dsn: str) -> AsyncIterator[Transaction]:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+asyncpg:"), pool_size=1, max_overflow=0)

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Run]:
        async with template("sqlalchemy_async")(engine) as conn:

            async def run(sql: str) -> list[Any]:
                result = await conn.execute(text(sql))
                return list(result) if result.returns_rows else []

            yield run

    yield transaction
    await engine.dispose()


SYNC = (psycopg2_pool, psycopg2_connection, psycopg_pool, sqlalchemy_engine)
ASYNC = (psycopg_async_pool, asyncpg_pool, aiopg_pool, sqlalchemy_async_engine)
every = pytest.mark.parametrize("driver", SYNC + ASYNC, ids=lambda driver: driver.__name__)
asynchronous = pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.__name__)


class Case:
    """One transaction and what is to be seen afterwards."""

    def __init__(self, dsn: str, driver: Callable[[str], Any]) -> None:
        self._dsn = dsn
        self._driver = driver

    def rows(self) -> int:
        with psycopg.connect(self._dsn, autocommit=True) as admin:
            count: int = admin.execute("SELECT count(*) FROM kept").fetchone()[0]
            return count

    def terminate(self, process: int) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", [process])
            while admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [process]).fetchone():
                pass

    def play(self, body: Callable[[Run], Awaitable[None]]) -> BaseException | None:
        """Run ``body`` in the transaction; return what came out, after checking the next borrower's session."""
        with psycopg.connect(self._dsn, autocommit=True) as admin:
            # A query whose client has left runs on to its end, with its locks.
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            admin.execute("TRUNCATE kept")

        async def main() -> BaseException | None:
            raised: BaseException | None = None
            async with self._driver(self._dsn) as transaction:
                try:
                    async with transaction() as run:
                        await body(run)
                except BaseException as error:
                    raised = error
                await self._next_borrower(transaction)
            return raised

        return asyncio.run(main())

    async def _next_borrower(self, transaction: Transaction) -> None:
        async with asyncio.timeout(20), transaction() as run:
            (state,) = await run("SELECT session_user = current_user, current_setting('lock_timeout')")
            assert tuple(state) == (True, "10s")
            end = time.monotonic() + 5  # the server may still have to see that a closed connection is gone
            while time.monotonic() < end:
                ((locks,),) = await run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
                if not locks:
                    break
            assert not locks
            with psycopg.connect(self._dsn, autocommit=True) as admin:
                idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%' AND pid <> %s"
                (own,) = await run("SELECT pg_backend_pid()")
                assert admin.execute(idle, [own[0]]).fetchone() == (0,)


@pytest.fixture
def case(dsn: str, driver: Callable[[str], Any]) -> Case:
    return Case(dsn, driver)


async def insert(run: Run) -> None:
    await run("INSERT INTO kept VALUES (1)")


@every
def test_leaving_the_block_commits(case: Case) -> None:
    assert case.play(insert) is None
    assert case.rows() == 1


@every
def test_a_failing_statement(case: Case) -> None:
    async def body(run: Run) -> None:
        await insert(run)
        await run("SELECT no_such_column")

    assert "no_such_column" in str(case.play(body))
    assert case.rows() == 0


@every
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_exception_of_the_caller_is_unchanged(case: Case, error: BaseException) -> None:
    async def body(run: Run) -> None:
        await insert(run)
        raise error

    assert case.play(body) is error
    assert case.rows() == 0


@every
def test_a_commit_that_fails(case: Case) -> None:
    async def body(run: Run) -> None:
        await insert(run)
        await run("INSERT INTO late VALUES (1)")

    assert "late_n_key" in str(case.play(body))
    assert case.rows() == 0


@every
def test_an_error_that_the_block_swallows(case: Case) -> None:
    async def body(run: Run) -> None:
        await insert(run)
        with suppress(Exception):
            await run("SELECT no_such_column")

    assert isinstance(case.play(body), Exception)
    assert case.rows() == 0


@every
@pytest.mark.parametrize("then", ["nothing", "a statement", "an exception"])
def test_a_server_process_that_dies(case: Case, then: str) -> None:
    error = ValueError("mine")

    async def body(run: Run) -> None:
        await insert(run)
        ((process,),) = await run("SELECT pg_backend_pid()")
        case.terminate(process)
        if then == "a statement":
            await insert(run)
        if then == "an exception":
            raise error

    raised = case.play(body)
    assert raised is error if then == "an exception" else isinstance(raised, Exception)
    assert case.rows() == 0


@every
@pytest.mark.parametrize("fails", [False, True])
def test_the_session_is_as_new_afterwards(case: Case, fails: bool) -> None:
    async def body(run: Run) -> None:
        await insert(run)
        await run("SET ROLE tenant")
        await run("SET lock_timeout = '7s'")
        await run("SELECT pg_advisory_lock(1)")
        if fails:
            raise LookupError

    assert (case.play(body) is None) is not fails
    assert case.rows() == (0 if fails else 1)


@asynchronous
@pytest.mark.parametrize("where", ["SELECT pg_sleep(5)", ""], ids=["in a query", "in Python"])
def test_a_cancelled_task(case: Case, where: str) -> None:
    async def body(run: Run) -> None:
        await insert(run)
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.2, task.cancel)
        await (run(where) if where else asyncio.sleep(30))

    assert isinstance(case.play(body), asyncio.CancelledError)
    assert case.rows() == 0


# MySQL's drivers


@pytest.fixture(scope="module")
def mariadb() -> Iterator[dict[str, Any]]:
    """The arguments by which drivers connect to a server of our own."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("there is no MariaDB server here (Debian: mariadb-server-core)")
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))  # a socket's path must be short
    user = ["--user=root"] if os.geteuid() == 0 else []
    data, socket = f"--datadir={folder}/data", str(folder / "s")
    install = ["mariadb-install-db", "--no-defaults", data, *user, "--auth-root-authentication-method=normal"]
    subprocess.run([*install, "--skip-test-db"], check=True, capture_output=True)
    server = subprocess.Popen(
        ["mariadbd", "--no-defaults", data, f"--socket={socket}", "--skip-networking", *user],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        given = {"unix_socket": socket, "user": "root", "database": "shop"}
        _prepare_mariadb(given)
        yield given
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def _prepare_mariadb(given: dict[str, Any]) -> None:
    pymysql = pytest.importorskip("pymysql")
    deadline = time.monotonic() + 60
    while not os.path.exists(given["unix_socket"]):
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.1)
    while True:
        try:
            admin = pymysql.connect(unix_socket=given["unix_socket"], user="root")
            break
        except pymysql.err.OperationalError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.1)
    with admin:
        admin.cursor().execute("CREATE DATABASE shop")
        admin.cursor().execute("CREATE TABLE shop.kept (n int UNIQUE) ENGINE=InnoDB")


@contextmanager
def pymysql_connection(given: dict[str, Any]) -> Iterator[Any]:
    driver = pytest.importorskip("pymysql")
    yield lambda: template("pymysql")(driver.connect(**given))


@contextmanager
def mysqlclient_connection(given: dict[str, Any]) -> Iterator[Any]:
    driver = pytest.importorskip("MySQLdb")
    yield lambda: template("mysqlclient")(driver.connect(**given))


@contextmanager
def mysql_connector_pool(given: dict[str, Any]) -> Iterator[Any]:
    pooling = pytest.importorskip("mysql.connector.pooling")
    pool = pooling.MySQLConnectionPool(pool_name=f"p{time.monotonic_ns()}", pool_size=1, **given)
    yield lambda: template("mysql_connector")(pool.get_connection())


@contextmanager
def mysql_connector_connection(given: dict[str, Any]) -> Iterator[Any]:
    driver = pytest.importorskip("mysql.connector")
    yield lambda: template("mysql_connector")(driver.connect(**given))


MYSQL = (pymysql_connection, mysqlclient_connection, mysql_connector_pool, mysql_connector_connection)
by_mysql = pytest.mark.parametrize("mysql", MYSQL, ids=lambda driver: driver.__name__)


def in_mariadb(given: dict[str, Any], sql: str) -> list[Any]:
    import pymysql

    with pymysql.connect(**given, autocommit=True) as admin:
        cursor = admin.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall())


@by_mysql
@pytest.mark.parametrize("fault", ["none", "statement", "exception", "interrupt", "killed, exception", "killed"])
def test_mysql(mariadb: dict[str, Any], mysql: Callable[[dict[str, Any]], Any], fault: str) -> None:
    in_mariadb(mariadb, "TRUNCATE kept")
    mine: BaseException = KeyboardInterrupt() if fault == "interrupt" else ValueError("mine")
    raised: BaseException | None = None
    with mysql(mariadb) as transaction:
        try:
            with transaction() as conn:
                cursor = conn.cursor()
                cursor.execute("INSERT INTO kept VALUES (1)")
                if fault == "statement":
                    cursor.execute("INSERT INTO kept VALUES (1)")
                if fault.startswith("killed"):
                    cursor.execute("SELECT connection_id()")
                    in_mariadb(mariadb, f"KILL {cursor.fetchone()[0]}")
                if fault.endswith(("exception", "interrupt")):
                    raise mine
        except BaseException as error:
            raised = error
        assert in_mariadb(mariadb, "SELECT count(*) FROM kept") == [(1 if fault == "none" else 0,)]
        with transaction() as conn:
            cursor = conn.cursor()
            cursor.execute("SELECT 1")
            assert cursor.fetchall() in ([(1,)], ((1,),))
    if fault == "none":
        assert raised is None
    elif fault in {"statement", "killed"}:
        assert isinstance(raised, Exception)
    else:
        assert raised is mine


@pytest.mark.parametrize("fault", ["none", "statement", "exception", "cancelled", "killed, exception"])
def test_aiomysql(mariadb: dict[str, Any], fault: str) -> None:
    aiomysql = pytest.importorskip("aiomysql")
    in_mariadb(mariadb, "TRUNCATE kept")
    mine = ValueError("mine")
    given = {**mariadb, "db": mariadb["database"], "minsize": 1, "maxsize": 1}
    del given["database"]

    async def main() -> BaseException | None:
        raised: BaseException | None = None
        async with aiomysql.create_pool(**given) as pool:
            try:
                async with template("aiomysql")(pool) as conn, conn.cursor() as cursor:
                    await cursor.execute("INSERT INTO kept VALUES (1)")
                    if fault == "statement":
                        await cursor.execute("INSERT INTO kept VALUES (1)")
                    if fault.startswith("killed"):
                        in_mariadb(mariadb, f"KILL {conn.thread_id()}")
                    if fault == "cancelled":
                        task = asyncio.current_task()
                        assert task is not None
                        asyncio.get_running_loop().call_later(0.2, task.cancel)
                        await cursor.execute("SELECT sleep(5)")
                    if fault.endswith("exception"):
                        raise mine
            except BaseException as error:
                raised = error
            assert in_mariadb(mariadb, "SELECT count(*) FROM kept") == [(1 if fault == "none" else 0,)]
            async with asyncio.timeout(20), template("aiomysql")(pool) as conn, conn.cursor() as cursor:
                await cursor.execute("SELECT 1")
        return raised

    raised = asyncio.run(main())
    if fault.endswith("exception"):
        assert raised is mine
    elif fault == "cancelled":
        assert isinstance(raised, asyncio.CancelledError)
    else:
        assert (raised is None) is (fault == "none")


# Connections without a pool are closed.


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = str(tmp_path / "shop.db")
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE kept (n int)")
    conn.close()
    return path


def kept(file: str) -> int:
    conn = sqlite3.connect(file)
    count: int = conn.execute("SELECT count(*) FROM kept").fetchone()[0]
    conn.close()
    return count


@pytest.mark.parametrize("error", [None, ValueError("mine"), KeyboardInterrupt()], ids=repr)
def test_sqlite3(file: str, error: BaseException | None) -> None:
    conn = sqlite3.connect(file)
    raised: BaseException | None = None
    try:
        with template("sqlite3")(conn) as given:
            given.execute("INSERT INTO kept VALUES (1)")
            if error is not None:
                raise error
    except BaseException as caught:
        raised = caught
    assert raised is error
    assert kept(file) == (1 if error is None else 0)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        conn.execute("SELECT 1")


@pytest.mark.parametrize("error", [None, ValueError("mine"), asyncio.CancelledError()], ids=repr)
def test_aiosqlite(file: str, error: BaseException | None) -> None:
    aiosqlite = pytest.importorskip("aiosqlite")

    async def main() -> BaseException | None:
        conn = await aiosqlite.connect(file)
        raised: BaseException | None = None
        try:
            async with template("aiosqlite")(conn) as given:
                await given.execute("INSERT INTO kept VALUES (1)")
                if error is not None:
                    raise error
        except BaseException as caught:
            raised = caught
        with pytest.raises(ValueError, match=r"no active connection|Connection closed"):
            await conn.execute("SELECT 1")
        return raised

    assert asyncio.run(main()) is error
    assert kept(file) == (1 if error is None else 0)
