"""Original against fixed: both run along every path, and must do the same but for the connections that leaked.

Input: files, path to text. Output: the fixed files, and the first difference between the two executions, if any. The
runs are paired by their decisions: what raised, which way a branch went. Of one pair the result (or the type of the
exception) and the order of effects must be the same; a connection that was lost in the original may end anywhere.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from leakcheck.config import Config
from leakcheck.diagnostic import Applicability, Diagnostic, Severity
from leakcheck.fixes.apply import chosen, edited
from leakcheck.fixes.offer import offered
from leakcheck.ownership.program import Program

from .executor import TooManyPathsError, _harness, _Loader, _unknown
from .fakes import fake_modules
from .handled import named, representatives
from .held import Held, Obligation
from .instrument import instrument
from .truth import Site
from .world import AbandonedRun, World

ROOT = Path("program")
ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: how it ended, what happened in which order, and which connections it lost."""

    ending: str
    trace: tuple[str, ...]
    lost: frozenset[int]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A program after its fixes; ``refused`` and ``offered`` count the findings by what came of them."""

    files: Mapping[str, str]
    applied: int
    reasons: tuple[str, ...]


def fix(files: Mapping[str, str], least: Applicability = Applicability.SAFE) -> Fixed:
    """Apply the fixes of every file, round by round."""
    texts = dict(files)
    applied = 0
    reasons: list[str] = []
    for number in range(ROUNDS):
        found = {path: _diagnostics(texts, path) for path in texts}
        if number == 0:
            reasons = [_reason(one) for each in found.values() for one in each]
        picked = {path: chosen(each, least) for path, each in found.items()}
        if not any(picked.values()):
            return Fixed(texts, applied, tuple(reasons))
        for path, fixes in picked.items():
            applied += len(fixes)
            texts[path] = edited(texts[path], [edit for _, one in fixes for edit in one.edits])
    raise AssertionError("the fixes come to no end")


def _reason(one: Diagnostic) -> str:
    if one.fix is not None:
        return one.fix.applicability.name
    return f"refused: {one.fix_refused}" if one.fix_refused is not None else "unfixable"


def _diagnostics(files: Mapping[str, str], path: str) -> list[Diagnostic]:
    texts = {str(ROOT / name): text.encode() for name, text in files.items()}

    def read(name: str) -> bytes:
        try:
            return texts[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    program = Program(Config(), read, (ROOT,))
    located = str(ROOT / path)
    leaks = offered(program, located, program.analyse(located).leaks)
    return [
        Diagnostic(leak.kind.value, "", leak.acquire, Severity.ERROR, located, leak.span, leak.statement, (),
                   fix=leak.fix, fix_refused=leak.fix_refused)
        for leak in leaks
    ]  # fmt: skip


class TracedObligation(Obligation):
    """Notes its end, and every further one."""

    number: int
    trace: list[str]

    def __setattr__(self, name: str, value: object) -> None:
        """Note the end of the obligation."""
        if name == "held" and value is False and hasattr(self, "trace"):
            self.trace.append(f"{'end' if self.held else 'again'} {self.number}")
        super().__setattr__(name, value)


class TracingWorld(World):
    """A world that writes down what happens in it."""

    def __init__(self) -> None:
        """Prepare for one program."""
        super().__init__()
        self.trace: list[str] = []
        self.obligations: list[TracedObligation] = []

    def start(self) -> None:
        """Begin a run."""
        super().start()
        self.trace = []
        self.obligations = []

    def may_raise(self, frame: FrameType, *, suspends: bool = False) -> None:
        """Note who asks, then go on or raise."""
        if self.running:
            self.trace.append(sys._getframe(1).f_code.co_name)
        super().may_raise(frame, suspends=suspends)

    def _oblige(self, connection: Held, site: Site, owner: int) -> None:
        self._clock.now += 1
        obligation = TracedObligation(site, owner, self._clock.now, self._clock)
        obligation.number = len(self.obligations)
        obligation.trace = self.trace
        self.trace.append(f"take {obligation.number}")
        connection.obligation = obligation
        self._obligations.append(obligation)
        self.obligations.append(obligation)


def outcomes(
    files: Mapping[str, str], original: Mapping[str, str], max_runs: int
) -> dict[tuple[str, tuple[int, ...]], Outcome]:
    """What each run of each function does; exceptions are those that handlers of ``original`` tell apart."""
    world = TracingWorld()
    world.unknown = partial(_unknown, world)
    world.is_async = any("asyncpg" in text for text in files.values())
    instrumented = {path: instrument(text) for path, text in files.items()}
    namespaces = _Loader(world, fake_modules(world), instrumented).load()
    regions = {path: instrument(text).regions for path, text in original.items()}
    types = [kind for path in regions for region in regions[path] for kind in named(region, namespaces[path])]
    world.sync_default, world.await_default = representatives(types)
    found: dict[tuple[str, tuple[int, ...]], Outcome] = {}
    for path, module in instrumented.items():
        for function in module.functions:
            world.visiting = function.is_generator
            run = _harness(world, function, namespaces[path][function.name])
            for decisions, outcome in _runs(world, run, max_runs - len(found)):
                found[f"{path}:{function.name}", decisions] = outcome
    return found


def _runs(world: TracingWorld, run: object, most: int) -> Iterator[tuple[tuple[int, ...], Outcome]]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(most + 1):
            if number == most:
                raise TooManyPathsError
            world.start()
            ending = "returns"
            try:
                run()  # type: ignore[operator]  # a harness of the executor
            except AbandonedRun:
                ending = "abandoned"
            except BaseException as error:  # noqa: BLE001  however the program ends
                ending = type(error).__name__
            world.running = False
            lost = frozenset(one.number for one in world.obligations if one.held)
            decisions = tuple(world.oracle._trail)
            yield decisions, Outcome(ending, tuple(world.trace), lost)
            if not world.oracle.advance():
                return
    finally:
        if collecting:
            gc.enable()


def difference(original: Mapping[str, str], fixed: Mapping[str, str], max_runs: int) -> str | None:
    """What the fixed program does that the original does not, None where that is nothing."""
    before, after = outcomes(original, original, max_runs), outcomes(fixed, original, 2 * max_runs)
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            return f"{key}: only the {'fixed' if old is None else 'original'} program takes this way"
        if "abandoned" in (old.ending, new.ending):
            continue
        if old.ending != new.ending:
            return f"{key}: ends by {old.ending}, then by {new.ending}"
        if [*filter(_is_again, new.trace)] > [*filter(_is_again, old.trace)]:
            return f"{key}: gives back a second time"
        if not new.lost <= old.lost:
            return f"{key}: loses {sorted(new.lost - old.lost)} that was given back"
        one, other = _comparable(old.trace, old.lost), _comparable(new.trace, old.lost)
        if one != other:
            return f"{key}: {one} became {other}"
    return None


def _is_again(event: str) -> bool:
    return event.startswith("again")


def _comparable(trace: tuple[str, ...], lost: frozenset[int]) -> list[object]:
    """The trace without the ends of lost connections; ends that follow each other have no order."""
    found: list[object] = []
    for event in trace:
        kind, _, number = event.partition(" ")
        if kind == "again" or (kind == "end" and int(number) in lost):
            continue
        if kind == "end":
            if found and isinstance(found[-1], set):
                found[-1].add(event)
            else:
                found.append({event})
        else:
            found.append(event)
    return found
