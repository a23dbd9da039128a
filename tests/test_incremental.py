"""Analysing again after a change says what a fresh run says, whatever was changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fixture_file import read_fixture
from msgspec.structs import replace

from leakcheck.config import Config
from leakcheck.engine import check_files, source_roots
from leakcheck.handlers.incremental import Incremental
from leakcheck.ownership.watched import WatchedProgram
from leakcheck.project.files import Discovery
from leakcheck.report import Report

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOCATIONS = sorted(path for path in FIXTURES.rglob("*.py") if "demo" not in path.relative_to(FIXTURES).parts)[::4]

DB = """\
import psycopg2
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def connection():
    return pool.getconn()


def give_back(conn):
    pool.putconn(conn)


class Store:
    def __init__(self):
        self.conn = psycopg2.connect("dbname=shop")

    def rows(self, key):
        cur = self.conn.cursor()
        cur.execute("SELECT 1 WHERE %s", (key,))
        return cur.fetchall()

    def close(self):
        self.conn.close()
"""

ORDERS = """\
import logging

from db import Store, connection, give_back, pool

log = logging.getLogger(__name__)


def count():
    conn = connection()
    try:
        cur = conn.cursor()
        cur.execute("SELECT 1")
        return cur.fetchone()
    finally:
        give_back(conn)


def first(key):
    conn = connection()
    cur = conn.cursor()
    cur.execute("SELECT %s", (key,))
    row = cur.fetchone()
    give_back(conn)
    return row


def open_one():
    conn = pool.getconn()
    log.info("taken")
    return conn


def second():
    conn = open_one()
    if conn.closed:
        return None
    give_back(conn)
    return 1


def third():
    store = Store()
    try:
        return store.rows(1)
    finally:
        store.close()


def fourth(flag):
    with pool.getconn() as conn:
        if flag:
            return [row for row in conn.cursor()]
    pool.putconn(conn)


for number in range(3):
    conn = connection()
    log.info("%s", conn.cursor())
"""


@dataclass
class Project:
    """Files in a directory, and what is changed in them without being written."""

    root: Path
    files: dict[str, str]

    def __post_init__(self) -> None:
        self.config = Config(root=self.root, select=("ALL",))
        self.incremental: Incremental | None = None
        for path, text in self.files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)

    @property
    def discovery(self) -> Discovery:
        return Discovery(tuple(sorted(str(self.root / path) for path in self.files)))

    def read(self, path: str) -> bytes:
        name = Path(path).relative_to(self.root).as_posix()
        return self.files[name].encode() if name in self.files else Path(path).read_bytes()

    def fresh(self) -> Report:
        """What a run from nothing says; an editor asks for fixes later, and never for calls that are unknown."""
        report = check_files(self.discovery, self.config, read=self.read)
        found = tuple(replace(each, fix=None, fix_refused=None) for each in report.diagnostics)
        left_out = tuple(each for each in report.not_analysed if not each.is_open)
        return replace(report, diagnostics=found, not_analysed=left_out)

    def again(self) -> Report:
        if self.incremental is None:
            self.incremental = Incremental(self.config, source_roots(self.config))
        return check_files(self.discovery, self.config, read=self.read, build=self.incremental.begin)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, {"db.py": DB, "orders.py": ORDERS})


@pytest.mark.parametrize("location", LOCATIONS, ids=lambda path: path.relative_to(FIXTURES).as_posix())
def test_a_share_of_the_fixtures(location: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, dict(read_fixture(location).files))
    fresh = project.fresh()
    assert project.again() == fresh
    project.files = {path: f"# moved\n\n{text}" for path, text in project.files.items()}
    assert project.again() == project.fresh()


def test_a_transaction_that_a_helper_begins_by_an_object(tmp_path: Path) -> None:
    name = "lc301_transaction_never_ended/begun_by_a_helper_that_returns_it.py"
    project = Project(tmp_path, dict(read_fixture(FIXTURES / name).files))
    fresh = project.fresh()
    assert len(fresh.diagnostics) == 4
    assert project.again() == fresh


def test_what_one_call_takes_twice(tmp_path: Path) -> None:
    project = Project(tmp_path, dict(read_fixture(FIXTURES / "summaries/two_connections_returned.py").files))
    fresh = project.fresh()
    assert len({each.span for each in fresh.diagnostics}) < len(fresh.diagnostics)
    assert project.again() == fresh


def test_a_caller_learns_what_changes_in_another_file(project: Project) -> None:
    assert any(each.path.endswith("orders.py") for each in project.again().diagnostics)
    project.files["db.py"] = DB.replace("pool.putconn(conn)", "print(conn)")
    changed = project.again()
    assert changed == project.fresh()
    assert {each.code for each in changed.diagnostics} >= {"LC101"}
    project.files["db.py"] = DB
    assert project.again() == project.fresh()


def test_only_what_depends_on_a_change_is_analysed_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.again()
    analysed: list[None] = []
    fresh = WatchedProgram.fresh
    monkeypatch.setattr(WatchedProgram, "fresh", lambda self: analysed.append(None) or fresh(self))

    def rounds(change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> int:
        analysed.clear()
        project.files |= change(project.files)
        assert project.again() == project.fresh()
        return len(analysed) - 1  # one program selects the files

    assert rounds(lambda files: files) == 0
    everything = 8  # six functions, a loop, and the pools of the file
    assert 1 <= rounds(lambda files: {"orders.py": files["orders.py"].replace('"SELECT 1"', '"SELECT 2"')}) < 5
    assert (
        2 <= rounds(lambda files: {"orders.py": files["orders.py"].replace('log.info("taken")', "pass")}) < everything
    )


def test_functions_of_a_file_that_imports_a_driver_stand_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "    conn = psycopg2.connect(key)\n    conn.cursor().execute('SELECT 1')\n    conn.commit()\n"
    text = "import psycopg2\n" + "".join(f"\n\ndef read_{n}(key):\n{body}" for n in range(6))
    project = Project(tmp_path, {"reads.py": text})
    project.again()
    analysed: list[None] = []
    fresh = WatchedProgram.fresh
    monkeypatch.setattr(WatchedProgram, "fresh", lambda self: analysed.append(None) or fresh(self))
    project.files["reads.py"] = text.replace("'SELECT 1'", "'SELECT 2'", 1)
    assert project.again() == project.fresh()
    assert len(analysed) == 3  # which files matter, the function, and the pools of the file


WORDS = (
    "conn",
    "pool.putconn(conn)",
    "give_back(conn)",
    "conn = connection()",
    "return",
    "raise ValueError",
    "\n",
    "\n    ",
    "\n        ",
    "try:",
    "finally:",
    "if flag:",
    "def other():",
    "import db",
    "from db import pool",
    "with pool.getconn() as conn:",
    ".close()",
    "# leakcheck: ignore[LC102]",
    "()",
    '"',
    "\u00e9",
)


def edited(text: str, random: random.Random) -> str:
    """The text after one small edit: a word typed, a line moved or doubled, a few characters gone."""
    lines = text.split("\n")
    match random.randrange(5):
        case 0:
            at = random.randrange(len(text) + 1)
            return text[:at] + random.choice(WORDS) + text[at:]
        case 1:
            at = random.randrange(len(text) + 1)
            return text[:at] + text[at + random.randrange(1, 6) :]
        case 2:
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
        case 3:
            del lines[random.randrange(len(lines))]
        case _:
            line = random.randrange(len(lines))
            indentation = len(lines[line]) - len(lines[line].lstrip())
            lines[line] = " " * indentation + random.choice(WORDS).strip()
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(3))
def test_random_edits(project: Project, seed: int) -> None:
    chosen = random.Random(seed)
    original = dict(project.files)
    for _ in range(25):
        name = chosen.choice(sorted(project.files))
        project.files[name] = edited(project.files[name], chosen)
        assert project.again() == project.fresh(), project.files[name]
        if chosen.random() < 0.4:  # what does not parse is seldom interesting for long
            project.files[name] = original[name]
