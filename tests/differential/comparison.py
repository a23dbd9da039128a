"""Truth against verdict: where the analysis and execution disagree.

Input: a program. Output: its disagreements, each missed, false or of the wrong kind. Before one counts, the program
is run again with one more iteration per loop, since two do not show every loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from .executor import MAX_RUNS, Execution, TooManyPathsError, execute
from .truth import CHECKOUT_CODES, Site, Truth
from .world import MAX_ITERATIONS

Verdicts = Mapping[Site, set[str]]
Ask = Callable[[Mapping[str, str]], Verdicts]


class Fault(Enum):
    """How a verdict can be wrong."""

    MISSED = "missed"
    FALSE = "false"
    WRONG_KIND = "wrong kind"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One checkout line about which analysis and execution disagree."""

    site: Site
    fault: Fault
    allowed: frozenset[str]
    said: frozenset[str]

    def __str__(self) -> str:
        """One line for people."""
        allowed = " ".join(sorted(self.allowed)) or "silence"
        said = " ".join(sorted(self.said)) or "nothing"
        return (
            f"{self.site.path}:{self.site.line}: {self.fault.value}: execution allows {allowed}, analysis says {said}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One program compared."""

    sites: int
    leaks: int
    natural: frozenset[str]  # what Python itself raised
    disagreements: tuple[Disagreement, ...]


def compare(files: Mapping[str, str], ask: Ask, max_runs: int = MAX_RUNS) -> Comparison:
    """Run and analyse ``files``."""
    execution = execute(files, max_runs)
    said = ask(files)
    found = disagreements(execution, said)
    if found:
        try:
            longer = execute(files, 4 * max_runs, MAX_ITERATIONS + 1)
        except TooManyPathsError:
            longer = execution
        found = disagreements(longer, said)
    truths = execution.truths
    return Comparison(len(truths), sum(truth.leaks for truth in truths.values()), execution.natural, tuple(found))


def disagreements(execution: Execution, said: Verdicts) -> list[Disagreement]:
    """The lines where verdicts are not what execution allows; lines no run reaches do not count."""
    found = []
    silent = Truth()
    for site in sorted({*execution.truths, *said}):
        truth = execution.truths.get(site)
        if truth is None and site not in execution.reached:
            continue
        allowed = (truth or silent).allowed()
        codes = frozenset(said.get(site, ())) & CHECKOUT_CODES
        if allowed and not codes:
            found.append(Disagreement(site, Fault.MISSED, allowed, codes))
        elif codes and not allowed:
            found.append(Disagreement(site, Fault.FALSE, allowed, codes))
        elif not codes <= allowed:
            found.append(Disagreement(site, Fault.WRONG_KIND, allowed, codes))
    return found
