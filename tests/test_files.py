"""Discovery: which files are read, which are passed over and why, and that nothing blocks or repeats."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from leakcheck.config import Config
from leakcheck.diagnostic import LeakcheckError
from leakcheck.project import files
from leakcheck.project.files import Passed, discover, displayed, read_file
from leakcheck.project.patterns import Patterns

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Whatever repository the tests themselves run in is none of theirs.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


def write(*paths: str, text: str = "") -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)


def git(*arguments: str, at: str = ".") -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=at, check=True, stdout=-3)


def found(*targets: str, config: Config | None = None, force_exclude: bool = False) -> list[str]:
    config = config if config is not None else Config(root=Path.cwd())
    return list(discover(targets or ["."], config, force_exclude=force_exclude).files)


TREES: Iterable[object] = [False, pytest.param(True, marks=needs_git)]


@pytest.fixture(params=TREES, ids=["plain", "git"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> bool:
    """The same expectations hold inside a work tree of git and outside."""
    if request.param:
        git("init", "-q")
    return bool(request.param)


@pytest.mark.usefixtures("tree")
class TestAnyTree:
    def test_python_files_are_found_sorted(self) -> None:
        write("b.py", "a/z.py", "a.py", "gui.pyw", "stub.pyi", "data.txt", "x.pyc", "tool")
        assert found() == ["a.py", "a/z.py", "b.py", "gui.pyw"]

    def test_overlapping_targets_name_a_file_once(self) -> None:
        write("a/b.py", "a/c.py")
        assert found("a", "a/b.py", "./a/../a/b.py", ".") == ["a/b.py", "a/c.py"]

    def test_default_excludes(self) -> None:
        write("a.py", ".venv/x.py", "node_modules/m/x.py", "pkg/build/x.py", ".git-rewrite/x.py")
        assert found() == ["a.py"]

    def test_excludes_by_name_path_and_glob(self) -> None:
        write("a.py", "b_pb2.py", "gen/a.py", "app/gen/a.py", "app/old/x/y.py", "app/new/x.py")
        config = Config(root=Path.cwd(), exclude=("*_pb2.py",), extend_exclude=("app/old", "./gen/"))
        assert found(config=config) == ["a.py", "app/gen/a.py", "app/new/x.py"]

    def test_an_excluded_directory_that_is_named_is_read(self) -> None:
        write("build/a.py", "build/dist/b.py", "c.py")
        assert found("build") == ["build/a.py"]
        assert found(".", "build") == ["build/a.py", "c.py"]
        assert found("build", force_exclude=True) == []

    def test_named_files_are_read_whatever_they_are_called(self) -> None:
        write("script", "build/a.py")
        assert found("script", "build/a.py") == ["build/a.py", "script"]
        discovery = discover(["script", "build/a.py"], Config(root=Path.cwd()), force_exclude=True)
        assert discovery.files == ("script",)
        assert discovery.explicit == {"script"}
        assert discovery.passed == (Passed("build/a.py", "excluded"),)

    def test_a_directory_named_like_a_file(self) -> None:
        write("x.py/inner.py", "y.py/deep.py/z.py")
        assert found() == ["x.py/inner.py", "y.py/deep.py/z.py"]
        assert found("x.py") == ["x.py/inner.py"]

    def test_links(self) -> None:
        write("real/a.py", "outside/b.py")
        os.symlink("../real/a.py", "real/same.py")
        os.symlink(os.path.abspath("outside/b.py"), "real/other.py")
        os.symlink("..", "real/loop")
        os.symlink("nowhere.py", "real/broken.py")
        os.symlink("self.py", "real/self.py")
        discovery = discover(["real"], Config(root=Path.cwd()))
        assert discovery.files == ("real/a.py", "real/other.py")
        assert Passed("real/broken.py", "a symbolic link to nowhere") in discovery.passed
        assert {each.path for each in discovery.passed} == {"real/broken.py", "real/self.py"}

    def test_a_link_to_a_directory_that_is_named_is_followed(self) -> None:
        write("real/a.py")
        os.symlink("real", "link")
        assert found("link") == ["link/a.py"]

    def test_fifo(self) -> None:
        write("a.py")
        os.mkfifo("pipe.py")
        assert found() == ["a.py"]
        assert found("pipe.py") == ["pipe.py"]
        with pytest.raises(OSError, match="not a regular file"):
            read_file("pipe.py")

    def test_odd_names(self) -> None:
        write("with space.py", "ünï.py", "new\nline.py", "-dash.py")
        Path(os.fsdecode(b"bad\xff.py")).write_text("")
        assert set(found()) == {"-dash.py", os.fsdecode(b"bad\xff.py"), "new\nline.py", "with space.py", "ünï.py"}

    def test_the_spelling_of_paths(self, tmp_path: Path) -> None:
        write("here/a.py", "there/b.py")
        os.chdir("here")
        assert found(".", "../there") == [str(tmp_path / "there" / "b.py"), "a.py"]
        assert displayed(str(tmp_path / "here")) == "."

    def test_nothing_there(self) -> None:
        assert found() == []


def test_missing_targets_are_an_error() -> None:
    write("a.py")
    os.symlink("nowhere", "broken.py")
    with pytest.raises(LeakcheckError, match=r"no such file or directory: nope\n.*: broken\.py"):
        found("a.py", "nope", "broken.py")


def test_a_directory_that_cannot_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", "closed/b.py")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(files.os, "scandir", refusing)
    discovery = discover(["."], Config(root=Path.cwd()))
    assert discovery.files == ("a.py",)
    assert discovery.passed == (Passed("closed", "cannot be listed: Permission denied"),)


@needs_git
class TestGit:
    def test_ignored_files_are_left_out_and_tracked_ones_are_not(self) -> None:
        git("init", "-q")
        write("a.py", "gen/x.py", "kept/y.py", "kept.py")
        git("add", "kept.py")
        write(".gitignore", text="gen/\nkept.py\n")
        write("kept/.gitignore", text="y.py\n")
        assert found() == ["a.py", "kept.py"]
        assert "gen/x.py" in found(config=Config(root=Path.cwd(), respect_gitignore=False))

    def test_an_ignored_directory_that_is_named_is_read(self) -> None:
        git("init", "-q")
        write(".gitignore", text="gen/\n")
        write("gen/x.py", "gen/deep/y.py")
        assert found("gen") == ["gen/deep/y.py", "gen/x.py"]
        assert found("gen/deep") == ["gen/deep/y.py"]

    def test_a_deleted_file_is_no_file(self) -> None:
        git("init", "-q")
        write("a.py", "b.py")
        git("add", ".")
        os.unlink("b.py")
        discovery = discover(["."], Config(root=Path.cwd()))
        assert (discovery.files, discovery.passed) == (("a.py",), ())

    def test_a_repository_inside_the_repository(self) -> None:
        git("init", "-q")
        write("a.py", "inner/b.py", "inner/gen.py")
        git("init", "-q", at="inner")
        write("inner/.gitignore", text="gen.py\n")
        assert found() == ["a.py", "inner/b.py"]
        assert found(config=Config(root=Path.cwd(), extend_exclude=("inner",))) == ["a.py"]

    def test_submodules(self, tmp_path: Path) -> None:
        write("library/lib.py")
        git("init", "-q", at="library")
        git("add", ".", at="library")
        git("commit", "-qm", "first", at="library")
        Path("app").mkdir()
        git("init", "-q", at="app")
        git(
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            str(tmp_path / "library"),
            "dep",
            at="app",
        )
        assert found("app") == ["app/dep/lib.py"]

    def test_the_environment_of_a_hook_does_not_mislead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        git("init", "-q")
        write("pkg/a.py")
        monkeypatch.setenv("GIT_DIR", ".git")
        monkeypatch.setenv("GIT_INDEX_FILE", ".git/index.lock")
        assert found("pkg") == ["pkg/a.py"]

    def test_without_git_the_tree_is_walked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        git("init", "-q")
        write("a.py", "venv/b.py")
        monkeypatch.setenv("PATH", "/nowhere")
        assert found() == ["a.py"]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("tests", "/r/tests", True),
        ("tests", "/r/a/tests", True),
        ("tests", "/r/tests_more", False),
        ("*.py", "/r/a/b.py", True),
        ("test_?.py", "/r/test_a.py", True),
        ("app/x.py", "/r/app/x.py", True),
        ("app/x.py", "/r/b/app/x.py", False),
        ("app/*.py", "/r/app/deep/x.py", True),
        ("**/x.py", "/r/x.py", True),
        ("**/x.py", "/r/a/b/x.py", True),
        ("**/x.py", "/r/a/yx.py", False),
        ("/abs/*.py", "/abs/x.py", True),
        ("{a,b}.py", "/r/b.py", True),
        ("[ab].py", "/r/b.py", True),
        ("[!ab].py", "/r/b.py", False),
        ("[ab", "/r/[ab", True),
        ("{ab*", "/r/{abc", True),
        ("a+b.py", "/r/a+b.py", True),
    ],
)
def test_patterns(pattern: str, path: str, *, matches: bool) -> None:
    assert Patterns((pattern,), Path("/r")).match(path) is matches


def test_patterns_within() -> None:
    patterns = Patterns(("gen", "app/old"), Path("/r"))
    assert patterns.match_within("/r/a/gen/b/c.py", "/r")
    assert patterns.match_within("/r/app/old/c.py", "/r")
    assert not patterns.match_within("/r/gen/c.py", "/r/gen")
