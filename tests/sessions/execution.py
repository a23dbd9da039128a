"""Programs run on a real server, along every path, and what each path leaves behind.

The program gets the driver's own pool behind a thin wrapper that knows which row speaks, and that can make any one
statement fail: the server is then sent ``SELECT 1/0`` instead, so that what follows is the server's own answer, the
aborted transaction included. What ends or resets something is never made to fail: a server that is there only refuses
it in an aborted transaction, by itself.

A transaction that a pool rolls back on a path without an error loses what was written in it: whether anything was, the
server is asked, too. Where nothing was, it counts only if no path ends it.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import sqlalchemy

from .pools import Pools
from .program import ENDING, FLAGS, OPENING, WORK, Kind
from .spelling import Spelling, Written, kind_of

NAME = "<program>"
FAILING = "SELECT 1/0"
MOST_FAILURES = 3
_SAYING = ("execute", "exec_driver_sql")
_ENDS = frozenset(text for texts in ENDING.values() for text in texts)
_OPENS = {text: kind for kind, texts in OPENING.items() for text in texts}


@dataclass(slots=True)
class Truth:
    """What was left from one row: on some path without an error, and on some path with one."""

    plainly: bool = False
    after_error: bool = False
    unclear: bool = False


@dataclass(slots=True)
class Run:
    """One path: which flags are set, and which calls fail."""

    flags: dict[str, bool]
    fails: tuple[int, ...]
    cancelled: bool = False
    """They fail by cancellation, which no ``except Exception`` catches."""
    calls: int = 0
    failed: bool = False
    opened: dict[Kind, int] = field(default_factory=dict)
    """The row that opened each kind last, on this path."""
    begun_at_release: int | None = None
    written: bool = False
    """Something was written in the transaction that was open at the release."""
    ended: set[int] = field(default_factory=set)
    """The rows whose transaction the program ended."""
    aborted: bool = False
    """A statement failed in the open transaction."""
    worked: bool = False
    """It was to keep some work besides what failed: else its commit has nothing to save."""
    useless: set[int] = field(default_factory=set)
    """The rows that set something for the transaction outside any."""
    unsaved: set[int] = field(default_factory=set)
    """The rows that committed a transaction in which something had failed."""
    unclear: set[int] = field(default_factory=set)
    """The same while the error was being handled, or passed: told or not, where it is swallowed in the end."""
    returned: bool = False

    def next_fails(self) -> bool:
        """Count a call that may fail, and say whether it does."""
        self.calls += 1
        if self.calls - 1 in self.fails:
            self.failed = True
            return True
        return False

    def work(self) -> None:
        """The program's own work."""
        if self.next_fails() and not self.cancelled:
            raise RuntimeError("work failed")


class Watched:
    """A driver's object: what is called on it is noted, and made to fail where the run says so."""

    def __init__(self, real: Any, run: Run, pools: Pools, connection: Any = None) -> None:  # noqa: ANN401  any driver's
        for name, value in (("_real", real), ("_run", run), ("_pools", pools), ("_connection", connection or real)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._real, name, value)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  any driver's
        found = getattr(self._real, name)
        if name in _SAYING:
            return lambda statement: self._say(found, statement, _row())
        if name in ("putconn", "release"):
            return lambda given: (self._release(given._real), found(given._real))[1]
        if name == "close":
            return lambda: (self._release(self._real), found())[1]
        if name in ("getconn", "acquire", "connect"):
            return lambda: self._taken(found())
        if name in ("cursor", "execution_options"):
            return lambda **options: Watched(found(**options), self._run, self._pools, self._connection)
        if name in ("commit", "rollback"):
            return lambda: self._ended(found, commits=name == "commit", row=_row())
        return found

    def _taken(self, connection: Any) -> Any:  # noqa: ANN401  any driver's
        if inspect.isawaitable(connection):
            return self._awaited(connection)
        return Watched(connection, self._run, self._pools)

    async def _awaited(self, connection: Any) -> Watched:  # noqa: ANN401  any driver's
        return Watched(await connection, self._run, self._pools)

    def _say(self, execute: Callable[..., Any], statement: Any, row: int) -> Any:  # noqa: ANN401  any driver's
        text, run = str(statement), self._run
        if kind_of(text) is Kind.COMMIT:
            self._committing(row)
        fails = text not in _ENDS and run.next_fails()
        run.worked = run.worked or (text == WORK and (run.aborted or not fails))
        if fails:
            text, statement = FAILING, FAILING if isinstance(statement, str) else sqlalchemy.text(FAILING)
        try:
            result = execute(statement)
        except Exception:
            run.aborted = self._pools.in_transaction(self._connection)
            raise
        if inspect.iscoroutine(result):
            return self._answered(result, text, row)
        return self._noted(result, text, row)

    async def _answered(self, result: Any, text: str, row: int) -> Any:  # noqa: ANN401  any driver's
        try:
            return self._noted(await result, text, row)
        except Exception:
            self._run.aborted = self._pools.in_transaction(self._connection)
            if text == FAILING and self._run.cancelled:
                raise asyncio.CancelledError from None  # what a task sees whose statement is cancelled
            raise

    def _ended(self, end: Callable[[], Any], *, commits: bool, row: int) -> Any:  # noqa: ANN401  any driver's
        if commits:
            self._committing(row)
        return self._noted(end(), None, 0)

    def _committing(self, row: int) -> None:
        """Before a commit: note the one that saves nothing."""
        if self._run.aborted:
            unclear = sys.exc_info()[0] is not None or not self._run.worked
            (self._run.unclear if unclear else self._run.unsaved).add(row)

    def _noted(self, result: Any, text: str | None, row: int) -> Any:  # noqa: ANN401  any driver's
        """After a statement: whether a transaction is open now, and what this row opened."""
        if not self._pools.in_transaction(self._connection):
            begun = self._run.opened.pop(Kind.TRANSACTION, None)
            self._run.ended |= {begun} if begun is not None else set()
            self._run.aborted = self._run.worked = False
            if kind_of(text or "") is Kind.LOCAL:
                self._run.useless.add(row)
        kind = _OPENS.get(text or "")
        if kind is not None:
            self._run.opened[kind] = row
        return result

    def _release(self, connection: Any) -> None:  # noqa: ANN401  any driver's
        if self._pools.in_transaction(connection):
            self._run.begun_at_release = self._run.opened.get(Kind.TRANSACTION)
            self._run.written = self._pools.witness.has_written(self._pools.process(connection))


def _row() -> int:
    frame = sys._getframe(2)
    while frame.f_code.co_filename != NAME and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_lineno


@dataclass(frozen=True, slots=True)
class Seen:
    """What the server says of the rows of a program, and along how many paths it was asked."""

    rows: dict[int, Truth]
    paths: int


def truth(program: Written, spelling: Spelling, pools: Pools) -> Seen:
    """What the rows of a program leave behind, along all of its paths."""
    namespace: dict[str, Any] = {}
    exec(compile(program.text, NAME, "exec"), namespace)
    found = {row: Truth() for row in program.rows}

    def handle(pool: Watched, *arguments: object) -> Any:  # noqa: ANN401  a coroutine, or nothing
        if spelling.pool:
            return namespace["handle"](pool, *arguments)
        namespace["pool"] = pool
        return namespace["handle"](*arguments)

    paths, ended, harmless = 0, set[int](), set[int]()
    for run in _runs(handle, pools, is_async=spelling.is_async):
        paths += 1
        left = pools.left()
        for row in (*run.useless, *(run.unsaved if run.returned else ())):
            _note(found[row], run)
        for row in run.unclear if run.returned else ():
            found[row].unclear = True
        for kind, row in run.opened.items():
            if kind is not Kind.TRANSACTION and kind in left:
                _note(found[row], run)
        ended |= run.ended
        begun = run.begun_at_release
        if begun is not None and (Kind.TRANSACTION in left or (run.written and not run.failed)):
            _note(found[begun], run)
        elif begun is not None and not run.failed:
            harmless.add(begun)
    for row in harmless - ended:
        found[row].plainly = True
    return Seen(found, paths)


def _note(truth: Truth, run: Run) -> None:
    if run.failed:
        truth.after_error = True
    else:
        truth.plainly = True


def _runs(handle: Callable[..., Any], pools: Pools, *, is_async: bool) -> Iterator[Run]:
    """All paths: each combination of flags, without an error and with each call failing that is made then."""
    for values in itertools.product((False, True), repeat=len(FLAGS)):
        flags = dict(zip(FLAGS, values, strict=True))
        for cancelled in (False, True) if is_async else (False,):
            pending: list[tuple[int, ...]] = [()]
            while pending:
                fails = pending.pop()
                run = Run(flags, fails, cancelled)
                try:
                    result = handle(Watched(pools.pool, run, pools), SimpleNamespace(**flags), run.work)
                    if is_async:
                        pools.wait(result)
                    run.returned = True
                except (Exception, asyncio.CancelledError):  # noqa: BLE001  the driver's, or the program's own
                    assert run.failed, "the program fails by itself"
                yield run
                if len(fails) < MOST_FAILURES:
                    pending += ((*fails, later) for later in range(max(fails, default=-1) + 1, run.calls))
