"""The analysis of a project as the engine asks for it: the leaks of a file, and the pools it builds too often.

    Analysis(config, read, roots).analyse("app/views.py")  →  what the ownership analysis finds, and LC201 to LC206

A file that builds no pool costs a look at the names that it imports and calls; the rest is imported for the others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck.handlers.constructions import Constructions
from leakcheck.ownership.program import FileAnalysis, Program
from leakcheck.ownership.unknown import unknown
from leakcheck.project.large_stack import on_large_stack
from leakcheck.project.names import Scope
from leakcheck.project.testing import is_test

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from leakcheck.config import Config
    from leakcheck.handlers.faults import Faults
    from leakcheck.ownership.leak import Leak
    from leakcheck.project.facts import ModuleFacts


class Analysis:
    """The whole analysis of a project; with ``every``, each fix comes in all its shapes."""

    def __init__(
        self, config: Config, read: Callable[[str], bytes], roots: Sequence[Path], *, every: bool = False
    ) -> None:
        self._every = every
        self._program = Program(config, read, roots)
        self._pools = Pools(self._program, config)

    def select(self, paths: Sequence[str]) -> list[str]:
        """Those of ``paths`` that can hold a finding, in their order."""
        return self._program.select(paths)

    def analyse(self, path: str) -> FileAnalysis:
        """The leaks of one file, and its pools."""
        found = self._program.analyse(path)
        if found.failure is not None:
            return found
        pools = self._pools.of(path)
        skipped = on_large_stack(lambda: tuple(unknown(self._program, path)))
        return replace(found, leaks=(*found.leaks, *pools), skipped=(*found.skipped, *skipped))

    def offer(self, path: str, leaks: tuple[Leak, ...]) -> tuple[Leak, ...]:
        """The leaks of a file that was analysed, each with its fix or the reason against one."""
        from leakcheck.fixes.offer import offered  # a run that finds nothing fixes nothing

        return offered(self._program, path, leaks, every=self._every)


class UnfixedAnalysis(Analysis):
    """The analysis for somebody who is shown no fixes, which may take as long to make as all the rest."""

    def offer(self, _path: str, leaks: tuple[Leak, ...]) -> tuple[Leak, ...]:
        """The leaks as they are."""
        return leaks


class Losses(Struct):
    """What a project loses, outside of its tests: how often each class of the drivers' files, and in which files.

    ``starts``: of such a class the directories where imports of these files start, with the number of the files.
    """

    counts: Counter[str] = field(default_factory=Counter)
    starts: dict[str, Counter[str]] = field(default_factory=dict)


class Survey(UnfixedAnalysis):
    """The analysis for somebody who asks what a project loses."""

    def __init__(self, config: Config, read: Callable[[str], bytes], roots: Sequence[Path], losses: Losses) -> None:
        super().__init__(config, read, roots)
        self._losses = losses

    def offer(self, path: str, leaks: tuple[Leak, ...]) -> tuple[Leak, ...]:
        """The leaks as they are, counted."""
        from leakcheck.fixes.importing import starts_of  # hardly anybody asks

        lost = Counter(leak.resource for leak in leaks if leak.resource and not is_test(path))
        self._losses.counts.update(lost)
        for resource in lost:
            self._losses.starts.setdefault(resource, Counter()).update(starts_of(self._program, path))
        return leaks


class Pools:
    """The second half of the analysis: the pools that a file builds, and what its records open for each object."""

    def __init__(self, program: Program, config: Config) -> None:
        self._program = program
        self._constructions = Constructions(program)
        self._thorough = bool(config.select or config.extend_select)  # what is off by default may be asked for
        self._faults: Faults | None = None

    def of(self, path: str) -> tuple[Leak, ...]:
        """The faults about the pools and the records of one file."""
        facts = self._program.facts(path)
        if facts is None:
            return ()
        builds = self._constructions.may_hold(facts, connections=self._thorough)
        if not builds and not any(cls.factories for cls in facts.classes.values()):
            return ()
        return on_large_stack(lambda: (*self._kept(facts), *(self.faults.of(path) if builds else ())))

    def _kept(self, facts: ModuleFacts) -> tuple[Leak, ...]:
        """What records keep for each object; most files have none whose factories could take something."""
        possible, scope = self._program.acquisitions.possible, Scope(facts)
        if not any(possible(made, scope) for cls in facts.classes.values() for made in cls.factories.values()):
            return ()
        from leakcheck.handlers.records import Records

        return tuple(Records(self._program).of(facts.path))

    @property
    def faults(self) -> Faults:
        """What finds them; most runs need none."""
        if self._faults is None:
            from leakcheck.handlers.faults import Faults

            self._faults = Faults(self._program, self._constructions, thorough=self._thorough)
        return self._faults
