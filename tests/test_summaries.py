"""Function summaries are plain data: whatever a function is found to do survives JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fixture_file import read_fixture

from leakcheck.config import Config
from leakcheck.ownership.debug import summaries
from leakcheck.ownership.program import Program
from leakcheck.ownership.summary import FunctionSummary
from leakcheck.ownership.summary_data import from_data, to_data
from leakcheck.project.files import read_file
from leakcheck.project.large_stack import on_large_stack

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOCATIONS = sorted(path for path in FIXTURES.rglob("*.py") if "demo" not in path.relative_to(FIXTURES).parts)


def name_of(location: Path) -> str:
    """The name of a fixture's test."""
    return location.relative_to(FIXTURES).as_posix()


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
def test_summaries_survive_json(location: Path, tmp_path: Path) -> None:
    files = read_fixture(location).files
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    program = Program(Config(root=tmp_path), read_file, [tmp_path])

    def found() -> list[FunctionSummary | None]:
        modules = [program.facts(str(tmp_path / path)) for path in files]
        return [summary for module in modules if module for _, summary in summaries(program, module)]

    for summary in filter(None, on_large_stack(found)):
        assert from_data(json.loads(json.dumps(to_data(summary)))) == summary
