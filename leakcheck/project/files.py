"""Which files to read: from the paths of a command line to a sorted list of Python files.

``discover`` takes files and directories and returns paths relative to the working directory where they
lie inside it, absolute ones elsewhere. Inside a git work tree git says what is ignored; elsewhere only
the ``exclude`` patterns do. Stubs (``.pyi``) are left out: they have no bodies, so nothing in them can leak.

    discover(["app", "manage.py"], Config()).files  # ("app/db.py", "app/views.py", "manage.py")
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from msgspec import Struct

from leakcheck.config import Config
from leakcheck.diagnostic import LeakcheckError
from leakcheck.project.git import git
from leakcheck.project.patterns import Patterns

SUFFIXES = (".py", ".pyw")


class Passed(Struct, frozen=True):
    """A path that is not read, and why."""

    path: str
    reason: str


class Discovery(Struct, frozen=True):
    """What the paths of a command line stand for.

    ``explicit`` are the files that were named themselves. ``passed`` are entries that look like Python and
    cannot be read; a file that was named and cannot be read stays in ``files``, so that reading it fails
    where failures are reported.
    """

    files: tuple[str, ...]
    explicit: frozenset[str] = frozenset()
    passed: tuple[Passed, ...] = ()


def read_file(path: str) -> bytes:
    """The bytes of a regular file. Anything else is an OSError: a FIFO without a writer would block for ever."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, f"not a regular file ({_kind(status.st_mode)})")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def displayed(path: str, here: str | None = None) -> str:
    """The spelling of a path in diagnostics: relative to the working directory where it lies inside it."""
    absolute = os.path.abspath(path)
    here = os.getcwd() if here is None else here
    if absolute == here:
        return "."
    return absolute.removeprefix(here.rstrip("/") + "/")


def discover(targets: Sequence[str], config: Config, *, force_exclude: bool = False) -> Discovery:
    """The files that ``targets`` stand for, each once, sorted.

    A missing target raises LeakcheckError. A file that is named is read whatever its suffix and whatever
    the patterns say, unless ``force_exclude``; so is everything below a directory that is named.
    """
    missing = [target for target in targets if not os.path.exists(target)]
    if missing:
        raise LeakcheckError("\n".join(f"no such file or directory: {target}" for target in missing))
    walk = _Walk(config, force_exclude=force_exclude)
    for target in targets:
        walk.add(os.path.abspath(target))
    return walk.result()


def is_excluded(path: str, config: Config) -> bool:
    """Whether a pattern of the configuration leaves a file out, or a directory that it is in."""
    patterns = Patterns(config.exclude + config.extend_exclude, config.root)
    return patterns.match_within(os.path.abspath(path), os.path.abspath(config.root))


def is_left_out(path: str, config: Config) -> bool:
    """Whether checking the whole project would not read a file: excluded, or ignored by git."""
    if is_excluded(path, config):
        return True
    directory = os.path.dirname(os.path.abspath(path))
    if not config.respect_gitignore or not os.path.isdir(directory) or not _in_work_tree(directory):
        return False
    return git(directory, "check-ignore", "-q", "--", os.path.abspath(path)) is not None


class _Walk:
    """One discovery: collects absolute paths, then spells them for the reader."""

    def __init__(self, config: Config, *, force_exclude: bool) -> None:
        self._excluded = Patterns(config.exclude + config.extend_exclude, config.root)
        self._root = os.path.abspath(config.root)
        self._respect_gitignore = config.respect_gitignore
        self._force = force_exclude
        self._files: set[str] = set()
        self._links: set[str] = set()
        self._explicit: set[str] = set()
        self._passed: dict[str, str] = {}
        self._judged: dict[str, bool] = {}

    def add(self, target: str) -> None:
        if self._force and self._excluded.match_within(target, self._root):
            self._passed[target] = "excluded"
        elif os.path.isdir(target):
            self._directory(target)
        else:
            self._files.add(target)
            self._explicit.add(target)

    def result(self) -> Discovery:
        real = {os.path.realpath(link): link for link in sorted(self._links, reverse=True)}
        for resolved, link in real.items():
            # A link to a file that is read anyway would report everything in it twice.
            if resolved not in self._files:
                self._files.add(link)
        here = os.getcwd()
        return Discovery(
            files=tuple(sorted(displayed(path, here) for path in self._files)),
            explicit=frozenset(displayed(path, here) for path in self._explicit),
            passed=tuple(Passed(displayed(path, here), reason) for path, reason in sorted(self._passed.items())),
        )

    def _directory(self, top: str) -> None:
        self._judged.clear()  # verdicts hold below one directory that was named
        if self._respect_gitignore and _in_work_tree(top):
            listed = _listed_by_git(top)
            if listed is not None:
                self._listed(top, listed)
                return
        self._scan(top)

    def _listed(self, top: str, entries: Sequence[str]) -> None:
        """Take what git lists below ``top``; a repository inside the repository is asked for itself."""
        for entry in entries:
            path = os.path.join(top, entry.rstrip("/"))
            if entry.endswith("/"):
                if not self._is_excluded(path, top) and os.path.lexists(os.path.join(path, ".git")):
                    self._directory(path)  # a submodule that is not checked out is an empty directory
            elif entry.endswith(SUFFIXES) and not self._is_excluded(path, top):
                self._entry(path)

    def _scan(self, top: str) -> None:
        pending = [top]
        while pending:
            directory = pending.pop()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if self._excluded.match(entry.path):
                            continue
                        # Links to directories are not followed: what they show is found where it is, or outside.
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        elif entry.name.endswith(SUFFIXES):
                            if entry.is_file(follow_symlinks=False):
                                self._files.add(entry.path)
                            else:
                                self._entry(entry.path)
            except OSError as error:
                self._passed[directory] = f"cannot be listed: {error.strerror}"

    def _entry(self, path: str) -> None:
        """One directory entry with a Python suffix, which may be anything."""
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(path)
                if stat.S_ISREG(status.st_mode):
                    self._links.add(path)
                    return
        except FileNotFoundError:
            if os.path.islink(path):
                self._passed[path] = "a symbolic link to nowhere"
            return  # git still lists a file that was deleted and not staged
        except OSError as error:
            self._passed[path] = f"cannot be read: {error.strerror}"
            return
        if stat.S_ISREG(status.st_mode):
            self._files.add(path)
        elif not stat.S_ISDIR(status.st_mode):
            self._passed[path] = f"not a regular file ({_kind(status.st_mode)})"

    def _is_excluded(self, path: str, top: str) -> bool:
        """Whether a pattern matches ``path`` or a directory between it and ``top``; directories are judged once."""
        if self._excluded.match(path):
            return True
        parent = os.path.dirname(path)
        if len(parent) <= len(top):
            return False
        if parent not in self._judged:
            self._judged[parent] = self._is_excluded(parent, top)
        return self._judged[parent]


def _ancestors(directory: str) -> Iterator[str]:
    while True:
        yield directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return
        directory = parent


def _in_work_tree(directory: str) -> bool:
    """Whether a ``.git`` stands in this directory or above: answered without starting git."""
    return any(os.path.lexists(os.path.join(ancestor, ".git")) for ancestor in _ancestors(directory))


def _listed_by_git(directory: str) -> list[str] | None:
    """What git tracks or would track below ``directory``, or None where it cannot tell.

    A directory that is itself ignored lists as empty, yet it was asked for by name: None, too.
    """
    output = git(directory, "ls-files", "-z", "-co", "--exclude-standard", "--deduplicate")
    if output is None:
        return None
    entries = [os.fsdecode(entry) for entry in output.split(b"\0") if entry]
    if not entries and git(directory, "check-ignore", "-q", ".") is not None:
        return None
    # A submodule is listed by its bare name, a nested repository with a slash at its end.
    modules = {entry for entry in entries if not entry.endswith(SUFFIXES)} if _has_submodules(directory) else set()
    inside = {entry for entry in modules if os.path.isdir(os.path.join(directory, entry))}
    return [f"{entry}/" if entry in inside else entry for entry in entries]


def _has_submodules(directory: str) -> bool:
    return any(os.path.exists(os.path.join(ancestor, ".gitmodules")) for ancestor in _ancestors(directory))


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
