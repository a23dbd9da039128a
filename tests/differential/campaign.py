"""Many programs of one flavour: generate, run, analyse, compare, count.

Input: a flavour, seeds and what to ask. Output: a ``Tally`` and the disagreements with their programs.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from .adapter import AnalysisError
from .comparison import Ask, Disagreement, Fault, Verdicts, compare
from .executor import TooManyPathsError, execute
from .generator import generate
from .shrink import shrink
from .world import AbandonedRun

GIST = 40
COLLECT_EVERY = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """A program about which there is disagreement, or on which the analysis failed."""

    flavour: str
    seed: int
    files: Mapping[str, str]
    disagreements: tuple[Disagreement, ...]
    failure: str = ""

    def __str__(self) -> str:
        """The program and what is wrong with the verdict, for people."""
        lines = [f"{self.flavour}, seed {self.seed}"]
        lines += [f"  {disagreement}" for disagreement in self.disagreements]
        if self.failure:
            lines.append(f"  {self.failure}")
        for path, text in self.files.items():
            lines.append(f"--- {path}")
            lines += [f"{number:3} {content}" for number, content in enumerate(text.splitlines(), 1)]
        return "\n".join(lines)


@dataclass(slots=True)
class Tally:
    """The counts of one flavour."""

    programs: int = 0
    discarded: int = 0
    sites: int = 0
    leaks: int = 0
    failures: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count what ``other`` counted too."""
        self.programs += other.programs
        self.discarded += other.discarded
        self.sites += other.sites
        self.leaks += other.leaks
        self.failures += other.failures
        self.faults += other.faults
        self.findings += other.findings


def run_campaign(flavour: str, seeds: Iterable[int], ask: Ask, max_runs: int) -> Tally:
    """Compare the programs of these seeds."""
    with _collecting_seldom():
        return _run_campaign(flavour, seeds, ask, max_runs)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for garbage only where it is asked for: what is imported, and what analyses share, is none."""
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


def _run_campaign(flavour: str, seeds: Iterable[int], ask: Ask, max_runs: int) -> Tally:
    tally = Tally()
    for seed in seeds:
        files = generate(seed, flavour)
        tally.programs += 1
        if tally.programs % COLLECT_EVERY == 0:
            gc.collect()
        try:
            comparison = compare(files, ask, max_runs)
        except TooManyPathsError:
            tally.discarded += 1
            continue
        except AnalysisError as error:
            tally.failures += 1
            tally.findings.append(Finding(flavour, seed, files, (), str(error)))
            continue
        tally.sites += comparison.sites
        tally.leaks += comparison.leaks
        tally.faults.update(disagreement.fault for disagreement in comparison.disagreements)
        if comparison.disagreements:
            tally.findings.append(Finding(flavour, seed, files, comparison.disagreements))
    return tally


def minimal(finding: Finding, ask: Ask, max_runs: int) -> Finding:
    """The finding's program made small while a disagreement of the same kind stays.

    A smaller program may not make Python raise what the original does not: a missing method is no example.
    """
    natural = execute(finding.files, max_runs).natural
    wanted = {(disagreement.fault, disagreement.said) for disagreement in finding.disagreements[:1]}

    def may_say(said: Verdicts) -> bool:
        """Whether it is worth running: where something wrong is said, it must still be said."""
        return any(codes.intersection(line) == codes for _, codes in wanted for line in (*said.values(), ()))

    def holds(files: dict[str, str]) -> bool:
        try:
            said = ask(files)
            if not may_say(said):
                return False
            comparison = compare(files, lambda _: said, max_runs)
        except AnalysisError as error:
            return _gist(str(error)) == _gist(finding.failure)
        except (Exception, AbandonedRun):  # noqa: BLE001  what is left may be no program: then it shows nothing
            return False
        if not comparison.natural <= natural:
            return False
        return any((disagreement.fault, disagreement.said) in wanted for disagreement in comparison.disagreements)

    files = shrink(finding.files, holds)
    try:
        return Finding(finding.flavour, finding.seed, files, compare(files, ask, max_runs).disagreements)
    except AnalysisError as error:
        return Finding(finding.flavour, finding.seed, files, (), str(error))


def _gist(failure: str) -> str:
    """What stays the same in a failure's message while a program shrinks."""
    return failure.partition(":")[2][:GIST]
