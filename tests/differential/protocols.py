"""Fake things to await, iterate and enter, each deciding through the world whether it raises.

Input: a world and the frame whose line counts. Output: objects such as ``Waiting``, which raises or gives its value
when awaited. Leaving a ``with`` does not raise; nothing here ever suspends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

from .world import Held, World


class Opaque:
    """A value nobody knows anything about."""


OPAQUE = Opaque()


class Waiting:
    """An awaitable that never suspends: raises or gives its value when awaited."""

    __slots__ = ("_frame", "_value", "_world")

    def __init__(self, world: World, frame: FrameType, value: object = OPAQUE) -> None:
        """Wait on the line that ``frame`` executes."""
        self._world = world
        self._frame = frame
        self._value = value

    def __await__(self) -> Self:
        """Be one's own iterator."""
        return self

    def __iter__(self) -> Self:
        """Be one's own iterator."""
        return self

    def __next__(self) -> object:
        """Raise, or stop with the value."""
        self._world.may_raise(self._frame, suspends=True)
        raise StopIteration(self._value)


class Done:
    """An awaitable that does not raise: runs an action when awaited."""

    __slots__ = ("_connection",)

    def __init__(self, connection: object = None) -> None:
        """Release ``connection`` when awaited."""
        self._connection = connection

    def __await__(self) -> Iterator[Any]:
        """Release."""
        if isinstance(self._connection, Held):
            self._connection.give_back()
        return iter(())


class Rows:
    """An iterable, sync and async, of any number of rows up to the world's limit."""

    __slots__ = ("_count", "_frame", "_quiet", "_world")

    def __init__(self, world: World, frame: FrameType, *, quiet: bool = False) -> None:
        """Iterate on the line that ``frame`` executes; ``quiet`` steps do not raise."""
        self._world = world
        self._frame = frame
        self._quiet = quiet
        self._count = 0

    def __iter__(self) -> Self:
        """Be one's own iterator."""
        return self

    def __next__(self) -> object:
        """Raise, stop or go on."""
        if not self._quiet:
            self._world.may_raise(self._frame)
        if self._count == self._world.limit or self._world.choose(2):
            raise StopIteration
        self._count += 1
        return OPAQUE

    def __aiter__(self) -> Self:
        """Be one's own iterator."""
        return self

    async def __anext__(self) -> object:
        """Raise, stop or go on."""
        self._world.may_raise(self._frame, suspends=True)
        if self._count == self._world.limit or self._world.choose(2):
            raise StopAsyncIteration
        self._count += 1
        return OPAQUE


class Scope:
    """A context manager, sync and async, that swallows nothing; entering it may raise."""

    __slots__ = ("_value", "_world")

    def __init__(self, world: World, value: object = OPAQUE) -> None:
        """Give ``value`` to the body."""
        self._world = world
        self._value = value

    def __enter__(self) -> object:
        """Raise or go on."""
        self._world.may_raise(sys._getframe(1))
        return self._value

    def __exit__(self, *error: object) -> None:
        """Let pass."""

    def __aenter__(self) -> Waiting:
        """Raise or go on when awaited."""
        return Waiting(self._world, sys._getframe(1), self._value)

    def __aexit__(self, *error: object) -> Done:
        """Let pass."""
        return Done()
