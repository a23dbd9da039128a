"""Writing a file: whole or not at all, and with what belongs to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leakcheck.writing import TEMPORARY, put

KILLED = """\
import os, signal, sys
from leakcheck.writing import put
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
put(sys.argv[1], b"new")
"""


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    put(str(tmp_path / "new"), b"text")
    assert (tmp_path / "new").read_bytes() == b"text"
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_mode_and_link_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    put(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o640)


def test_a_write_that_is_interrupted_leaves_the_old_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def interrupted(_source: str, _target: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(str(tmp_path / "file"), b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_another_name_of_the_file_keeps_the_old_text(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "other").hardlink_to(tmp_path / "file")
    put(str(tmp_path / "file"), b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "other").read_bytes() == b"old"


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file")], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = (path for path in tmp_path.iterdir() if TEMPORARY.fullmatch(path.name))
    assert (tmp_path / "file").read_bytes() == b"old"

    put(str(tmp_path / "file"), b"new")
    assert left.exists()  # for all that anybody knows, its run goes on
    own = tmp_path / ".leakcheck-baseline.json"
    own.write_bytes(b"{}")
    for old in (left, own):
        os.utime(old, (time.time() - 7200,) * 2)
    put(str(tmp_path / "file"), b"newer")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"newer", own.name: b"{}"}
