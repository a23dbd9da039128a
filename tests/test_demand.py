"""What is said of a file does not depend on which other files are checked with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixture_file import read_fixture

from leakcheck.config import Config
from leakcheck.diagnostic import Diagnostic
from leakcheck.engine import check

FIXTURES = Path(__file__).parent.parent / "fixtures"
SEVERAL_FILES = sorted(path for path in FIXTURES.rglob("*.py") if "# --- file: " in path.read_text(encoding="utf-8"))
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


def _found(root: Path, *paths: str) -> list[Diagnostic]:
    report = check([str(root / path) for path in paths], Config(root=root, select=("ALL",)))
    assert report.breakdowns == ()
    return list(report.diagnostics)
