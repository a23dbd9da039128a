"""The analysis of files that change a little at a time: what no change can have touched is not analysed again.

    incremental = Incremental(config, roots)
    check_files(discovery, config, read=read, build=incremental.begin)     # again after each change

Each function is analysed by a program of its own, which notes everything it looks at: this function's text, that
name's import, the bytes of another file. The answer stands until one of these reads differently. So an answer is
what a fresh run would give, as far as it does not depend on the order in which functions that call each other are
asked.

What is computed from text alone is kept by that text: the facts of a file, the syntax of a slice.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct, field

from leakcheck.fixes.offer import offered
from leakcheck.handlers.analysis import Pools
from leakcheck.ownership.program import FileAnalysis
from leakcheck.ownership.unit import Syntax
from leakcheck.ownership.watched import File, Look, Table, WatchedProgram
from leakcheck.project.gate import matters, select
from leakcheck.project.large_stack import on_large_stack
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from leakcheck.config import Config
    from leakcheck.ownership.leak import Leak
    from leakcheck.project.facts import ModuleFacts

_SLICES = 500
"""How many slices keep their syntax; one of twenty lines takes about 100 KB."""
_POOLS: Look = (Table.DATA, "")
"""The item that stands for the pools which a file builds: they are judged together."""
_FILES_AT_ONCE = 40
"""As many files as the gate judges one by one, without asking the whole project what it hands out."""


class _Answer(Struct):
    """The analysis of one function, loop, or of a file's pools, and by path what was looked at.

    ``seen`` are the files for which the looks were last found to hold.
    """

    analysis: FileAnalysis
    looks: dict[str, set[Look]]
    seen: dict[str, File]

    @property
    def tells_rows(self) -> bool:
        """Whether it only stands while the functions stay where they are."""
        return bool(self.analysis.leaks or self.analysis.skipped)


class _Change(Struct):
    """From one version of a file to another: of the looks that were compared, those that see something else."""

    before: File
    after: File
    compared: set[Look] = field(default_factory=set)
    differing: set[Look] = field(default_factory=set)
    moved: set[Look] = field(default_factory=set)
    """The looks at functions and loops that now start in another row."""

    def compare(self, look: Look) -> None:
        """Compare one look; what it sees is known of both versions."""
        self.compared.add(look)
        if self.before.value(*look) != self.after.value(*look):
            self.differing.add(look)
        elif self.before.row(*look) != self.after.row(*look):
            self.moved.add(look)


class Incremental:
    """An analyser of one project that is asked again and again; ``begin`` starts each round."""

    def __init__(self, config: Config, roots: Sequence[Path]) -> None:
        self._read: Callable[[str], bytes] | None = None
        self._known: dict[str, File] = {}
        self._current: dict[str, File] = {}
        self._answers: dict[str, dict[Look, _Answer]] = {}
        self._syntaxes: OrderedDict[str, Syntax] = OrderedDict()
        self._program = WatchedProgram(config, self._file, roots, self._syntax)
        self._config = config
        self._offers: dict[Leak, Leak] = {}
        self._changes: dict[str, _Change] = {}
        self.asked: tuple[str, range] | None = None
        """The file and the rows whose leaks are to have fixes; making one takes longer than a keystroke may."""

    def begin(self, _config: Config, read: Callable[[str], bytes], _roots: Sequence[Path]) -> Incremental:
        """Start a round: every file is read anew, once."""
        self._read = read
        self._current = {}
        self._changes = {}
        return self

    def select(self, paths: Sequence[str]) -> list[str]:
        """Those of ``paths`` that can hold a finding, in their order."""
        program = self._program.fresh()
        groups = [paths[start : start + _FILES_AT_ONCE] for start in range(0, len(paths), _FILES_AT_ONCE)]
        return on_large_stack(lambda: [path for group in groups for path in select(program, group)])

    def parses(self, path: str) -> bool:
        """Whether a file is Python in this round."""
        return not isinstance(self._file(path).parsed, Failure)

    def analyse(self, path: str) -> FileAnalysis:
        """The leaks of one file."""
        return on_large_stack(lambda: self._analyse(path))

    def offer(self, path: str, leaks: tuple[Leak, ...]) -> tuple[Leak, ...]:
        """The leaks, those that were asked for each with its fix or the reason against one."""
        if self.asked is None or self.asked[0] != path:
            return leaks
        rows = self.asked[1]
        return on_large_stack(
            lambda: tuple(self._offered(path, leak) if leak.span.start.row in rows else leak for leak in leaks)
        )

    def _offered(self, path: str, leak: Leak) -> Leak:
        if leak not in self._offers:
            items = self._answers.get(path, {}).items()
            item = next((item for item, answer in items if leak in answer.analysis.leaks), _POOLS)
            program = self._program.fresh()
            self._analysed(program, path, item)
            self._offers[leak] = offered(program, path, (leak,), every=True)[0]
        return self._offers[leak]

    def _analyse(self, path: str) -> FileAnalysis:
        parsed = self._file(path).parsed
        if isinstance(parsed, Failure):
            return FileAnalysis(failure=parsed)
        former = self._answers.get(path, {})
        answers: dict[Look, _Answer] = {}
        for item in _items(parsed):
            answer = former.get(item)
            answers[item] = answer if answer is not None and self._stands(answer) else self._answer(path, item)
        self._answers[path] = answers
        found = [answer.analysis for answer in answers.values()]
        unique = {(leak.kind, leak.span, leak.name): leak for each in found for leak in each.leaks}
        return FileAnalysis(tuple(unique.values()), skipped=tuple(skip for each in found for skip in each.skipped))

    def _answer(self, path: str, item: Look) -> _Answer:
        """The analysis of one item, by a program that knows nothing yet."""
        program = self._program.fresh()
        program.look(path, *item)
        analysis = self._analysed(program, path, item)
        return _Answer(analysis, program.looks, {each: self._file(each) for each in program.looks})

    def _analysed(self, program: WatchedProgram, path: str, item: Look) -> FileAnalysis:
        module = program.facts(path)
        assert module is not None
        if item == _POOLS:
            return FileAnalysis(Pools(program, self._config).of(path))
        table, key = item
        wanted = module.functions[key] if table is Table.FUNCTIONS else module.loops[int(key)]
        if not matters(program, module, wanted):
            return FileAnalysis()
        return program.functions.analyse(module, [wanted])

    def _stands(self, answer: _Answer) -> bool:
        """Whether everything that the answer depends on still reads the same."""
        for path, seen in answer.seen.items():
            file = self._file(path)
            if file is seen:
                continue
            change = self._change(seen, file, answer.looks[path])
            if not change.differing.isdisjoint(answer.looks[path]):
                return False
            if answer.tells_rows and not change.moved.isdisjoint(answer.looks[path]):
                return False
        for path in answer.seen:
            answer.seen[path] = self._file(path)
        return True

    def _change(self, before: File, after: File, looks: set[Look]) -> _Change:
        """The change of a file, with these looks compared; most answers ask about the same one, and the same looks."""
        change = self._changes.get(after.path)
        if change is None or change.before is not before or change.after is not after:
            change = self._changes[after.path] = _Change(before, after)
        for look in looks - change.compared:
            self._see(after, look)
            change.compare(look)
        return change

    def _see(self, file: File, look: Look) -> None:
        """Let a file know what only a program can tell of it."""
        match look[0]:
            case Table.TRIGGER:
                self._program.has_trigger(file.path)
            case Table.TAKES:
                self._program.takes(file.path)
            case Table.STARTING:
                self._program.starting(file.path)
            case _:
                pass

    def _file(self, path: str) -> File:
        """The file as it is in this round; the same object while its bytes are the same."""
        file = self._current.get(path)
        if file is None:
            data = self._bytes(path)
            file = self._known.get(path)
            if file is None or file.data != data:
                file = File(path, data, former=file)
                self._offers.clear()
            self._current[path] = self._known[path] = file
        return file

    def _bytes(self, path: str) -> bytes:
        if self._read is None:
            return b""
        try:
            return self._read(path)
        except OSError:
            return b""

    def _syntax(self, text: str) -> Syntax:
        found = self._syntaxes.pop(text, None)
        if found is None:
            found = Syntax(text)
        self._syntaxes[text] = found
        if len(self._syntaxes) > _SLICES:
            self._syntaxes.popitem(last=False)
        return found


def _items(facts: ModuleFacts) -> Iterator[Look]:
    """What is analysed on its own, in the order of the gate."""
    yield from ((Table.FUNCTIONS, name) for name in facts.functions)
    yield from ((Table.LOOPS, str(number)) for number in range(len(facts.loops)))
    yield _POOLS
