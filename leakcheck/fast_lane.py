"""The fast lane: files that cannot matter are recognised before anything of size is imported.

A commit hook hands over a few files, most of them without a database in sight. ``nothing_to_say`` answers for
those in a few milliseconds, with nothing but ``os``: the words that ``drivers/`` knows do not occur in them
or in what they import, no comment is ours, they parse, and there is no configuration to respect. Whenever one
of these is in doubt the answer is no, and the ordinary way is taken; it is the one that decides.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False  # as in leakcheck/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Each word that makes a file matter contains one of these (a test compares them with the drivers).
TRIGGERS = (
    b"onnect",
    b"acquire",
    b"getconn",
    b"get_conn",
    b"ession",
    b"Pool",
    b"create_pool",
    b"ool.cursor(",
    b"ngine",
    b"edis",
    b"Mongo",
    b"Motor",
    b"Gino",
    b".client()",
    b".monitor()",
    b".pubsub(",
    b".transaction()",
    b"execute",
    b".fetch",
    b".scalar",
    b".exec(",
)
# What may be about us in a comment, imports by another name, or is no text.
_DOUBTFUL = (b"leakcheck:", b"LC", b"ansible_collections", b"\0")
# Entries of a folder that is a project: the ordinary way looks for imports no further out.
_PROJECT = frozenset({".git", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"})
_MOST = 200  # with more files than this, starting is not what takes the time
_DEPTH = 3  # how far the ordinary way follows imports, too
_PARSE_ONLY = 0x400  # ast.PyCF_ONLY_AST, without importing ast


def nothing_to_say(paths: Sequence[str]) -> bool:
    """Whether checking these files certainly finds nothing. False may mean anything."""
    if len(paths) > _MOST:
        return False
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
    if any(_may_be_configured(folder) for folder in folders):
        return False
    imports = _Imports(folders)
    return all(_is_silent(path) and not imports.matter(path) for path in paths)


def _is_silent(path: str) -> bool:
    """Whether a file is Python in which nothing of ours occurs."""
    data = _read(path)
    if data is None or path.endswith(".ipynb") or any(word in data for word in (*TRIGGERS, *_DOUBTFUL)):
        return False
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(data, path, "exec", flags=_PARSE_ONLY, dont_inherit=True)
    except Exception:  # noqa: BLE001 - the ordinary way says what is wrong with it
        return False
    return True


def _may_be_configured(folder: str) -> bool:
    """Whether a file in this folder or above it may configure leakcheck."""
    while True:
        if os.path.exists(os.path.join(folder, "leakcheck.toml")):
            return True
        project = os.path.join(folder, "pyproject.toml")
        if os.path.exists(project):
            data = _read(project)
            if data is None or b"leakcheck" in data:
                return True
        above = os.path.dirname(folder)
        if above == folder:
            return False
        folder = above


def _read(path: str) -> bytes | None:
    """The bytes of a regular file; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        return os.read(descriptor, status.st_size + 1) if stat.S_ISREG(status.st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


class _Imports:
    """What files import of their project, found generously: a name may stand for more files than it does."""

    def __init__(self, folders: set[str]) -> None:
        here = os.getcwd()
        self._listings: dict[str, frozenset[str]] = {}
        around = {here, *folders, *(place for folder in folders for place in self._outer(folder))}
        beside = {os.path.join(place, entry) for place in around for entry in self._entries(place) if "." not in entry}
        self._roots = {*around, *beside, *(os.path.join(place, "src") for place in beside)}
        self._mattering: dict[str, bool] = {}

    def matter(self, path: str) -> bool:
        """Whether something that ``path`` imports, directly or not, holds a word that matters."""
        seen: set[str] = set()
        pending = [(os.path.abspath(path), 0)]
        while pending:
            importer, depth = pending.pop()
            for target in self._imported(importer):
                if target in seen:
                    continue
                seen.add(target)
                data = _read(target)
                if data is None or any(word in data for word in TRIGGERS):
                    return True
                if depth + 1 < _DEPTH:
                    pending.append((target, depth + 1))
        return False

    def _imported(self, importer: str) -> Iterator[str]:
        folder = os.path.dirname(importer)
        for name in _names((_read(importer) or b"").decode("utf-8", "replace")):
            bare = name.lstrip(".")
            level = len(name) - len(bare)
            parts = bare.split(".") if bare else []
            if level:
                root = folder
                for _ in range(level - 1):
                    root = os.path.dirname(root)
                yield from self._files(root, parts)
            else:
                for root in (folder, self._above_package(folder), *self._roots):
                    yield from self._files(root, parts)

    def _files(self, root: str, parts: Sequence[str]) -> Iterator[str]:
        """Every file of the project on the way along ``parts``."""
        if not parts and "__init__.py" in self._entries(root):
            yield os.path.join(root, "__init__.py")
        for part in parts:
            entries = self._entries(root)
            if f"{part}.py" in entries:
                yield os.path.join(root, f"{part}.py")
            if part not in entries:
                return
            root = os.path.join(root, part)
            if "__init__.py" in self._entries(root):
                yield os.path.join(root, "__init__.py")

    def _above_package(self, folder: str) -> str:
        while "__init__.py" in self._entries(folder) and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
        return folder

    def _outer(self, folder: str) -> Iterator[str]:
        """The folders around a package up to the project's own, or up to what looks like one."""
        here, place = os.getcwd(), self._above_package(folder)
        while True:
            yield place
            above = os.path.dirname(place)
            inside = place.startswith(here.rstrip("/") + "/")
            if place in {here, above} or not (inside or _PROJECT.isdisjoint(self._entries(place))):
                return
            place = above

    def _entries(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._listings[folder] = frozenset()
        return self._listings[folder]


def _names(text: str) -> Iterator[str]:
    """The dotted names after ``import`` and ``from``, and for ``from a import b`` also ``a.b``."""
    lines = iter(text.replace(";", "\n").replace("\\\n", " ").splitlines())
    for line in lines:
        words = line.split("#")[0].replace("from.", "from .", 1).replace(",", " ").replace("(", " ( ").split()
        if not words or words[0] not in {"import", "from"}:
            continue
        if words[0] == "import":
            yield from words[1:]
            continue
        if len(words) < 3:
            continue
        # "from .import x" and "from . import x" are the same.
        package, members = (
            (words[1].removesuffix("import"), words[2:])
            if "import" not in words
            else (words[1], words[words.index("import") + 1 :])
        )
        yield package
        while "(" in members and not any(")" in member for member in members):
            more = next(lines, ")").split("#")[0].replace(",", " ").split()
            members = [*members, *more]
        joint = package if package.endswith(".") else f"{package}."
        yield from (f"{joint}{member.strip('()')}" for member in members if member.strip("()").isidentifier())
