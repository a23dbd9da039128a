"""Baselines: what they hold back, what they follow, and what they let through."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from leakcheck import cli
from leakcheck.handlers.analysis import Analysis
from leakcheck.ownership.leak import Leak

LEAKING = """\
import psycopg2
from psycopg2.pool import SimpleConnectionPool

pool = SimpleConnectionPool(1, 2, "")


def save(sql):
    conn = pool.getconn()
    conn.cursor().execute(sql)
    pool.putconn(conn)
"""
SECOND = """

def load(sql):
    conn = pool.getconn()
    conn.cursor().execute(sql)
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one finding, in which the test works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leakcheck.toml").write_text('baseline = "known.json"\n')
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "db.py").write_text(LEAKING)
    return tmp_path


def check(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    """The exit status, ``function code`` of each finding, and what went to standard error."""
    capsys.readouterr()
    status = cli.main(["check", "--output-format", "json", *arguments])
    captured = capsys.readouterr()
    found = [f"{one['filename'].rpartition('/')[2]} {one['code']}" for one in json.loads(captured.out or "[]")]
    return status, found, captured.err


def written(app: Path) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = json.loads((app / "known.json").read_text())["findings"]
    return entries


def test_only_what_is_new_is_reported(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["baseline"]) == 0
    assert check(capsys=capsys) == (0, [], "")
    (app / "app" / "db.py").write_text(LEAKING + SECOND)
    assert check(capsys=capsys) == (1, ["db.py LC101"], "")


def test_fixes_are_made_only_where_something_is_new(
    app: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noted(analysis: Analysis, path: str, leaks: tuple[Leak, ...]) -> tuple[Leak, ...]:
        asked.append(path)
        return offer(analysis, path, leaks)

    offer = Analysis.offer
    monkeypatch.setattr(Analysis, "offer", noted)
    cli.main(["baseline"])
    assert check(capsys=capsys) == (0, [], "")
    assert asked == []
    (app / "app" / "new.py").write_text(LEAKING.replace("save", "load"))
    cli.main(["check"])
    assert asked == ["app/new.py"]
    assert "fix: Release `conn` in `finally` (safe)" in capsys.readouterr().out
    cli.main(["check", "--fix", "-q"])
    assert "finally:" in (app / "app" / "new.py").read_text()
    assert "finally:" not in (app / "app" / "db.py").read_text()


def test_it_is_said(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["baseline"])
    assert capsys.readouterr().out == "known.json: 1 finding recorded.\n"
    cli.main(["check"])
    assert capsys.readouterr().out == "No new findings. The baseline holds back 1 finding.\n"
    (app / "app" / "db.py").write_text("")
    cli.main(["check"])
    assert "1 entry of it is no longer found" in capsys.readouterr().out
    cli.main(["baseline"])
    assert capsys.readouterr().out == "known.json: 0 findings kept, 1 removed.\n"
    assert written(app) == []


@pytest.mark.parametrize(
    "text",
    [
        "# a line\n" * 40 + LEAKING,
        LEAKING.replace("pool.getconn()", "pool.getconn(\n        )"),
        LEAKING.replace("    conn.cursor()", "    print(sql)\n    log(sql)\n    conn.cursor()"),
    ],
    ids=["moved", "reformatted", "another call raises first"],
)
def test_a_finding_is_known_by_what_it_is(app: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    cli.main(["baseline"])
    (app / "app" / "db.py").write_text(text)
    assert check(capsys=capsys)[:2] == (0, [])


def test_a_renamed_file_and_a_moved_function_are_followed(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["baseline"])
    (app / "app" / "db.py").rename(app / "app" / "store.py")
    assert check(capsys=capsys)[:2] == (0, [])
    cli.main(["baseline"])
    assert [entry["path"] for entry in written(app)] == ["app/store.py"]
    (app / "app" / "store.py").write_text("")
    (app / "app" / "other.py").write_text(LEAKING)
    assert check(capsys=capsys)[:2] == (0, [])


def test_a_copy_of_a_known_finding_is_new(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["baseline"])
    (app / "app" / "copy.py").write_text(LEAKING)
    assert check(capsys=capsys)[:2] == (1, ["copy.py LC102"])
    (app / "app" / "copy.py").unlink()
    twice = LEAKING.replace("    pool.putconn(conn)\n", "    pool.putconn(conn)\n    conn = pool.getconn()\n")
    (app / "app" / "db.py").write_text(twice)
    assert len(check(capsys=capsys)[1]) == 1


def test_files_that_are_not_checked_keep_their_entries(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "app" / "other.py").write_text(LEAKING)
    cli.main(["baseline"])
    assert check("app/other.py", capsys=capsys)[:2] == (0, [])
    (app / "app" / "db.py").write_text("")
    cli.main(["baseline", "app/other.py"])
    assert [entry["path"] for entry in written(app)] == ["app/db.py", "app/other.py"]
    cli.main(["baseline"])
    assert [entry["path"] for entry in written(app)] == ["app/other.py"]


def test_pruning_records_nothing_new_unless_asked(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["baseline"])
    (app / "app" / "db.py").write_text(LEAKING + SECOND)
    capsys.readouterr()
    cli.main(["baseline"])
    assert "1 new finding not recorded" in capsys.readouterr().out
    assert len(written(app)) == 1
    cli.main(["baseline", "--renew"])
    assert len(written(app)) == 2


def test_without_configuration(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "leakcheck.toml").unlink()
    cli.main(["baseline", "app"])
    assert "add this to pyproject.toml:\n\n    [tool.leakcheck]\n    baseline = " in capsys.readouterr().out
    assert check("--baseline", "leakcheck-baseline.json", capsys=capsys)[:2] == (0, [])
    assert check(capsys=capsys)[0] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such baseline"),
        ("{", "not a baseline"),
        ("[]", "not a baseline of version 1"),
        ('{"version": 7}', "not a baseline of version 1"),
        ('{"version": 1, "findings": [{"path": "a"}]}', "entry 1 is not one of ours"),
    ],
)
def test_a_faulty_baseline(app: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str) -> None:
    if text is not None:
        (app / "known.json").write_text(text)
    status, _, errors = check(capsys=capsys)
    assert status == 2
    assert "known.json" in errors
    assert said in errors
    assert "leakcheck baseline" in errors


def git(app: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=app, check=True, capture_output=True)


def test_since_a_commit(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "leakcheck.toml").unlink()
    (app / "app" / "same.py").write_text(LEAKING)
    git(app, "init", "-q")
    git(app, "add", ".")
    git(app, "commit", "-qm", "first")
    assert check("--since", "HEAD", capsys=capsys) == (0, [], "")
    (app / "app" / "db.py").write_text(f"# changed\n{LEAKING}")
    (app / "app" / "new.py").write_text(LEAKING)
    (app / "app" / "gone.py").write_text("")
    assert check("--since", "HEAD", capsys=capsys)[1] == ["db.py LC102", "new.py LC102"]
    git(app, "add", ".")
    git(app, "commit", "-qm", "second")
    assert check("--since", "HEAD~1", "app/new.py", capsys=capsys)[1] == ["new.py LC102"]


def test_since_nowhere(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--since", "HEAD", capsys=capsys)[2].startswith("error: --since needs a git work tree")
    git(app, "init", "-q")
    status, _, errors = check("--since", "no-such", capsys=capsys)
    assert (status, "git knows no commit `no-such`" in errors) == (2, True)


def test_strict(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "leakcheck.toml").unlink()
    (app / "app" / "db.py").write_text("")
    (app / "app" / "link.py").symlink_to("nowhere")
    assert check(capsys=capsys) == (0, [], "")
    status, _, errors = check("--strict", capsys=capsys)
    assert status == 1
    assert "app/link.py: not analysed: a symbolic link to nowhere" in errors
