"""The engine: targets and a configuration in, a ``Report`` out.

``check`` discovers files, lets the ownership analysis pick and analyse those that can matter, applies the
selected rules and the suppressions, and sorts. It prints nothing and knows no command line; an editor
or a test differs from the command line only in the ``read`` function it lends.

    report = check(["app"], Config())
    report.diagnostics[0].code  # "LC102"

What a file can do to the engine ends at that file. Not valid Python, unreadable, nested too deeply or deadly to its
worker: LC900. An exception out of the analysis or of a rule is a bug of ours: a ``Breakdown``, which is never
swallowed and never hides what the other files hold.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from leakcheck.config import Config
from leakcheck.diagnostic import Diagnostic, Position, Severity, Span
from leakcheck.project.files import Discovery, discover, displayed, read_file
from leakcheck.reader import NoAnalysis, Read, Reader
from leakcheck.report import Breakdown, NotAnalysed, Report
from leakcheck.trail import Trail

if TYPE_CHECKING:
    from leakcheck.ownership.leak import Leak
    from leakcheck.selection import Selection

PARALLEL_BYTES = 1_000_000  # below this, starting workers costs more than they save


class Failed(Protocol):
    """Why a file has no analysis."""

    @property
    def message(self) -> str:
        """What is wrong, to follow a colon."""

    @property
    def row(self) -> int:
        """The row of the place, from 1."""

    @property
    def column(self) -> int:
        """The column of the place, from 1."""


class Skipped(Protocol):
    """A construct that the analysis leaves out."""

    @property
    def span(self) -> Span | None:
        """Where it stands, if it has one place."""

    @property
    def reason(self) -> str:
        """Why it is left out."""

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of it."""


class Analysed(Protocol):
    """What the analysis says of one file: plain data, since it crosses processes."""

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """The faults, for the rules to word."""

    @property
    def failure(self) -> Failed | None:
        """Why there is no analysis."""

    @property
    def skipped(self) -> Sequence[Skipped]:
        """What was left out."""


class Analyser(Protocol):
    """The analysis of one project: which files can matter, and what is wrong in one of them."""

    def select(self, paths: Sequence[str]) -> list[str]:
        """Those of ``paths`` whose bytes hold a word that can matter, in their order."""

    def analyse(self, path: str) -> Analysed:
        """The analysis of one file."""

    def offer(self, path: str, leaks: tuple[Leak, ...]) -> tuple[Leak, ...]:
        """The leaks of a file that was analysed, each with its fix or the reason against one."""


Build = Callable[[Config, Read, Sequence[Path]], Analyser]
Progress = Callable[[int, int], None]


def _unseen(_done: int, _total: int) -> None:
    """Show nothing."""


class _Outcome(Struct, frozen=True):
    """What is known of one file after its analysis."""

    leaks: tuple[Leak, ...] = ()
    failure: Failed | None = None
    skipped: tuple[NotAnalysed, ...] = ()
    breakdown: Breakdown | None = None
    is_final: bool = True
    """Another attempt would say the same."""


def check(
    targets: Sequence[str],
    config: Config,
    *,
    read: Read = read_file,
    jobs: int = 1,
    force_exclude: bool = False,
    build: Build | None = None,
) -> Report:
    """Check what ``targets`` (files and directories) stand for; a target that is missing raises LeakcheckError."""
    discovery = discover(targets, config, force_exclude=force_exclude)
    return check_files(discovery, config, read=read, jobs=jobs, build=build)


def check_files(
    discovery: Discovery,
    config: Config,
    *,
    read: Read = read_file,
    jobs: int = 1,
    build: Build | None = None,
    progress: Progress = _unseen,
    trail: Trail | None = None,
) -> Report:
    """Check these files and no others; nothing but ``read`` touches them.

    A discovered file is parsed only if it holds a word that can matter, so only then can it be LC900; a
    file that was named is always parsed. ``jobs`` bounds the processes and never changes the report. ``progress`` is
    called with the number of files analysed so far, and of all that will be; ``trail`` takes down what was looked at.
    """
    chosen = _selection(config) if _selects(config) else None  # a wrong selector is an error before any work
    build = build if build is not None else _program
    reader = Reader(read, frozenset(discovery.files), trail)
    with _no_collection():
        program = build(config, reader, source_roots(config))
        picked = program.select(discovery.files)
        doubtful = set(discovery.explicit).difference(picked)
        picked += [path for path in discovery.files if path in doubtful and not reader.parses(path)]
        wanted = [path for path in picked if path not in reader.failures]
        outcomes = dict(zip(wanted, _analyse(program, reader, wanted, jobs, progress), strict=True))
    if trail is not None:
        trail.is_whole = all(outcome.is_final for outcome in outcomes.values())
    outcomes |= {path: _Outcome(failure=failure) for path, failure in reader.failures.items()}

    skipped = [NotAnalysed(each.path, each.reason) for each in discovery.passed]
    if not outcomes and not reader.commented:
        return Report((), tuple(skipped), len(discovery.files))
    chosen = chosen if chosen is not None else _selection(config)
    report = _Collector(chosen.rules)
    for path in discovery.files:
        outcome = outcomes.get(path)
        if outcome is None and path not in reader.commented:
            continue
        active = chosen.active(path)
        found = report.found(path, outcome, active) if outcome is not None else []
        if found or path in reader.commented:
            found = _after_suppressions(found, path, reader.text(path), active)
        report.diagnostics += found
    return Report(
        diagnostics=tuple(sorted(report.diagnostics, key=lambda diagnostic: diagnostic.sort_key)),
        not_analysed=tuple(skipped + report.not_analysed),
        files_checked=len(discovery.files),
        breakdowns=tuple(report.breakdowns),
    )


def source_roots(config: Config) -> list[Path]:
    """The configured directories that absolute imports start from, spelled as paths in diagnostics are."""
    return [Path(displayed(str(root))) for root in map(config.located, config.src) if root.is_dir()]


def _program(config: Config, read: Read, roots: Sequence[Path]) -> Analyser:
    from leakcheck.handlers.analysis import Analysis

    return Analysis(config, read, roots)


def with_every_fix(config: Config, read: Read, roots: Sequence[Path]) -> Analyser:
    """A ``build`` for somebody who is to choose: each fix in all its shapes, which takes longer."""
    from leakcheck.handlers.analysis import Analysis

    return Analysis(config, read, roots, every=True)


def without_fixes(config: Config, read: Read, roots: Sequence[Path]) -> Analyser:
    """A ``build`` for somebody who is shown no fixes."""
    from leakcheck.handlers.analysis import UnfixedAnalysis

    return UnfixedAnalysis(config, read, roots)


def _selects(config: Config) -> bool:
    return config.select is not None or bool(config.ignore or config.extend_select or config.per_file_ignores)


def _selection(config: Config) -> Selection:
    from leakcheck import selection  # brings in all rules: a run that finds nothing needs none

    return selection.selection(config)


def _after_suppressions(found: list[Diagnostic], path: str, text: str, active: frozenset[str]) -> list[Diagnostic]:
    from leakcheck import rules, suppression

    def code(written: str) -> str | None:
        rule = rules.find(written)
        return rule.code if rule is not None else None

    return list(suppression.apply(found, path, text, suppression.Catalogue(code, rules.nearest, active)))


def _analyse(program: Analyser, reader: Reader, paths: Sequence[str], jobs: int, progress: Progress) -> list[_Outcome]:
    """The outcomes of ``paths``, in their order, in several processes where it pays."""
    from leakcheck import workers

    if jobs < 2 or sum(reader.sizes.get(path, 0) for path in paths) < PARALLEL_BYTES or not workers.available():
        found: list[_Outcome] = []
        for path in paths:
            found.append(_guarded(program, path))
            progress(len(found), len(paths))
        return found
    import pickle

    import libcst  # noqa: F401 - once here rather than once in every worker

    largest_first = sorted(paths, key=lambda path: (-reader.sizes.get(path, 0), path))
    gc.freeze()  # what is shared with the workers stays shared
    answers = workers.run(largest_first, lambda path: _pickled(program, path, reader.trail), jobs, progress)
    gc.unfreeze()
    outcomes: dict[str, _Outcome] = {}
    for path, answer in zip(largest_first, answers, strict=True):
        if isinstance(answer, workers.Died):
            failure = NoAnalysis(f"its analysis ended the process ({answer.reason})")
            outcomes[path] = _Outcome(failure=failure, is_final=False)
        else:
            outcome: _Outcome
            outcome, trail = pickle.loads(answer)  # noqa: S301 - written by our own child a moment ago
            outcomes[path] = outcome
            if reader.trail is not None:
                reader.trail.add(trail)
    return [outcomes[path] for path in paths]


def _pickled(program: Analyser, path: str, trail: Trail | None) -> bytes:
    import pickle

    outcome = _guarded(program, path)
    seen = trail.taken() if trail is not None else None
    try:
        return pickle.dumps((outcome, seen), protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
        return pickle.dumps((_Outcome(breakdown=_breakdown(path, None, error)), seen))


def _guarded(program: Analyser, path: str) -> _Outcome:
    """The analysis of one file, whatever happens in it."""
    try:
        analysis = program.analyse(path)
        skipped = tuple(NotAnalysed(path, each.reason, each.span, each.is_open) for each in analysis.skipped)
        leaks, breakdown = _with_fixes(program, path, tuple(analysis.leaks))
        return _Outcome(leaks, analysis.failure, skipped, breakdown)
    except RecursionError:
        return _Outcome(failure=NoAnalysis("it is nested too deeply to analyse"))
    except MemoryError:
        return _Outcome(failure=NoAnalysis("it needs more memory to analyse than there is"), is_final=False)
    except Exception as error:  # noqa: BLE001 - reported with its trace; the other files still count
        return _Outcome(breakdown=_breakdown(path, None, error))


def _with_fixes(program: Analyser, path: str, leaks: tuple[Leak, ...]) -> tuple[tuple[Leak, ...], Breakdown | None]:
    """The leaks with their fixes; a bug in making these leaves the leaks as they are."""
    if not leaks:
        return leaks, None
    try:
        return program.offer(path, leaks), None
    except (RecursionError, MemoryError):
        return leaks, None
    except Exception as error:  # noqa: BLE001 - reported with its trace; the findings still count
        return leaks, _breakdown(path, "fix", error)


def _breakdown(path: str, rule: str | None, error: Exception) -> Breakdown:
    import traceback

    return Breakdown(path, rule, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


class _Collector:
    """Applies the rules to outcomes and gathers everything that is not a diagnostic."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._rules = rules
        self.diagnostics: list[Diagnostic] = []
        self.not_analysed: list[NotAnalysed] = []
        self.breakdowns: list[Breakdown] = []

    def found(self, path: str, outcome: _Outcome, active: frozenset[str]) -> list[Diagnostic]:
        """What the active rules say of one file, before suppressions."""
        self.not_analysed += outcome.skipped
        if outcome.breakdown is not None:
            self.breakdowns.append(outcome.breakdown)
        if outcome.failure is not None:
            return [_unparsable(path, outcome.failure)] if "LC900" in active else []
        found: list[Diagnostic] = []
        for rule in self._rules if outcome.leaks else ():
            if rule.code in active:
                try:
                    found += map(_displayed, rule.check(path, outcome.leaks))
                except Exception as error:  # noqa: BLE001 - a bug in one rule is named, and hides no other rule's findings
                    self.breakdowns.append(_breakdown(path, rule.code, error))
        return found


def _displayed(diagnostic: Diagnostic) -> Diagnostic:
    """The diagnostic with the paths of its steps spelled as its own is: imports are found by absolute paths."""
    if not any(os.path.isabs(step.path) for step in diagnostic.steps):
        return diagnostic
    return replace(diagnostic, steps=tuple(replace(step, path=displayed(step.path)) for step in diagnostic.steps))


class _Rule(Protocol):
    """As much of a rule as the engine uses."""

    @property
    def code(self) -> str: ...
    def check(self, path: str, leaks: tuple[Leak, ...]) -> Iterator[Diagnostic]: ...


def _unparsable(path: str, failure: Failed) -> Diagnostic:
    start = Position(max(failure.row, 1), max(failure.column, 1))
    return Diagnostic(
        code="LC900",
        name="unparsable-file",
        message=f"this file was not checked: {failure.message}",
        severity=Severity.ERROR,
        path=path,
        span=Span(start, start),
        statement=Span(start, start),
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Trees are many small objects without cycles to free: collecting them costs time and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
