"""The README is true: its commands run, and what it shows is what they print.

The two blocks that install something are run by ``.ci/run``, word for word.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from leakcheck import __version__
from leakcheck.config import load
from leakcheck.rules import ALL_RULES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(marker: str) -> str:
    """The text of the fenced block under a marker."""
    found = re.search(rf"^<!-- {re.escape(marker)} -->\n```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"README.md has no block <!-- {marker} -->"
    return found[1]


COMMANDS = [line.split("  #")[0].rstrip() for line in block("run").splitlines()]
SHOWN = re.findall(r"^<!-- output: (.*) -->$", README, re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the commands work on, so that they may write."""
    shutil.copytree(ROOT / "fixtures" / "demo", tmp_path / "fixtures" / "demo")
    return tmp_path


def run(command: str, project: Path) -> subprocess.CompletedProcess[str]:
    bin_directory = project / "bin"
    bin_directory.mkdir()
    script = bin_directory / "leakcheck"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leakcheck "$@"\n')
    script.chmod(0o755)
    environment = os.environ | {"PATH": f"{bin_directory}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for name in ("FORCE_COLOR", "NO_COLOR"):
        environment.pop(name, None)
    return subprocess.run(
        ["sh", "-c", command], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, project: Path) -> None:
    result = run(command, project)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("command", SHOWN)
def test_output(command: str, project: Path, bless: bool) -> None:
    printed, shown = run(command, project).stdout, block(f"output: {command}")
    if bless:
        (ROOT / "README.md").write_text(README.replace(shown, printed), encoding="utf-8")
    else:
        assert printed == shown, "`pytest --bless tests/test_readme.py` brings README.md up to date"


def test_the_demo_is_what_it_says(project: Path) -> None:
    result = run("leakcheck --output-format concise fixtures/demo", project)
    assert result.returncode == 1
    assert re.findall(r" (LC\d+) ", result.stdout) == ["LC102", "LC103", "LC104"]


def test_every_rule_has_its_place() -> None:
    assert re.findall(r'<a id="(lc\d+)"></a>', README) == [rule.code.lower() for rule in ALL_RULES]


def test_the_configuration_shown_is_valid(tmp_path: Path) -> None:
    shown = re.search(r"```toml\n(\[tool\.leakcheck\].*?)```", README, re.DOTALL)
    assert shown is not None
    (tmp_path / "pyproject.toml").write_text(shown[1])
    assert load(tmp_path / "pyproject.toml").select == ("LC1",)


def fenced(language: str) -> list[Any]:
    """The documents in the blocks of this language."""
    return [
        yaml.safe_load(each) for each in re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    ]


def test_the_set_up_of_pre_commit_names_hooks_that_exist() -> None:
    commit, _ = fenced("yaml")
    offered = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    (repository,) = commit["repos"]
    assert {hook["id"] for hook in repository["hooks"]} <= offered
    assert repository["rev"] == f"v{__version__}"
    assert offered == set(re.findall(r"\bleakcheck(?:-fix|-project)?\b", README)) & offered


def test_the_step_for_github_gives_inputs_that_exist() -> None:
    (step,) = fenced("yaml")[1]
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    assert step["uses"].endswith(f"leakcheck@v{__version__}")
    assert set(step["with"]) <= set(inputs)
    assert {"paths", "arguments", "sarif"} <= set(inputs)


def test_files_that_are_named_exist() -> None:
    for name in re.findall(r"`((?:docs|leakcheck|\.github)/[\w./-]*)`|`(CHANGELOG\.md)`", README):
        assert (ROOT / "".join(name)).exists(), name


def test_the_installing_commands_are_run_elsewhere() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for marker in ("try", "test"):
        assert "pip install" in block(marker)
        assert f"commands_of_readme {marker}" in script


def test_the_version_has_its_entry() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]


def test_hooks_are_commands_that_work(project: Path) -> None:
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text()
    entries = re.findall(r"^  entry: (.*)$", hooks, re.MULTILINE)
    assert entries == ["leakcheck check --force-exclude", "leakcheck check --fix --force-exclude", "leakcheck check"]
    assert run(f"{entries[0]} fixtures/demo/shop/db.py", project).returncode == 0
