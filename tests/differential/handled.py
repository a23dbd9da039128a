"""Which exceptions are worth raising on which line: one of each class that the handlers that see it can tell apart.

Input: the modules of a program. Output: the options of its world, e.g. for the line of ``work(1)`` in

    try:
        work(1)
    except ValueError:
        pass

a ``ValueError`` and one that no handler names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from .instrument import HandledRegion, Instrumented
from .world import ExceptionTypes, World


class UnforeseenError(Exception):
    """An exception that no handler names."""


def set_options(
    world: World,
    modules: Mapping[str, Instrumented],
    namespaces: Mapping[str, dict[str, Any]],
    *,
    thorough: bool,
) -> None:
    """Work out which exceptions are worth raising on which line."""
    everything: list[type[BaseException]] = []
    for path, module in modules.items():
        for region in module.regions:
            everything.extend(named(region, namespaces[path]))
    world.sync_default, world.await_default = representatives(everything)
    if thorough or any(function.is_generator for module in modules.values() for function in module.functions):
        return  # a context manager's handlers see what the lines of its caller raise
    for place, handled in _Around(modules, namespaces).handled().items():
        world.sync_options[place], world.await_options[place] = representatives(handled)


class _Around:
    """Which handlers see what a line raises: those around it, and around the calls of its function."""

    def __init__(self, modules: Mapping[str, Instrumented], namespaces: Mapping[str, dict[str, Any]]) -> None:
        self._regions = [
            (path, region, named(region, namespaces[path]))
            for path, module in modules.items()
            for region in module.regions
        ]
        self._bodies = [(path, body) for path, module in modules.items() for body in module.bodies]
        self._mentioned = {name for _, body in self._bodies for name in body.mentions}
        self._calls: dict[str, list[tuple[str, int, str]]] = {}
        for path, body in self._bodies:
            for name, line in body.calls:
                self._calls.setdefault(name, []).append((path, line, body.name))

    def handled(self) -> dict[tuple[str, int], list[type[BaseException]]]:
        """The classes that these handlers name, by line; without the lines whose functions anybody may call."""
        found = {}
        for path, body in self._bodies:
            callers = self._callers(body.name)
            if callers is not None:
                for line in body.lines:
                    places = [(path, line), *callers]
                    found[path, line] = [kind for place in places for kind in self._kinds(*place)]
        return found

    def _callers(self, name: str) -> list[tuple[str, int]] | None:
        """The lines from which a function is called, by way of others, too; None where they are not known."""
        found: list[tuple[str, int]] = []
        seen: set[str] = set()
        pending = [name]
        while pending:
            name = pending.pop()
            if name in self._mentioned:
                return None
            if name not in seen:
                seen.add(name)
                calls = self._calls.get(name, [])
                found += [(path, line) for path, line, _ in calls]
                pending += [caller for _, _, caller in calls]
        return found

    def _kinds(self, path: str, line: int) -> list[type[BaseException]]:
        around = [
            kinds for where, region, kinds in self._regions if where == path and region.first <= line <= region.last
        ]
        return [kind for kinds in around for kind in kinds]


def named(region: HandledRegion, namespace: dict[str, Any]) -> list[type[BaseException]]:
    """The classes that the handlers of ``region`` name."""
    return [BaseException if name is None else eval(name, namespace) for name in region.types]


def representatives(handled: Iterable[type[BaseException]]) -> tuple[ExceptionTypes, ExceptionTypes]:
    """One class per way of being caught: for an ordinary call, and for an await."""
    types = tuple(dict.fromkeys(handled))
    candidates: list[type[BaseException]] = [UnforeseenError, *(kind for kind in types if issubclass(kind, Exception))]
    seen: dict[tuple[bool, ...], type[BaseException]] = {}
    for candidate in candidates:
        seen.setdefault(tuple(issubclass(candidate, kind) for kind in types), candidate)
    sync = tuple(seen.values())
    cancelled = asyncio.CancelledError
    seen.setdefault(tuple(issubclass(cancelled, kind) for kind in types), cancelled)
    return sync, tuple(seen.values())
