"""What earlier runs found, and when it is used again: only while nothing that they looked at has changed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_analysis import FakeAnalysis, FileAnalysis

from leakcheck import cache, engine
from leakcheck.__main__ import main
from leakcheck.cache import NAME
from leakcheck.config import Config
from leakcheck.project.files import Discovery
from leakcheck.report import Report
from leakcheck.trail import Trail

LEAK = "import psycopg2\n\n\ndef f():\n    conn = psycopg2.connect('')\n    conn.execute('')\n"
Run = Callable[..., str]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> str:
        status = main(["check", *arguments])
        captured = capsys.readouterr()
        return f"{captured.out}{captured.err}exit {status}"

    return run


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files each analysis had; what is known from before has none."""
    found: list[int] = []
    check_files = engine.check_files

    def counting(discovery: Discovery, config: Config, *, trail: Trail | None = None, **others: Any) -> Report:  # noqa: ANN401
        found.append(len(discovery.files))
        return check_files(discovery, config, trail=trail, **others)

    monkeypatch.setattr(engine, "check_files", counting)
    return found


def write(name: str, text: str = LEAK) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def entries() -> set[str]:
    return {path.name for path in Path(NAME).glob("*.json")}


@pytest.mark.parametrize("form", ["full", "json", "sarif", "concise"])
def test_nothing_is_analysed_twice(run: Run, analysed: list[int], form: str) -> None:
    write("a.py")
    first = run("--output-format", form)
    assert "LC101" in first
    assert run("--output-format", form) == first == run("--output-format", form, "--no-cache")
    assert analysed == [1, 1]


def test_what_was_left_out_is_said_again(run: Run, analysed: list[int]) -> None:
    write("a.py", "def f(thing):\n    conn = thing.get_connection()\n    conn.execute('')\n" + LEAK)
    os.symlink("nowhere.py", "b.py")
    first = run("--verbose")
    assert "not analysed" in first
    assert run("--verbose") == first
    assert analysed == [1]


def test_times_alone_change_nothing(run: Run, analysed: list[int]) -> None:
    write("pkg/__init__.py", "")
    write("pkg/a.py")
    first = run("pkg")
    for _ in range(2):  # the second time with the new times
        for path in (Path("pkg"), Path("pkg/a.py")):
            os.utime(path, ns=(10**18, 10**18))
        assert run("pkg") == first
    assert analysed == [2]


@pytest.mark.parametrize(
    "options",
    [("--ignore", "LC102"), ("--select", "LC1"), ("--isolated",), ("a.py",), ("--output-format", "concise"), (".",)],
)
def test_what_is_asked_for_counts(run: Run, options: tuple[str, ...]) -> None:
    write("a.py")
    write("leakcheck.toml", 'ignore = ["LC101"]\n')
    run()
    assert run(*options) == run("--no-cache", *options)


def test_drivers_of_the_project_count(run: Run) -> None:
    driver = '[driver]\nname = "houseql"\npackages = ["houseql"]\n\n[[class]]\nid = "houseql.Connection"\n{}'
    write("leakcheck.toml", 'drivers = ["houseql.toml"]\n')
    write("a.py", "import houseql\n\n\ndef f():\n    conn = houseql.link()\n    conn.work()\n")
    write("houseql.toml", driver.format(""))
    before = run()
    write("houseql.toml", "broken = [")
    assert run() == run("--no-cache") != before


HELPER = "import psycopg2\n\n\ndef get():\n    return psycopg2.connect('')\n\n\ndef give(conn):\n    {}\n"
USER = "from app.db import get, give\n\n\ndef work():\n    conn = get()\n    {}\n"
EDITS: list[tuple[str, tuple[str | None, ...]]] = [
    (
        "app/db.py",
        (HELPER.format("conn.close()"), HELPER.format("pass"), "def get():\n    return 1\n", None, "x = (\n"),
    ),
    ("app/views.py", (USER.format("give(conn)"), USER.format("conn.close()"), USER.format("conn.x()"), None)),
    ("app/__init__.py", ("", None, "from app.db import *\n")),
    ("app/db/__init__.py", (HELPER.format("conn.close()"), None)),
    ("db.py", (HELPER.format("pass"), None)),
    ("conftest.py", ("import app.db\n\n\ndef pytest_configure():\n    app.db.get = lambda: None\n", None)),
    ("tests/test_a.py", (USER.format("conn.x()").replace("work", "test_work"), None)),
    ("pyproject.toml", ('[tool.leakcheck]\nignore = ["LC101"]\n', "", None)),
    (".gitignore", ("app/views.py\n", "", None)),
]


@pytest.mark.parametrize("seed", range(6))
def test_no_change_is_overlooked(run: Run, seed: int) -> None:
    """A random walk of edits, the checked paths and processes: what is kept never says what a new run would not."""
    chance = random.Random(seed)
    subprocess.run(["git", "init", "-q"], check=True)
    write("app/db.py", HELPER.format("conn.close()"))
    write("app/views.py", USER.format("conn.x()"))
    write("app/__init__.py", "")
    given, told = (["."], ["app"], ["app/views.py"]), set[str]()
    for _ in range(15):
        ((name, texts),) = chance.choices(EDITS, [5, 5, *(1 for _ in EDITS[2:])])
        text = chance.choice(texts)
        if text is None:
            Path(name).unlink(missing_ok=True)
        elif not any(parent.is_file() for parent in Path(name).parents):
            write(name, text)
        for paths in given:
            fresh = run("--output-format", "json", "--no-cache", *paths)
            for _ in range(2):
                assert run("--output-format", "json", *paths) == fresh
            told.add(fresh)
    assert len(told) > 1


class Curious(FakeAnalysis):
    """Looks at another file, but not before it analyses one."""

    def analyse(self, path: str) -> FileAnalysis:
        return super().analyse(path) if b"leaks" in self._read("beside.txt") else FileAnalysis()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_is_looked_at_late_counts(run: Run, monkeypatch: pytest.MonkeyPatch, jobs: str) -> None:
    monkeypatch.setattr(engine, "_program", Curious)
    monkeypatch.setattr(engine, "PARALLEL_BYTES", 0)
    write("beside.txt", "nothing")
    for number in range(4):
        write(f"a{number}.py", "conn = pool.getconn()\n")
    assert "All checks passed" in run("--jobs", jobs)
    write("beside.txt", "leaks")
    assert "Found 4 findings" in run("--jobs", jobs)


def test_files_that_are_named_count(run: Run) -> None:
    write("a.py", "def f(:\n")
    assert "LC900" not in run(".")
    assert "LC900" in run("a.py")
    assert "LC900" not in run(".")


def test_what_cannot_be_used_is_no_cache(run: Run) -> None:
    write("a.py")
    first = run()
    for damage in (b"", b"{}", b"\xff", b'{"trail": {"files": 3}}'):
        for name in entries():
            Path(NAME, name).write_bytes(damage)
        assert run() == first
    main(["clean"])
    Path(NAME).write_text("a file")
    assert first in {run(), run()}


def test_names_that_are_no_text(run: Run) -> None:
    Path(os.fsdecode(b"\xff.py")).write_text(LEAK)
    assert run() == run() == run("--no-cache")


def test_bugs_and_killed_processes_are_not_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_program", FakeAnalysis)
    monkeypatch.setattr(engine, "PARALLEL_BYTES", 0)
    write("a.py", "getconn RAISES")
    assert "internal failure" in run()
    write("a.py", "getconn DIES")
    write("b.py", "conn = pool.getconn()\n")
    assert "ended the process" in run("--jobs", "2")
    assert not entries()
    write("a.py", "")
    run()
    assert entries()


def test_fixing_reads_everything_anew(run: Run) -> None:
    write("a.py")
    run("--fix")
    assert not Path(NAME).exists()


def test_the_oldest_are_dropped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST", 3)
    for number in range(5):
        write(f"a{number}.py")
        run(f"a{number}.py")
        for age, name in enumerate(sorted(entries(), key=lambda name: Path(NAME, name).stat().st_mtime_ns)):
            os.utime(Path(NAME, name), (age, age))
    assert len(entries()) == 3


def test_version_control_passes_it_over(run: Run) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    write("a.py")
    run()
    assert subprocess.check_output(["git", "status", "--short"], text=True) == "?? a.py\n"


class TestClean:
    def test_of_the_project(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        write("a.py")
        write("leakcheck.toml", "")
        run()
        Path("deep").mkdir()
        os.chdir("deep")
        assert main(["clean"]) == 0
        assert capsys.readouterr().out.endswith(f"{NAME}: removed.\n")
        assert not Path("..", NAME).exists()
        assert main(["clean"]) == 0
        assert capsys.readouterr().out.endswith(f"{NAME}: nothing to remove.\n")

    def test_of_a_folder_of_ones_own(self, run: Run) -> None:
        write("a.py")
        write("kept/notes.json", "{}")
        assert run("--cache-dir", "kept") == run("--cache-dir", "kept")
        assert len(list(Path("kept").glob("*.json"))) == 2
        assert not Path(NAME).exists()
        main(["clean", "--cache-dir", "kept"])
        assert [path.name for path in Path("kept").iterdir()] == ["notes.json"]

    def test_nothing_of_others(self) -> None:
        write("kept/.gitignore", "*\n")
        main(["clean", "--cache-dir", "kept"])
        assert Path("kept/.gitignore").exists()


def test_nothing_heavy_is_imported(run: Run) -> None:
    write("a.py")
    run()
    code = "import sys; from leakcheck.__main__ import main; main(['check']); assert 'libcst' not in sys.modules"
    environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert "LC101" in done.stdout
    assert not done.stderr
