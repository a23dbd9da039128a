"""The project's own transaction helper, as configured: ``helper = "app.db:with_transaction"``.

    helper_for(region, program)   →   Helper("app.db", "with_transaction", …), or what is wrong with it

A helper is believed only when it is seen to be right: a context manager over one pool argument that commits when its
body ends, rolls back and raises again whatever the body raises, and gives the connection back on every way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import walk
from leakcheck.fixes.tree import RefusedError, only
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper that was seen to be right. ``module`` and ``name`` are what to import."""

    module: str
    name: str
    path: str
    is_async: bool


def helper_for(region: Region, program: Program) -> Helper | None:
    """The configured helper for the region's kind of connection; None where none is configured or it serves another.

    Raises RefusedError where it cannot be found, is not right, or cannot be imported here.
    """
    if program.config.helper is None:
        return None
    module, _, name = program.config.helper.partition(":")
    path = program.modules.find(module, region.tree.unit.path)
    if path is None:
        raise RefusedError(f"the configured helper `{module}` is not a module of this project")
    unit = program.functions.units.of(Function(path, name))
    if unit is None or unit.facts is None:
        raise RefusedError(f"the configured helper `{module}` has no function `{name}`")
    found = program.functions.found(unit).found
    resource = region.found.acquisition.resource
    taken = [one for one in found if one.acquisition.resource.id == resource.id]
    if not taken:
        return None
    parameters = unit.facts.parameters
    if len(parameters) != 1 or taken[0].acquisition.pool != parameters[0].name:
        raise RefusedError(f"the configured helper `{name}` does not take the pool as its one argument")
    _check(unit, name, taken[0].effects.bound_to or "", leaks=bool(taken[0].leaks))
    if path == region.tree.unit.path:
        raise RefusedError(f"this module is the one of the helper `{name}`")
    if region.tree.unit.path in _reached(program, path):
        raise RefusedError(f"importing `{module}` here would close a cycle of imports")
    return Helper(module, name, path, unit.is_async)


def _check(unit: Unit, name: str, holder: str, *, leaks: bool) -> None:
    """Raise RefusedError unless the helper commits, rolls back and releases."""
    assert unit.facts is not None
    if not any(ex.last_name(d) in ("contextmanager", "asynccontextmanager") for d in unit.facts.decorators):
        raise RefusedError(f"the configured helper `{name}` is no context manager")
    if leaks:
        raise RefusedError(f"the configured helper `{name}` does not give the connection back on every way")
    yields = [node for node in walk(unit.node) if isinstance(node, cst.Yield)]
    given = yields[0].value if len(yields) == 1 else None
    if not isinstance(given, cst.Name) or given.value != holder:
        raise RefusedError(f"the configured helper `{name}` does not yield the connection once")
    guarding = [
        node
        for node in walk(unit.node)
        if isinstance(node, cst.Try) and any(inner is yields[0] for inner in walk(node.body)) and node.handlers
    ]
    if len(guarding) != 1 or not _commits(guarding[0], yields[0], holder) or not _rolls_back(guarding[0], holder):
        raise RefusedError(
            f"the configured helper `{name}` does not commit at the end and roll back on every exception"
        )


def _commits(guard: cst.Try, given: cst.Yield, holder: str) -> bool:
    """Whether the commit, and nothing else, comes behind the ``yield``."""
    lines = list(guard.body.body)
    place = next((i for i, line in enumerate(lines) if any(n is given for n in walk(line))), len(lines))
    behind = [*lines[place + 1 :], *(guard.orelse.body.body if guard.orelse is not None else [])]
    return len(behind) == 1 and _calls(behind[0], holder, "commit")


def _rolls_back(guard: cst.Try, holder: str) -> bool:
    """Whether every exception is rolled back and raised again."""
    if len(guard.handlers) != 1:
        return False
    (handler,) = guard.handlers
    wide = handler.type is None or (isinstance(handler.type, cst.Name) and handler.type.value == "BaseException")
    last = only(handler.body.body[-1]) if handler.body.body else None
    rolls = any(_calls(line, holder, "rollback") for line in walk(handler.body))
    return wide and rolls and isinstance(last, cst.Raise) and last.exc is None


def _calls(line: cst.CSTNode, holder: str, method: str) -> bool:
    small = only(line)
    value = small.value if isinstance(small, cst.Expr) else None
    value = value.expression if isinstance(value, cst.Await) else value
    match value:
        case cst.Call(func=cst.Attribute(value=cst.Name(value=base), attr=cst.Name(value=name)), args=[]):
            return base == holder and name == method
        case _:
            return False


def _reached(program: Program, path: str) -> set[str]:
    """The project files that importing ``path`` imports, as far as a few steps show."""
    seen = {path}
    queue = [(path, 0)]
    while queue:
        current, depth = queue.pop()
        for target in _imports(program, current):
            if target not in seen and depth < _DEPTH:
                seen.add(target)
                queue.append((target, depth + 1))
    return seen


def _imports(program: Program, path: str) -> Iterator[str]:
    facts = program.facts(path)
    if facts is None:
        return
    for target in (*facts.scope.modules, *(t for targets in facts.scope.imports.values() for t in targets)):
        for spelling in (target, target.rpartition(".")[0]):
            found = program.modules.find(spelling, path) if spelling.strip(".") else None
            if found is not None:
                yield found
