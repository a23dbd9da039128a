"""The project's own transaction helper, as configured: ``helper = "app.db:with_transaction"``.

    helper_for(region, program)   →   Helper("app.db", "with_transaction", …), or what is wrong with it

A helper that `leakcheck init` wrote is right while it is as it was written. Another is believed only when it is seen to
be right: a context manager over one argument, a pool or a connection of which it gets hold, that commits when its body
ends, rolls back and raises again whatever the body raises, and gives the connection back on every way. And only where
its import works: where the file's own imports start, or its package does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg.walk import walk
from leakcheck.fixes.by_itself import check_pool
from leakcheck.fixes.importing import imported, start_of, starts_of
from leakcheck.fixes.tree import RefusedError, only
from leakcheck.ownership.summary import End
from leakcheck.project.facts import makes_manager
from leakcheck.project.names import Function
from leakcheck.source import Failure
from leakcheck.templates import is_as_written, is_for

if TYPE_CHECKING:
    from leakcheck.driver import DriverClass
    from leakcheck.fixes.region import Region
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

_DEPTH = 6
_ASKED_OF_ALL = frozenset({"begin", "close", "commit", "rollback"})
"""What connections of all kinds have."""


class Helper(Struct, frozen=True):
    """A helper that was seen to be right. ``module`` and ``name`` are what to import.

    ``takes_connection``: its argument is the new connection; else it is the pool.
    """

    module: str
    name: str
    path: str
    is_async: bool
    takes_connection: bool = False


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
    resource = region.found.acquisition.resource
    source = program.source(path)
    text = "" if isinstance(source, Failure) else source.text
    is_written = is_as_written(text)
    if is_written and not is_for(text, resource.id):
        return None
    found = program.functions.found(unit).found
    taken = [one for one in found if one.acquisition.resource.id == resource.id]
    if taken:
        if region.found.acquisition.steps:
            return None
        _check_pool(region, unit, taken[0], program)
    elif not (is_written or _asks_of_any(unit, resource, program)) or not _gets_hold(unit, resource, program):
        return None
    user = region.tree.unit.path
    if path == user:
        raise RefusedError(f"this module is the one of the helper `{name}`")
    if start_of(path, module) not in starts_of(program, user):
        raise RefusedError(f"nothing shows that `{module}` can be imported here")
    if user in _reached(program, path):
        raise RefusedError(f"importing `{module}` here would close a cycle of imports")
    return Helper(module, name, path, unit.is_async, takes_connection=not taken)


def _check_pool(region: Region, unit: Unit, taken: Found, program: Program) -> None:
    """Raise RefusedError unless the helper takes from the pool that is its argument, and is right."""
    assert unit.facts is not None
    parameters = unit.facts.parameters
    if len(parameters) != 1 or taken.acquisition.pool != parameters[0].name:
        raise RefusedError(f"the configured helper `{unit.facts.name}` does not take the pool as its one argument")
    check_pool(region, program)
    _check(unit, program, taken.effects.bound_to or "", leaks=bool(taken.leaks))


def _gets_hold(unit: Unit, resource: DriverClass, program: Program) -> bool:
    """Whether the helper gives back the connection that is its argument. Raises RefusedError where it is not right."""
    assert unit.facts is not None
    parameters = unit.facts.parameters
    if len(parameters) != 1:
        return False
    holder = parameters[0].name
    effect = program.functions.parameter_effect(Function(unit.path, unit.facts.qualname), holder, resource)
    if not effect.releases:
        return False
    _check(unit, program, holder, leaks=effect.normal | effect.raised != {End.RELEASED})
    return True


def _asks_of_any(unit: Unit, resource: DriverClass, program: Program) -> bool:
    """Whether a connection of this kind has all that the helper asks of its argument: one of another may not."""
    if unit.facts is None or not unit.facts.parameters:
        return False
    holder, given = unit.facts.parameters[0].name, unit.facts.parameters[0].annotation
    annotation = ex.dotted(given) if given is not None else None
    if annotation is not None:
        root, _, rest = annotation.partition(".")
        imported_as = unit.scope.module.scope.imports.get(root, (root,))
        packages = program.drivers.driver_packages.get(resource.driver, ())
        names = (f"{one}.{rest}" for one in imported_as)
        if any(name == package or name.startswith(f"{package}.") for name in names for package in packages):
            return True
    asked = {n.attr.value for n in walk(unit.node) if isinstance(n, cst.Attribute) and _is_name(n.value, holder)}
    return asked <= _ASKED_OF_ALL


def _is_name(node: cst.CSTNode, name: str) -> bool:
    return isinstance(node, cst.Name) and node.value == name


def _check(unit: Unit, program: Program, holder: str, *, leaks: bool) -> None:
    """Raise RefusedError unless the helper commits, rolls back and releases."""
    assert unit.facts is not None
    name, source = unit.facts.name, program.source(unit.path)
    if not isinstance(source, Failure) and is_as_written(source.text):
        return
    if not makes_manager(unit.facts):
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
        for _, target in imported(program, current):
            if target not in seen and depth < _DEPTH:
                seen.add(target)
                queue.append((target, depth + 1))
    return seen
