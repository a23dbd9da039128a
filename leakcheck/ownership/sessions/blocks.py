"""Blocks and decorators that are a transaction on a connection that nobody names, and what waits inside them.

    with transaction.atomic():
        order.save()                   →   the transaction is open from here on
        requests.post(SHOP, order)     →   a slow call in it

On PostgreSQL and MySQL the BEGIN goes with the first statement: what waits before that is no fault. Nested functions
run at another time (``transaction.on_commit(lambda: requests.post(...))``) and are not looked into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import children, reduce
from leakcheck.ownership.found import Fault
from leakcheck.ownership.obligation import Event, EventKind
from leakcheck.project.names import External

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.callees import SessionCallees
    from leakcheck.ownership.unit import Unit

_OF_OBJECTS = frozenset({"save", "delete", "refresh_from_db", "asave", "adelete", "arefresh_from_db"})
"""Methods of a model's instance that send a statement; by these names others are called too, but with arguments."""
_OF_MODELS = frozenset({
    "aggregate", "bulk_create", "bulk_update", "count", "create", "delete", "earliest", "exists", "first", "get",
    "get_or_create", "in_bulk", "last", "latest", "update", "update_or_create",
})  # fmt: skip
"""Methods of a manager or query that send a statement at once, also with an ``a`` in front."""
_MANAGERS = frozenset({"objects", "_default_manager", "_base_manager"})
_SENDING = frozenset({"execute", "executemany", "bulk_create", "get_or_create", "update_or_create"})


def block_faults(program: Program, unit: Unit, graph: g.ControlFlowGraph, speech: SessionCallees) -> Iterator[Fault]:
    """The calls of a unit that wait in such a block after its transaction has begun."""
    bodies = list(_bodies(program, unit))
    if not bodies:
        return
    known = {id(i.node): i for block in graph.blocks for i in block.instructions if isinstance(i, (g.Call, g.Enter))}
    seen: set[int] = set()
    for body, opening in bodies:
        ending = known.get(id(opening))
        for call in _after_a_query(body):
            instruction = known.get(id(call))
            if isinstance(instruction, g.Call) and id(call) not in seen and speech.is_slow(instruction):
                seen.add(id(call))
                part = speech.slow_part(instruction)
                yield Fault(unit, Event(EventKind.SLOW_CALL, instruction, part, ending))


def _bodies(program: Program, unit: Unit) -> Iterator[tuple[cst.BaseSuite, cst.CSTNode]]:
    """The bodies that are such a transaction, with the ``with`` item or decorator that makes them one."""
    if isinstance(unit.node, cst.FunctionDef):
        for decorator in unit.node.decorators:
            if _begins(program, unit, decorator.decorator):
                yield unit.node.body, decorator
    pending = [] if isinstance(unit.node, cst.Lambda) else children(unit.node)
    while pending:
        node = pending.pop()
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            continue
        if isinstance(node, cst.With):
            yield from ((node.body, item) for item in node.items if _begins(program, unit, item.item))
        if not isinstance(node, cst.SimpleStatementLine):
            pending += reversed(children(node))


def _begins(program: Program, unit: Unit, node: cst.BaseExpression) -> bool:
    callee = node.func if isinstance(node, cst.Call) else node
    if not isinstance(callee, (cst.Name, cst.Attribute)):
        return False
    symbols = program.resolver.resolve(reduce(callee), unit.scope)
    return any(isinstance(s, External) and s.name in program.calls.transactions for s in symbols)


def _after_a_query(body: cst.BaseSuite) -> list[cst.Call]:
    """The calls in a body that some statement may precede."""
    found: list[cst.Call] = []
    _scan(body, found, begun=False)
    return found


def _scan(node: cst.CSTNode, found: list[cst.Call], *, begun: bool) -> bool:
    """Collect the calls under ``node`` in their order; whether the transaction has begun after it."""
    match node:
        case cst.FunctionDef() | cst.ClassDef() | cst.Lambda():
            return begun
        case cst.If(test=test, body=then, orelse=orelse):
            begun = _scan(test, found, begun=begun)
            otherwise = _scan(orelse, found, begun=begun) if orelse is not None else begun
            return _scan(then, found, begun=begun) or otherwise
        case cst.Call():
            begun = _scan_all(children(node), found, begun=begun)
            if begun:
                found.append(node)
            return begun or _sends(node)
        case _:
            return _scan_all(children(node), found, begun=begun)


def _scan_all(nodes: Sequence[cst.CSTNode], found: list[cst.Call], *, begun: bool) -> bool:
    for node in nodes:
        begun = _scan(node, found, begun=begun)
    return begun


def _sends(call: cst.Call) -> bool:
    """Whether a call sends a statement, as far as its name says."""
    callee = reduce(call.func)
    if not isinstance(callee, ex.Attribute):
        return False
    positional = any(a.keyword is None for a in call.args)
    if callee.name in _SENDING or (callee.name in _OF_OBJECTS and not positional):
        return True
    return (callee.name in _OF_MODELS or callee.name[1:] in _OF_MODELS) and _has_manager(callee.base)


def _has_manager(expression: ex.Expression) -> bool:
    """Whether a chain of calls and attributes starts at a model's manager: ``Order.objects.filter(...)``."""
    while isinstance(expression, (ex.Attribute, ex.Call)):
        if isinstance(expression, ex.Call):
            expression = expression.func
        elif expression.name in _MANAGERS or expression.name.endswith("_set"):
            return True
        else:
            expression = expression.base
    return False
