"""Running a program along every path.

Input: the files of a program, path to text. Output: a ``Truth`` per checkout site, e.g. for

    def scenario():
        conn = pool.getconn()
        work(1)
        pool.putconn(conn)

the truth of the ``getconn`` line: ended on some run, lost on an exception.

Every decision is enumerated: opaque conditions, 0 to 2 iterations of a loop, and at each raising point one
exception of each class that the handlers around it, and around the calls of its function, can tell apart.
"""

from __future__ import annotations

import builtins
import gc
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from .fakes import AsyncConnection, SyncConnection, fake_builtins, fake_modules
from .handled import set_options
from .instrument import Function, Instrumented, instrument
from .protocols import OPAQUE, Unbound
from .truth import Site, Truth
from .world import MAX_ITERATIONS, AbandonedRun, World

MAX_RUNS = 5_000


class TooManyPathsError(Exception):
    """The program has more paths than the bound."""


class BodyLeft(BaseException):
    """Thrown into a context manager by a body that ends by no ``Exception``."""


@dataclass(frozen=True, slots=True)
class Execution:
    """All runs of one program."""

    truths: Mapping[Site, Truth]
    runs: int
    reached: frozenset[Site]  # lines of calls that some run got to
    natural: frozenset[str]  # the messages of exceptions that execution itself raised


def execute(
    files: Mapping[str, str],
    max_runs: int = MAX_RUNS,
    limit: int = MAX_ITERATIONS,
    *,
    thorough: bool = False,
) -> Execution:
    """Run every function of the program along every path.

    ``thorough`` runs raise on each line what any handler of the program can tell apart: slower, the same truth.
    """
    world = World(limit, is_async=any("asyncpg" in text for text in files.values()))
    world.unknown = partial(_unknown, world)
    modules = fake_modules(world)
    instrumented = {path: instrument(text) for path, text in files.items()}
    namespaces = _Loader(world, modules, instrumented).load()
    set_options(world, instrumented, namespaces, thorough=thorough)
    runs = 0
    for path, module in instrumented.items():
        for function in module.functions:
            target = namespaces[path][function.name]
            world.visiting = function.is_generator
            runs += _run_all(world, _harness(world, function, target), max_runs - runs)
    reached = frozenset(Site(path, line) for path, line in world.reached)
    return Execution(world.truths, runs, reached, frozenset(world.natural))


class _Loader:
    """Imports the modules of the program, project modules among them."""

    def __init__(self, world: World, fakes: dict[str, Any], modules: Mapping[str, Instrumented]) -> None:
        """Load ``modules`` into ``world``."""
        self._world = world
        self._fakes = fakes
        self._codes = {path: compile(module.tree, path, "exec") for path, module in modules.items()}
        self._namespaces: dict[str, dict[str, Any]] = {}

    def load(self) -> dict[str, dict[str, Any]]:
        """The namespaces by path."""
        for path in self._codes:
            self._module(path)
        return self._namespaces

    def _module(self, path: str) -> dict[str, Any]:
        if path not in self._namespaces:
            world = self._world
            names = {**vars(builtins), **fake_builtins(world), "__import__": self._import}
            namespace: dict[str, Any] = {
                "__builtins__": names,
                "__leakcheck__": True,
                "__name__": path.removesuffix(".py").replace("/", "."),
                "_check": world.check,
                "_enter_loop": world.enter_loop,
                "_is_null": _is_null,
                "_iterate": world.iterate,
                "_leaving": world.leaving,
                "_leaving_generator": world.leaving_generator,
                "_may_iterate": world.may_iterate,
                "_project": world.project,
                "_project_async": world.project_async,
                "_raising": world.raising,
                "_resumed": world.resumed,
                "_stored": world.stored,
                "_unbound": lambda: Unbound(world),
            }
            self._namespaces[path] = namespace
            exec(self._codes[path], namespace)
        return self._namespaces[path]

    def _import(
        self,
        name: str,
        _globals: object = None,
        _locals: object = None,
        names: object = (),
        _level: int = 0,
    ) -> Any:  # noqa: ANN401  any module
        self._world.may_raise(sys._getframe(1))
        path = name.replace(".", "/") + ".py"
        if path in self._codes:
            return SimpleNamespace(**self._module(path))
        if name in self._fakes:
            return self._fakes[name if names else name.partition(".")[0]]
        return __import__(name, fromlist=list(names) if isinstance(names, tuple) else [])


def _unknown(world: World, value: object) -> object:
    """``value`` as its receiver knows it: not whether it is None, before that is asked."""
    if isinstance(value, Unbound):
        return value.returned()
    return Unbound(world, is_none=True) if value is None else value


def _is_null(value: object) -> bool:
    """``value is None``."""
    return value.is_null() if isinstance(value, Unbound) else value is None


def _harness(world: World, function: Function, target: Callable[..., Any]) -> Callable[[], None]:
    """One run of ``function``: its parameters are opaque, connections among them are borrowed."""

    def argument(name: str) -> object:
        if name == "conns":
            return argument("conn"), argument("conn")
        if name != "conn":
            return OPAQUE
        return AsyncConnection(world) if world.is_async else SyncConnection(world, pooled=False)

    def call() -> Any:  # noqa: ANN401  whatever the function gives
        return target(*map(argument, function.parameters))

    if function.is_generator:
        return lambda: _visit(world, call, is_async=function.is_async)
    if function.is_async:
        return lambda: _drive(call())
    return call


def _visit(world: World, call: Callable[[], Any], *, is_async: bool) -> None:
    """Use a context manager as any caller might: with a body that succeeds, fails or is cancelled."""
    thrown: tuple[type[BaseException] | None, ...] = (None, *world.await_default, BodyLeft)

    def body() -> None:
        kind = thrown[world.choose(len(thrown))]
        if kind is not None:
            raise kind()

    async def enter() -> None:
        async with call():
            body()

    if is_async:
        _drive(enter())
        return
    with call():
        body()


def _drive(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("the program suspended")


def _run_all(world: World, run: Callable[[], None], max_runs: int) -> int:
    """Run along every path; the number of runs."""
    runs = 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while True:
            if runs >= max_runs:
                raise TooManyPathsError
            runs += 1
            world.start()
            try:
                run()
            except AbandonedRun:
                world.abandoned()
            except BaseException as error:  # noqa: BLE001  however the program ends
                world.is_natural(error)
            world.running = False
            if not world.oracle.advance():
                return runs
    finally:
        if collecting:
            gc.enable()
