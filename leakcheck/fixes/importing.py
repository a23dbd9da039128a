"""Where the imports of a file start: what shows that it can import another one.

starts_of(program, "src/models/user.py")   →   {"/shop/src"}, since it holds `from database.db import connect`
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from leakcheck.ownership.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator


_KNOWN: WeakKeyDictionary[Program, dict[str, set[str]]] = WeakKeyDictionary()


def starts_of(program: Program, path: str) -> set[str]:
    """The directories where imports of a file are seen to start; around its package where none are seen.

    Seen in its own imports, or else in those of it.
    """
    known = _KNOWN.setdefault(program, {})
    if path not in known:
        seen = {start_of(place, target) for target, place in imported(program, path) if target[0] != "."}
        known[path] = (
            seen or set(_starts_of_importers(program, path)) or {os.path.abspath(program.modules.start_of(path))}
        )
    return known[path]


def _starts_of_importers(program: Program, path: str) -> Iterator[str]:
    """Where the imports of a file start."""
    name = os.path.splitext(os.path.basename(path))[0].encode()
    for other in program.modules.project_of(path):
        if name in program.peek(other) and other != path:
            yield from (
                start_of(path, target)
                for target, place in imported(program, other)
                if target[0] != "." and os.path.abspath(place) == os.path.abspath(path)
            )


def start_of(path: str, module: str) -> str:
    """The directory from which an absolute import of ``module`` finds the file ``path``."""
    start = os.path.dirname(os.path.abspath(path))
    for _ in range(module.count(".") + (os.path.basename(path) == "__init__.py")):
        start = os.path.dirname(start)
    return start


def imported(program: Program, path: str) -> Iterator[tuple[str, str]]:
    """The modules among what a file imports that are files of the project, each with its file."""
    facts = program.facts(path)
    if facts is None:
        return
    for target in (*facts.scope.modules, *(t for targets in facts.scope.imports.values() for t in targets)):
        for spelling in (target, target.rpartition(".")[0]):
            found = program.modules.find(spelling, path) if spelling.strip(".") else None
            if found is not None:
                yield spelling, found
