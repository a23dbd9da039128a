"""The GitHub action and the GitLab job: their scripts are run here as those services would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "fixtures" / "demo", tmp_path / "demo")
    tools = tmp_path / "temp" / "leakcheck" / "bin"
    tools.mkdir(parents=True)
    script = tools / "leakcheck"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leakcheck "$@"\n')
    script.chmod(0o755)
    return tmp_path


def bash(script: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CI": "true"} | more
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def action(workspace: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The second step of the action; the first installs, which the tests have done already."""
    document = read(ROOT / "action.yml")
    values = {name: given["default"] for name, given in document["inputs"].items()} | inputs
    install, check = document["runs"]["steps"]
    assert "pip install" in install["run"]
    environment = {}
    for name, template in check["env"].items():
        text = template.replace("${{ runner.temp }}", str(workspace / "temp"))
        environment[name] = re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: values[found[1]], text)
    assert not any("${{" in text for text in (check["run"], *environment.values()))
    return bash(check["run"], workspace, GITHUB_STEP_SUMMARY=str(workspace / "summary.md"), **environment)


@pytest.mark.parametrize(("schema", "file"), [("github-actions", "action.yml"), ("gitlab-ci", "docs/gitlab-ci.yml")])
def test_what_the_services_publish_about_their_files(schema: str, file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(ROOT / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_annotates_and_fails(workspace: Path) -> None:
    done = action(workspace, paths="demo", sarif="out.sarif")
    assert done.returncode == 1, done.stderr
    assert re.findall(r"^::(\w+) ", done.stdout, re.MULTILINE) == ["warning", "error", "error"]
    assert (workspace / "summary.md").read_text().startswith("## leakcheck")
    assert len(json.loads((workspace / "out.sarif").read_text())["runs"][0]["results"]) == 3


def test_the_action_takes_options_and_no_commands(workspace: Path) -> None:
    done = action(workspace, paths="demo/shop/db.py", arguments="--exit-zero --select LC101")
    assert (done.returncode, done.stdout) == (0, "")
    action(workspace, paths="demo $(touch broken) `touch broken`", arguments="; touch broken")
    assert not (workspace / "broken").exists()


def test_the_gitlab_job(workspace: Path) -> None:
    job = read(ROOT / "docs" / "gitlab-ci.yml")["leakcheck"]
    _install, check = job["script"]
    tools = workspace / "temp" / "leakcheck" / "bin"
    done = bash(check, workspace, PATH=f"{tools}:{os.environ['PATH']}", LEAKCHECK_PATHS="demo")
    assert done.returncode == 1, done.stderr
    reports = job["artifacts"]["reports"]
    assert len(json.loads((workspace / reports["codequality"]).read_text())) == 3
    assert ET.parse(workspace / reports["junit"]).getroot().get("failures") == "3"
