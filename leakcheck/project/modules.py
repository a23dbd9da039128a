"""Files and module names: which file an import means.

    modules.find("app.db", importer="/repo/app/views.py") → "/repo/app/db.py"

A dotted name is looked up below the importer's own folder (scripts), the folder above its outermost package, the
folders around it within the project (a service of a larger repository), the configured source roots, and the folders
beside all these (``src``, ``lib``), where just one of them has it. A project that is a package itself is imported by
the name of its folder, which a checkout need not have: there the first word may be another. Only files inside the
project are found: libraries are known from data. Nothing depends on which files are checked.
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING

from leakcheck.project.files import displayed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from leakcheck.trail import Trail

_MAPPED = {"ansible_collections.": 3}
"""Names under which a loader shows a whole project: how many of their first words the project's files lack."""


_MARKERS = frozenset({
    ".git", "pyproject.toml", "setup.py", "setup.cfg", "manage.py", "requirements.txt", "Pipfile", "leakcheck.toml",
})  # fmt: skip
"""Entries of a folder that is a project."""
_PRUNED = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist"})
"""Folders of what nobody wrote here."""
_MOST_FILES = 5000
"""A larger project is not searched as a whole."""
_NO_ROOT = frozenset({"__init__.py", "pyvenv.cfg"})
"""Entries of a folder that imports do not start from: a package, other people's installation."""


class Modules:
    """Finds the files of imports. ``roots`` are the configured source roots, ``top`` the folder of the project.

    ``libraries`` are names of packages that no folder of the project goes by.
    """

    def __init__(
        self, roots: Sequence[str], top: str, trail: Trail | None = None, libraries: Collection[str] = ()
    ) -> None:
        self._trail = trail
        self._libraries = frozenset(libraries)
        self._here = os.getcwd()
        self._project = os.path.abspath(top)
        self._roots = list(dict.fromkeys(displayed(root, self._here) for root in roots))
        self._listings: dict[str, frozenset[str]] = {}
        self._found: dict[tuple[str, str], str | None] = {}
        self._above: dict[str, str] = {}
        self._projects: dict[str, tuple[str, ...]] = {}
        self._files: dict[tuple[str, bool], tuple[str, ...]] = {}
        self._places: dict[str, tuple[list[str], list[str]]] = {}
        self._held: dict[str, dict[str, list[str]]] = {}

    def find(self, module: str, importer: str) -> str | None:
        """The file of ``module`` (dots in front are relative) as imported by the file ``importer``."""
        folder = os.path.dirname(importer)
        key = (module, folder)
        if key not in self._found:
            found = self._find(module, folder)
            self._found[key] = found if found is None else displayed(found, self._here)
        return self._found[key]

    def beside(self, paths: Sequence[str]) -> list[str]:
        """All Python files of the packages that these files belong to, and of the folders of those in none."""
        tops = {self._top(os.path.dirname(path)) for path in paths}
        return [path for folder, recurse in sorted(tops) for path in self._files_in(folder, recurse=recurse)]

    def _files_in(self, folder: str, *, recurse: bool) -> tuple[str, ...]:
        if (folder, recurse) not in self._files:
            found = self._tree(folder, frozenset({"__pycache__"}) if recurse else None)
            self._files[folder, recurse] = tuple(itertools.chain.from_iterable(found))
        return self._files[folder, recurse]

    def project_of(self, path: str) -> tuple[str, ...]:
        """The Python files of the project that a file belongs to, in the order of their names; none where too many."""
        return self._listed(self._nearest_project(os.path.abspath(os.path.dirname(path))))

    def around(self, path: str) -> tuple[str, ...]:
        """The Python files of the project, where those are too many of the largest package that has not too many."""
        found, folder = self.project_of(path), os.path.abspath(os.path.dirname(path))
        if found:
            return found
        while files := self._listed(folder):
            found, folder = files, os.path.dirname(folder)
            if "__init__.py" not in self._entries(folder):
                break
        return found or (path,)

    def _listed(self, folder: str) -> tuple[str, ...]:
        if folder not in self._projects:
            self._projects[folder] = tuple(self._walk(folder))
        return self._projects[folder]

    def _nearest_project(self, folder: str) -> str:
        """The nearest folder that looks like a project, else what the configuration governs, else the folder."""
        current = folder
        while self._entries(current).isdisjoint(_MARKERS) and current != self._project:
            above = os.path.dirname(current)
            if above == current:
                return folder
            current = above
        return current

    def _walk(self, top: str) -> list[str]:
        found: list[str] = []
        for files in self._tree(top, _PRUNED):
            found += files
            if len(found) > _MOST_FILES:
                return []
        return [displayed(each, self._here) for each in found]

    def neighbours(self, paths: Collection[str]) -> dict[str, str]:
        """Importable names that lie beside the packages of these files, or in their ``src``, with their places."""
        found: dict[str, str] = {}
        named = {os.path.dirname(path) or "." for path in paths}
        tops = {self._top(folder)[0] for folder in named}
        for folder in tuple(named):
            current = folder
            while (above := os.path.dirname(current) or ".") not in named and above != current:
                current = above
                named.add(current)
        parents = {os.path.dirname(top) or "." for top in tops} | set(self._roots)
        for parent in sorted(parents | {os.path.join(p, "src") for p in parents}):
            for entry in sorted(self._entries(parent)):
                place = displayed(os.path.join(parent, entry), self._here)
                if place in named or place in paths or entry.startswith("."):
                    continue
                if entry.endswith(".py"):
                    found.setdefault(entry.removesuffix(".py"), place)
                elif "." not in entry and any(e.endswith(".py") for e in self._entries(place)):
                    found.setdefault(entry, place)
        return found

    def start_of(self, path: str) -> str:
        """The folder in which absolute imports of the package of a file, or of the file itself, start."""
        top, is_package = self._top(os.path.dirname(path))
        return os.path.dirname(os.path.abspath(top)) if is_package else top

    def _top(self, folder: str) -> tuple[str, bool]:
        """The outermost package around ``folder``, or the folder itself where it is none."""
        if "__init__.py" not in self._entries(folder):
            return folder, False
        while "__init__.py" in self._entries(os.path.dirname(folder)) and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
        return folder, True

    def member(self, dotted: str, importer: str) -> tuple[str, str] | None:
        """Split ``pkg.mod.attr.x`` into the longest prefix that is a project file, and the rest."""
        module = dotted
        while True:
            path = self.find(module, importer)
            if path is not None:
                return path, dotted[len(module) :].lstrip(".")
            cut = module.rfind(".")
            if cut < 0 or not module.strip("."):
                return None
            module = module[:cut] if module[:cut].strip(".") else module[: cut + 1]
            if not module.strip("."):
                path = self.find(module, importer)
                return None if path is None else (path, dotted[len(module) :].lstrip("."))

    def _find(self, module: str, folder: str) -> str | None:
        name = module.lstrip(".")
        level = len(module) - len(name)
        if level:
            for _ in range(level - 1):
                folder = os.path.dirname(folder)
            return self._below(folder, name)
        for prefix, parts in _MAPPED.items():
            if name.startswith(prefix):
                name = name.split(".", parts)[-1]
        if folder not in self._places:
            self._places[folder] = self._searched(folder)
        around, outer = self._places[folder]
        for root in around:
            found = self._below(root, name)
            if found is not None:
                return found
        first, _, rest = name.partition(".")
        if first in sys.stdlib_module_names:
            return None
        beside = dict.fromkeys(place for base in outer for place in self._holding(base).get(first, ()))
        having = [place for place in beside if place not in around]
        if not having and "." in rest and first not in self._libraries:
            return self._below_itself(folder, rest)
        return self._below(having[0], name) if len(having) == 1 else None

    def _below_itself(self, folder: str, rest: str) -> str | None:
        """The file that a name means below the project's own, where the project of a folder is a package itself."""
        top = self._end(os.path.abspath(folder))
        return self._below(displayed(top, self._here), rest) if "__init__.py" in self._entries(top) else None

    def _searched(self, folder: str) -> tuple[list[str], list[str]]:
        """Where names are looked up that are imported from a folder: in these places, then in what lies in those."""
        nearest = os.path.abspath(self._package_root(folder))
        end, outer = self._end(nearest), [nearest]
        while outer[-1] != end:
            outer.append(os.path.dirname(outer[-1]))
        outer = [displayed(place, self._here) for place in outer]
        return list(dict.fromkeys((folder, *outer, *self._roots))), [*outer, *self._roots]

    def _holding(self, base: str) -> dict[str, list[str]]:
        """Names that can be imported from the folders in ``base``, or from ``src`` in one, each with these folders."""
        if base not in self._held:
            held = self._held[base] = {}
            places = [os.path.join(base, entry) for entry in sorted(self._entries(base)) if not entry.startswith(".")]
            places += [os.path.join(place, "src") for place in places if "src" in self._entries(place)]
            for place in map(os.path.normpath, places):
                entries = self._entries(place)
                if entries.isdisjoint(_NO_ROOT):
                    for name in {entry.removesuffix(".py") for entry in entries}:
                        held.setdefault(name, []).append(place)
        return self._held[base]

    def _end(self, folder: str) -> str:
        """The outermost folder of the project that a folder belongs to; itself where nothing says so."""
        if folder == self._project or folder.startswith(self._project.rstrip("/") + "/"):
            return self._project
        current = folder
        while self._entries(current).isdisjoint(_MARKERS):
            above = os.path.dirname(current)
            if above == current:
                return folder
            current = above
        return current

    def _below(self, root: str, name: str) -> str | None:
        parts = name.split(".") if name else []
        for part in parts[:-1]:
            if part not in self._entries(root):
                return None
            root = os.path.join(root, part)
        if parts:
            entries = self._entries(root)
            if parts[-1] + ".py" in entries and parts[-1] not in entries:
                return os.path.join(root, parts[-1] + ".py")
            if parts[-1] not in entries:
                return None
            package = os.path.join(root, parts[-1])
            if "__init__.py" not in self._entries(package) and parts[-1] + ".py" in entries:
                return os.path.join(root, parts[-1] + ".py")
            root = package
        return os.path.join(root, "__init__.py") if "__init__.py" in self._entries(root) else None

    def _package_root(self, folder: str) -> str:
        root = self._above.get(folder)
        if root is None:
            root = folder
            while "__init__.py" in self._entries(root) and os.path.dirname(root) != root:
                root = os.path.dirname(root)
            self._above[folder] = root
        return root

    def _entries(self, folder: str) -> frozenset[str]:
        entries = self._listings.get(folder)
        if entries is None:
            try:
                entries = frozenset(os.listdir(folder or "."))
            except OSError:
                entries = frozenset()
            self._listings[folder] = entries
            if self._trail is not None:
                self._trail.listed(folder, entries)
        return entries

    def _tree(self, top: str, left_out: Collection[str] | None) -> Iterator[list[str]]:
        """The Python files of a folder, then of each folder below it but hidden ones and those ``left_out``, by name.

        With None, of the folder alone. Links to folders are not followed; what cannot be listed is empty.
        """
        pending = [top]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(folder or ".") as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                continue
            if self._trail is not None:
                self._trail.listed(folder, (entry.name for entry in found))
            yield [os.path.join(folder, e.name) for e in found if e.name.endswith(".py") and not e.is_dir()]
            if left_out is not None:
                below = [
                    e.name
                    for e in reversed(found)
                    if not e.name.startswith(".") and e.name not in left_out and e.is_dir(follow_symlinks=False)
                ]
                pending += (os.path.join(folder, name) for name in below)
