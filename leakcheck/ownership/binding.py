"""What a session, or another thing that takes its connection from something, is made on.

Session(engine)              →   takes a connection of the engine's
Session(bind=connection)     →   takes none: somebody else has the connection, and gives it back
SessionLocal()               →   takes one of the engine's that `SessionLocal = sessionmaker(engine)` was told
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import ClassKind
from leakcheck.ownership.pools import constructors, pool_place
from leakcheck.project.names import Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.driver import DriverClass, Operation
    from leakcheck.ownership.pools import Place
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
    sources = _sources(known, call)
    return bool(sources) and not _is_connection(program, sources, scope)


def made_on_connection(program: Program, operation: Operation, call: ex.Call, scope: Scope) -> bool:
    """Whether a factory is told to make what it makes on a connection."""
    known = program.drivers.classes.get(operation.acquires or "")
    sources = [v for k, v in call.keywords if known is not None and k == known.bind]
    return bool(sources) and _is_connection(program, sources, scope)


def engine_place(
    program: Program, known: DriverClass, call: ex.Call, scope: Scope, factory: ex.Expression | None
) -> Place | None:
    """Where the engine lives that a session's constructor or its factory is given, else where the factory does."""
    sources = _sources(known, call) if factory is None else [v for k, v in call.keywords if k == known.bind]
    if sources or factory is None:
        return pool_place(program, scope, sources[0]) if sources else None
    name = ex.dotted(factory)
    made = constructors(program, name, scope) if name is not None else []
    told = _sources(known, made[0][0]) if len(made) == 1 else []
    engine = pool_place(program, made[0][1], told[0]) if told else None
    return engine or pool_place(program, scope, factory)


def _sources(known: DriverClass, call: ex.Call) -> list[ex.Expression]:
    """What a constructor is told to take from."""
    return [v for k, v in call.keywords if k == known.bind] or list(call.args[:1])


def _is_connection(program: Program, sources: Sequence[ex.Expression], scope: Scope) -> bool:
    for symbol in program.resolver.resolve(sources[0], scope):
        if isinstance(symbol, Instance) and isinstance(symbol.of, str):
            return program.drivers.classes[symbol.of].kind is ClassKind.CONNECTION
    named = list(sources)
    if isinstance(sources[0], ex.Name):
        for function in scope.functions:
            named += function.scope.assignments.get(sources[0].id, ())
    return any((ex.last_name(s) or "").lower() in _CONNECTIONS for s in named)
