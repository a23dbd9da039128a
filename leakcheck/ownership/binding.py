"""What a session, or another thing that takes its connection from something, is made on.

Session(engine)              →   takes a connection of the engine's
Session(bind=connection)     →   takes none: somebody else has the connection, and gives it back
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import ClassKind
from leakcheck.project.names import Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.driver import Operation
    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Scope

_CONNECTIONS = frozenset({"conn", "connection", "get_bind", "dbapi_connection", "connect"})
"""Names that say that the thing is a connection already."""


def takes_from(program: Program, operation: Operation, call: ex.Call, scope: Scope) -> bool:
    """Whether a constructor that is told what to take from takes anything: a session on a connection does not."""
    known = program.drivers.classes.get(operation.acquires or "")
    if known is None or operation.name not in known.names:
        return True
    if any(k == known.deferred_by and isinstance(v, ex.Constant) and v.value is True for k, v in call.keywords):
        return False
    if not known.bind:
        return True
    sources = [v for k, v in call.keywords if k == known.bind] or list(call.args[:1])
    return bool(sources) and not _is_connection(program, sources, scope)


def made_on_connection(program: Program, operation: Operation, call: ex.Call, scope: Scope) -> bool:
    """Whether a factory is told to make what it makes on a connection."""
    known = program.drivers.classes.get(operation.acquires or "")
    sources = [v for k, v in call.keywords if known is not None and k == known.bind]
    return bool(sources) and _is_connection(program, sources, scope)


def _is_connection(program: Program, sources: Sequence[ex.Expression], scope: Scope) -> bool:
    for symbol in program.resolver.resolve(sources[0], scope):
        if isinstance(symbol, Instance) and isinstance(symbol.of, str):
            return program.drivers.classes[symbol.of].kind is ClassKind.CONNECTION
    named = list(sources)
    if isinstance(sources[0], ex.Name):
        for function in scope.functions:
            named += function.scope.assignments.get(sources[0].id, ())
    return any((ex.last_name(s) or "").lower() in _CONNECTIONS for s in named)
