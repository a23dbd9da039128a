"""The configured helper: where it may take the place of a checkout and its commit, and where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakcheck.cli import main

HELPER = """\
from contextlib import contextmanager

from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


@contextmanager
def with_transaction(pool):
    conn = pool.getconn()
    broken = False
    try:
        try:
            yield conn
        except BaseException:
            try:
                conn.rollback()
            except Exception:
                broken = True
            raise
        else:
            conn.commit()
    finally:
        if broken or conn.closed:
            pool.putconn(conn, close=True)
        else:
            pool.putconn(conn)
"""
START = '"""Orders."""\n\nfrom app.db import pool\n\n\ndef place(name, notify):\n    conn = pool.getconn()\n'
BODY = """\
    cur = conn.cursor()
    cur.execute("INSERT INTO orders (name) VALUES (%s)", (name,))
    conn.commit()
    pool.putconn(conn)
    notify(name)
"""
FIXED = '''\
"""Orders."""

from app.db import pool, with_transaction


def place(name, notify):
    with with_transaction(pool) as conn:
        cur = conn.cursor()
        cur.execute("INSERT INTO orders (name) VALUES (%s)", (name,))
    notify(name)
'''


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leakcheck.toml").write_text('helper = "app.db:with_transaction"\n')
    Path("app").mkdir()
    Path("app/__init__.py").touch()


def fixed(text: str, helper: str = HELPER) -> str:
    """The text of a module of the project after `--fix`."""
    Path("app/db.py").write_text(helper)
    Path("app/orders.py").write_text(text)
    main(["--fix", "-q", "app/orders.py"])
    return Path("app/orders.py").read_text()


def test_one_commit_that_every_way_passes() -> None:
    assert fixed(START + BODY) == FIXED


def test_the_one_pool_that_a_function_gives_is_handed_to_it() -> None:
    giving = "\n\ndef get_pool():\n    return pool\n"
    text = (START + BODY).replace("import pool", "import get_pool").replace("pool.", "get_pool().")
    assert "    with with_transaction(get_pool()) as conn:\n" in fixed(text, HELPER + giving)
    made = giving.replace("return pool", "return ThreadedConnectionPool(1, 10, 'dbname=shop')")
    assert "with_transaction" not in fixed(text, HELPER + made)


def test_handlers_that_only_roll_back_are_the_helpers() -> None:
    body = """\
    try:
        cur = conn.cursor()
        cur.execute("INSERT INTO orders (name) VALUES (%s)", (name,))
        conn.commit()
    except Exception:
        conn.rollback()
        pool.putconn(conn)
        raise
    pool.putconn(conn)
    notify(name)
"""
    text = START + body.replace("    try:\n", "    conn.cursor()\n    try:\n", 1)
    assert "with_transaction" not in fixed(text)
    wider = body.replace("        cur.execute", "        notify(0)\n        cur.execute")
    found = fixed(START + wider.replace("except Exception", "except ValueError"))
    assert "with with_transaction(pool) as conn:\n        cur = conn.cursor()" in found
    assert "rollback" not in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    conn.commit()\n", ""),
        ("    conn.commit()\n", "    if name:\n        conn.commit()\n"),
        ("    conn.commit()\n", "    if not name:\n        return\n    conn.commit()\n"),
        ("    cur.execute", "    conn.commit()\n    cur.execute"),
        ("    cur.execute", "    conn.rollback()\n    cur.execute"),
        ("    cur.execute", '    cur.execute("COMMIT")\n    cur.execute'),
        ("    cur.execute", "    len((cur,))\n    notify(cur)\n    cur.execute"),
        ("    conn.commit()\n", "    try:\n        notify(1)\n    except OSError:\n        pass\n    conn.commit()\n"),
        ("    pool.putconn(conn)\n", "    cur.fetchone()\n    pool.putconn(conn)\n"),
        ("    conn.commit()\n", "    for _ in name:\n        conn.commit()\n"),
        ("    cur.execute", '    cur.execute("SAVEPOINT a")\n    cur.execute'),
        ("    cur.execute", '    cur.execute("VACUUM orders")\n    cur.execute'),
        ("    conn = pool.getconn()", "    conn: object = pool.getconn()"),
    ],
    ids=[
        "no commit", "sometimes", "way out before it", "two commits", "rollback", "commit in SQL", "cursor passed on",
        "swallowed", "used behind it", "commits in a loop", "savepoint", "no transaction", "annotated",
    ],
)  # fmt: skip
def test_without_the_proof_the_commit_stays_where_it_is(old: str, new: str) -> None:
    text = (START + BODY).replace(old, new, 1)
    found = fixed(text)
    assert "with_transaction" not in found
    assert "finally:\n        pool.putconn(conn)\n" in found
    assert found.count("commit()") == text.count("commit()")


def test_what_was_said_of_the_commit_and_the_release_stands_where_both_are_made_now() -> None:
    body = BODY.replace("    conn.commit()", "\n    # before anybody is told\n    conn.commit()  # stored")
    found = fixed(START + body.replace("putconn(conn)", "putconn(conn)  # back to the pool"))
    assert found.endswith(
        '        cur.execute("INSERT INTO orders (name) VALUES (%s)", (name,))\n'
        "        # before anybody is told\n"
        "        # stored\n"
        "        # back to the pool\n"
        "    notify(name)\n"
    )


def test_ways_that_raise_and_turns_of_a_loop_have_their_own() -> None:
    assert "with with_transaction(pool)" in fixed(
        START + BODY.replace("    conn.commit", "    if not name:\n        raise ValueError\n    conn.commit")
    )
    body = BODY.replace("    notify(name)\n", "").replace("\n    ", "\n        ")
    text = (
        START.replace("    conn = pool", "    for name in name:\n        conn = pool")
        + "    "
        + body.replace("\n    ", "\n    ")
    )
    assert "with with_transaction(pool)" in fixed(text)


def test_a_module_that_changes_where_imports_start_gets_none() -> None:
    found = fixed("import sys\n\nsys.path.insert(0, 'lib')\n" + START + BODY)
    assert "with_transaction" not in found
    assert "finally:" in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("except BaseException", "except Exception"),
        ("            conn.commit()\n", "            pass\n"),
        ("            raise\n", ""),
        ("@contextmanager\n", ""),
        ("def with_transaction(pool)", "def with_transaction(source)"),
        ("import contextmanager\n", "import contextmanager\nimport app.orders\n"),
        ("    finally:\n        if broken", "    if True:\n        if broken"),
    ],
    ids=["narrow", "no commit", "swallows", "no manager", "other pool", "cycle", "leaks"],
)
def test_a_helper_that_is_not_right_is_not_used(old: str, new: str) -> None:
    assert old in HELPER
    helper = HELPER.replace(old, new)
    if "if True" in new:
        helper = helper.replace("    try:\n        try:\n", "    if True:\n        try:\n")
    found = fixed(START + BODY, helper)
    assert "with_transaction" not in found
    assert "finally:" in found


def test_a_name_that_is_taken_is_not_imported() -> None:
    assert "with with_transaction" not in fixed(
        START.replace("def place", "with_transaction = 1\n\n\ndef place") + BODY
    )
    below = fixed(START.replace("import pool", "import *") + BODY)
    assert "from app.db import *\nfrom app.db import with_transaction\n" in below


def test_the_module_of_the_helper_does_not_import_itself() -> None:
    text = HELPER + "\n\n" + (START + BODY).partition("\n\n\n")[2]
    Path("app/db.py").write_text(text)
    main(["--fix", "-q", "app/db.py"])
    assert "import with_transaction" not in Path("app/db.py").read_text()


def test_an_alias_is_reused() -> None:
    found = fixed(START.replace("import pool", "import pool\nfrom app.db import with_transaction as tx") + BODY)
    assert "    with tx(pool) as conn:\n" in found


POOLS = {
    "psycopg2": "from psycopg2.pool import SimpleConnectionPool\n\npool = SimpleConnectionPool(1, 10, 'dbname=shop')",
    "psycopg": "from psycopg_pool import ConnectionPool\n\npool = ConnectionPool('dbname=shop')",
    "psycopg-async": "from psycopg_pool import AsyncConnectionPool\n\npool = AsyncConnectionPool('', open=False)",
    "sqlalchemy": "from sqlalchemy import create_engine\n\nengine = create_engine('postgresql://shop')",
    "sqlalchemy-async": (
        "from sqlalchemy.ext.asyncio import create_async_engine\n\n"
        "engine = create_async_engine('postgresql+asyncpg://shop')"
    ),
    "mysql-connector": (
        "from mysql.connector.pooling import MySQLConnectionPool\n\npool = MySQLConnectionPool(database='shop')"
    ),
    "aiomysql": "import aiomysql\n\npool: aiomysql.Pool",
}
TAKEN = {
    "psycopg2": ("pool.getconn()", "pool.putconn(conn)"),
    "psycopg": ("pool.getconn()", "pool.putconn(conn)"),
    "psycopg-async": ("await pool.getconn()", "await pool.putconn(conn)"),
    "sqlalchemy": ("engine.connect()", "conn.close()"),
    "sqlalchemy-async": ("await engine.connect()", "await conn.close()"),
    "mysql-connector": ("pool.get_connection()", "conn.close()"),
    "aiomysql": ("await pool.acquire()", "pool.release(conn)"),
    "sqlite3": ("sqlite3.connect('shop.db')", "conn.close()"),
    "aiosqlite": ("await aiosqlite.connect('shop.db')", "await conn.close()"),
    "pymysql": ("pymysql.connect(host='db', database='shop')", "conn.close()"),
    "mysqlclient": ("MySQLdb.connect(host='db', database='shop')", "conn.close()"),
    "psycopg2-connect": ("psycopg2.connect('dbname=shop')", "conn.close()"),
}
GIVEN = {"mysql-connector"}
"""Helpers that are given the connection, and not the pool."""


def written_by_init(driver: str) -> None:
    Path("leakcheck.toml").unlink()
    assert main(["init", "--driver", driver]) == 0


def place(driver: str, taken: str, released: str) -> str:
    """A module that takes a connection, commits once, and gives it back where nothing raises."""
    is_async = taken.startswith("await ")
    wait = "await " if is_async else ""
    module = {"mysqlclient": "MySQLdb"}.get(driver, driver.partition("-")[0])
    start = (
        f"from app.db import {taken.removeprefix('await ').partition('.')[0]}"
        if driver in POOLS
        else f"import {module}"
    )
    lines = [
        f"    conn = {taken}", f"    await notify({driver!r})" if is_async else f"    notify({driver!r})",
        f"    {wait}conn.commit()", f"    {released}",
    ]  # fmt: skip
    return "\n".join([start, "", "", f"{'async ' * is_async}def place(notify):", *lines, ""])


@pytest.mark.parametrize("driver", TAKEN)
def test_what_init_writes_is_used(driver: str, capsys: pytest.CaptureFixture[str]) -> None:
    written_by_init(driver)
    assert "`--fix`" in capsys.readouterr().out
    taken, released = TAKEN[driver]
    found = fixed(place(driver, taken, released), POOLS.get(driver, ""))
    given = taken.removeprefix("await ").partition(".")[0] if driver in POOLS and driver not in GIVEN else taken
    assert f"with with_transaction({given}) as conn:\n" in found
    assert "\nfrom app.transactions import with_transaction\n" in found
    assert driver != "sqlite3" or found.startswith(
        "import sqlite3\n\nfrom app.transactions import with_transaction\n\n\n"
    )
    assert "commit" not in found
    assert released not in found


@pytest.mark.parametrize("driver", ["asyncpg", "aiopg"])
def test_what_commits_each_statement_gets_no_transaction(driver: str, capsys: pytest.CaptureFixture[str]) -> None:
    written_by_init(driver)
    assert "`--fix`" not in capsys.readouterr().out
    text = place(driver, "await pool.acquire()", "await pool.release(conn)").replace("    await conn.commit()\n", "")
    found = fixed(
        text.replace(f"import {driver}", "from app.db import pool"), f"import {driver}\n\npool: {driver}.Pool"
    )
    assert "async with pool.acquire():\n" in found


@pytest.mark.parametrize(
    ("pool", "taken"),
    [
        (POOLS["psycopg"].replace("')", "', kwargs={'autocommit': True})"), "pool.getconn()"),
        ("", "psycopg.connect('dbname=shop', autocommit=True)"),
        ("", "sqlite3.connect('shop.db', isolation_level=None)"),
        ("", "sqlite3.connect('shop.db', **settings)"),
    ],
)
def test_what_may_commit_each_statement_is_left_to_do_so(pool: str, taken: str) -> None:
    driver = "psycopg" if pool else taken.partition(".")[0]
    written_by_init("psycopg" if pool else "sqlite3")
    text = place(driver, taken, "pool.putconn(conn)" if pool else "conn.close()")
    text = text.replace("from app.db import psycopg", "import psycopg")
    found = fixed(text.replace("(notify)", "(notify, settings)"), pool)
    assert "with_transaction" not in found
    assert found != text


def test_a_helper_that_was_written_may_be_formatted_and_not_changed() -> None:
    written_by_init("sqlite3")
    helper = Path("app/transactions.py")
    text = place("sqlite3", *TAKEN["sqlite3"])
    helper.write_text(helper.read_text().replace("    try:\n        try:\n", "    try:\n\n        try:  # both\n"))
    assert "with_transaction" in fixed(text, "")
    helper.write_text(
        helper.read_text().replace("            _roll_back(conn)\n            raise\n", "            raise\n")
    )
    assert "with_transaction" not in fixed(text, "")
    helper.write_text(
        helper.read_text().replace("            raise\n", "            conn.rollback()\n            raise\n")
    )
    assert "with_transaction" in fixed(text, "")


def test_the_helper_is_used_only_where_its_import_is_seen_to_work() -> None:
    written_by_init("sqlite3")
    Path("jobs").mkdir()
    text = place("sqlite3", *TAKEN["sqlite3"])
    for more, used in (("", False), ("import settings\n", False), ("import app.db\n", True)):
        Path("jobs/settings.py").touch()
        Path("app/db.py").touch()
        Path("jobs/nightly.py").write_text(more + text)
        main(["--fix", "-q", "jobs/nightly.py"])
        found = Path("jobs/nightly.py").read_text()
        assert ("with_transaction" in found) is used
        assert ("with closing(" in found) is not used


def test_imports_that_start_elsewhere_say_that_the_package_is_found_there() -> None:
    written_by_init("sqlite3")
    Path("leakcheck.toml").write_text('src = ["."]\nhelper = "transactions:with_transaction"\n')
    Path("src/models").mkdir(parents=True)
    for empty in ("src/models/__init__.py", "src/names.py"):
        Path(empty).touch()
    Path("app/transactions.py").rename("src/transactions.py")
    text = place("sqlite3", *TAKEN["sqlite3"])
    for more, user, used in (
        ("import names\n", "", True), ("import src.names\n", "", False), ("", "", True),
        ("", "from models.orders import place\n", True), ("", "from src.models.orders import place\n", False),
    ):  # fmt: skip
        for main_file in ("main.py", "src/main.py"):
            Path(main_file).write_text(user if ("/" in main_file) is ("src." not in user) else "")
        Path("src/models/orders.py").write_text(more + text)
        main(["--fix", "-q", "src/models/orders.py"])
        assert ("with_transaction" in Path("src/models/orders.py").read_text()) is used


SESSIONS = """\
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

Session = sessionmaker(create_engine("postgresql:///shop"))


def place(order, notify):
    session = Session()
    session.add(order)
    session.commit()
    session.close()
    notify(order.number)
"""
OF_SESSIONS = """\
from contextlib import contextmanager


@contextmanager
def with_transaction(session):
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.close()
"""


def test_a_helper_serves_what_it_was_written_for() -> None:
    written_by_init("psycopg2-connect")
    found = fixed(SESSIONS.replace("from sqlalchemy import", "import app.db\nfrom sqlalchemy import"), "")
    assert "with Session() as session:" in found


def test_init_says_that_sessions_do_not_use_its_helper(capsys: pytest.CaptureFixture[str]) -> None:
    written_by_init("sqlalchemy")
    assert "for sessions their own `with Session() as session`" in capsys.readouterr().out
    found = fixed(SESSIONS.replace("from sqlalchemy import", "import app.db\nfrom sqlalchemy import"), "")
    assert "with Session() as session:" in found
    assert "with_transaction" not in found


@pytest.mark.parametrize(
    ("old", "new", "used"),
    [
        ("", "", True),
        ("        session.commit()", "        if not session.closed:\n            session.commit()", False),
        ("        session.close()", "        if session.is_active:\n            session.close()", False),
    ],
)
def test_a_helper_asks_nothing_that_another_kind_of_connection_has_not(old: str, new: str, used: bool) -> None:
    found = fixed("import app.db\n" + SESSIONS, OF_SESSIONS.replace(old, new))
    assert ("with with_transaction(Session()) as session:" in found) is used


def test_what_reads_an_object_behind_the_commit_keeps_its_session() -> None:
    reading = SESSIONS.replace("    session.close()\n", "    number = order.number\n    session.close()\n")
    found = fixed("import app.db\n" + reading.replace("notify(order.number)", "notify(number)"), OF_SESSIONS)
    assert "    with Session() as session:\n        session.add(order)\n        session.commit()\n" in found
    assert "        number = order.number\n" in found
