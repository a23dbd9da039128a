"""Shared by the tests: the ``--bless`` option and a way to run leakcheck on files that are only text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from leakcheck.diagnostic import Diagnostic

Diagnose = Callable[[Mapping[str, str | bytes]], "list[Diagnostic]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--bless``."""
    parser.addoption(
        "--bless",
        action="store_true",
        help="write the `fixed` and `cfg` sections of the fixtures instead of comparing them",
    )


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """Whether results are to be written instead of compared."""
    return bool(request.config.getoption("--bless"))


@pytest.fixture
def diagnose(tmp_path: Path) -> Diagnose:
    """A function from files (path → text) to the diagnostics of all rules, with the paths as they were given."""
    runs = 0

    def run(files: Mapping[str, str | bytes]) -> list[Diagnostic]:
        nonlocal runs
        runs += 1
        root = tmp_path / f"project{runs}"
        for path, text in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode() if isinstance(text, str) else text)
        # Imported here so that the fixture reader can be tested while the analysis does not import.
        from leakcheck.config import Config
        from leakcheck.engine import check

        report = check([str(root / path) for path in files], Config(root=root, select=("ALL",)))
        assert report.breakdowns == ()
        return [_relative(one, root) for one in report.diagnostics]

    return run


def _relative(diagnostic: Diagnostic, root: Path) -> Diagnostic:
    steps = tuple(
        replace(step, path=_inside(step.path, root), message=step.message.replace(f"{root}/", ""))
        for step in diagnostic.steps
    )
    return replace(diagnostic, path=_inside(diagnostic.path, root), steps=steps)


def _inside(path: str, root: Path) -> str:
    absolute = Path(path).absolute()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else path
