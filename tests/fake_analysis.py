"""An analysis that is only as clever as the tests of the engine and the command line need.

A file matters if it holds ``getconn``. Each ``x = pool.getconn()`` is LC102, or LC101 if the line says
``never``. These words make a file behave badly: ``BROKEN`` does not parse, ``RAISES``, ``RECURSES`` and
``DIES`` do what they say, ``SKIPPED`` holds a construct that is not analysed.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leakcheck.config import Config
from leakcheck.diagnostic import Position, Severity, Span, Step, StepKind
from leakcheck.ownership.leak import Leak, LeakKind


@dataclass(frozen=True, slots=True)
class Failure:
    message: str
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Skip:
    span: Span | None
    reason: str
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class FileAnalysis:
    leaks: tuple[Leak, ...] = ()
    failure: Failure | None = None
    skipped: tuple[Skip, ...] = ()


class FakeAnalysis:
    """Has the interface of ``Program``."""

    def __init__(self, config: Config, read: Callable[[str], bytes], roots: Sequence[Path]) -> None:
        self._read = read
        self.roots = roots

    def select(self, paths: Sequence[str]) -> list[str]:
        return [path for path in paths if b"getconn" in self._read(path)]

    def analyse(self, path: str) -> FileAnalysis:
        text = self._read(path).decode("utf-8", "replace")
        if "BROKEN" in text or "def f(:" in text:
            return FileAnalysis(failure=Failure("invalid syntax", 2, 5))
        if "RAISES" in text:
            raise KeyError("a bug")
        if "RECURSES" in text:
            raise RecursionError
        if "DIES" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        skipped = (Skip(span(1, 1, 8), "SKIPPED is not understood"),) if "SKIPPED" in text else ()
        lines = text.split("\n")
        leaks = [leak(path, row, line) for row, line in enumerate(lines, 1) if re.search(r"= pool\.getconn\(\)", line)]
        return FileAnalysis(tuple(leaks), None, skipped)

    def offer(self, path: str, leaks: tuple[Leak, ...]) -> tuple[Leak, ...]:
        return leaks


def span(row: int, start: int, end: int) -> Span:
    return Span(Position(row, start), Position(row, end))


def leak(path: str, row: int, line: str) -> Leak:
    start = line.index("pool.getconn()") + 1
    at = span(row, start, start + len("pool.getconn()"))
    never = "never" in line
    return Leak(
        kind=LeakKind.NEVER_RELEASED if never else LeakKind.ON_EXCEPTION,
        severity=Severity.ERROR if never else Severity.WARNING,
        span=at,
        statement=span(row, 1, len(line) + 1),
        steps=(
            Step(StepKind.ACQUIRE, path, at, "checked out here"),
            Step(StepKind.EXIT, path, at, "leaves without pool.putconn(conn)"),
        ),
        acquire="pool.getconn()",
        release="pool.putconn(conn)",
        name="conn",
        cause="cur.execute(sql)",
        reason="",
        noun="connection",
    )
