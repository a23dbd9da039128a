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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('connect("shop.db")', 'connect("shop.db", isolation_level=None)'),
        ("conn.row_factory = sqlite3.Row", "conn.isolation_level = None"),
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
