"""Statements sent through a pool: each runs on a connection that is given back at once.

await pool.execute("BEGIN")         →   no transaction: what follows runs elsewhere, committed by itself
await pool.execute("SET ROLE a")    →   whoever is next given that connection has the role
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.driver import ClassKind
from leakcheck.driver_session import Begins
from leakcheck.ownership.found import Fault
from leakcheck.ownership.obligation import Event, EventKind
from leakcheck.ownership.sessions.session import TAKES
from leakcheck.project.names import Method
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass, Operation
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.session import HeldKind
    from leakcheck.ownership.sessions.statements import Statements
    from leakcheck.ownership.unit import Unit

_NO_TRANSACTION = "each statement of a pool runs on a connection that is given back at once: there is no transaction"
_KINDS = {
    SqlKind.BEGIN: EventKind.USELESS_END,
    SqlKind.SET: EventKind.LOCAL_OUTSIDE,
    SqlKind.SET_ROLE: EventKind.LOCAL_OUTSIDE,
    SqlKind.SET_AUTHORIZATION: EventKind.LOCAL_OUTSIDE,
}
_ROLES = frozenset({SqlKind.SET_ROLE, SqlKind.SET_AUTHORIZATION})


def pool_faults(program: Program, unit: Unit, graph: g.ControlFlowGraph, statements: Statements) -> Iterator[Fault]:
    """The statements of a unit that mean a transaction, or set a role, and are sent through a pool."""
    seen: set[int] = set()
    for block in graph.blocks:
        for call in block.instructions:
            if not isinstance(call, g.Call) or id(call.node) in seen:
                continue
            seen.add(id(call.node))
            pool, operation = _operation(program, unit, call) or (None, None)
            said = statements.sql(call, operation) if operation is not None else ()
            if pool is None or len(said) != 1:
                continue
            if said[0].kind in _KINDS and (said[0].local or said[0].kind is SqlKind.BEGIN):
                yield Fault(unit, Event(_KINDS[said[0].kind], call, _NO_TRANSACTION))
            elif said[0].kind in _ROLES and _is_kept(program, pool, TAKES[said[0].kind]):
                yield Fault(unit, Event(EventKind.KEPT_BY_POOL, call, statements.text(call)))


def _is_kept(program: Program, pool: DriverClass, kind: HeldKind) -> bool:
    """Whether connections of a pool, each of whose statements is committed by itself, go back with what was set."""
    classes = program.drivers.classes
    lent = [classes[o.acquires].session for o in pool.methods.values() if o.acquires and o.acquires in classes]
    return any(s is not None and s.begins is Begins.NEVER and s.pooled and kind.value not in s.clears for s in lent)


def _operation(program: Program, unit: Unit, call: g.Call) -> tuple[DriverClass, Operation] | None:
    """The pool, and its method that executes SQL."""
    if not isinstance(call.func, ex.Attribute) or call.method not in program.vocabulary.executing:
        return None
    drivers = program.drivers
    for symbol in program.resolver.resolve(call.func, unit.scope):
        if isinstance(symbol, Method):
            pool, operation = drivers.classes[symbol.of], symbol.operation
            return (pool, operation) if pool.kind is ClassKind.POOL and operation.executes is not None else None
    if program.resolver.resolve(call.func.base, unit.scope):
        return None
    for class_id in drivers.receiver_classes(ex.last_name(call.func.base) or ""):
        known = drivers.classes[class_id]
        imported = any(p in unit.scope.module.packages for p in drivers.packages_of(class_id))
        found = known.methods.get(call.method)
        if imported and known.kind is ClassKind.POOL and found is not None and found.executes is not None:
            return known, found
    return None
