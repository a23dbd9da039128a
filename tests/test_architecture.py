"""The shape of the project: who may import whom, how long a module may be, what may not be there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "leakcheck").rglob("*.py"))
LONGEST = 400


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_are_short(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_say_what_they_are(module: Path) -> None:
    assert module.read_text(encoding="utf-8").startswith(('"""', 'r"""'))
    assert not re.search(r"util|helper|common|manager|misc", module.stem)


@pytest.mark.skipif(importlib.util.find_spec("importlinter") is None, reason="import-linter comes with [dev]")
def test_import_contracts() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def imported_by(project: Path, *arguments: str) -> set[str]:
    """The modules that a command line has loaded when it is done, and the interpreter alone has not."""
    code = (
        "import sys; before = set(sys.modules); from leakcheck.__main__ import main; main(sys.argv[1:]);"
        "sys.stderr.write(' '.join(set(sys.modules) - before))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stderr.split())


class TestStart:
    """What starts fast stays fast: each of these imports costs as much as checking many files."""

    def test_the_version(self, tmp_path: Path) -> None:
        heavy = {"libcst", "click", "dataclasses", "msgspec", "re", "typing", "leakcheck.run"}
        assert not heavy & imported_by(tmp_path, "--version")

    def test_files_that_cannot_matter(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("import os\n\nprint(os.getcwd())\n")
        heavy = {"libcst", "click", "tomllib", "rich", "pathspec", "subprocess", "multiprocessing", "leakcheck.rules"}
        assert not heavy & imported_by(tmp_path, "a.py")

    def test_files_without_a_function_that_matters(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("# connect\nx = 1\n")
        assert "libcst" not in imported_by(tmp_path, "a.py")

    def test_functions_that_only_look_as_if_they_took_something(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("import psycopg2\n\ndef ready(signal):\n    signal.connect(print)\n")
        assert "libcst" not in imported_by(tmp_path, "a.py")

    def test_explain_and_config(self, tmp_path: Path) -> None:
        for command in ("explain", "config"):
            assert "libcst" not in imported_by(tmp_path, command)
