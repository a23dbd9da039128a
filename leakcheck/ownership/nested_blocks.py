"""Blocks that hold a connection which a context manager of the project lends, and what takes another one in them.

with database.connection() as conn:      holds one of `database._pool`
    log_action("cancelled")              takes another one from there   →   LC110
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import call_of
from leakcheck.driver import Protocol
from leakcheck.ownership.conditional import required_null
from leakcheck.ownership.explore import BoundReachedError
from leakcheck.ownership.handing_back import parameter_node
from leakcheck.ownership.report import nested_leaks
from leakcheck.ownership.summary import Owned
from leakcheck.ownership.usage import entered_by
from leakcheck.project.facts import SELF
from leakcheck.project.names import Function
from leakcheck.project.nesting import lender, may_nest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.pools import Place
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
_LENDERS = 3
"""How many context managers deep a connection is lent: one of cursors borrows it from one of connections."""


def lent_to_blocks(program: Program, unit: Unit, lenders: int = _LENDERS) -> Iterator[tuple[g.Call, Acquisition]]:
    """The calls of a unit by which a ``with`` borrows a connection of a known pool, and what that is.

    ``lenders``: how many context managers deep it is looked for where that comes from.
    """
    entered = entered_by(unit.node)
    graph = _graph(program, unit) if entered and lenders else None
    for block in graph.blocks if graph is not None else ():
        for call in block.instructions:
            if not isinstance(call, g.Call) or id(call.node) not in entered:
                continue
            entered.discard(id(call.node))
            for symbol in program.resolver.resolve(call.func, unit.scope):
                lending = lender(program, symbol)
                owned = _lent_by(program, lending, lenders - 1) if lending is not None else None
                if owned is not None and lending is not None:
                    lent = program.acquisitions.handed_over(lending, call_of(call), owned, unit.scope)
                    if lent.place is not None:
                        yield call, lent.by(Protocol.CONTEXT)


def lent_checkouts(program: Program, unit: Unit) -> tuple[Owned, ...]:
    """What the blocks of a function borrow from pools, as its summary has it."""
    return tuple(
        replace(_owned(lent), unless=_unless(program, unit, call)) for call, lent in lent_to_blocks(program, unit)
    )


def lent_onward(program: Program, unit: Unit) -> tuple[Owned, ...]:
    """What a generator yields from a block that a context manager of the project lends it to: it holds that so long."""
    for call, lent in lent_to_blocks(program, unit):
        try:
            explored = program.functions.explore(unit, call, lent)
        except BoundReachedError:
            continue
        if any(found.effects.yielded for found in explored):
            return (_owned(lent),)
    return ()


def _unless(program: Program, unit: Unit, call: g.Call) -> str | None:
    """The parameter that is None wherever a call of a unit runs, so that a caller can give one instead."""
    graph, constants = program.functions.units.graph(unit), program.functions.units.constants(unit)
    places = ((b, n) for b in graph.blocks for n, each in enumerate(b.instructions) if each is call)
    required = {required_null(unit, graph, constants.before(block, position)) for block, position in places}
    return required.pop() if len(required) == 1 else None


def nested_in_blocks(program: Program, unit: Unit) -> Iterator[Leak]:
    """LC110: a second checkout from the pool of a connection that a block is lent."""
    if unit.facts is None or not may_nest(program, unit.scope.module, unit.facts):
        return
    for found in _lent_to_handlers(program, unit):
        yield from nested_leaks(found)
    for call, lent in lent_to_blocks(program, unit):
        try:
            explored = program.functions.explore(unit, call, lent)
        except BoundReachedError:
            continue
        for found in explored:
            yield from nested_leaks(found)


def _lent_to_handlers(program: Program, unit: Unit) -> Iterator[Found]:
    """What a framework lends a handler that a generator of the project takes for it: ``db=Depends(get_db)``."""
    node, facts = unit.node, unit.facts
    if facts is None or not facts.decorators or not isinstance(node, cst.FunctionDef):
        return
    for each in program.resolver.annotations.injections(facts, unit.scope.module):
        parameter = parameter_node(node, each.parameter.name)
        for symbol in program.resolver.resolve(each.function, each.scope) if parameter is not None else ():
            summary = program.summary(symbol) if isinstance(symbol, Function) else None
            yielded = summary.yields if summary is not None and not summary.manages else ()
            if len(yielded) == 1 and parameter is not None and isinstance(symbol, Function):
                call = ex.Call(each.function)
                lent = program.acquisitions.handed_over(symbol, call, yielded[0], each.scope)
                found = (
                    program.functions.from_parameter(unit, parameter, lent, lent=True)
                    if lent.place is not None
                    else None
                )
                if found is not None:
                    yield found


def _lent_by(program: Program, entered: Function, lenders: int) -> Owned | None:
    """What a context manager of the project lends to every block; one that may lend what it has already is none."""
    unit = program.functions.units.of(entered)
    graph = _graph(program, unit) if unit is not None else None
    if unit is None or graph is None:
        return None
    for found in program.functions.found(unit).found:
        place = found.acquisition.place
        always = found.unless is None and place is not None and not _lends_without(graph, found.call)
        if always and (found.effects.held_over_yield if graph.is_generator else _is_kept(found, place)):
            return found.owned
    if not graph.is_generator:
        return None
    for call, lent in lent_to_blocks(program, unit, lenders):
        if not _lends_without(graph, call) and _is_held_on(program, unit, call, lent):
            return _owned(lent)
    return None


def _is_held_on(program: Program, unit: Unit, call: g.Call, lent: Acquisition) -> bool:
    """Whether a context manager is still in the block that is lent a connection where it yields."""
    try:
        explored = program.functions.explore(unit, call, lent)
    except BoundReachedError:
        return False
    return any(found.effects.held_over_yield for found in explored)


def _is_kept(found: Found, place: Place | None) -> bool:
    """Whether ``__enter__`` keeps what it took from a pool that all objects of its class have."""
    common = place is not None and place[1].partition(".")[0] not in SELF
    return common and any(not ending.state.raised for _, ending in found.stores())


def _graph(program: Program, unit: Unit) -> g.ControlFlowGraph | None:
    try:
        return program.functions.units.graph(unit)
    except TooLargeError:
        return None


def _owned(lent: Acquisition) -> Owned:
    return Owned(lent.resource.id, None, lent.pool, lent.steps, place=lent.place)


def _lends_without(graph: g.ControlFlowGraph, taking: g.Call) -> bool:
    """Whether a ``yield``, or the end of ``__enter__``, is reached on a path that has not come by the call."""
    seen, pending = {graph.entry.index}, [graph.entry]
    while pending:
        block = pending.pop()
        if block is graph.exit and not graph.is_generator:
            return True
        passed = False
        for instruction in block.instructions:
            if isinstance(instruction, g.Yield) and not passed:
                return True
            passed = passed or instruction.node is taking.node
        for edge in (*block.raises, *(() if passed else block.successors)):
            if edge.target.index not in seen:
                seen.add(edge.target.index)
                pending.append(edge.target)
    return False
