"""A program that notes what it looks at, so that its answers can be kept until something of it reads differently.

    program = WatchedProgram(config, file_of, roots)
    program.analyse("app/views.py")
    program.looks["app/db.py"]    →   {(Table.FUNCTIONS, "connect"), (Table.IMPORTS, "psycopg2"), …}

A look is one fact of one file: a function's text, what a module-level name is bound to, whether a word of a driver
occurs. Whoever looks at everything (iterates over the functions, reads the whole text) has looked at the bytes.
"""

from __future__ import annotations

import copy
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from leakcheck.ownership.program import Program, parse
from leakcheck.project.facts import ModuleFacts
from leakcheck.project.speaking import may_start, takes_something
from leakcheck.project.starting import starting_in
from leakcheck.source import Failure, Source, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, Iterator, Sequence, ValuesView
    from pathlib import Path

    from leakcheck.config import Config
    from leakcheck.ownership.unit import Syntax

_Value = TypeVar("_Value")


class Table(Enum):
    """The facts of a file that can be looked at one by one."""

    DATA = "data"
    TRIGGER = "trigger"
    TAKES = "takes"
    STARTING = "starting"
    FAILURE = "failure"
    HEADING = "heading"
    """What is small and asked for as a whole: what is imported, and the functions called by a script."""
    FUNCTIONS = "functions"
    LOOPS = "loops"
    CLASSES = "classes"
    IMPORTS = "imports"
    ASSIGNMENTS = "assignments"
    ANNOTATIONS = "annotations"
    FUNCTION_NAMES = "function names"
    CLASS_NAMES = "class names"


Look = tuple[Table, str]


class File:
    """One version of a file, with what is computed from its bytes when first asked for.

    ``former`` is the version before: what both share is not computed anew.
    """

    def __init__(self, path: str, data: bytes, former: File | None = None) -> None:
        self.path, self.data = path, data
        self._before = former.source if former is not None else None
        self.triggered: bool | None = None
        self.takes: bool | None = None
        self.starting: frozenset[str] | None = None
        self._source: Source | Failure | None = None
        self._parsed: ModuleFacts | Failure | None = None
        self._texts: dict[str, tuple[int, str]] = {}

    @property
    def source(self) -> Source | Failure:
        """The decoded text."""
        if self._source is None:
            self._source = source_of(self.data)
        return self._source

    @property
    def parsed(self) -> ModuleFacts | Failure:
        """The facts, or why there are none."""
        if self._parsed is None:
            before = self._before if isinstance(self._before, Source) else None
            self._parsed, self._before = parse(self.path, self.source, before), None
        return self._parsed

    def value(self, table: Table, key: str) -> object:
        """What a look sees: equal values are equal answers."""
        match table:
            case Table.DATA:
                return self.data
            case Table.TRIGGER:
                return self.triggered
            case Table.TAKES:
                return self.takes
            case Table.STARTING:
                return self.starting
            case _:
                return self._fact(table, key)

    def _fact(self, table: Table, key: str) -> object:
        facts = self.parsed
        if not isinstance(facts, ModuleFacts):
            return facts if table is Table.FAILURE else None
        match table:
            case Table.FAILURE:
                return None
            case Table.HEADING:
                scope = facts.scope
                return facts.packages, facts.imported, facts.main_calls, scope.star_imports, scope.modules
            case Table.FUNCTIONS:
                return self._text(facts, key)[1] if key in facts.functions else None
            case Table.LOOPS:
                loop = facts.loops[int(key)] if int(key) < len(facts.loops) else None
                return self._rows(loop.first_row, loop.last_row) if loop is not None else None
            case Table.CLASSES:
                return facts.classes.get(key)
            case Table.IMPORTS:
                return facts.scope.imports.get(key)
            case Table.ASSIGNMENTS:
                return facts.scope.assignments.get(key)
            case Table.ANNOTATIONS:
                return facts.scope.annotations.get(key)
            case Table.FUNCTION_NAMES:
                return facts.scope.functions.get(key)
            case _:
                return facts.scope.classes.get(key)

    def row(self, table: Table, key: str) -> int:
        """The row at which a function or loop starts, together with the function around it; 0 for all else."""
        facts = self.parsed
        if not isinstance(facts, ModuleFacts):
            return 0
        if table is Table.FUNCTIONS and key in facts.functions:
            return self._text(facts, key)[0]
        if table is Table.LOOPS and int(key) < len(facts.loops):
            return facts.loops[int(key)].first_row
        return 0

    def _text(self, facts: ModuleFacts, qualname: str) -> tuple[int, str]:
        """The first row and the text of the outermost function around a function."""
        found = self._texts.get(qualname)
        if found is None:
            function = facts.functions[qualname]
            if function.parent is not None:
                found = self._text(facts, function.parent)
            else:
                found = function.first_row, self._rows(function.first_row, function.last_row)
            self._texts[qualname] = found
        return found

    def _rows(self, first: int, last: int) -> str:
        return self.source.rows(first, last) if isinstance(self.source, Source) else ""


class WatchedProgram(Program):
    """A program over ``File``s; ``looks`` are, by path, those of this program."""

    def __init__(
        self,
        config: Config,
        file: Callable[[str], File],
        roots: Sequence[Path],
        syntax: Callable[[str], Syntax],
    ) -> None:
        super().__init__(config, lambda path: file(path).data, roots)
        self._file = file
        self._syntax = syntax
        self.looks: dict[str, set[Look]] = {}

    def fresh(self) -> WatchedProgram:
        """The same program before it has looked at anything."""
        program = copy.copy(self)
        program.looks = {}
        program._begin()
        return program

    def look(self, path: str, table: Table, key: str = "") -> None:
        """Note that an answer depends on this."""
        self.looks.setdefault(path, set()).add((table, key))

    def data(self, path: str) -> bytes:
        """The bytes of a file; empty where it cannot be read."""
        self.look(path, Table.DATA)
        return self._file(path).data

    def peek(self, path: str) -> bytes:
        """The bytes of a file: every look is remembered."""
        return self.data(path)

    def has_trigger(self, path: str) -> bool:
        """Whether a file's bytes can hold an acquire."""
        file = self._file(path)
        if file.triggered is None:
            file.triggered = self.triggers.in_(file.data)
        self.look(path, Table.TRIGGER)
        return file.triggered

    def takes(self, path: str) -> bool:
        """Whether a file has a statement somewhere that takes something."""
        file = self._file(path)
        if file.takes is None:
            file.takes = takes_something(file.data)
        self.look(path, Table.TAKES)
        return file.takes

    def starting(self, path: str) -> frozenset[str]:
        """The functions of a file that may leave something open for their callers to end."""
        file = self._file(path)
        if file.starting is None:
            worth = self.has_trigger(path) and may_start(file.data, takes=self.takes(path))
            facts, source = (file.parsed, file.source) if worth else (None, None)
            if isinstance(facts, ModuleFacts) and isinstance(source, Source):
                file.starting = starting_in(facts, source, self.vocabulary)
            else:
                file.starting = frozenset()
        self.look(path, Table.STARTING)
        return file.starting

    def source(self, path: str) -> Source | Failure:
        """The decoded text of a file."""
        found = self._sources.get(path)
        if found is None:
            found = self._file(path).source
            if isinstance(found, Source):
                found = _WatchedSource(found, lambda: self.look(path, Table.DATA))
            else:
                self.look(path, Table.DATA)
            self._sources[path] = found
        return found

    def parsed(self, path: str) -> ModuleFacts | Failure:
        """The facts of a file, or why it has none."""
        found = self._facts.get(path)
        if found is None:
            found = self._file(path).parsed
            self.look(path, Table.FAILURE)
            if isinstance(found, ModuleFacts):
                self.look(path, Table.HEADING)
                found = self._watched(found)
            self._facts[path] = found
        return found

    def syntax(self, text: str) -> Syntax:
        """The syntax of a slice of a file. Raises whatever LibCST raises."""
        return self._syntax(text)

    def _watched(self, facts: ModuleFacts) -> ModuleFacts:
        def table(entries: dict[str, _Value], kind: Table) -> dict[str, _Value]:
            return _WatchedTable(
                entries,
                lambda key: self.look(facts.path, kind, key),
                lambda: self.look(facts.path, Table.DATA),
            )

        scope = replace(
            facts.scope,
            imports=table(facts.scope.imports, Table.IMPORTS),
            assignments=table(facts.scope.assignments, Table.ASSIGNMENTS),
            annotations=table(facts.scope.annotations, Table.ANNOTATIONS),
            functions=table(facts.scope.functions, Table.FUNCTION_NAMES),
            classes=table(facts.scope.classes, Table.CLASS_NAMES),
        )
        functions, classes = table(facts.functions, Table.FUNCTIONS), table(facts.classes, Table.CLASSES)
        return replace(facts, scope=scope, functions=functions, classes=classes)


class _WatchedSource(Source):
    """A text of which single rows are only asked for after a look at the function that they belong to."""

    def __init__(self, source: Source, look: Callable[[], None]) -> None:
        self._source, self._look = source, look

    @property
    def text(self) -> str:  # type: ignore[override]  # an attribute of what is not watched
        self._look()
        return self._source.text

    def rows(self, first: int, last: int) -> str:
        """The text of rows ``first`` to ``last``, 1-based and inclusive."""
        return self._source.rows(first, last)


class _WatchedTable(dict[str, _Value]):
    """A table of facts that says which of its keys are asked for."""

    def __init__(self, entries: dict[str, _Value], one: Callable[[str], None], every: Callable[[], None]) -> None:
        super().__init__(entries)
        self._one, self._every = one, every

    def __getitem__(self, key: str) -> _Value:
        self._one(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._one(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: _Value | None = None) -> _Value | None:  # type: ignore[override]
        """As of a dictionary."""
        self._one(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:
        self._every()
        return super().__iter__()

    def values(self) -> ValuesView[_Value]:  # type: ignore[override]
        """As of a dictionary."""
        self._every()
        return super().values()

    def items(self) -> ItemsView[str, _Value]:  # type: ignore[override]
        """As of a dictionary."""
        self._every()
        return super().items()
