"""The analysis of a project, on demand: files, their facts, their functions, and what callers may assume.

    program = Program(config, read, roots)
    program.select(paths)           # those that can matter
    program.analyse("app/db.py")    # FileAnalysis: leaks, or why there are none

Whatever a file needs of other files is parsed when it is asked for, so its findings do not depend on which
other files are checked.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.calls import load_calls
from leakcheck.diagnostic import Span
from leakcheck.driver_data import load_drivers
from leakcheck.framework import load_frameworks
from leakcheck.ownership.acquire import Acquisitions
from leakcheck.ownership.fixpoint import Fixpoint
from leakcheck.ownership.pools import constructors
from leakcheck.project.collector import facts_of
from leakcheck.project.facts import FunctionFacts, ModuleFacts, makes_manager
from leakcheck.project.large_stack import on_large_stack
from leakcheck.project.modules import Modules
from leakcheck.project.names import Class
from leakcheck.project.nodes import parsed
from leakcheck.project.resolver import Resolver
from leakcheck.project.speaking import Vocabulary, may_start, takes_something, taking_names, taking_rows
from leakcheck.project.starting import Starting, starting_in
from leakcheck.project.triggers import Triggers
from leakcheck.reader import Reader
from leakcheck.source import Failure, Source, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from leakcheck.cfg.graph import Call
    from leakcheck.config import Config
    from leakcheck.driver import DriverClass
    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.functions import Functions
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.summary import FunctionSummary
    from leakcheck.ownership.unit import Syntax, Unit
    from leakcheck.project.names import Function, Scope

_PYTHON = "Python {}.{}".format(*sys.version_info)  # newer syntax is not known to it
_MOST_BYTES = 100_000_000
"""So much of files that do not matter is kept: half of it is a large project."""
DEPTH_LIMIT = 400
"""LibCST recurses, and its parser ends the process on deep nesting: deeper functions are skipped."""


class Skip(Struct, frozen=True):
    """A construct that was not analysed; ``is_open``: since nothing is known of it, not for a limit of ours."""

    span: Span | None
    reason: str
    is_open: bool = False


class FileAnalysis(Struct, frozen=True):
    """The result for one file: plain data."""

    leaks: tuple[Leak, ...] = ()
    failure: Failure | None = None
    skipped: tuple[Skip, ...] = ()


class Program:
    """A project under analysis. ``read`` returns a file's bytes (an editor lends its buffers)."""

    def __init__(self, config: Config, read: Callable[[str], bytes], roots: Sequence[Path]) -> None:
        self.config = config
        self.drivers = load_drivers([config.located(d) for d in config.drivers] if config.drivers else ())
        self.calls = load_calls().extended(config.non_raising)
        trail = read.trail if isinstance(read, Reader) else None
        self.modules = Modules([str(root) for root in roots], str(config.root), trail, self.drivers.packages)
        self._read = read
        self.triggers = Triggers(self.drivers, self.calls)
        self.driver_words = frozenset(name.rpartition(".")[2] for name in self.drivers.calls)
        self.acquiring_names = frozenset(
            name for name, found in self.drivers.methods.items() if any(op.acquires for _, op in found)
        )
        self.release_names = frozenset(
            name for name, found in self.drivers.methods.items() if any(op.releases is not None for _, op in found)
        )
        self.vocabulary = Vocabulary.of(self.drivers, self.calls)
        self._begin()

    def _begin(self) -> None:
        """Start with no answer: everything from here on is learnt from files and remembered."""
        self._data: dict[str, bytes] = {}
        self._kept_bytes = 0
        self._triggered: dict[str, bool] = {}
        self.imports: dict[str, tuple[str, ...]] = {}
        """The project files that files import, as far as anybody asked."""
        self._sources: dict[str, Source | Failure] = {}
        self._facts: dict[str, ModuleFacts | Failure] = {}
        self._syntaxes: dict[str, Syntax] = {}
        self._spare: dict[str, Syntax] = {}  # by its text, what another program parsed; no two slices share one
        self._functions: Functions | None = None
        self._factories: dict[str, tuple[DriverClass, ...]] = {}
        self.answers: Fixpoint[Any] = Fixpoint()
        """What calls take and functions hand out: functions that call each other are judged together."""
        self.resolver = Resolver(self)
        self.starting_functions = Starting(self)
        self._takes: dict[str, bool] = {}
        self._taking_names: dict[str, frozenset[bytes]] = {}
        self._taking_rows: dict[str, tuple[int, ...]] = {}
        self._starting: dict[str, frozenset[str]] = {}
        self.acquisitions = Acquisitions(self)
        self.handed_out: set[str] | None = None
        self.getters: set[str] | None = None
        """Names of project functions, classes and factories that hand something out, once all are known; properties."""
        self.relevant: dict[str, bool] = {}
        """Files asked about so far: whether they, or what they import, can hold an acquire."""

    def emptied(self, read: Callable[[str], bytes], modules: Modules) -> Program:
        """Another program with the same settings, of whose files nothing is known."""
        other = object.__new__(Program)  # a plain one, whatever notes what it looks at
        vars(other).update(vars(self))
        other.modules, other._read = modules, read
        other._begin()
        return other

    def with_text(self, path: str, text: str) -> Program:
        """The same project with another text of one file; what is known of the other files' syntax is kept."""
        changed = self.emptied(self._read, self.modules)
        changed._data = {**self._data, path: text.encode()}
        changed._sources = {**self._sources, path: Source.of_text(text)}
        changed._facts = {other: known for other, known in self._facts.items() if other != path}
        changed._spare = {**self._spare, **self._syntaxes}
        changed._triggered, changed.relevant = self._triggered, self.relevant
        changed.handed_out, changed.getters = self.handed_out, self.getters
        return changed

    # Files

    def select(self, paths: Sequence[str]) -> list[str]:
        """Those of ``paths`` that can hold a finding, in their order."""
        from leakcheck.project.gate import select

        return on_large_stack(lambda: select(self, paths))

    def data(self, path: str) -> bytes:
        """The bytes of a file; empty where it cannot be read."""
        if path not in self._data:
            try:
                self._data[path] = self._read(path)
            except OSError:
                self._data[path] = b""
        return self._data[path]

    def peek(self, path: str) -> bytes:
        """The bytes of a file, as ``data``, but not remembered."""
        found = self._data.get(path)
        if found is None:
            try:
                found = self._read(path)
            except OSError:
                found = b""
        return found

    def has_trigger(self, path: str) -> bool:
        """Whether a file's bytes can hold an acquire."""
        known = self._triggered.get(path)
        if known is None:
            known = self._triggered[path] = self.triggers.in_(self.data(path))
        return known

    def takes(self, path: str) -> bool:
        """Whether a file has a statement somewhere that takes something."""
        if path not in self._takes:
            self._takes[path] = takes_something(self.data(path))
        return self._takes[path]

    def taking_rows(self, path: str) -> tuple[int, ...]:
        """The rows of a file on which such a statement stands, written as SQL is."""
        if path not in self._taking_rows:
            self._taking_rows[path] = taking_rows(self.data(path)) if self.takes(path) else ()
        return self._taking_rows[path]

    def taking_names(self, module: ModuleFacts) -> frozenset[bytes]:
        """The constants of a file that hold such a statement."""
        if module.path not in self._taking_names:
            self._taking_names[module.path] = taking_names(module) if self.takes(module.path) else frozenset()
        return self._taking_names[module.path]

    def starting(self, path: str) -> frozenset[str]:
        """The functions of a file that may leave something open for their callers to end."""
        if path not in self._starting:
            worth = self.has_trigger(path) and may_start(self.data(path), takes=self.takes(path))
            facts, source = (self.facts(path), self.source(path)) if worth else (None, None)
            known = starting_in(facts, source, self.vocabulary) if facts and isinstance(source, Source) else frozenset()
            self._starting[path] = known
        return self._starting[path]

    def forget(self, path: str) -> None:
        """Drop the bytes of a file that cannot matter, where too many are kept for who searches them all."""
        self._kept_bytes += len(self._data.get(path, b""))
        if self._kept_bytes > _MOST_BYTES:
            self._data.pop(path, None)

    def source(self, path: str) -> Source | Failure:
        """The decoded text of a file."""
        found = self._sources.get(path)
        if found is None:
            self._sources[path] = found = source_of(self.data(path))
        return found

    def rows(self, path: str, first: int, last: int) -> bytes:
        """The text of some rows of a file, encoded; empty where there is none."""
        source = self.source(path)
        return b"" if isinstance(source, Failure) or first > last else source.rows(first, last).encode()

    def around(self, path: str, first: int, last: int) -> tuple[bytes, bytes]:
        """The text of a file before and after some of its rows, encoded."""
        source = self.source(path)
        if isinstance(source, Failure):
            return b"", b""
        lines = source.text.splitlines(keepends=True)
        return "".join(lines[: first - 1]).encode(), "".join(lines[last:]).encode()

    def parsed(self, path: str) -> ModuleFacts | Failure:
        """The facts of a file, or why it has none."""
        found = self._facts.get(path)
        if found is None:
            self._facts[path] = found = parse(path, self.source(path))
        return found

    def facts(self, path: str) -> ModuleFacts | None:
        """The facts of a file, None where it cannot be parsed."""
        found = self.parsed(path)
        return found if isinstance(found, ModuleFacts) else None

    def syntax(self, text: str) -> Syntax:
        """The syntax of a slice of a file. Raises whatever LibCST raises."""
        from leakcheck.ownership.unit import Syntax

        self._syntaxes[text] = self._spare.pop(text) if text in self._spare else Syntax(text)
        return self._syntaxes[text]

    # Answers about functions, for the stages that only know the program

    def acquisition(self, unit: Unit, call: Call) -> Acquisition | None:
        """What a call takes."""
        return self.functions.acquisition(unit, call)

    def factories_named(self, name: str) -> tuple[DriverClass, ...]:
        """The drivers' factories that a callee of this name may be."""
        if name not in self._factories:
            self._factories[name] = self.drivers.factories_named(name)
        return self._factories[name]

    def waits(self, module: ModuleFacts, function: FunctionFacts) -> bool:
        """Whether a function calls something that is slow."""
        from leakcheck.ownership.sessions.slow import calls_slow

        return calls_slow(self, module, function)

    def is_coroutine(self, function: Function) -> bool:
        """Whether calling it only makes a coroutine."""
        facts, _ = self.resolver.function(function)
        return facts is not None and facts.is_async and not facts.is_generator

    def is_manager(self, function: Function) -> bool:
        """Whether it is decorated to be a context manager."""
        facts, _ = self.resolver.function(function)
        return facts is not None and makes_manager(facts)

    def only_assignment(self, name: str, scope: Scope) -> ex.Expression | None:
        """The one expression assigned to a plain name, where there is just one in the scopes around."""
        found = [
            v
            for facts in (*(f.scope for f in scope.functions), scope.module.scope)
            for v in facts.assignments.get(name, ())
        ]
        return found[0] if len(found) == 1 else None

    def constructor_keyword(self, pool: str, keyword: str, scope: Scope) -> bool:
        """Whether the pool called ``pool`` is built with this keyword, wherever that can be seen."""
        return any(k == keyword for call, _ in constructors(self, pool, scope) for k, _ in call.keywords)

    # Analysis

    @property
    def functions(self) -> Functions:
        """The function-level analysis; importing it brings in LibCST."""
        if self._functions is None:
            from leakcheck.ownership.functions import Functions

            self._functions = Functions(self)
        return self._functions

    def analyse(self, path: str) -> FileAnalysis:
        """The leaks of one file."""
        return on_large_stack(lambda: self._analyse(path))

    def _analyse(self, path: str) -> FileAnalysis:
        found = self.parsed(path)
        if isinstance(found, Failure):
            return FileAnalysis(failure=found)
        from leakcheck.project.gate import candidates

        wanted = candidates(self, found)
        return self.functions.analyse(found, wanted) if wanted else FileAnalysis()

    def hands_out(self, function: Function) -> bool:
        """Whether callers of a project function, or who advances a generator, receive what must be given back."""
        key = replace(function, bound=False)
        found: bool = self.answers.answer(("hands out", key), lambda: self._finds_out_of(key), first=False)
        return found

    def _finds_out_of(self, function: Function) -> bool:
        from leakcheck.project.gate import may_hand_out

        module = self.facts(function.path)
        facts = module.functions.get(function.qualname) if module is not None else None
        if module is None or facts is None or not may_hand_out(self, module, facts):
            return False
        summary = self.summary(function)
        return summary is not None and bool(summary.returns or summary.yields) and not summary.manages

    def is_undecided(self, symbol: Function | Class) -> bool:
        """Whether what ``hands_out`` or ``construction`` said may change: it is being found out."""
        if isinstance(symbol, Class):
            return not self.answers.is_known(("construction", symbol))
        return not self.answers.is_known(("hands out", replace(symbol, bound=False)))

    def summary(self, function: Function) -> FunctionSummary | None:
        """What callers of a project function may assume; None where it cannot be analysed."""
        key = replace(function, bound=False)
        found: FunctionSummary | None = self.answers.answer(("summary", key), lambda: self._summarised(key), first=None)
        return found

    def _summarised(self, function: Function) -> FunctionSummary | None:
        module = self.facts(function.path)
        facts = module.functions.get(function.qualname) if module is not None else None
        return self.functions.summary(module, facts) if module is not None and facts is not None else None

    def construction(self, cls: Class) -> Acquisition | None:
        """What constructing a project class takes: the object itself, where it owns a resource, now or once opened."""
        found: Acquisition | None = self.answers.answer(("construction", cls), lambda: self._built(cls), first=None)
        return found

    def _built(self, cls: Class) -> Acquisition | None:
        from leakcheck.project.opening import may_open

        if self.resolver.hierarchy.is_shared(cls, load_frameworks().memoisers) or not may_open(self, cls):
            return None  # whoever closes what is shared closes it for all others
        from leakcheck.ownership.classes.making import made  # with LibCST

        return made(self, cls)


def parse(path: str, source: Source | Failure, former: Source | None = None) -> ModuleFacts | Failure:
    """The facts of a file with this text, or why it has none; ``former`` was its text a moment ago."""
    if isinstance(source, Failure):
        return source
    if path.endswith(".ipynb"):
        return Failure("it is a notebook: write it out by `jupyter nbconvert --to script`, and check that", 1, 1)
    try:
        return facts_of(path, parsed(source.text, former.text if former is not None else None))
    except SyntaxError as error:
        return Failure(f"it is not valid {_PYTHON}: {error.msg}", error.lineno or 1, error.offset or 1)
    except (RecursionError, MemoryError):
        return Failure("it is nested too deeply to parse", 1, 1)
    except ValueError as error:
        return Failure(f"it is not valid {_PYTHON}: {error}", 1, 1)
