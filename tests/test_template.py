"""``leakcheck init``: what it writes, where, and what it refuses to touch."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from leakcheck import cli
from leakcheck.config import ConfigFinder
from leakcheck.template import DRIVERS
from leakcheck.templates import helper_text

POOL = "from psycopg2.pool import ThreadedConnectionPool\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one package that uses psycopg2, in which the test works."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "shop/__init__.py", "")
    write(tmp_path, "shop/db.py", POOL)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def init(*arguments: str) -> int:
    return cli.main(["init", *arguments])


def test_it_writes_the_helper_and_names_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project, "pyproject.toml", '[project]\nname = "shop"  # ours\n\n[tool.leakcheck]\nselect = ["LC1"]\n')
    assert init() == 0
    assert (project / "shop" / "transactions.py").read_text() == helper_text("psycopg2")
    assert capsys.readouterr().out == (
        "shop/transactions.py: with_transaction for psycopg2.\n"
        'pyproject.toml: helper = "shop.transactions:with_transaction".\n'
        "`--fix` now uses it where one commit ends what a connection was taken for; `--diff` shows where.\n"
    )
    assert (project / "pyproject.toml").read_text() == (
        '[project]\nname = "shop"  # ours\n\n[tool.leakcheck]\nhelper = "shop.transactions:with_transaction"\n'
        'select = ["LC1"]\n'
    )
    assert ConfigFinder().nearest(".").helper == "shop.transactions:with_transaction"


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("pyproject.toml", ""),
        ("pyproject.toml", '[project]\nname = "shop"'),
        ("leakcheck.toml", 'select = ["LC1"]\n'),
        ("leakcheck.toml", '[tool.leakcheck]\nselect = ["LC1"]\n'),
    ],
)
def test_every_kind_of_configuration(project: Path, name: str, before: str) -> None:
    write(project, name, before)
    assert init() == 0
    after = tomllib.loads((project / name).read_text())
    own = "tool" not in after
    assert (after if own else after["tool"]["leakcheck"])["helper"] == "shop.transactions:with_transaction"
    assert tomllib.loads(before).items() <= {**after, "tool": tomllib.loads(before).get("tool")}.items() or own


def test_without_any_configuration_there_is_one_afterwards(project: Path) -> None:
    assert init() == 0
    assert (project / "leakcheck.toml").read_text() == 'helper = "shop.transactions:with_transaction"\n'


def test_a_configuration_that_cannot_be_edited_is_left_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '[tool]\nleakcheck = { select = ["LC1"] }\n'
    write(project, "pyproject.toml", text)
    assert init() == 2
    assert 'add `helper = "shop.transactions:with_transaction"` by hand' in capsys.readouterr().err
    assert (project / "pyproject.toml").read_text() == text
    assert not (project / "shop" / "transactions.py").exists()


def test_a_src_layout(project: Path) -> None:
    (project / "src").mkdir()
    (project / "shop").rename(project / "src" / "shop")
    assert init() == 0
    assert (project / "src" / "shop" / "transactions.py").exists()
    assert ConfigFinder().nearest(".").helper == "shop.transactions:with_transaction"


def test_a_place_of_ones_own(project: Path) -> None:
    assert init("--path", "shop/db_tools.py", "--driver", "asyncpg") == 0
    assert (project / "shop" / "db_tools.py").read_text() == helper_text("asyncpg")
    assert ConfigFinder().nearest(".").helper == "shop.db_tools:with_transaction"


@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        ({"shop/other.py": "import sqlite3\n"}, (), "psycopg2 (1 file), sqlite3 (1 file); say which with --driver"),
        ({"shop/db.py": "x = 1\n"}, (), "name one with --driver (psycopg2, "),
        ({"shop/transactions.py": "mine\n"}, (), "shop/transactions.py exists"),
        ({}, ("--path", "nowhere/t.py"), "nowhere is no directory"),
        ({}, ("--path", "shop/my-tools.py"), "no name that could be imported"),
        ({}, ("--path", "../t.py"), "is outside of `src`"),
        ({"leakcheck.toml": 'helper = "a.b:c"\n'}, (), "`helper` is a.b:c already"),
    ],
)
def test_refusals(
    project: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    for name, text in files.items():
        write(project, name, text)
    before = {path: path.read_text() for path in project.rglob("*") if path.is_file()}
    assert init(*arguments) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_text() for path in project.rglob("*") if path.is_file()} == before


LEAKING = """\
import {module}


def store(name):
    conn = {module}.connect("shop")
    conn.cursor().execute(name)
    conn.commit()
"""


def test_of_several_drivers_the_one_whose_connections_are_lost_is_served(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "shop/orders.py", LEAKING.format(module="sqlite3"))
    for test in ("test_a", "test_b"):
        write(project, f"tests/{test}.py", LEAKING.format(module="pymysql"))
    assert init() == 0
    assert (project / "shop" / "transactions.py").read_text() == helper_text("sqlite3")
    assert (
        "most findings on connections (1 of 1) are on those of sqlite3: --driver names another.\n"
        in capsys.readouterr().out
    )


def test_as_many_of_each_driver_say_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("sqlite3", "pymysql"):
        write(project, f"shop/{module}_orders.py", LEAKING.format(module=module))
    assert init() == 2
    assert "sqlite3 (1 file), pymysql (1 file); say which with --driver" in capsys.readouterr().err


def test_what_only_tests_use_counts_where_nothing_else_does(project: Path) -> None:
    write(project, "tests/test_store.py", "import sqlite3\n")
    assert init() == 0
    assert (project / "shop" / "transactions.py").read_text() == helper_text("psycopg2")


def test_check_tells_drift(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init("--check") == 2
    assert "`leakcheck init` writes one" in capsys.readouterr().err
    init()
    capsys.readouterr()
    assert init("--check") == 0
    assert capsys.readouterr().out == "The helper is as it was written.\n"
    helper = project / "shop" / "transactions.py"
    helper.write_text(helper.read_text().replace("pool.getconn()", "pool.getconn(1)"))
    assert init("--check") == 1
    assert "+    conn = pool.getconn(1)\n" in capsys.readouterr().out
    helper.write_text("def with_transaction(): ...\n")
    assert init("--check") == 2
    assert "was not written by `leakcheck init`" in capsys.readouterr().err
    helper.unlink()
    assert init("--check") == 2
    assert "there is no file for the helper" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("driver", "text"),
    [
        ("psycopg2", "    from psycopg2.pool import SimpleConnectionPool\n"),
        ("psycopg2", "import psycopg2\nfrom psycopg2 import extras, pool\n"),
        ("psycopg2-connect", "import psycopg2\n"),
        ("psycopg2-connect", "from psycopg2 import connect\n"),
        ("psycopg", "from psycopg_pool import ConnectionPool\n"),
        ("psycopg-async", "from psycopg_pool import AsyncConnectionPool\n"),
        ("asyncpg", "import asyncpg\n"),
        ("aiopg", "import aiopg\nimport psycopg2\n"),
        ("sqlalchemy", "engine = create_engine(URL)\n"),
        ("sqlalchemy-async", "engine = create_async_engine(URL)\n"),
        ("sqlite3", "import sqlite3\n"),
        ("aiosqlite", "import aiosqlite\nimport sqlite3\n"),
        ("pymysql", "import pymysql\n"),
        ("mysqlclient", "import MySQLdb\n"),
        ("mysql-connector", "import mysql.connector\n"),
        ("aiomysql", "import aiomysql\nimport pymysql\n"),
    ],
)
def test_the_driver_is_found(project: Path, driver: str, text: str) -> None:
    write(project, "shop/db.py", text)
    assert init() == 0
    assert (project / "shop" / "transactions.py").read_text() == helper_text(driver)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_helper_stands_alone_and_has_no_fault(project: Path, driver: str) -> None:
    assert init("--driver", driver) == 0
    text = (project / "shop" / "transactions.py").read_text()
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert "leakcheck" not in imported
    assert cli.main(["check", "--select", "ALL", "--isolated", "-q", "shop/transactions.py"]) == 0


def test_scripts_that_import_each_other_get_it_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "app/main.py", "import sqlite3\n\nfrom tables import create\n")
    write(tmp_path, "app/tables.py", "import sqlite3\n")
    assert init() == 0
    assert (tmp_path / "app" / "transactions.py").read_text() == helper_text("sqlite3")
    assert (tmp_path / "leakcheck.toml").read_text() == 'helper = "transactions:with_transaction"\n'
    assert init("--check") == 0
    assert capsys.readouterr().out.endswith("The helper is as it was written.\n")


def test_scripts_that_import_nothing_of_each_other_say_nothing_of_where_imports_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "app/main.py", "import sqlite3\n\nfrom app.tables import create\n")
    write(tmp_path, "app/tables.py", "import sqlite3\n")
    assert init() == 0
    assert (tmp_path / "transactions.py").exists()


def test_the_helper_is_written_where_those_who_lose_connections_can_import_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "src/database/db.py", "import sqlite3\n\n\ndef get_db():\n    return sqlite3.connect('shop')\n")
    lost = LEAKING.replace("import {module}", "from database.db import get_db").replace(
        '{module}.connect("shop")', "get_db()"
    )
    write(tmp_path, "src/models/orders.py", lost)
    write(tmp_path, "app.py", "import sqlite3\n")
    assert init() == 0
    assert (tmp_path / "src" / "transactions.py").read_text() == helper_text("sqlite3")
    assert (tmp_path / "leakcheck.toml").read_text() == 'helper = "transactions:with_transaction"\n'
    assert cli.main(["check", "--fix", "-q", "src"]) == 0
    assert "with with_transaction(get_db()) as conn:" in (tmp_path / "src" / "models" / "orders.py").read_text()


def test_a_package_that_is_called_src(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "src/__init__.py", "")
    write(tmp_path, "src/names.py", "name = 'a'\n")
    write(tmp_path, "src/orders.py", LEAKING.format(module="sqlite3") + "\n\nfrom src.names import name\n")
    assert init() == 0
    assert (tmp_path / "leakcheck.toml").read_text() == 'helper = "src.transactions:with_transaction"\n'
