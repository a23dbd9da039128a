"""The state of a run: who holds what, what was raised, and the hooks that the rewritten program calls.

Input: calls of the fakes and of the instrumentation. Output: one ``Truth`` per checkout site.
A checkout creates an ``Obligation`` owned by the frame that made it; when a project function returns the
connection, the obligation ends there and a new one begins at the line of the caller's call.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import wraps
from types import CoroutineType, FrameType, FunctionType
from typing import Any, NoReturn

from .held import Clock, Held, Obligation, captured, connections_in, known
from .oracle import Oracle
from .truth import Site, Truth

ExceptionTypes = tuple[type[BaseException], ...]
MAX_ITERATIONS = 2


class AbandonedRun(BaseException):
    """The run iterates too often, or supposes what the analysis does not: it says nothing about what is still held."""


def _seen_by(frame: FrameType | None) -> Iterator[int]:
    """The frames that see what ``frame`` raises: up to the next function of the program."""
    own = globals()
    while frame is not None and frame.f_globals is not own:
        yield id(frame)
        frame = frame.f_back


def _outcome(function: FunctionType) -> tuple[object, bool]:
    """What a call of ``function``, awaited where it must be, returned, and whether it did."""
    try:
        result = function()
        if isinstance(result, CoroutineType):
            result.send(None)
    except StopIteration as stop:
        return stop.value, True
    except BaseException:  # noqa: BLE001  however it ends
        return None, False
    return result, True


class World:
    """Everything one program's runs share, and the state of the current run."""

    def __init__(self, limit: int = MAX_ITERATIONS, *, is_async: bool = False) -> None:
        """Prepare for one program, of coroutines or not, whose loops run up to ``limit`` times."""
        self.limit = limit
        self.is_async = is_async
        self.unknown: Callable[[object], object] = lambda value: value  # what a caller knows of what is returned
        self.oracle = Oracle()
        self.truths: dict[Site, Truth] = {}
        self.running = False
        self.visiting = False  # whether the run is about a generator
        self.natural: set[str] = set()  # the exceptions that nobody injected
        self.reached: set[tuple[str, int]] = set()  # the lines where something could raise, or a project function ran
        self.sync_options: dict[tuple[str, int], ExceptionTypes] = {}
        self.await_options: dict[tuple[str, int], ExceptionTypes] = {}
        self.sync_default: ExceptionTypes = ()
        self.await_default: ExceptionTypes = ()
        self._options: dict[tuple[int, int, bool], ExceptionTypes] = {}  # what may be raised at an instruction
        self._sites: dict[tuple[int, int], Site] = {}  # the line of an instruction
        self._obligations: list[Obligation] = []
        self._clock = Clock()
        self._abandoned = False
        self._leaving_frame = 0
        self._resumed: set[int] = set()  # the frames of context managers that are being left
        self._loops: dict[int, int] = {}
        self.decided: dict[tuple[object, str], bool] = {}
        """What values that nobody knows were found to be in this run: true, None."""

    def start(self) -> None:
        """Begin a run."""
        self._obligations = []
        self._clock = Clock()
        self._abandoned = False
        self._loops = {}
        self._resumed = set()
        self.decided = {}
        self.running = True

    # What the fakes ask.

    def may_raise(self, frame: FrameType, *, suspends: bool = False) -> None:
        """Go on, or raise one of the exceptions that matter on this line."""
        if not self.running or (self._resumed and not self.visiting):
            return
        if self._abandoned:
            raise AbandonedRun
        try:
            options = self._options[id(frame.f_code), frame.f_lasti, suspends]
        except KeyError:
            options = self._options_at(frame, suspends=suspends)
        choice = self.oracle.choose(len(options) + 1)
        if choice:
            self._clock.raised(_seen_by(frame))
            raise known(options[choice - 1]())

    def _options_at(self, frame: FrameType, *, suspends: bool) -> ExceptionTypes:
        """The exceptions that matter where ``frame`` is: asked once for each instruction."""
        key = (frame.f_code.co_filename, frame.f_lineno)
        self.reached.add(key)
        known_options, default = (
            (self.await_options, self.await_default) if suspends else (self.sync_options, self.sync_default)
        )
        options = known_options.get(key, default)
        self._options[id(frame.f_code), frame.f_lasti, suspends] = options
        return options

    def _site(self, frame: FrameType) -> Site:
        """The line that ``frame`` executes, now reached: worked out once for each instruction."""
        key = (id(frame.f_code), frame.f_lasti)
        site = self._sites.get(key)
        if site is None:
            site = self._sites[key] = Site(frame.f_code.co_filename, frame.f_lineno)
            self.reached.add((site.path, site.line))
        return site

    def choose(self, count: int) -> int:
        """Decide something opaque."""
        if self._abandoned:
            raise AbandonedRun
        return self.oracle.choose(count)

    def abandoned(self) -> None:
        """Record what an abandoned run released or dropped before; it says nothing about the rest."""
        for obligation in self._obligations:
            if obligation.dropped or not obligation.held:
                self._record(obligation)

    def check_out(self, connection: Held, frame: FrameType) -> None:
        """Begin an obligation for ``connection`` on the line that ``frame`` executes."""
        self._oblige(connection, self._site(frame), id(frame))

    def _oblige(self, connection: Held, site: Site, owner: int) -> None:
        self._clock.now += 1
        obligation = Obligation(site, owner, self._clock.now, self._clock)
        connection.obligation = obligation
        self._obligations.append(obligation)

    # What the instrumentation calls.

    def enter_loop(self, number: int) -> None:
        """Start counting the iterations of a loop."""
        self._loops[number] = 0

    def may_iterate(self, number: int) -> bool:
        """Whether an opaque loop may run once more."""
        self._loops[number] += 1
        return self._loops[number] <= self.limit

    def iterate(self, number: int) -> None:
        """Give the run up when a loop that cannot be ended runs too often."""
        self._loops[number] += 1
        if self._loops[number] > self.limit + 1:
            self.abandon()

    def abandon(self) -> NoReturn:
        """Give the run up."""
        self._abandoned = True
        for obligation in self._obligations:
            obligation.leaving = True  # from here on dying names are no drops
        raise AbandonedRun

    def check(self) -> None:
        """At the start of a handler or ``finally``: note what was raised, end a run that was given up."""
        if self._abandoned:
            raise AbandonedRun
        error = sys.exc_info()[1]
        if error is not None:
            traceback.clear_frames(error.__traceback__)  # what failed refers to nothing any more
            if self.is_natural(error):
                self._clock.raised(_seen_by(sys._getframe(1)))

    def is_natural(self, error: BaseException) -> bool:
        """Whether Python itself raised ``error``, which nobody has noted yet."""
        if hasattr(error, "known_to_world"):
            return False
        self.natural.add(f"{type(error).__name__}: {error}")
        known(error)
        return True

    def raising(self) -> None:
        """Note an explicit ``raise``."""
        self._clock.raised(_seen_by(sys._getframe(1)))

    def stored(self, value: object) -> object:
        """Hand on the connections in ``value``."""
        for connection in connections_in(value, self._handed_on):
            connection.give_back()
        return value

    def _handed_on(self, function: FunctionType) -> list[Held]:
        """The captured connections that calling ``function`` releases or returns, on some path: tried out aside."""
        reads = captured(function)
        before = [connection.obligation for connection in reads]
        kept = self.oracle, self._clock, self._obligations, self._loops, self._abandoned, self._leaving_frame
        decided, self.oracle = self.decided, Oracle()
        ends: dict[bool, list[Held]] = {True: [], False: []}
        returns = False
        more = bool(reads)
        while more:
            self._clock, self._obligations, self._loops, self._abandoned = Clock(), [], {}, False
            self.decided = dict(decided)
            for connection in reads:
                connection.obligation = Obligation(Site("", 0), 0, 0, self._clock)
            result, returned = _outcome(function)
            returns |= returned
            reached = [*connections_in(result), *(c for c in reads if c.obligation and not c.obligation.held)]
            ends[returned] += [connection for connection in reads if connection in reached]
            more = self.oracle.advance()
        self.oracle, self._clock, self._obligations, self._loops, self._abandoned, self._leaving_frame = kept
        self.decided = decided
        for connection, obligation in zip(reads, before, strict=True):
            connection.obligation = obligation
        return ends[returns]

    def leaving(self) -> None:
        """Remember which frame ends; from here on dying names are no drops."""
        owner = self._leaving_frame = id(sys._getframe(1))
        for obligation in self._obligations:
            if obligation.owner == owner:
                obligation.leaving = True

    def resumed(self) -> None:
        """A context manager is left: unless the run is about it, what it does then does not raise, like any other."""
        self._resumed.add(id(sys._getframe(1)))

    def leaving_generator(self) -> None:
        """Settle a generator: what it held when it ends is lost.

        Only where the run is about the generator itself: a caller that hands on what it borrowed says nothing of it.
        """
        frame = sys._getframe(1)
        self._resumed.discard(id(frame))
        if self._abandoned or not self.visiting:
            return
        error = sys.exc_info()[1]
        if error is not None and self.is_natural(error):
            self._clock.raised(_seen_by(frame))
        self._settle(id(frame))

    def project(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function of the program."""

        @wraps(function)
        def call(*arguments: object) -> object:
            caller = sys._getframe(1)
            site = self._site(caller)
            try:
                result = function(*arguments)
            except BaseException as error:
                self._failed(error, caller)
                raise
            self._returned(result, caller, site)
            return result if function.__name__ == "__init__" else self.unknown(result)

        return call

    def project_async(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Wrap a coroutine function of the program."""

        async def drive(awaitable: Awaitable[Any], caller: FrameType, site: Site) -> object:
            try:
                result = await awaitable
            except BaseException as error:
                self._failed(error, caller)
                raise
            self._returned(result, caller, site)
            return self.unknown(result)

        @wraps(function)
        def call(*arguments: object) -> Awaitable[Any]:
            caller = sys._getframe(1)
            return drive(function(*arguments), caller, self._site(caller))

        return call

    def _failed(self, error: BaseException, caller: FrameType) -> None:
        """A project function ended by an exception, which its caller sees now, and whose traceback holds nothing."""
        traceback.clear_frames(error.__traceback__)
        if self._abandoned:
            return
        natural = self.is_natural(error)
        if natural:
            self._clock.raised()
            self._clock.seen_by[self._leaving_frame] = self._clock.now
        self._settle(self._leaving_frame)
        self._clock.raised(_seen_by(caller))

    def _returned(self, result: object, caller: FrameType, site: Site) -> None:
        """A project function returned: its caller takes over what the result carries."""
        if self._abandoned:
            return
        owner = self._leaving_frame
        for part, connection in enumerate(connections_in(result, self._handed_on)):
            obligation = connection.obligation
            if obligation is not None and obligation.held and obligation.owner == owner:
                connection.give_back()
                if "__leakcheck__" in caller.f_globals:
                    self._oblige(connection, replace(site, part=part) if part else site, id(caller))
                    self._record(obligation)
                    obligation.owner = 0
        self._settle(owner)

    def _settle(self, owner: int) -> None:
        """Record how the obligations of an ended frame ended."""
        for obligation in self._obligations:
            if obligation.owner == owner:
                self._record(obligation)
                obligation.owner = 0

    def _record(self, obligation: Obligation) -> None:
        truth = self.truths.get(obligation.site)
        if truth is None:
            truth = self.truths[obligation.site] = Truth()
        truth.entered |= obligation.entered
        if not obligation.held:
            truth.ended = True
            return
        anywhere, in_owner = obligation.raises()
        if obligation.dropped:  # it is lost there, whatever happens afterwards
            truth.dropped = True
            anywhere, in_owner = obligation.raised_before_drop
        if not anywhere:
            truth.lost_normally = True
        elif in_owner < obligation.since:
            truth.lost_elsewhere = True
        else:
            truth.lost_on_exception = True
