"""Fixing files: what is written, what is printed, and what is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leakcheck import rewriting
from leakcheck.cli import main
from leakcheck.diagnostic import LeakcheckError
from leakcheck.rewriting import Change

LEAK = """\
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def cancel(order_id):
    conn = pool.getconn()
    conn.cursor().execute("DELETE FROM orders WHERE id = %s", (order_id,))
    pool.putconn(conn)
"""
FIXED = """\
from psycopg2.pool import ThreadedConnectionPool

pool = ThreadedConnectionPool(1, 10, "dbname=shop")


def cancel(order_id):
    conn = pool.getconn()
    try:
        conn.cursor().execute("DELETE FROM orders WHERE id = %s", (order_id,))
    finally:
        pool.putconn(conn)
"""
SWALLOWING = f"{LEAK.rpartition('    conn.')[0]}    try:\n        conn.commit()\n    except ValueError:\n        pass\n"
UNSAFE = LEAK.replace("conn.cursor().execute", "work(conn).execute")
CRLF, CRLF_FIXED = (
    f"import sqlite3\r\n{more}\r\n\r\ndef f(sql):\r\n    {body}\r\n"
    for more, body in (
        ("", "conn = sqlite3.connect('a')\r\n    conn.execute(sql)\r\n    conn.close()"),
        (
            "from contextlib import closing\r\n",
            "with closing(sqlite3.connect('a')) as conn:\r\n        conn.execute(sql)",
        ),
    )
)
HOPELESS = LEAK.replace("conn.cursor()", "(lambda: conn)()")


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str | bytes = LEAK) -> Path:
    path = Path(name)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_fix_writes_and_reports_what_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    path = write("a.py")
    write("b.py", HOPELESS)
    assert main(["--fix", "."]) == 1
    assert path.read_text() == FIXED
    out = capfd.readouterr().out
    assert "b.py" in out
    assert "a.py" not in out.replace("1 file", "")
    assert "Fixed 1 finding in 1 file." in out


def test_nothing_left_is_success() -> None:
    path = write("a.py")
    assert main(["--fix", "a.py"]) == 0
    before = path.stat().st_mtime_ns
    assert main(["--fix", "a.py"]) == 0
    assert path.stat().st_mtime_ns == before


def test_exit_status_of_a_fix() -> None:
    write("a.py")
    assert main(["--fix", "--exit-non-zero-on-fix", "a.py"]) == 1
    assert main(["--fix", "--exit-non-zero-on-fix", "a.py"]) == 0


def test_fix_only_says_nothing_of_the_rest(capfd: pytest.CaptureFixture[str]) -> None:
    write("a.py", HOPELESS)
    assert main(["--fix-only", "a.py"]) == 0
    assert capfd.readouterr().out == ""


def test_unsafe_fixes_are_asked_for() -> None:
    path = write("a.py", UNSAFE)
    assert main(["--fix", "a.py"]) == 1
    assert path.read_text() == UNSAFE
    assert main(["--fix", "--unsafe-fixes", "a.py"]) == 0
    assert "finally:" in path.read_text()


def test_show_fixes(capfd: pytest.CaptureFixture[str]) -> None:
    write("a.py")
    main(["--fix", "--show-fixes", "a.py"])
    assert "a.py:\n  LC102 Release `conn` in `finally`\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    "data",
    [
        LEAK.encode(),
        LEAK.replace("\n", "\r\n").encode(),
        LEAK.rstrip("\n").encode(),
        SWALLOWING.rstrip("\n").encode(),
        b"\xef\xbb\xbf" + LEAK.encode(),
        LEAK.replace("    ", "\t").encode(),
        ("# -*- coding: latin-1 -*-\n# Stra\xdfe\n" + LEAK).encode("latin-1"),
    ],
    ids=["plain", "crlf", "no newline at the end", "no newline behind a suite", "mark", "tabs", "latin-1"],
)
def test_the_patch_is_what_fix_writes(data: bytes, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = write("a.py", data)
    assert main(["--diff", "a.py"]) == 1
    assert path.read_bytes() == data
    patch = capfdbinary.readouterr().out
    applied = subprocess.run(["git", "apply", "-"], input=patch, check=False, capture_output=True)
    assert applied.returncode == 0, applied.stderr
    by_patch = path.read_bytes()
    path.write_bytes(data)
    assert main(["--fix", "a.py"]) == 0
    assert path.read_bytes() == by_patch
    assert (b"\r\n" in data) is (b"\r\n" in by_patch)
    assert by_patch.count(b"\r\n") in (0, by_patch.count(b"\n"))
    assert by_patch.replace(b"\t", b"").startswith(data[: data.index(b"def cancel")].replace(b"\t", b""))
    assert data.endswith(b"\n") is by_patch.endswith(b"\n")
    compile(by_patch, "a.py", "exec")


def test_no_patch_is_success(capfd: pytest.CaptureFixture[str]) -> None:
    write("a.py", FIXED)
    assert main(["--diff", "a.py"]) == 0
    assert capfd.readouterr().out == ""


def test_a_link_stays_a_link_and_the_mode_stays() -> None:
    path = write("real.py")
    path.chmod(0o640)
    Path("a.py").symlink_to("real.py")
    assert main(["--fix", "a.py"]) == 0
    assert Path("a.py").is_symlink()
    assert path.read_text() == FIXED
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir()) == ["a.py", "real.py"]


def test_a_file_that_changed_in_the_meantime_is_left_alone() -> None:
    path = write("a.py", "new = 1\n")
    with pytest.raises(LeakcheckError, match="changed in the meantime"):
        rewriting.write("a.py", Change(b"old = 1\n", b"fixed = 1\n"))
    assert path.read_text() == "new = 1\n"


def test_an_interrupted_write_leaves_the_old_text(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.py")

    def interrupted(_source: str, _target: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rewriting.write("a.py", Change(LEAK.encode(), FIXED.encode()))
    assert path.read_text() == LEAK
    assert os.listdir() == ["a.py"]


def test_a_file_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write("a.py")
    monkeypatch.setattr(os, "access", lambda _path, mode, **_: mode != os.W_OK)
    assert main(["--fix", "a.py"]) == 2
    assert path.read_text() == LEAK
    assert "a.py: not changed: the file is read-only" in capfd.readouterr().err


def test_standard_input_is_printed_fixed(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    source = write("input").parent / "input"
    with source.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main(["--fix", "-", "--stdin-filename", "a.py"]) == 0
    assert capfdbinary.readouterr().out.decode() == FIXED


@pytest.mark.parametrize(("answers", "fixed"), [("y\n", True), ("n\n", False), ("?\na\n", True), ("q\n", False)])
def test_interactive(answers: str, fixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.py")
    Path("answers").write_text(answers)
    with Path("answers").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        main(["--interactive", "a.py"])
    assert (path.read_text() == FIXED) is fixed


def test_who_was_asked_is_not_told_again(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    write("a.py")
    Path("answers").write_text("n\n")
    with Path("answers").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main(["--interactive", "a.py"]) == 1
    shown = capfd.readouterr().out
    assert shown.count("is not given back") == 1
    assert shown.endswith(": \nFound 1 finding in 1 file: 1 warning.\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{CRLF}# end\n", f"{CRLF_FIXED}# end\n"),
        (f"import os\n{CRLF}", f"import os\n{CRLF_FIXED}"),
        (CRLF.replace("conn.execute(sql)\r\n", "conn.execute(sql)\n"), None),
    ],
)
def test_line_ends_that_mix_elsewhere(before: str, after: str | None) -> None:
    path = write("a.py")
    path.write_bytes(before.encode())
    assert main(["--fix", "a.py"]) == (0 if after else 1)
    assert path.read_bytes() == (after or before).encode()


TWO = """\
import sqlite3


def copy(a, b):
    one = sqlite3.connect(a)
    two = sqlite3.connect(b)
    two.executemany("INSERT INTO t VALUES (?)", one.execute("SELECT x FROM t"))
    two.close()
    one.close()
"""


@pytest.mark.parametrize(
    ("answers", "closing", "released", "status"),
    [
        ("1\n1\n", 2, 0, 0),
        ("2\n1\n", 1, 1, 0),
        ("2\n2\n", 0, 2, 0),
        ("y\n3\n\nn\n2\n", 0, 1, 1),  # with several shapes yes is no answer; what is declined is in nobody's way
        ("a\n", 2, 0, 0),
        ("2\nq\n", 0, 1, 1),
        ("", 0, 0, 1),
    ],
)
def test_the_shape_of_a_fix_is_chosen(
    answers: str, closing: int, released: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.py", TWO)
    Path("answers").write_text(answers)
    with Path("answers").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main(["--interactive", "a.py"]) == status
    assert (path.read_text().count("with closing("), path.read_text().count("finally:")) == (closing, released)


def test_the_shapes_are_shown_beside_each_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write("a.py", TWO)
    Path("answers").write_text("q\n")
    with Path("answers").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        main(["--interactive", "--quiet", "--select", "LC102", "a.py"])
    shown = capfd.readouterr().out
    assert "\n1. Take it by `with closing(sqlite3.connect(a)) as one` (safe)\n--- a/a.py\n" in shown
    assert "\n2. Release `one` in `finally` (safe)\n--- a/a.py\n" in shown
    assert shown.count("Apply a fix? [1] to [2], [n]o, [a]ll that follow, [q]uit: ") == 1


def test_fixes_of_one_file_that_meet_are_applied_one_after_the_other() -> None:
    path = write(
        "a.py",
        "import sqlite3\n\n\ndef copy(a, b):\n    one = sqlite3.connect(a)\n    two = sqlite3.connect(b)\n"
        "    two.executemany('INSERT INTO t VALUES (?)', one.execute('SELECT x FROM t'))\n    two.close()\n"
        "    one.close()\n",
    )
    assert main(["--fix", "a.py"]) == 0
    assert path.read_text().count("with closing(") == 2
    assert path.read_text().count("import closing") == 1


def test_configured_shape() -> None:
    write("leakcheck.toml", 'fix-shape = { sqlite3 = "try-finally" }\n')
    text = "import sqlite3\n\n\ndef f(a):\n    c = sqlite3.connect(a)\n    c.execute('x')\n    c.close()\n"
    path = write("a.py", text)
    assert main(["--fix", "a.py"]) == 0
    assert "finally:" in path.read_text()


def test_fixing_again_finds_nothing_more(capfd: pytest.CaptureFixture[str]) -> None:
    write("a.py", TWO)
    write("b.py")
    assert main(["--fix", "."]) == 0
    capfd.readouterr()
    assert main(["--diff", "--unsafe-fixes", "."]) == 0
    assert capfd.readouterr().out == ""


def test_what_a_baseline_holds_back_is_not_fixed(capfd: pytest.CaptureFixture[str]) -> None:
    path = write("a.py")
    assert main(["baseline", "."]) == 0
    later = write("b.py")
    capfd.readouterr()
    assert main(["--fix", "--baseline", "leakcheck-baseline.json", "."]) == 0
    assert path.read_text() == LEAK
    assert later.read_text() == FIXED
    assert "Fixed 1 finding in 1 file." in capfd.readouterr().out


def test_a_notebook_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    cell = LEAK.replace('"', '\\"').replace("\n", "\\n")
    path = write("a.ipynb", f'{{"cells": [{{"cell_type": "code", "source": ["{cell}"]}}]}}')
    before = path.read_bytes()
    assert main(["--fix", "--unsafe-fixes", "a.ipynb"]) == 1
    assert "LC900 this file was not checked: it is a notebook" in capfd.readouterr().out
    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="the system has no pseudo-terminals")
@pytest.mark.parametrize(
    ("typed", "fixed"), [(b"?\ny\n", True), (b"a\n", True), (b"n\n", False), (b"q\n", False), (b"\x04", False)]
)
def test_interactive_on_a_terminal(typed: bytes, fixed: bool) -> None:
    path = write("a.py")
    terminal, end = os.openpty()
    command = [sys.executable, "-m", "leakcheck", "check", "--isolated", "--interactive", "a.py"]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, close_fds=True)
    os.close(end)
    os.write(terminal, typed)
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # Linux says so that the other end is closed
        pass
    os.close(terminal)
    assert process.wait() == (0 if fixed else 1)
    assert (path.read_text() == FIXED) is fixed
    assert shown.count(b"+    finally:") == 1
    assert shown.count(b"Apply this fix? [y]es, [n]o, [a]ll that follow, [q]uit: ") == (2 if b"?" in typed else 1)


def test_two_pools_of_one_name_do_not_both_move_out_of_their_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    view = (
        "@app.get('/{name}')\ndef {name}():\n    engine = create_engine('postgresql://{name}')\n"
        "    return engine.connect().execute(text('SELECT 1')).all()\n"
    )
    views = "\n\n".join(view.format(name=name) for name in ("a", "b"))
    start = "from fastapi import FastAPI\nfrom sqlalchemy import create_engine, text\n\napp = FastAPI()\n\n\n"
    Path("views.py").write_text(start + views)
    main(["--fix", "--unsafe-fixes", "-q", "--select", "LC201", "views.py"])
    assert Path("views.py").read_text().count("\nengine = ") == 1
