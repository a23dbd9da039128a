"""The helper and connections that functions of the project hand out: where it takes them, and where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakcheck.cli import main

DB = """\
import sqlite3


def get_db():
    conn = sqlite3.connect("shop.db")
    conn.row_factory = sqlite3.Row
    return conn
"""
VIEW = """\
from app.db import get_db


def place(name, notify):
    conn = get_db()
    cur = conn.cursor()
    cur.execute("INSERT INTO orders VALUES (?)", (name,))
    conn.commit()
    conn.close()
    notify(name)
"""
FIXED = """\
from app.db import get_db
from app.transactions import with_transaction


def place(name, notify):
    with with_transaction(get_db()) as conn:
        cur = conn.cursor()
        cur.execute("INSERT INTO orders VALUES (?)", (name,))
    notify(name)
"""


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app").mkdir()
    Path("app/__init__.py").touch()
    Path("app/db.py").write_text(DB)
    assert main(["init", "--driver", "sqlite3"]) == 0


def fixed(view: str = VIEW, db: str = DB) -> str:
    """The text of a module of the project after `--fix`."""
    Path("app/db.py").write_text(db)
    Path("app/orders.py").write_text(view)
    main(["--fix", "-q", "app"])
    return Path("app/orders.py").read_text()


def test_what_a_function_of_the_project_hands_out() -> None:
    assert fixed() == FIXED
    assert (
        fixed(db=DB.replace("    conn =", "    # our row factory; isolation_level is left alone\n    conn =")) == FIXED
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('connect("shop.db")', 'connect("shop.db", isolation_level=None)'),
        ("conn.row_factory = sqlite3.Row", "conn.isolation_level = None"),
        ("conn.row_factory = sqlite3.Row", 'setattr(conn, "isolation_level", None)'),
        ("conn.row_factory = sqlite3.Row", "configure(conn)"),
        ('connect("shop.db")', "connect(**SETTINGS)"),
        ('connect("shop.db")', "connect(*SETTINGS)"),
    ],
)
def test_what_may_commit_by_itself_is_left_to_do_so(old: str, new: str) -> None:
    found = fixed(db=DB.replace(old, new))
    assert "with_transaction" not in found
    assert "        conn.commit()\n" in found  # deeper than it was: something gives the connection back


@pytest.mark.parametrize("step", ["get_db", "connection"])
def test_every_function_on_the_way_is_asked(step: str) -> None:
    between = "\n\ndef connection():\n    found = get_db()\n    return found\n"
    view = VIEW.replace("get_db", "connection")
    assert "with with_transaction(connection()) as conn:\n" in fixed(view, DB + between)
    words = {"get_db": ("conn.row_factory =", "conn.isolation_level ="), "connection": ("found =", "isolation_level =")}
    assert "with_transaction" not in fixed(view, (DB + between).replace(*words[step]))


def test_settings_that_are_written_out_say_whether_it_commits_by_itself() -> None:
    db = DB.replace('"shop.db"', "**SETTINGS").replace("\n\n\ndef", '\n\nSETTINGS = {"database": "shop.db"}\n\n\ndef')
    assert fixed(db=db) == FIXED
    assert "with_transaction" not in fixed(db=db.replace('"database"', '"autocommit"'))
    assert "with_transaction" not in fixed(db=db.replace('"database"', "KEY"))
    assert "with_transaction" not in fixed(db=db + '\nSETTINGS["isolation_level"] = None\n')


PERHAPS = """\
import sqlite3


def get_db():
    try:
        return sqlite3.connect("shop.db")
    except sqlite3.Error:
        return None
"""


def test_a_connection_that_may_be_missing_is_asked_for_first() -> None:
    asked = VIEW.replace("    cur = ", "    if conn is None:\n        return\n    cur = ")
    assert fixed(asked, PERHAPS).endswith(
        "    conn = get_db()\n"
        "    if conn is None:\n"
        "        return\n"
        "    with with_transaction(conn):\n"
        "        cur = conn.cursor()\n"
        '        cur.execute("INSERT INTO orders VALUES (?)", (name,))\n'
        "    notify(name)\n"
    )
    assert "with_transaction" not in fixed(VIEW, PERHAPS)


def test_a_block_for_the_connection_that_is_there() -> None:
    head, body = VIEW.split("    conn = get_db()\n")
    used, behind = body.split("    notify")
    inner = "".join(f"    {line}\n" for line in used.splitlines())
    found = fixed(f"{head}    conn = get_db()\n    if conn:\n{inner}    notify{behind}", PERHAPS)
    assert "    if conn:\n        with with_transaction(conn):\n            cur = conn.cursor()\n" in found
    assert found.endswith("(name,))\n    notify(name)\n")


def test_an_annotation_stays() -> None:
    found = fixed("import sqlite3\n\n" + VIEW.replace("conn = get", "conn: sqlite3.Connection = get"))
    assert "    conn: sqlite3.Connection = get_db()\n    with with_transaction(conn):\n        cur = " in found


def test_a_cursor_is_closed_while_there_is_a_connection() -> None:
    for close in ("    cur.close()\n    conn.close()\n", "    conn.close()\n"):
        found = fixed(VIEW.replace("    conn.close()\n", close))
        assert ("        cur.close()\n    notify(name)\n" in found) is ("cur" in close)
        assert "with with_transaction(get_db()) as conn:\n" in found
    used = fixed(VIEW.replace("    notify(name)", "    notify(cur.fetchone())"))
    assert "with_transaction" not in used


def test_what_a_cursor_told_is_known_behind_the_block() -> None:
    told = VIEW.replace("    conn.close()\n", "    key = cur.lastrowid\n    cur.close()\n    conn.close()\n")
    told = told.replace("notify(name)", "notify(cur.rowcount, key)")
    assert fixed(told).endswith(
        "(name,))\n        key = cur.lastrowid\n        cur.close()\n    notify(cur.rowcount, key)\n"
    )
    known = told.replace("    conn = ", "    key = None\n    conn = ")  # a commit that fails leaves it as it was
    assert "        cur.close()\n    key = cur.lastrowid\n    notify(" in fixed(known)


POOLED = """\
from mysql.connector.pooling import MySQLConnectionPool

pool = MySQLConnectionPool(database="shop")


def get_db():
    return pool.get_connection()
"""


def test_a_pooled_connection_that_is_given_back_by_its_own_close() -> None:
    Path("app/transactions.py").unlink()
    Path("leakcheck.toml").unlink()
    assert main(["init", "--driver", "mysql-connector"]) == 0
    assert fixed(db=POOLED) == FIXED
    assert "with_transaction" not in fixed(db=POOLED.replace('"shop"', '"shop", autocommit=True'))
    settings = POOLED.replace('database="shop"', "**SETTINGS").replace("\n\npool", "\n\nfrom app import config\n\npool")
    Path("app/config.py").write_text('SETTINGS = {"database": "shop"}\n')
    assert fixed(db=settings) == FIXED
    Path("app/config.py").write_text('SETTINGS = {"database": "shop", "autocommit": True}\n')
    assert "with_transaction" not in fixed(db=settings)


def test_a_commit_at_the_end_of_what_makes_the_cursor() -> None:
    db = "import psycopg2\n\n\ndef get_db():\n    return psycopg2.connect('')\n"
    serving("psycopg2-connect")
    used = VIEW.replace("    cur = conn.cursor()\n    cur", "    with conn.cursor() as cur:\n        cur")
    inner = used.replace("    conn.commit()", "        conn.commit()")
    expected = FIXED.replace(
        "        cur = conn.cursor()\n        cur", "        with conn.cursor() as cur:\n            cur"
    )
    joined = expected.replace(
        " as conn:\n        with conn.cursor() as cur:\n            cur", " as conn, conn.cursor() as cur:\n        cur"
    )
    assert fixed(used, db) == joined
    assert fixed(inner, db) == joined
    assert "with_transaction" not in fixed(
        inner.replace("        conn.commit()", "        if name:\n            conn.commit()"), db
    )


def serving(driver: str) -> None:
    """Have the helper of another driver."""
    Path("app/transactions.py").unlink()
    Path("leakcheck.toml").unlink()
    assert main(["init", "--driver", driver]) == 0


OWN_BLOCK = VIEW.replace("    cur = ", "    with conn:\n        cur = ").replace("    cur.ex", "        cur.ex")
OWN_BLOCK = OWN_BLOCK.replace("    conn.commit()\n", "")


def test_the_block_of_the_connection_itself_commits() -> None:
    assert fixed(OWN_BLOCK) == FIXED
    returning = OWN_BLOCK.replace("    conn.close()", "        return cur.lastrowid\n    conn.close()")
    assert "    with with_transaction(get_db()) as conn:\n" in fixed(returning)
    for old, new in (
        ("        cur.exec", "        conn.rollback()\n        cur.exec"),
        ("    conn.close()", "    conn.execute(name)\n    conn.close()"),
    ):
        assert "with_transaction" not in fixed(OWN_BLOCK.replace(old, new))


def test_handlers_that_only_roll_back_are_the_helpers_where_no_server_can_be_gone() -> None:
    tried = """\
    conn = get_db()
    try:
        notify(0)
        conn.execute("INSERT INTO orders VALUES (?)", (name,))
        conn.commit()
    except Exception:
        conn.rollback()
        conn.close()
        raise
    conn.close()
"""
    found = fixed(VIEW.partition("    conn = ")[0] + tried)
    assert found.endswith(
        "    with with_transaction(get_db()) as conn:\n        notify(0)\n"
        '        conn.execute("INSERT INTO orders VALUES (?)", (name,))\n'
    )


ENTERED = """\
import sqlite3


def place(name, notify):
    with sqlite3.connect("shop.db") as conn:
        conn.execute("INSERT INTO orders VALUES (?)", (name,))
        conn.commit()
    notify(name)
"""


def test_a_block_that_fails_to_roll_back_raises_what_it_raised() -> None:
    """psycopg2's own block raises that instead of what the body raised, which no helper does."""
    serving("psycopg2-connect")
    db = "import psycopg2\n\n\ndef get_db():\n    return psycopg2.connect('')\n"
    assert "with closing(get_db()) as conn:\n        with conn:\n" in fixed(OWN_BLOCK, db).replace(
        " as conn, conn:", " as conn:\n        with conn:"
    )
    entered = ENTERED.replace("sqlite3", "psycopg2").replace("conn.execute", "conn.cursor().execute")
    assert "with closing(psycopg2" in fixed(entered, db)


def test_a_with_that_commits_and_closes_nothing() -> None:
    found = fixed(ENTERED)
    assert found.endswith(
        'def place(name, notify):\n    with with_transaction(sqlite3.connect("shop.db")) as conn:\n'
        '        conn.execute("INSERT INTO orders VALUES (?)", (name,))\n    notify(name)\n'
    )
    swallowed = "        try:\n            notify(0)\n        except OSError:\n            pass\n"
    swallowing = ENTERED.replace("        conn.execute", f"{swallowed}        conn.execute")
    assert 'with closing(sqlite3.connect("shop.db")) as conn, conn:' in fixed(swallowing)
    by_itself = ENTERED.replace('"shop.db"', '"shop.db", isolation_level=None')
    assert "with closing(" in fixed(by_itself)


def test_a_way_out_before_anything_is_written() -> None:
    asked = VIEW.replace(
        "    cur.execute",
        '    cur.execute("SELECT 1 FROM orders WHERE name = ?", (name,))\n'
        "    if cur.fetchone():\n        return\n    cur.execute",
    )
    assert '        if cur.fetchone():\n            return\n        cur.execute("INSERT' in fixed(asked)
    for old, new in (
        ("SELECT 1 FROM", "DELETE FROM"),
        ("SELECT 1 FROM", "SELECT next_of(1) FROM"),
        ('"SELECT 1 FROM orders WHERE name = ?"', "name"),
        ("        return\n", "        cur.execute(name)\n        return\n"),
    ):
        assert "with_transaction" not in fixed(asked.replace(old, new))
    turns = VIEW.replace(
        "    cur.execute",
        "    for one in name:\n        if not one:\n            return\n        cur.execute(one)\n    cur.execute",
    )
    assert "with_transaction" not in fixed(turns)


def test_what_begins_or_ends_a_transaction_otherwise_is_left_to_do_so() -> None:
    begin = 'BEGIN = "BEGIN IMMEDIATE"\n\n\ndef place('
    for old, new in (
        ("    cur.execute", "    conn.start_transaction()\n    cur.execute"),
        ("    cur.execute", "    cur.execute(BEGIN)\n    cur.execute"),
        ("    cur.execute", '    cur.execute("SET autocommit = 0")\n    cur.execute'),
        ("    cur.execute", '    cur.execute("SET SESSION autocommit = 0")\n    cur.execute'),
    ):
        found = fixed(VIEW.replace("def place(", begin).replace(old, new))
        assert "with closing(get_db()) as conn:" in found
