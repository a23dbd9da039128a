"""Project functions that change a session for their callers, by name and without LibCST.

def start(conn):
    conn.execute("BEGIN")    →   whoever calls a ``start``, and can mean this one, is worth following
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from leakcheck.project.imports import imported_files
from leakcheck.project.names import Function, Scope
from leakcheck.project.speaking import starts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts
    from leakcheck.project.speaking import Vocabulary
    from leakcheck.source import Source


def starting_in(facts: ModuleFacts, source: Source, vocabulary: Vocabulary) -> frozenset[str]:
    """The qualified names of such functions of one file."""
    functions = facts.functions.values()
    return frozenset(f.qualname for f in functions if starts(f, source.rows(f.first_row, f.last_row), vocabulary))


class Starting:
    """Who calls such a function."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._near: dict[str, frozenset[str]] = {}

    def is_called(self, module: ModuleFacts, function: FunctionFacts) -> bool:
        """Whether a function calls one."""
        named = self._near_names(module) & function.calls.keys()
        if not named:
            return False
        scope = Scope.of(module, function)
        return any(
            isinstance(symbol, Function) and symbol.qualname in self._program.starting(symbol.path)
            for name in named
            for callee in function.calls[name]
            for symbol in self._program.resolver.resolve(callee, scope)
        )

    def _near_names(self, module: ModuleFacts) -> frozenset[str]:
        """The names of those that a file defines or can import."""
        if module.path not in self._near:
            files = set(self._imported(module))
            for path in [f for f in files if os.path.basename(f) == "__init__.py" and f != module.path]:
                files.update(imported_files(self._program, path))
            files.add(module.path)
            near = (qualname for path in files for qualname in self._program.starting(path))
            self._near[module.path] = frozenset(qualname.rpartition(".")[2] for qualname in near)
        return self._near[module.path]

    def _imported(self, module: ModuleFacts) -> Iterator[str]:
        for dotted in (*module.imported, *module.scope.star_imports):
            member = self._program.modules.member(dotted, module.path)
            if member is not None:
                yield member[0]
