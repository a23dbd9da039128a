"""The fixtures of pytest: which functions run before a test, since it names them or since they run before all.

@pytest.mark.usefixtures("fake_pool")   →   fake_pool(), of its class, its file, what that imports, a conftest.py
def test_reads(shop): ...               →   shop(), and what shop() asks for itself
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.project.facts import FIXTURES
from leakcheck.project.names import Class, Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import ClassFacts, FunctionFacts, ModuleFacts

_MARK = "usefixtures"
_MARKED = "pytestmark"
_PLUGINS = "pytest_plugins"
_LEVELS = 8
"""So many folders up a ``conftest.py`` is looked for."""
_TRUE = ex.Constant(value=True)
_SET_UP = frozenset({"setUpModule", "setup_module", "setup_function"})
"""Functions of a file that run before its tests."""


class _File(Struct):
    """The fixtures of a file by their names, each with the class that has it, and those that run before all tests."""

    named: dict[str, list[tuple[str | None, Function]]]
    for_all: list[tuple[str | None, Function]]


class Fixtures:
    """Answers about the fixtures of a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._files: dict[str, _File] = {}
        self._conftests: dict[str, tuple[str, ...]] = {}

    def before(self, function: Function, facts: FunctionFacts) -> Iterator[Function]:
        """The fixtures that a test or another fixture asks for, or gets without."""
        module = self._program.facts(function.path)
        if module is None:
            return
        asked = [parameter.name for parameter in facts.parameters]
        marks = [*facts.decorators, *module.scope.assignments.get(_MARKED, ())]
        for _, of, _ in self._lineage(function, facts):
            marks += [*of.decorators, *(value for value, _ in of.attributes.get(_MARKED, ()))]
        asked += [name for mark in marks for name in _used(mark)]
        classes = {cls for cls, _, _ in self._lineage(function, facts)}
        for place in dict.fromkeys((*self.places(function.path), *(cls.path for cls in classes))):
            yield from (
                each for owner, each in self._file(place).for_all if owner is None or Class(place, owner) in classes
            )
        for name in asked:
            yield from self.named(function, facts, name)

    def named(self, function: Function, facts: FunctionFacts, name: str) -> Iterator[Function]:
        """The fixtures that a function gets by a name."""
        classes = {cls for cls, _, _ in self._lineage(function, facts)}
        for place in dict.fromkeys((*self.places(function.path), *(cls.path for cls in classes))):
            found = self._file(place).named.get(name, ())
            yield from (each for owner, each in found if owner is None or Class(place, owner) in classes)
        module = self._program.facts(function.path)
        for symbol in self._program.resolver.resolve(ex.Name(name), Scope(module)) if module is not None else ():
            if isinstance(symbol, Function) and symbol.path != function.path:
                yield symbol

    def _lineage(self, function: Function, facts: FunctionFacts) -> Iterable[tuple[Class, ClassFacts, ModuleFacts]]:
        if facts.owner is None:
            return ()
        return self._program.resolver.hierarchy.lineage(Class(function.path, facts.owner))

    def places(self, path: str) -> tuple[str, ...]:
        """A file of tests, the ``conftest.py`` files for it, and the plugins that it or these name."""
        if path not in self._conftests:
            find = self._program.modules.find
            found = [
                path,
                *(c for level in range(1, _LEVELS) if (c := find("." * level + "conftest", path)) is not None),
            ]
            for place in found:
                module = self._program.facts(place)
                for value in module.scope.assignments.get(_PLUGINS, ()) if module is not None else ():
                    named = value.items if isinstance(value, ex.Sequence) else (value,)
                    plugins = [
                        find(n.value, place) for n in named if isinstance(n, ex.Constant) and type(n.value) is str
                    ]
                    found += [plugin for plugin in plugins if plugin is not None and plugin not in found]
            self._conftests[path] = tuple(dict.fromkeys(found))
        return self._conftests[path]

    def _file(self, path: str) -> _File:
        if path not in self._files:
            self._files[path] = _fixtures_of(self._program.facts(path))
        return self._files[path]


def _fixtures_of(module: ModuleFacts | None) -> _File:
    found = _File({}, [])
    for facts in module.functions.values() if module is not None else ():
        function = Function(module.path, facts.qualname) if module is not None else None
        if function is None or facts.parent is not None:
            continue
        if facts.owner is None and facts.name in _SET_UP:
            found.for_all.append((None, function))
        for decorator in facts.decorators:
            if ex.last_name(decorator) not in FIXTURES:
                continue
            told = dict(decorator.keywords) if isinstance(decorator, ex.Call) else {}
            name = told.get("name")
            named = name.value if isinstance(name, ex.Constant) else facts.name
            found.named.setdefault(str(named), []).append((facts.owner, function))
            if told.get("autouse") == _TRUE:
                found.for_all.append((facts.owner, function))
    return found


def _used(mark: ex.Expression) -> Iterable[str]:
    """The fixtures that a mark, or one of a list of them, names."""
    if isinstance(mark, ex.Sequence):
        return [name for item in mark.items for name in _used(item)]
    if not isinstance(mark, ex.Call) or ex.last_name(mark.func) != _MARK:
        return []
    return [name.value for name in mark.args if isinstance(name, ex.Constant) and isinstance(name.value, str)]
