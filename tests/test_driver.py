"""Driver files: the built-in ones hold the measured facts, faulty ones are refused with file, key and remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck.diagnostic import LeakcheckError
from leakcheck.driver import (
    ClassKind,
    DriverClass,
    Drivers,
    Operation,
    Protocol,
    ReleaseTwice,
    UseAfterRelease,
    WithEffect,
    endings,
)
from leakcheck.driver_compiler import builtin_sources, compile_builtin
from leakcheck.driver_data import compiled_path, load_drivers
from leakcheck.driver_file import read_drivers
from leakcheck.ownership.queues import LENT

DRIVERS = load_drivers()
RELEASES, KEEPS, BREAKS, ERROR = WithEffect.RELEASES, WithEffect.KEEPS, WithEffect.BREAKS, WithEffect.ERROR


def acquired_by(drivers: Drivers, call: str) -> DriverClass:
    """The class of what a call, or a method of a class ("psycopg2.Pool/getconn"), acquires."""
    class_id, slash, method = call.partition("/")
    operation = drivers.classes[class_id].methods[method] if slash else drivers.calls[call]
    assert operation.acquires is not None
    return drivers.classes[operation.acquires]


# --- the compiled form ---


def test_compiled_form_is_fresh() -> None:
    message = "run: python -m leakcheck.driver_compiler"
    assert Path(compiled_path()).read_text(encoding="utf-8") == compile_builtin(), message


def test_compiled_form_says_what_the_sources_say() -> None:
    assert read_drivers(builtin_sources()) == DRIVERS


def test_loading_reads_no_toml() -> None:
    program = (
        "import sys; from leakcheck.driver_data import load_drivers; load_drivers(); print('tomllib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- the built-in files ---


@pytest.mark.parametrize("path", builtin_sources(), ids=lambda path: path.stem)
def test_file_is_named_after_its_driver_and_gives_its_source(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f'name = "{path.stem}"' in text
    assert 'docs = "https://' in text
    assert text.startswith("#"), "the measured facts, in a comment"


@pytest.mark.parametrize("driver", sorted({known.driver for known in DRIVERS.classes.values()} - {"generic"}))
def test_driver_has_packages(driver: str) -> None:
    assert DRIVERS.driver_packages[driver]
    assert DRIVERS.packages.issuperset(DRIVERS.driver_packages[driver])


def test_every_class_can_be_reached() -> None:
    operations = [op for known in DRIVERS.classes.values() for op in known.methods.values()]
    operations += DRIVERS.calls.values()
    reached = {target for op in operations for target in (op.acquires, op.returns, op.derives)}
    reached |= set(DRIVERS.class_names.values())
    reached |= {target for known in DRIVERS.classes.values() for target in known.attributes.values()}
    reached |= {class_id for classes in DRIVERS.words.values() for class_id in classes}
    reached |= LENT
    assert set(DRIVERS.classes) - reached == set()


@pytest.mark.parametrize("known", DRIVERS.classes.values(), ids=lambda known: known.id)
def test_class_is_consistent(known: DriverClass) -> None:
    if known.kind is ClassKind.POOL:
        assert known.names or known.receivers or any(op.returns == known.id for op in DRIVERS.calls.values())
    if known.kind in {ClassKind.POOL, ClassKind.FACTORY}:
        assert any(op.acquires for op in known.methods.values())
    for name, operation in known.methods.items():
        assert operation.name == name
        assert not (operation.near_miss and operation.releases), "a near miss is no release"
        if operation.acquires:
            assert DRIVERS.classes[operation.acquires].kind is ClassKind.CONNECTION
    if known.kind is ClassKind.CONNECTION and known.driver != "generic":
        assert known.docs.startswith("https://")


@pytest.mark.parametrize("known", DRIVERS.classes.values(), ids=lambda known: known.id)
def test_release_text_names_a_method_that_releases(known: DriverClass) -> None:
    if known.kind is not ClassKind.CONNECTION or known.release.startswith("leaving"):
        return
    if known.id in LENT:  # a queue of Python's own library is no pool until somebody fills it
        return
    owner, _, method = known.release.removeprefix("await ").removesuffix("()").partition(".")
    if owner == "{name}":
        operations = [known.methods.get(method)]
    else:
        method = method.partition("(")[0]
        pools = [p for p in DRIVERS.classes.values() if any(o.acquires == known.id for o in p.methods.values())]
        operations = [pool.methods.get(method) for pool in pools]
    assert operations
    for operation in operations:
        assert operation is not None
        assert operation.releases is not None
        assert operation.awaited is known.release.startswith("await ") or known.driver == "generic"


# --- the measured facts ---


@pytest.mark.parametrize(
    ("call", "effect"),
    [
        ("psycopg2.connect", KEEPS),
        ("psycopg2.Pool/getconn", KEEPS),
        ("psycopg.connect", RELEASES),
        ("psycopg.AsyncConnection.connect", RELEASES),
        ("psycopg.Pool/getconn", KEEPS),
        ("psycopg.AsyncPool/getconn", KEEPS),
        ("asyncpg.connect", ERROR),
        ("asyncpg.Pool/acquire", ERROR),
        ("aiopg.connect", RELEASES),
        ("aiopg.Pool/acquire", BREAKS),
        ("aiomysql.connect", RELEASES),
        ("aiomysql.Pool/acquire", BREAKS),
        ("asyncmy.connect", RELEASES),
        ("asyncmy.Pool/acquire", BREAKS),
        ("pymysql.connect", RELEASES),
        ("MySQLdb.connect", RELEASES),
        ("mysql.connector.connect", RELEASES),
        ("mysql_connector.Pool/get_connection", RELEASES),
        ("mariadb.connect", RELEASES),
        ("mariadb.Pool/get_connection", RELEASES),
        ("sqlite3.connect", KEEPS),
        ("sqlalchemy.Engine/connect", RELEASES),
        ("sqlalchemy.Engine/raw_connection", ERROR),
        ("sqlalchemy.orm.Session", RELEASES),
        ("sqlmodel.Session", RELEASES),
        ("sqlalchemy.SessionMaker/__call__", RELEASES),
        ("sqlalchemy.AsyncEngine/connect", RELEASES),
        ("sqlalchemy.ext.asyncio.AsyncSession", RELEASES),
        ("dbutils.Pool/connection", RELEASES),
        ("pg8000.connect", RELEASES),
        ("pg8000.native.Connection", RELEASES),
        ("pyodbc.connect", KEEPS),
        ("oracledb.connect", RELEASES),
        ("cx_Oracle.connect", RELEASES),
        ("oracledb.Pool/acquire", RELEASES),
        ("duckdb.connect", RELEASES),
        ("redis.Client/pubsub", RELEASES),
    ],
)
def test_leaving_with(call: str, effect: WithEffect) -> None:
    assert acquired_by(DRIVERS, call).with_effect is effect


@pytest.mark.parametrize(
    ("acquire", "release", "awaited", "close_releases", "twice", "after"),
    [
        ("psycopg2.Pool/getconn", "putconn", False, False, ReleaseTwice.RAISES, UseAfterRelease.SHARED),
        ("psycopg.Pool/getconn", "putconn", False, False, ReleaseTwice.RAISES, UseAfterRelease.SHARED),
        ("psycopg.AsyncPool/getconn", "putconn", True, False, ReleaseTwice.RAISES, UseAfterRelease.SHARED),
        ("asyncpg.Pool/acquire", "release", True, True, ReleaseTwice.HARMLESS, UseAfterRelease.RAISES),
        ("aiopg.Pool/acquire", "release", False, False, ReleaseTwice.RAISES, UseAfterRelease.SHARED),
        ("aiomysql.Pool/acquire", "release", False, False, ReleaseTwice.RAISES, UseAfterRelease.SHARED),
        ("asyncmy.Pool/acquire", "release", False, False, ReleaseTwice.RAISES, UseAfterRelease.SHARED),
        ("oracledb.Pool/acquire", "release", False, True, ReleaseTwice.RAISES, UseAfterRelease.RAISES),
    ],
)
def test_pool_release(
    *, acquire: str, release: str, awaited: bool, close_releases: bool, twice: ReleaseTwice, after: UseAfterRelease
) -> None:
    given_back = DRIVERS.classes[acquire.partition("/")[0]].methods[release]
    assert given_back.releases == 0
    assert given_back.awaited is awaited
    taken = acquired_by(DRIVERS, acquire)
    assert (taken.methods["close"].releases == "receiver") is close_releases
    assert bool(taken.methods["close"].near_miss) is not close_releases
    assert taken.release_twice is twice
    assert taken.use_after_release is after


@pytest.mark.parametrize(
    ("acquire", "twice", "after"),
    [
        ("sqlalchemy.Engine/connect", ReleaseTwice.HARMLESS, UseAfterRelease.RAISES),
        ("sqlalchemy.orm.Session", ReleaseTwice.HARMLESS, UseAfterRelease.REOPENS),
        ("mysql_connector.Pool/get_connection", ReleaseTwice.CORRUPTS, UseAfterRelease.RAISES),
        ("mariadb.Pool/get_connection", ReleaseTwice.HARMLESS, UseAfterRelease.RAISES),
        ("dbutils.Pool/connection", ReleaseTwice.HARMLESS, UseAfterRelease.RAISES),
        ("pymysql.connect", ReleaseTwice.RAISES, UseAfterRelease.RAISES),
        ("sqlite3.connect", ReleaseTwice.HARMLESS, UseAfterRelease.RAISES),
    ],
)
def test_close_is_the_release(acquire: str, twice: ReleaseTwice, after: UseAfterRelease) -> None:
    taken = acquired_by(DRIVERS, acquire)
    assert taken.methods["close"].releases == "receiver"
    assert taken.release_twice is twice
    assert taken.use_after_release is after


@pytest.mark.parametrize(
    ("call", "protocol"),
    [
        ("psycopg.AsyncConnection.connect", Protocol.COROUTINE),
        ("asyncpg.connect", Protocol.COROUTINE),
        ("asyncpg.create_pool", Protocol.AWAITABLE_CONTEXT),
        ("aiopg.connect", Protocol.AWAITABLE_CONTEXT),
        ("aiosqlite.connect", Protocol.AWAITABLE_CONTEXT),
        ("mysql.connector.aio.connect", Protocol.COROUTINE),
        ("oracledb.connect_async", Protocol.AWAITABLE_CONTEXT),
        ("oracledb.create_pool_async", Protocol.VALUE),
        ("sqlite3.connect", Protocol.VALUE),
    ],
)
def test_protocol_of_calls(call: str, protocol: Protocol) -> None:
    assert DRIVERS.calls[call].protocol is protocol


@pytest.mark.parametrize(
    ("class_id", "method", "protocol"),
    [
        ("psycopg.Pool", "connection", Protocol.CONTEXT),
        ("psycopg.AsyncPool", "connection", Protocol.ASYNC_CONTEXT),
        ("psycopg.AsyncPool", "getconn", Protocol.COROUTINE),
        ("asyncpg.Pool", "acquire", Protocol.AWAITABLE_CONTEXT),
        ("sqlalchemy.Engine", "begin", Protocol.CONTEXT),
        ("sqlalchemy.SessionMaker", "begin", Protocol.CONTEXT),
        ("sqlalchemy.AsyncEngine", "begin", Protocol.ASYNC_CONTEXT),
        ("databases.Database", "connection", Protocol.ASYNC_CONTEXT),
        ("pymongo.MotorClient", "start_session", Protocol.COROUTINE),
    ],
)
def test_protocol_of_methods(class_id: str, method: str, protocol: Protocol) -> None:
    assert DRIVERS.classes[class_id].methods[method].protocol is protocol


def test_psycopg_close_returns_to_a_pool_that_asked_for_it() -> None:
    assert DRIVERS.classes["psycopg.PooledConnection"].methods["close"].near_miss_unless == "close_returns"
    assert DRIVERS.classes["psycopg2.PooledConnection"].methods["close"].near_miss_unless == "connection_factory"


def test_commit_gives_the_connection_of_a_session_back_until_the_next_statement() -> None:
    assert DRIVERS.classes["sqlalchemy.Session"].methods["commit"].pauses
    assert DRIVERS.classes["sqlalchemy.Session"].methods["commit"].releases is None


def test_registries_own_their_sessions() -> None:
    for name in ("sqlalchemy.ScopedSession", "sqlalchemy.AsyncScopedSession"):
        assert not any(operation.acquires for operation in DRIVERS.classes[name].methods.values())


def test_constructing() -> None:
    assert DRIVERS.calls["sqlalchemy.orm.Session"].acquires == "sqlalchemy.Session"
    assert DRIVERS.calls["psycopg2.pool.SimpleConnectionPool"].returns == "psycopg2.Pool"
    assert DRIVERS.calls["peewee.SqliteDatabase"] == Operation("peewee.SqliteDatabase", returns="peewee.Database")
    assert "psycopg.Connection" not in DRIVERS.calls
    assert DRIVERS.class_names["psycopg.Connection"] == "psycopg.Connection"


def test_attributes_cross_drivers() -> None:
    assert DRIVERS.classes["flask_sqlalchemy.SQLAlchemy"].attributes["engine"] == "sqlalchemy.Engine"


# --- evidence by name ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_dbPool", ("db_pool", "pool")),
        ("PGPool", ("pg_pool", "pool")),
        ("AsyncSessionLocal", ("async_session_local", "session_local", "local")),
        ("ENGINE", ("engine",)),
        ("_", ()),
    ],
)
def test_endings(name: str, expected: tuple[str, ...]) -> None:
    assert endings(name) == expected


@pytest.mark.parametrize("name", ["pool", "_pool", "conn_pool", "dbpool", "PgPool", "connectionpool"])
def test_pools_are_recognised(name: str) -> None:
    assert {"generic.Pool", "generic.AsyncPool", "asyncpg.Pool"} <= set(DRIVERS.receiver_classes(name))


@pytest.mark.parametrize("name", ["lock", "sem", "semaphore", "sock", "socket", "signal", "requests", "boto3", "self"])
def test_other_receivers_are_not(name: str) -> None:
    assert DRIVERS.receiver_classes(name) == ()


def test_distinctive_methods_are_few() -> None:
    operations = [op for known in DRIVERS.classes.values() for op in known.methods.values()]
    assert {op.name for op in operations if op.distinctive and op.acquires} == {
        "getconn",
        "raw_connection",
        "dedicated_connection",
    }


def test_generic_acquires_have_a_release_and_no_near_miss() -> None:
    connection = DRIVERS.classes["generic.Connection"]
    assert connection.methods["close"].releases == "receiver"
    assert not any(operation.near_miss for operation in connection.methods.values())
    for name in ("putconn", "release", "give_back"):
        assert {class_id for class_id, _ in DRIVERS.methods_named(name)} >= {"generic.Pool", "generic.AsyncPool"}


def test_every_acquire_holds_a_token() -> None:
    tokens = [token.decode() for token in DRIVERS.tokens]
    assert len(tokens) <= 25, "so few that a plain search for each is the fastest"
    for name, operation in DRIVERS.calls.items():
        if operation.acquires:
            assert any(token in name.rpartition(".")[2] or token == operation.token for token in tokens), name
    for known in DRIVERS.classes.values():
        for name, operation in known.methods.items():
            if (operation.acquires or operation.acquires_receiver) and name != "__call__":
                assert any(token in name or token == operation.token for token in tokens), name


# --- files of users ---

POOL = """
name = "house"
packages = ["house"]
[class.Pool]
kind = "pool"
names = ["house.Pool"]
[class.Pool.methods]
take = { acquires = "Connection" }
give = { releases = 0 }
[class.Connection]
kind = "connection"
with = "keeps"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "house.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_user_driver_is_added(tmp_path: Path) -> None:
    drivers = load_drivers([write(tmp_path, POOL)])
    assert drivers.calls["house.Pool"].returns == "house.Pool"
    assert acquired_by(drivers, "house.Pool/take").with_effect is KEEPS
    assert drivers.calls["psycopg2.connect"] == DRIVERS.calls["psycopg2.connect"]
    assert "house" in drivers.packages
    assert b"take" in drivers.tokens
    assert drivers.tokens > DRIVERS.tokens


def test_user_driver_extends_a_builtin_class(tmp_path: Path) -> None:
    text = """
name = "house"
[class.Engine]
extends = "sqlalchemy.Engine"
names = ["house.Engine"]
[call."house.connect"]
acquires = "sqlite3.Connection"
aliases = ["house.db.connect"]
"""
    drivers = load_drivers([write(tmp_path, text)])
    assert acquired_by(drivers, "house.Engine/connect").id == "sqlalchemy.Connection"
    assert acquired_by(drivers, "house.db.connect").id == "sqlite3.Connection"


def test_user_driver_overrides_a_builtin_call(tmp_path: Path) -> None:
    text = 'name = "house"\n[call."psycopg2.connect"]\nacquires = "psycopg2.PooledConnection"\n'
    assert acquired_by(load_drivers([write(tmp_path, text)]), "psycopg2.connect").id == "psycopg2.PooledConnection"


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ('nam = "house"', "nam", 'did you mean "name"?'),
        ('packages = ["x"]', "name", 'add name = "house"'),
        ('name = "a b"', "name", 'add name = "house"'),
        ('name = "psycopg2"', "name", "choose another name"),
        ('name = "house"\npackages = "x"', "packages", "give a list of strings"),
        ('name = "house"\npackages = [1]', "packages", "give a list of strings"),
        ('name = "house"\nclass = 1', "class", "give a table"),
        (POOL.replace("kind =", "kinds ="), "class.Pool.kinds", 'did you mean "kind"?'),
        (POOL.replace('"pool"', '"poll"'), "class.Pool.kind", 'did you mean "pool"?'),
        (POOL.replace('kind = "pool"\n', ""), "class.Pool.kind", 'add kind = "pool"'),
        (POOL.replace('"keeps"', '"keep"'), "class.Connection.with", 'did you mean "keeps"?'),
        (POOL.replace("acquires", "aquires"), "class.Pool.methods.take.aquires", 'did you mean "acquires"?'),
        (POOL.replace('"Connection" }', '"Conection" }'), "class.Pool.methods.take.acquires", '"Connection"?'),
        (POOL.replace('"Connection" }', '"Pool" }'), "class.Pool.methods.take.acquires", 'write "returns"'),
        (POOL.replace("releases = 0", "releases = true"), "class.Pool.methods.give.releases", "a string or a whole"),
        (POOL.replace("releases = 0", 'releases = "the conn"'), "class.Pool.methods.give.releases", "an index or"),
        (POOL.replace("releases = 0", "awaited = true"), "class.Pool.methods.give.awaited", 'add "releases"'),
        (POOL.replace("releases = 0", 'near-miss-unless = "x"'), "methods.give.near-miss-unless", 'add "near-miss"'),
        (POOL.replace("give = { releases = 0 }", ""), "class.Connection", 'releases = "receiver"'),
        (POOL + 'release = "{poll}.give({name})"', "class.Connection.release", "use {name} and {pool} only"),
        (POOL + 'extends = "Connection"', "class.Connection.extends", "remove one of the extends"),
        (POOL + 'attributes = { pool = "Poll" }', "class.Connection.attributes.pool", 'did you mean "Pool"?'),
        (POOL + "attributes = { pool = 1 }", "class.Connection.attributes.pool", "give the name of a class"),
        (POOL + 'names = ["house.Pool"]', "names", "keep one"),
        (POOL + '[call."house.f"]\ntoken = "f"', 'call."house.f"', 'add "acquires"'),
        (POOL + '[call."house.f"]\nreturns = "Pool"\naliases = ["house.f"]', 'call."house.f"', "keep one of the two"),
        ("name =", "house.toml", "not valid TOML"),
    ],
)
def test_fault_names_file_key_and_remedy(tmp_path: Path, text: str, key: str, remedy: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LeakcheckError) as caught:
        load_drivers([path])
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert key in message
    assert remedy in message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LeakcheckError, match="cannot be read"):
        load_drivers([tmp_path / "absent.toml"])
