"""What is said of a file does not depend on which other files are checked with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixture_file import read_fixture

from leakcheck.config import Config
from leakcheck.diagnostic import Diagnostic
from leakcheck.engine import check

FIXTURES = Path(__file__).parent.parent / "fixtures"
FILES = sorted(FIXTURES.rglob("*.py"))
SEVERAL_FILES = [path for path in FILES if len(read_fixture(path).files) > 1]
ONE_FILE = [path for path in FILES if path not in SEVERAL_FILES]
MANY = 50
"""Of so many files, those that matter are found in another way than of a few."""


def name_of(location: Path) -> str:
    """The name of a fixture's test."""
    return location.relative_to(FIXTURES).as_posix()


@pytest.mark.parametrize("location", SEVERAL_FILES, ids=name_of)
def test_a_file_alone_and_among_others(location: Path, tmp_path: Path) -> None:
    files = read_fixture(location).files
    others = {f"other{number}.py": "" for number in range(MANY)}
    for path, text in (files | others).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    everything = _found(tmp_path, *files)
    assert _found(tmp_path, *files, *others) == everything
    for path in files:
        spelled = str(tmp_path / path)
        assert _found(tmp_path, path) == [one for one in everything if one.path == spelled]


def test_some_files_alone_and_all_of_them_together(tmp_path: Path) -> None:
    names = [f"case_{number}.py" for number, _ in enumerate(ONE_FILE)]
    for name, location in zip(names, ONE_FILE, strict=True):
        (text,) = read_fixture(location).files.values()
        (tmp_path / name).write_text(text, encoding="utf-8")
    together = _found(tmp_path, *names)
    assert len({one.code for one in together}) > MANY / 2
    for name in names[::4]:
        spelled = str(tmp_path / name)
        assert _found(tmp_path, name) == [one for one in together if one.path == spelled], name


def test_what_hands_out_is_asked_before_what_it_hands_out_to(tmp_path: Path) -> None:
    files = {
        "a_store.py": "import psycopg2\nfrom z_open import open_it\n\n\nclass Store:\n    def __init__(self):\n"
        "        self.conn = open_it()\n\n    def close(self):\n        self.conn.close()\n",
        "b_use.py": "from a_store import Store\n\n\ndef use():\n    store = Store()\n    store.conn.cursor()\n",
        "z_open.py": "import psycopg2\n\n\ndef open_it():\n    return psycopg2.connect('')\n",
    }
    others = {f"other{number}.py": "" for number in range(MANY)}
    for path, text in (files | others).items():
        (tmp_path / path).write_text(text, encoding="utf-8")
    found = _found(tmp_path, *files, *others)
    assert [(one.path, one.code) for one in found] == [(str(tmp_path / "b_use.py"), "LC101")]


def test_a_statement_that_a_function_of_the_project_sends(tmp_path: Path) -> None:
    files = {
        "database.py": "import psycopg2\n\n\nclass Database:\n    def __init__(self):\n"
        "        self.conn = psycopg2.connect('')\n\n    def run(self, statement):\n"
        "        with self.conn.cursor() as cur:\n            cur.execute(statement)\n\n    def close(self):\n"
        "        self.conn.close()\n\n\ndatabase = Database()\n",
        "orders.py": "from database import database\n\n\ndef pay(order):\n    database.run('BEGIN')\n"
        "    if order is None:\n        return\n    database.run('COMMIT')\n",
    }
    others = {f"other{number}.py": "" for number in range(MANY)}
    for path, text in (files | others).items():
        (tmp_path / path).write_text(text, encoding="utf-8")
    found = _found(tmp_path, *files, *others)
    assert [(one.path, one.code) for one in found] == [(str(tmp_path / "orders.py"), "LC303")]


def _found(root: Path, *paths: str) -> list[Diagnostic]:
    report = check([str(root / path) for path in paths], Config(root=root, select=("ALL",)))
    assert report.breakdowns == ()
    return list(report.diagnostics)
