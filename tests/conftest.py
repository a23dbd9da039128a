"""Shared by the tests: the ``--bless`` option and a way to run leakcheck on files that are only text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

if TYPE_CHECKING:
    from leakcheck.diagnostic import Diagnostic

Inspect = Callable[[Mapping[str, str], str, str], str]
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


@pytest.fixture
def inspect(tmp_path: Path) -> Inspect:
    """A function from files (path → text), one of the kinds of ``--debug``, and a path to what is shown of it."""

    def run(files: Mapping[str, str], kind: str, path: str) -> str:
        root = tmp_path / "inspected"
        for name, text in files.items():
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        from leakcheck.config import Config
        from leakcheck.ownership.debug import dump_of
        from leakcheck.ownership.program import Program
        from leakcheck.project.files import read_file

        return dump_of(Program(Config(root=root), read_file, [root]), kind, str(root / path))

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
