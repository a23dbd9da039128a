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
    ],
    ids=[
        "no commit", "sometimes", "way out before it", "two commits", "rollback", "commit in SQL", "cursor passed on",
        "swallowed", "used behind it",
    ],
)  # fmt: skip
def test_without_the_proof_the_commit_stays_where_it_is(old: str, new: str) -> None:
    found = fixed(START + BODY.replace(old, new, 1))
    assert "with_transaction" not in found
    assert "finally:\n        pool.putconn(conn)\n" in found
    assert found.count("commit()") == BODY.replace(old, new, 1).count("commit()")


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
    assert "with with_transaction" not in fixed(START.replace("import pool", "import *") + BODY)


def test_the_module_of_the_helper_does_not_import_itself() -> None:
    text = HELPER + "\n\n" + (START + BODY).partition("\n\n\n")[2]
    Path("app/db.py").write_text(text)
    main(["--fix", "-q", "app/db.py"])
    assert "import with_transaction" not in Path("app/db.py").read_text()


def test_an_alias_is_reused() -> None:
    found = fixed(START.replace("import pool", "import pool\nfrom app.db import with_transaction as tx") + BODY)
    assert "    with tx(pool) as conn:\n" in found
