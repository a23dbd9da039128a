"""Fake drivers and the fake surroundings of a generated program, all deciding through the world.

Input: a world. Output: the modules that the program imports, by name. What raises follows the definition of
a leak: calls, awaits, iteration, entering a ``with`` and subscripts raise; releases, closing a cursor and
logging do not; an acquire that raises has acquired nothing; handing on counts as done even where it raises.
Leaving a ``with`` does not raise, and neither does anything of ``contextlib``, nor entering a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from types import FrameType, SimpleNamespace
from typing import Any, Self

from .held import Held
from .protocols import OPAQUE, Done, Rows, Scope, Unbound, Waiting
from .world import World

ENVIRONMENT = "app.env"


class Cursor:
    """A cursor of a synchronous driver; does not keep its connection alive."""

    def __init__(self, world: World) -> None:
        """Work in ``world``."""
        self._world = world

    def execute(self, *_arguments: object) -> None:
        """Raise or go on."""
        self._world.may_raise(sys._getframe(1))

    def fetchone(self) -> object:
        """Raise or go on."""
        self._world.may_raise(sys._getframe(1))
        return OPAQUE

    fetchall = fetchone

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        """Go on: making the cursor could already raise."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let pass."""


class SyncConnection(Held):
    """A connection of psycopg2."""

    def __init__(self, world: World, *, pooled: bool) -> None:
        """Be held in ``world``."""
        self._world = world
        self._pooled = pooled

    def cursor(self) -> Cursor:
        """Raise, or give a cursor."""
        self._world.may_raise(sys._getframe(1))
        return Cursor(self._world)

    def commit(self) -> None:
        """Raise or go on."""
        self._world.may_raise(sys._getframe(1))

    rollback = commit

    def close(self) -> None:
        """Release, unless a pool wants it back."""
        if not self._pooled:
            self.give_back()

    def __enter__(self) -> Self:
        """Raise, or begin a transaction."""
        if self.obligation is not None:
            self.obligation.entered = True
        self._world.may_raise(sys._getframe(1))
        return self

    def __exit__(self, *error: object) -> None:
        """End the transaction, not the connection."""


class AsyncConnection(Held):
    """A connection of asyncpg."""

    def __init__(self, world: World) -> None:
        """Be held in ``world``."""
        self._world = world

    def execute(self, *_arguments: object) -> Waiting:
        """Raise or go on when awaited."""
        return Waiting(self._world, sys._getframe(1))

    fetch = fetchrow = fetchval = execute

    def cursor(self, *_arguments: object) -> Rows:
        """Give rows."""
        return Rows(self._world, sys._getframe(1))

    def transaction(self) -> Scope:
        """Give a transaction."""
        return Scope(self._world)

    def close(self) -> Done:
        """Release when awaited."""
        return Done(self)


class WaitingForConnection(Waiting):
    """Awaiting it checks a connection out."""

    __slots__ = ("_connection",)

    def __next__(self) -> object:
        """Raise, or stop with a connection."""
        self._world.may_raise(self._frame, suspends=True)
        connection = self._connection = AsyncConnection(self._world)
        self._world.check_out(connection, self._frame)
        raise StopIteration(connection)


class WaitingForPooledConnection(WaitingForConnection):
    """What ``pool.acquire()`` gives: ``async with`` checks out too, and releases at its end."""

    __slots__ = ()

    def __aenter__(self) -> Self:
        """Check out when awaited."""
        return self

    def __aexit__(self, *error: object) -> Done:
        """Release when awaited."""
        return Done(self._connection)


class SyncPool:
    """A pool of psycopg2."""

    def __init__(self, world: World) -> None:
        """Hand out connections in ``world``."""
        self._world = world

    def getconn(self) -> SyncConnection:
        """Raise, or check out."""
        return _connect(self._world, sys._getframe(1), pooled=True)

    def putconn(self, connection: object) -> None:
        """Release."""
        if isinstance(connection, Held):
            connection.give_back()


class AsyncPool:
    """A pool of asyncpg."""

    def __init__(self, world: World) -> None:
        """Hand out connections in ``world``."""
        self._world = world

    def acquire(self) -> WaitingForPooledConnection:
        """Raise, or check out when awaited or entered."""
        return WaitingForPooledConnection(self._world, sys._getframe(1))

    def release(self, connection: object) -> Done:
        """Release when awaited."""
        return Done(connection)


class Owner:
    """An object of somebody else: what is stored on it is handed on."""

    _world: World

    def __init__(self, world: World) -> None:
        """Take over in ``world``."""
        object.__setattr__(self, "_world", world)

    def __setattr__(self, name: str, value: object) -> None:
        """Take over."""
        self._world.stored(value)


class Registry:
    """A container of somebody else; reading and writing it may raise."""

    def __init__(self, world: World) -> None:
        """Take over in ``world``."""
        self._world = world

    def __getitem__(self, key: object) -> object:
        """Raise, or give something."""
        self._world.may_raise(sys._getframe(1))
        return OPAQUE

    def __setitem__(self, key: object, value: object) -> None:
        """Take over, then raise or go on."""
        self._world.stored(value)
        self._world.may_raise(sys._getframe(1))

    def append(self, value: object) -> None:
        """Take over, then raise or go on."""
        self._world.stored(value)
        self._world.may_raise(sys._getframe(1))


class Settings:
    """Opaque attributes: ``mode…`` is 0, 1 or 2, anything else is true or false. Reading does not raise."""

    def __init__(self, world: World) -> None:
        """Decide in ``world``."""
        self._world = world

    def __getattr__(self, name: str) -> object:
        """Decide."""
        if name.startswith("mode"):
            return self._world.choose(3)
        return self._world.choose(2) == 0


class Logger:
    """Does nothing, and does not raise."""

    def info(self, *_arguments: object) -> None:
        """Do nothing."""

    debug = warning = error = exception = info


class DriverError(Exception):
    """The ``Error`` of both drivers."""


def _connect(world: World, frame: FrameType, *, pooled: bool) -> SyncConnection:
    """Raise, or check out on the line that ``frame`` executes."""
    world.may_raise(frame)
    connection = SyncConnection(world, pooled=pooled)
    world.check_out(connection, frame)
    return connection


def _environment(world: World) -> SimpleNamespace:
    """The module of things the analysis cannot resolve."""

    def work(*_arguments: object) -> object:
        world.may_raise(sys._getframe(1))
        return OPAQUE

    def cond(_number: int) -> bool:
        world.may_raise(sys._getframe(1))
        return world.choose(2) == 0

    def pair(_number: int) -> tuple[object, object]:
        world.may_raise(sys._getframe(1))
        return Unbound(world, is_bound=True), Unbound(world, is_bound=True)

    return SimpleNamespace(
        work=work,
        use=work,
        cond=cond,
        pair=pair,
        awork=lambda *_arguments: Waiting(world, sys._getframe(1)),
        items=lambda _number: Rows(world, sys._getframe(1)),
        ctx=lambda _number: Scope(world),
        lock=Scope(world, quiet=True),
        bag=Registry(world),
        registry=Registry(world),
        owner=Owner(world),
        settings=Settings(world),
    )


def fake_modules(world: World) -> dict[str, Any]:
    """The modules a program may import, by dotted name."""
    psycopg2 = SimpleNamespace(
        connect=lambda *_arguments: _connect(world, sys._getframe(1), pooled=False),
        Error=DriverError,
        pool=SimpleNamespace(SimpleConnectionPool=lambda *_arguments: SyncPool(world)),
    )
    asyncpg = SimpleNamespace(
        connect=lambda *_arguments: WaitingForConnection(world, sys._getframe(1)),
        create_pool=lambda *_arguments: AsyncPool(world),
        PostgresError=DriverError,
    )
    environment = _environment(world)
    return {
        "asyncio": asyncio,
        "asyncpg": asyncpg,
        "contextlib": contextlib,
        "logging": SimpleNamespace(getLogger=lambda _name: Logger()),
        "psycopg2": psycopg2,
        "psycopg2.pool": psycopg2,
        "app": SimpleNamespace(env=environment),
        ENVIRONMENT: environment,
        "plugin": OPAQUE,
    }


def fake_builtins(world: World) -> dict[str, Any]:
    """Names that replace builtins: a silent ``print``, a ``range`` of any length but none, as it is written."""
    return {
        "print": lambda *_arguments: None,
        "range": lambda *_arguments: Rows(world, sys._getframe(1), quiet=True, least=1),
    }
