"""The hooks, run by the real pre-commit in a repository that uses them.

pre-commit builds an environment for them from the package index; where that cannot be reached the tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
POOL = """\
from psycopg2.pool import SimpleConnectionPool

pool = SimpleConnectionPool(1, 2, "")


def connection():
    return pool.getconn()
"""
CLEAN = """\
from db import connection, pool


def load(sql):
    conn = connection()
    try:
        return conn.cursor().execute(sql)
    finally:
        pool.putconn(conn)
"""
LEAKING = """\
from db import connection, pool


def load(sql):
    conn = connection()
    conn.cursor().execute(sql)
    pool.putconn(conn)
"""


def run(command: list[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHONPATH"))}
    environment |= {"NO_COLOR": "1", **more}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def git(cwd: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = run(["git", *identity, *arguments], cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """A repository that holds this tree, its commit, and the home of pre-commit with the environment built."""
    downloads = str(tmp_path_factory.mktemp("downloads"))
    if run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", downloads, "click"], ROOT).returncode:
        pytest.skip("the package index cannot be reached")
    origin = tmp_path_factory.mktemp("origin") / "leakcheck"
    left_out = shutil.ignore_patterns(".*_cache", ".git", ".venv", ".hypothesis", "*.egg-info", "__pycache__", "build")
    shutil.copytree(ROOT, origin, ignore=left_out)
    git(origin, "init", "-q")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "all")
    return origin, git(origin, "rev-parse", "HEAD"), tmp_path_factory.mktemp("home")


class Project:
    """A repository whose commits are checked by one of the hooks."""

    def __init__(self, path: Path, hooks: tuple[Path, str, Path]) -> None:
        self.path = path
        self._hooks = hooks
        git(path, "init", "-q")

    def use(self, hook: str) -> None:
        origin, revision, _ = self._hooks
        text = f"repos:\n- repo: {origin}\n  rev: {revision}\n  hooks:\n  - id: {hook}\n"
        self.write(".pre-commit-config.yaml", text)
        git(self.path, "add", ".pre-commit-config.yaml")

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def stage(self, name: str, text: str) -> None:
        self.write(name, text)
        git(self.path, "add", name)

    def commit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What pre-commit says of what is staged."""
        command = [sys.executable, "-m", "pre_commit", "run", "--color=never", "--verbose", *arguments]
        return run(command, self.path, PRE_COMMIT_HOME=str(self._hooks[2]))


@pytest.fixture
def project(tmp_path: Path, hooks: tuple[Path, str, Path]) -> Project:
    return Project(tmp_path, hooks)


def test_a_clean_commit_passes(project: Project) -> None:
    project.use("leakcheck")
    project.stage("db.py", POOL)
    project.stage("app.py", CLEAN)
    done = project.commit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All checks passed!" in done.stdout


def test_a_leak_stops_the_commit_and_its_helper_need_not_be_staged(project: Project) -> None:
    project.use("leakcheck")
    project.stage("db.py", POOL)
    git(project.path, "commit", "-qnm", "first")
    project.stage("app.py", LEAKING)
    done = project.commit()
    assert done.returncode == 1
    assert "LC102 `conn` is not given back" in done.stdout
    assert "db.py:7" in done.stdout
    assert "\x1b" not in done.stdout


def test_what_is_not_staged_is_not_judged(project: Project) -> None:
    project.use("leakcheck")
    project.stage("db.py", POOL)
    project.stage("app.py", CLEAN)
    project.write("app.py", LEAKING)
    assert project.commit().returncode == 0
    assert (project.path / "app.py").read_text() == LEAKING


def test_the_verdict_on_one_file_is_that_of_the_whole_project(project: Project) -> None:
    project.use("leakcheck-project")
    project.stage("db.py", POOL)
    project.stage("app.py", LEAKING)
    whole = project.commit()
    project.use("leakcheck")
    one = project.commit("--files", "app.py")
    found = [line for line in whole.stdout.splitlines() if line.startswith("LC")]
    assert found
    assert found == [line for line in one.stdout.splitlines() if line.startswith("LC")]


def test_the_fixing_hook_rewrites_and_stops_the_commit(project: Project) -> None:
    project.use("leakcheck-fix")
    project.stage("app.py", POOL + LEAKING.partition("pool\n")[2].replace("connection()", "pool.getconn()"))
    done = project.commit()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "files were modified by this hook" in done.stdout
    assert "    finally:\n        pool.putconn(conn)\n" in (project.path / "app.py").read_text()
    git(project.path, "add", "app.py")
    assert project.commit().returncode == 0


def test_many_files_are_one_run(project: Project) -> None:
    project.use("leakcheck")
    project.stage("db.py", POOL)
    for number in range(120):
        project.write(f"m{number}.py", "x = 1\n")
    project.write("app.py", LEAKING)
    git(project.path, "add", ".")
    done = project.commit()
    assert done.returncode == 1
    assert done.stdout.count("Found 1 finding") == 1


def test_the_environment_is_small(project: Project) -> None:
    project.use("leakcheck")
    project.stage("app.py", "x = 1\n")
    project.commit()
    home = Path(project._hooks[2])
    size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file() and not file.is_symlink())
    assert size < 100_000_000
