"""A function run on a real server along all its ways: what it gives, what it keeps, what others see, what it leaves.

The function gets the driver's own pool behind a thin wrapper that can make any one call fail, the checkout among them.
A statement is then replaced by one that the server refuses, or finds that its backend is gone; anything else raises
before it does anything. What gives a connection back is taken not to fail, as in the analysis.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import psycopg
import psycopg2
import sqlalchemy

from .leaky import FLAGS, Driver
from .pools import Pools
from .program import Kind

TABLE = "CREATE TABLE kept (n int); GRANT ALL ON kept TO tenant"
_REFUSED = "SELECT 1/0"
_TAKING = ("getconn", "connect", "acquire", "connection")
_LATER = ("acquire", "connection")
"""What takes nothing before it is awaited or entered."""
_GIVING = ("putconn", "release")
_BEGINNING = ("transaction", "begin")
_ENDING = ("commit", "rollback", "start")

Fault = tuple[str, int]
"""The words of a call, and which of those with the same words."""


class Failure(StrEnum):
    """How a call fails."""

    REFUSED = "refused"
    CANCELLED = "cancelled"
    KILLED = "killed"


Way = tuple[tuple[bool, ...], Fault | None, Failure]
"""The flags, the call that fails, and how."""
_GONE = (psycopg2.Error, psycopg.Error, sqlalchemy.exc.DBAPIError)
"""What giving back may raise when the backend is gone."""
_OF_PYTHON = ("log ", "work ", "take", "transaction", "begin", "cursor")
"""Calls that say nothing to the server when they fail."""


class InjectedError(Exception):
    """What a call raises that is made to fail."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: how it ended, the rows that were committed, what others saw, and what the next borrower finds.

    ``left`` is None where the connection was not given back. ``first`` is what was raised first, where a
    handler failed.
    """

    ending: str
    first: str
    rows: tuple[int, ...]
    seen: tuple[str, ...]
    left: frozenset[Kind] | None


@dataclass(slots=True)
class Run:
    """One run in the making."""

    fault: Fault | None = None
    failure: Failure = Failure.REFUSED
    kill: Callable[[Any], None] = lambda _: None
    """Ends the backend of a connection."""
    calls: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)

    def fails(self, words: str) -> bool:
        """Count a call, and say whether it is to fail."""
        call = (words, sum(1 for other, _ in self.calls if other == words))
        self.calls.append(call)
        return call == self.fault

    def check(self, words: str) -> None:
        """Count a call that raises before it does anything, where it is to fail."""
        if not self.fails(words):
            return
        if self.failure is Failure.KILLED:
            self.kill(self.held[-1])
            return
        raise asyncio.CancelledError if self.failure is Failure.CANCELLED else InjectedError

    def log(self, what: object) -> None:
        """What others see."""
        self.check(f"log {what}")
        self.seen.append(str(what))

    def work(self, what: object) -> None:
        """The program's own work."""
        self.check(f"work {what}")


class Spy:
    """A driver's object whose calls are counted."""

    def __init__(self, real: Any, run: Run, *, owns: bool = False) -> None:  # noqa: ANN401  any driver's
        for name, value in (("_real", real), ("_run", run), ("_owns", owns)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._real, name, value)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  any driver's
        found, run = getattr(self._real, name), self._run
        if name in _TAKING:
            if name in _LATER:
                return lambda *given: Taking(found(*given), run)
            return lambda *given: (run.check("take"), Taking(found(*given), run).now())[1]
        if name in _GIVING:
            return lambda given, **how: (_given_back(run, given._real), found(given._real, **how))[1]
        if name == "close" and self._owns:
            return lambda: (_given_back(run, self._real), found())[1]
        if name == "cursor":
            return lambda: (run.check("cursor"), Spy(found(), run))[1]
        if name == "execute":
            return self._executing(found)
        if name in _BEGINNING:
            return lambda *given: (run.check(name), Spy(found(*given), run))[1]
        if name in _ENDING:
            return lambda: (run.check(name), found())[1]
        return found

    def _executing(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def say(statement: Any) -> Any:  # noqa: ANN401  a text, or what SQLAlchemy makes of it
            if self._run.fails(str(statement)):
                if self._run.failure is Failure.CANCELLED:
                    raise asyncio.CancelledError
                if self._run.failure is Failure.KILLED:
                    if not getattr(self._real, "closed", False):  # else it fails before it asks the server
                        self._run.kill(self._run.held[-1])
                    return execute(statement)
                statement = _REFUSED if isinstance(statement, str) else sqlalchemy.text(_REFUSED)
            return execute(statement)

        return say

    async def __aenter__(self) -> object:
        return await self._real.__aenter__()

    async def __aexit__(self, *error: object) -> bool | None:
        result: bool | None = await self._real.__aexit__(*error)
        return result

    def __enter__(self) -> Self:
        entered = self._real.__enter__()
        return self if entered is self._real else Spy(entered, self._run)  # type: ignore[return-value]

    def __exit__(self, *error: object) -> bool | None:
        result: bool | None = self._real.__exit__(*error)
        if self._owns and type(self._real).__module__.startswith("sqlalchemy"):
            _given_back(self._run, self._real)
        return result


class Taking:
    """What taking a connection gives: the connection, or what is awaited or entered for it."""

    def __init__(self, given: Any, run: Run) -> None:  # noqa: ANN401  any driver's
        self._given, self._run = given, run
        self._real: Any = None

    def now(self) -> Spy:
        """The connection itself, where there is nothing to wait for."""
        return self._taken(self._given)

    def _taken(self, real: Any) -> Spy:  # noqa: ANN401  any driver's
        self._real = real
        self._run.held.append(real)
        return Spy(real, self._run, owns=True)

    def __await__(self) -> Iterator[Any]:
        self._run.check("take")
        real = yield from self._given.__await__()
        return self._taken(real)

    async def __aenter__(self) -> Spy:
        self._run.check("take")
        return self._taken(await self._given.__aenter__())

    async def __aexit__(self, *error: object) -> None:
        _given_back(self._run, self._real)
        await self._given.__aexit__(*error)

    def __enter__(self) -> Spy:
        self._run.check("take")
        return self._taken(self._given.__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        injected: InjectedError | None = None
        if error is None:
            try:
                self._run.check("commit")
            except InjectedError as failed:
                injected = failed
        _given_back(self._run, self._real)
        if injected is not None:
            self._given.__exit__(InjectedError, injected, None)
            raise injected
        self._given.__exit__(kind, error, trace)


def _given_back(run: Run, real: Any) -> None:  # noqa: ANN401  any driver's
    run.held = [other for other in run.held if other is not real]


class Observer:
    """Runs the functions of one driver."""

    def __init__(self, driver: Driver, pools: Pools, dsn: str) -> None:
        self._driver, self._pools, self._dsn = driver, pools, dsn
        self._admin = psycopg.connect(dsn, autocommit=True)

    def close(self) -> None:
        """End the own connection."""
        self._admin.close()

    def outcomes(self, text: str, ways: Mapping[Way, object] | None = None) -> dict[Way, Outcome]:
        """What the function does on each way; by default on all that it has."""
        namespace: dict[str, Any] = {}
        exec(compile(text, "<leaky>", "exec"), namespace)
        if ways is not None:
            return {way: self._outcome(namespace, self._run(way), way[0]) for way in ways}
        found: dict[Way, Outcome] = {}
        for flags in itertools.product((False, True), repeat=len(FLAGS)):
            plain = Run()
            found[flags, None, Failure.REFUSED] = self._outcome(namespace, plain, flags)
            for fault in plain.calls:
                for failure in self._failures(fault, thoroughly=len(set(flags)) == 1):
                    way = flags, fault, failure
                    found[way] = self._outcome(namespace, self._run(way), flags)
        return found

    def _run(self, way: Way) -> Run:
        return Run(way[1], way[2], self._kill)

    def _failures(self, fault: Fault, *, thoroughly: bool) -> Iterator[Failure]:
        """How a call may fail: losing the backend takes its time, and is not asked with each flag."""
        yield Failure.REFUSED
        if self._driver.is_async:
            yield Failure.CANCELLED
        if thoroughly and not fault[0].startswith(_OF_PYTHON):
            yield Failure.KILLED

    def _kill(self, real: Any) -> None:  # noqa: ANN401  any driver's
        """End the backend of a connection, and wait until it is gone."""
        pid = self._pools.backend(real)
        self._admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        while self._admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
            time.sleep(0.001)

    def _outcome(self, namespace: dict[str, Any], run: Run, flags: tuple[bool, ...]) -> Outcome:
        self._admin.execute("TRUNCATE kept")
        given: object = Spy(self._pools.pool, run)
        if self._driver.pool == "dsn":
            namespace["psycopg2"] = Spy(psycopg2, run)
            given = self._dsn
        named = SimpleNamespace(**dict(zip(FLAGS, flags, strict=True)))
        ending, first = self._ending(lambda: namespace["handle"](given, named, run.work, run.log))
        rows = tuple(n for (n,) in self._admin.execute("SELECT n FROM kept ORDER BY n").fetchall())
        left: frozenset[Kind] | None = None
        if not run.held:
            left = frozenset() if self._driver.pool == "dsn" else frozenset(self._left(run))
        for real in run.held:
            with suppress(*_GONE) if run.failure is Failure.KILLED else nullcontext():
                self._reclaim(real)
        if run.held and self._driver.pool != "dsn":
            self._left(run)
        return Outcome(ending, first, rows, tuple(run.seen), left)

    def _left(self, run: Run) -> set[Kind]:
        """What the next borrower finds: nothing where all that he finds is a connection without a backend."""
        try:
            return self._pools.left()
        except Exception:  # each driver's own
            if run.failure is not Failure.KILLED:
                raise
            self._pools.mend()
            self._pools.left()
            return set()

    def _ending(self, call: Callable[[], Any]) -> tuple[str, str]:
        returned: list[object] = []

        async def awaited() -> None:
            returned.append(await call())

        try:
            if self._driver.is_async:
                self._pools.wait(awaited())
            else:
                returned.append(call())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  however it ends
            first: BaseException = error
            while first.__context__ is not None:
                first = first.__context__
            return type(error).__name__, type(first).__name__
        return f"returns {returned[0]!r}", ""

    def _reclaim(self, real: Any) -> None:  # noqa: ANN401  any driver's
        """Give back what the function lost."""
        if self._driver.is_async:
            self._pools.wait(self._pools.pool.release(real))
        elif self._driver.pools == "sqlalchemy" or self._driver.pool == "dsn":
            real.close()
        else:
            self._pools.pool.putconn(real)
