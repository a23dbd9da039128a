"""Fake things to await, iterate and enter, each deciding through the world whether it raises.

Input: a world and the frame whose line counts. Output: objects such as ``Waiting``, which raises or gives its value
when awaited. Leaving a ``with`` does not raise; nothing here ever suspends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

from .held import Held
from .world import World


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

    __slots__ = ("_count", "_frame", "_least", "_quiet", "_world")

    def __init__(self, world: World, frame: FrameType, *, quiet: bool = False, least: int = 0) -> None:
        """Iterate on the line that ``frame`` executes; ``quiet`` steps do not raise, ``least`` of them are there."""
        self._world = world
        self._frame = frame
        self._quiet = quiet
        self._least = least
        self._count = 0

    def __iter__(self) -> Self:
        """Be one's own iterator."""
        return self

    def __next__(self) -> object:
        """Raise, stop or go on."""
        if not self._quiet:
            self._world.may_raise(self._frame)
        if self._count == self._world.limit or (self._count >= self._least and self._world.choose(2)):
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

    __slots__ = ("_quiet", "_value", "_world")

    def __init__(self, world: World, value: object = OPAQUE, *, quiet: bool = False) -> None:
        """Give ``value`` to the body; ``quiet``: entering it by a plain ``with`` does not raise."""
        self._world = world
        self._value = value
        self._quiet = quiet

    def __enter__(self) -> object:
        """Raise or go on."""
        if not self._quiet:
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


class Unbound:
    """What a local name holds before it is assigned, and once it is deleted, since names do not raise.

    Also the None that a function of the program returns: its caller does not know of it before it asks. And what a
    function returns that nobody knows.

    It behaves like something nobody knows: perhaps None, perhaps true or false, and the same each time it is asked.
    """

    __slots__ = ("_is_bound", "_is_none", "_world")

    def __init__(self, world: World, *, is_none: bool = False, is_bound: bool = False) -> None:
        """Be undecided; ``is_none``: once it is asked, it is None; ``is_bound``: what has a method is not None."""
        self._world = world
        self._is_none = is_none
        self._is_bound = is_bound

    def __bool__(self) -> bool:
        """Decide."""
        decided = self._world.decided
        if (self, "true") not in decided:
            decided[self, "true"] = not self._is_none and self._world.choose(2) == 0
            if decided[self, "true"]:
                decided[self, "null"] = False
        return decided[self, "true"]

    def is_null(self) -> bool:
        """Decide whether to be None."""
        decided = self._world.decided
        if (self, "null") not in decided:
            decided[self, "null"] = self._is_none or self._world.choose(2) == 0
            if decided[self, "null"]:
                decided[self, "true"] = False
        return decided[self, "null"]

    def returned(self) -> Unbound:
        """What the caller of a function that returns this knows of it: nothing yet."""
        return Unbound(self._world, is_none=self._is_none or self._known_null() is True)

    def _known_null(self) -> bool | None:
        return self._world.decided.get((self, "null"))

    def close(self) -> Done:
        """Release nothing."""
        self._dereference("close")
        return Done()

    def cursor(self, *_arguments: object) -> Any:  # noqa: ANN401  of either driver
        """Be a cursor, or rows."""
        return self._called("cursor", Unbound(self._world))

    def execute(self, *_arguments: object) -> Any:  # noqa: ANN401  of either driver
        """Raise or go on."""
        return self._called("execute", OPAQUE)

    fetch = fetchrow = fetchval = commit = rollback = execute

    def transaction(self) -> Scope:
        """Give a transaction."""
        self._dereference("transaction")
        return Scope(self._world)

    def __call__(self, *_arguments: object) -> Any:  # noqa: ANN401  any function
        """Raise or go on."""
        return self._called("call", OPAQUE)

    def __enter__(self) -> Self:
        """Raise or go on."""
        self._dereference("__enter__")
        self._world.may_raise(sys._getframe(1))
        return self

    def __exit__(self, *error: object) -> None:
        """Let pass."""

    def _called(self, name: str, value: object) -> object:
        """Raise or go on in a program of plain functions, be awaited in one of coroutines."""
        self._dereference(name)
        frame = sys._getframe(2)
        if self._world.is_async:
            return Waiting(self._world, frame, value)
        self._world.may_raise(frame)
        return value

    def _dereference(self, name: str) -> None:
        """Raise for a known None; a function's result that nobody asked is taken to be something."""
        if self._is_none and self._known_null() is None:
            self._world.abandon()
        if self._is_bound:
            self._world.decided.setdefault((self, "null"), False)
        if self._known_null():
            raise AttributeError(f"'NoneType' object has no attribute '{name}'")
