"""The progress line: when it is shown, and that nothing is left of it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_analysis import FakeAnalysis

from leakcheck import engine
from leakcheck.config import Config
from leakcheck.output import progress
from leakcheck.project.files import discover


def clock(*times: float) -> Iterator[float]:
    yield from times


def test_it_appears_after_a_second_and_leaves_nothing() -> None:
    stream, now = io.StringIO(), clock(0.0, 0.5, 1.2, 1.25, 1.4)
    with progress.shown(stream, lambda: next(now)) as shown:
        for done in range(1, 5):
            shown(done, 4)
    assert [part for part in stream.getvalue().split("\r\033[K") if part] == [
        "Checking: 2 of 4 files that matter",
        "Checking: 4 of 4 files that matter",
    ]
    assert stream.getvalue().endswith("\r\033[K")


def test_a_short_run_shows_nothing() -> None:
    stream, now = io.StringIO(), clock(0.0, 0.1)
    with progress.shown(stream, lambda: next(now)) as shown:
        shown(1, 1)
    assert stream.getvalue() == ""


def test_it_is_cleared_when_the_run_fails() -> None:
    stream, now = io.StringIO(), clock(0.0, 2.0)
    line = progress.shown(stream, lambda: next(now))
    line.__enter__()(1, 2)
    assert line.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None) is False
    assert stream.getvalue().endswith("\r\033[K")


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"PRE_COMMIT": "1"}, True, False),
        ({"CI": "true"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_who_wants_it(environment: dict[str, str], terminal: bool, expected: bool) -> None:
    assert progress.wanted(environment, terminal=terminal) is expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    monkeypatch.setattr(engine, "PARALLEL_BYTES", 0)
    for number in range(5):
        (tmp_path / f"m{number}.py").write_text("conn = pool.getconn()\n")
    calls: list[tuple[int, int]] = []
    engine.check_files(
        discover([str(tmp_path)], Config()),
        Config(),
        jobs=jobs,
        build=FakeAnalysis,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(number, 5) for number in range(1, 6)]


def test_a_hook_on_a_terminal_prints_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("import psycopg2\nconn = psycopg2.connect('')\n")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PRE_COMMIT": "1", "NO_COLOR": "1"}
    subprocess.run(
        [sys.executable, "-m", "leakcheck", "check", str(tmp_path)],
        stderr=theirs,
        stdout=theirs,
        env=environment,
        check=True,
    )
    os.close(theirs)
    assert os.read(ours, 1000).replace(b"\r\n", b"\n") == b"All checks passed!\n"
    os.close(ours)
