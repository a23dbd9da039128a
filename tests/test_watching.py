"""``--watch``, driven in a terminal: what changes is checked again, and Ctrl-C ends it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakcheck import watch_run
from leakcheck.cli import main
from leakcheck.report import Report
from leakcheck.run import Options

ROOT = Path(__file__).parent.parent
PATIENCE = 120
POOL = """\
from psycopg2.pool import SimpleConnectionPool

pool = SimpleConnectionPool(1, 2, "")


def give_back(conn):
    pool.putconn(conn)
"""
USER = """\
from store.db import give_back, pool


def load():
    give_back(pool.getconn())
"""
LEAK = "from store.db import pool\n\n\ndef load():\n    conn = pool.getconn()\n    return 1\n"


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._main, other = pty.openpty()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "CI": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leakcheck", "check", "--watch", "--output-format", "concise", *arguments],
            cwd=folder,
            env=environment,
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.shown = ""

    def until(self, words: str) -> str:
        """What is shown up to the next time that it says this."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.shown:
            ready, _, _ = select.select([self._main], [], [], deadline - time.monotonic())
            assert ready, f"waited in vain for {words!r}: {self.shown}"
            self.shown += os.read(self._main, 1 << 16).decode()
        found, _, self.shown = self.shown.partition(words)
        return found

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "db.py").write_text(POOL)
    (tmp_path / "app.py").write_text(USER)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(folder, "app.py")
    yield terminal
    terminal.close()


def written(path: Path, text: str) -> None:
    """The file has this text from one instant to the next: an empty file between would be a change of its own."""
    whole = path.with_suffix(".whole")
    whole.write_text(text)
    whole.replace(path)


def test_what_changes_is_checked_again(folder: Path, terminal: Terminal) -> None:
    assert "All checks passed!" in terminal.until("Watching ")
    written(folder / "app.py", LEAK)
    shown = terminal.until("Watching ")
    assert "\x1b[2J" in shown
    assert "app.py:5:12: LC101" in shown
    written(folder / "app.py", USER)
    assert "All checks passed!" in terminal.until("Watching ")
    written(folder / "store" / "db.py", POOL.replace("pool.putconn(conn)", "print(conn)"))  # named by nobody
    assert "app.py:5:15: LC10" in terminal.until("Watching ")
    written(folder / "pyproject.toml", '[tool.leakcheck]\nselec = ["LC1"]\n')
    terminal.until("error: ")
    assert "did you mean `select`" in terminal.until("\n")
    written(folder / "pyproject.toml", '[tool.leakcheck]\nignore = ["LC1"]\n')
    assert "All checks passed!" in terminal.until("Watching ")
    (folder / "app.py").unlink()
    terminal.until("error: ")
    assert "app.py" in terminal.until("\n")
    written(folder / "app.py", USER)
    assert "All checks passed!" in terminal.until("Watching ")
    assert terminal.interrupt() == 0
    assert "Traceback" not in terminal.shown


def test_a_new_file_is_found(folder: Path) -> None:
    terminal = Terminal(folder, ".")
    assert "All checks passed!" in terminal.until("Watching ")
    written(folder / "new.py", LEAK)
    assert "new.py:5:12: LC101" in terminal.until("Watching ")
    assert terminal.interrupt() == 0
    terminal.close()


def test_what_changes_during_a_check_is_a_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    shown: list[str] = []

    def show(_options: object, report: Report, _read: object) -> None:
        shown.append(" ".join(each.code for each in report.diagnostics))
        if len(shown) == 1:
            (folder / "app.py").write_text(LEAK)
        elif len(shown) == 2:
            (folder / "leakcheck.toml").write_text('ignore = ["LC1"]')
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch_run, "show", show)
    assert watch_run.run(Options(quiet=True)) == 0
    assert shown == ["", "LC101", ""]


@pytest.mark.parametrize("more", [["--fix"], ["--output-format", "json"], ["--output", "json=a"], ["-"], ["--diff"]])
def test_what_does_not_go_with_it(more: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--watch", *more]) == 2
    assert "--watch reads files and shows findings" in capfd.readouterr().err
