"""The analysis of a project as the engine asks for it: the leaks of a file, and the pools it builds too often.

    Analysis(config, read, roots).analyse("app/views.py")  →  what the ownership analysis finds, and LC201 to LC206

A file that builds no pool costs a look at the names that it imports and calls; the rest is imported for the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from leakcheck.handlers.constructions import Constructions
from leakcheck.ownership.program import FileAnalysis, Program, on_large_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from leakcheck.config import Config
    from leakcheck.handlers.faults import Faults


class Analysis:
    """The whole analysis of a project."""

    def __init__(self, config: Config, read: Callable[[str], bytes], roots: Sequence[Path]) -> None:
        self._program = Program(config, read, roots)
        self._constructions = Constructions(self._program)
        self._thorough = bool(config.select or config.extend_select)  # what is off by default may be asked for
        self._faults: Faults | None = None

    def select(self, paths: Sequence[str]) -> list[str]:
        """Those of ``paths`` that can hold a finding, in their order."""
        return self._program.select(paths)

    def analyse(self, path: str) -> FileAnalysis:
        """The leaks of one file, and its pools."""
        found = self._program.analyse(path)
        facts = self._program.facts(path) if found.failure is None else None
        if facts is None or not self._constructions.may_hold(facts, connections=self._thorough):
            return found
        pools = on_large_stack(lambda: self.faults.of(path))
        return replace(found, leaks=(*found.leaks, *pools)) if pools else found

    @property
    def faults(self) -> Faults:
        """The second half of the analysis."""
        if self._faults is None:
            from leakcheck.handlers.faults import Faults

            self._faults = Faults(self._program, self._constructions, thorough=self._thorough)
        return self._faults
