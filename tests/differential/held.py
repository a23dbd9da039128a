"""Connections that somebody must give back: what a run knows of each, and where values lead to them.

Input: fakes of connections, and the values of a program. Output: their obligations, e.g. one that is ``dropped`` where
the last name of a connection went away while it was held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, MethodType

from .truth import Site


@dataclass(slots=True, eq=False)
class Clock:
    """What counts checkouts and raises, so that their order can be told."""

    now: int = 0
    last_raise: int = 0
    seen_by: dict[int, int] = field(default_factory=dict)  # when a frame last raised or let pass

    def raised(self, frames: Iterable[int] = ()) -> None:
        """Note a raise that these frames see."""
        self.now += 1
        self.last_raise = self.now
        for frame in frames:
            self.seen_by[frame] = self.now


@dataclass(slots=True, eq=False)
class Obligation:
    """One connection that one activation of a function must give back."""

    site: Site
    owner: int
    since: int  # what the clock said when it began
    clock: Clock
    held: bool = True
    dropped: bool = False
    raised_before_drop: tuple[int, int] = (0, 0)  # anywhere, in the owner
    leaving: bool = False
    entered: bool = False

    def raises(self) -> tuple[int, int]:
        """When something was last raised: anywhere, and so that the owner saw it."""
        return self.clock.last_raise, self.clock.seen_by.get(self.owner, 0)


def known(error: BaseException) -> BaseException:
    """``error``, marked as noted."""
    error.known_to_world = True  # type: ignore[attr-defined]
    return error


class Held:
    """The base of fake connections: carries the obligation and notices when nobody refers to it."""

    obligation: Obligation | None = None

    def give_back(self) -> None:
        """End the obligation, by release or transfer."""
        if self.obligation is not None:
            self.obligation.held = False

    def __del__(self) -> None:
        """Note a connection that nobody can release any more."""
        obligation = self.obligation
        if obligation is not None and obligation.held and not obligation.leaving:
            obligation.dropped = True
            obligation.raised_before_drop = obligation.raises()


def connections_in(
    value: object, of_function: Callable[[FunctionType], Iterable[Held]] = lambda _: ()
) -> Iterator[Held]:
    """The connections that whoever has ``value`` can reach; ``of_function``: those that a function hands on."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Held):
            yield item
        elif isinstance(item, tuple | list | set):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, MethodType):
            pending.append(item.__self__)
        elif isinstance(item, partial):
            pending.extend(item.args)
        elif isinstance(item, FunctionType):
            pending.extend(of_function(item))


def captured(function: FunctionType) -> list[Held]:
    """The connections that a nested function reads from around it."""
    found = []
    for cell in getattr(function, "__wrapped__", function).__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # a variable without a value
            continue
    return [value for value in found if isinstance(value, Held)]
