"""Statements sent through a pool: each runs on a connection that is given back at once.

await pool.execute("BEGIN")    →   no transaction: what follows runs elsewhere, committed by itself
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.driver import ClassKind
from leakcheck.ownership.found import Fault
from leakcheck.ownership.obligation import Event, EventKind
from leakcheck.project.names import Method
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import Operation
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.statements import Statements
    from leakcheck.ownership.unit import Unit

_NO_TRANSACTION = "each statement of a pool runs on a connection that is given back at once: there is no transaction"
_KINDS = {
    SqlKind.BEGIN: EventKind.USELESS_END,
    SqlKind.SET: EventKind.LOCAL_OUTSIDE,
    SqlKind.SET_ROLE: EventKind.LOCAL_OUTSIDE,
    SqlKind.SET_AUTHORIZATION: EventKind.LOCAL_OUTSIDE,
}


def pool_faults(program: Program, unit: Unit, graph: g.ControlFlowGraph, statements: Statements) -> Iterator[Fault]:
    """The statements of a unit that mean a transaction and are sent through a pool."""
    seen: set[int] = set()
    for block in graph.blocks:
        for call in block.instructions:
            if not isinstance(call, g.Call) or id(call.node) in seen:
                continue
            seen.add(id(call.node))
            operation = _operation(program, unit, call)
            said = statements.sql(call, operation) if operation is not None else ()
            if len(said) == 1 and said[0].kind in _KINDS and (said[0].local or said[0].kind is SqlKind.BEGIN):
                yield Fault(unit, Event(_KINDS[said[0].kind], call, _NO_TRANSACTION))


def _operation(program: Program, unit: Unit, call: g.Call) -> Operation | None:
    """The pool's method that executes SQL."""
    if not isinstance(call.func, ex.Attribute) or call.method not in program.vocabulary.executing:
        return None
    drivers = program.drivers
    for symbol in program.resolver.resolve(call.func, unit.scope):
        if isinstance(symbol, Method):
            pooled = drivers.classes[symbol.of].kind is ClassKind.POOL
            return symbol.operation if pooled and symbol.operation.executes is not None else None
    if program.resolver.resolve(call.func.base, unit.scope):
        return None
    for class_id in drivers.receiver_classes(ex.last_name(call.func.base) or ""):
        known = drivers.classes[class_id]
        imported = any(p in unit.scope.module.packages for p in drivers.packages_of(class_id))
        found = known.methods.get(call.method)
        if imported and known.kind is ClassKind.POOL and found is not None and found.executes is not None:
            return found
    return None
