"""Truth against verdict: where the analysis and execution disagree.

Input: a program. Output: its disagreements, each missed, false or of the wrong kind. Before one counts, the program
is run again with one more iteration per loop, since two do not show every loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import permutations

from .executor import MAX_RUNS, Execution, TooManyPathsError, execute
from .truth import CHECKOUT_CODES, Site, Truth
from .world import MAX_ITERATIONS

Verdicts = Mapping[Site, Collection[str]]
"""The codes said of each line: a call that gives several connections may have one for each."""
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
    truths: dict[Site, list[Truth]] = {}
    for place, truth in sorted(execution.truths.items()):
        truths.setdefault(replace(place, part=0), []).append(truth)
    for site in sorted({*truths, *said}):
        if site not in truths and site not in execution.reached:
            continue
        leaking = [truth.allowed() for truth in truths.get(site, ()) if truth.leaks]
        codes = [code for code in said.get(site, ()) if code in CHECKOUT_CODES]
        if len(truths.get(site, ())) < 2:
            codes = sorted(set(codes))  # one connection, whatever is said of it
        fault = _fault(leaking, codes)
        if fault is not None:
            found.append(Disagreement(site, fault, frozenset().union(*leaking), frozenset(codes)))
    return found


def _fault(leaking: Sequence[frozenset[str]], codes: Sequence[str]) -> Fault | None:
    """What is wrong with the codes said of a line, of whose connections these leak, each with the codes it allows."""
    if len(leaking) < 2:
        allowed = leaking[0] if leaking else frozenset()
        if bool(allowed) is bool(codes):
            return None if allowed.issuperset(codes) else Fault.WRONG_KIND
    if len(codes) != len(leaking):
        return Fault.MISSED if len(codes) < len(leaking) else Fault.FALSE
    if any(all(code in allowed for code, allowed in zip(order, leaking, strict=True)) for order in permutations(codes)):
        return None
    return Fault.WRONG_KIND
