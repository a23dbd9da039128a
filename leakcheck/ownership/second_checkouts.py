"""Functions of the project that take a second connection from a pool while they run, for a caller that holds one.

def log(text, conn=None):               log("sold")              →   takes one from `pool`
    return run(text, conn=conn)         log("sold", conn=conn)   →   takes none, and neither does run()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import call_of
from leakcheck.ownership.conditional import required_null
from leakcheck.ownership.pools import as_called, is_of_pool, is_same, pool_place, shares
from leakcheck.project.facts import ENTERING, SELF
from leakcheck.project.names import Function
from leakcheck.project.nesting import CALLS, borrows, lender, may_take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.diagnostic import Step
    from leakcheck.driver import DriverClass
    from leakcheck.ownership.pools import Known, Place
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Scope

_NULL = ex.Constant(None)


def second_checkout(
    program: Program, unit: Unit, call: g.Call, pool: Known, resource: DriverClass, *, entered: bool
) -> tuple[Step, ...] | None:
    """Where a call takes a second one from the pool of a resource; no steps: it does so itself; None: nowhere."""
    steps, place = _taken_by(program, unit, call, pool, resource, entered=entered), pool[1]
    if steps is None or place is None:
        return steps
    return None if _drops(unit, place) or not shares(program, place) else steps


def _taken_by(
    program: Program, unit: Unit, call: g.Call, pool: Known, resource: DriverClass, *, entered: bool
) -> tuple[Step, ...] | None:
    found = program.acquisition(unit, call)
    if found is not None and found.resource.shares_pool(resource) and found.is_from(*pool):
        return found.steps
    callee = call.func
    if isinstance(callee, ex.Attribute) and is_of_pool(program, callee.name, resource, taking=False):
        used = (ex.dotted(callee.base), pool_place(program, unit.scope, callee.base))
        return () if is_same(used, pool) else None
    place = pool[1]
    if place is None:
        return None
    return nested_checkout(program, call_of(call), unit.scope, place, resource, entered=entered)


def _drops(unit: Unit, place: Place) -> bool:
    """Whether a function puts None in the place of the pool: the next connection comes from another one."""
    graph, name, stores = unit.graph, place[1].rpartition(".")[2], (g.StoreGlobal, g.StoreAttribute)
    instructions = (i for block in graph.blocks for i in block.instructions) if graph is not None else ()
    return any(isinstance(i, stores) and i.name == name and i.value == g.NONE for i in instructions)


def nested_checkout(
    program: Program,
    call: ex.Call,
    scope: Scope,
    place: Place,
    resource: DriverClass,
    *,
    entered: bool = False,
    depth: int = CALLS,
    missing: frozenset[str] = frozenset(),
) -> tuple[Step, ...] | None:
    """Where a called project function takes a connection from the pool at ``place`` while it runs; None if nowhere.

    ``entered``: a ``with`` enters what the call gives, so that an object of the project may take it then; ``missing``:
    the parameters of the function around the call that are None.
    """
    of_self, callee = place[1].partition(".")[0] in SELF, call.func
    if of_self and isinstance(callee, ex.Attribute) and ex.dotted(callee.base) not in SELF:
        return None  # another object of the class has another pool
    for called in program.resolver.resolve(callee, scope):
        symbol = called if isinstance(called, Function) else lender(program, called) if entered else None
        facts, inside = program.resolver.function(symbol) if symbol is not None else (None, None)
        if symbol is None or facts is None or inside is None:
            continue
        absent = _not_given(call, facts, missing, bound=symbol.bound)
        for pool, steps in _taken_from(program, symbol, inside, resource, absent):
            if as_called(program, pool, symbol, call, scope)[1] == place:
                return steps
        for expressions in facts.calls.values() if depth else ():
            for expression in expressions:
                bare = ex.Call(expression)
                if nested_checkout(program, bare, inside, place, resource, depth=depth - 1) is None:
                    continue
                # With nothing given it does; where it is called, and with what, decides.
                for each in _made(program, symbol, expression, absent):
                    found = nested_checkout(program, each, inside, place, resource, depth=depth - 1, missing=absent)
                    if found is not None:
                        return found
    return None


def _made(program: Program, function: Function, callee: ex.Expression, absent: frozenset[str]) -> Iterator[ex.Call]:
    """The calls of a callee that a function makes where these parameters are None, and others are not."""
    units = program.functions.units
    unit = units.of(function)
    try:
        graph, constants = (units.graph(unit), units.constants(unit)) if unit is not None else (None, None)
    except TooLargeError:
        graph = constants = None
    if unit is None or graph is None or constants is None:
        yield ex.Call(callee)
        return
    callees = units.callees(unit)
    for block in graph.blocks:
        for position, instruction in enumerate(block.instructions):
            if isinstance(instruction, g.Call) and instruction.func == callee:
                if callees.is_left_to_a_task(instruction):
                    continue  # nobody waits for it here
                required = required_null(unit, graph, constants.before(block, position))
                if required is None or required in absent:
                    yield call_of(instruction)


def _not_given(call: ex.Call, facts: FunctionFacts, missing: frozenset[str], *, bound: bool) -> frozenset[str]:
    """The parameters of a called function that are None in a call."""
    names = [p.name for p in facts.parameters if p.kind == "positional"][int(bound) :]
    given = dict([*zip(names, call.args, strict=False), *call.keywords])
    nothing = {p.name for p in facts.parameters if p.default == _NULL and p.name not in given}
    return frozenset({
        *nothing,
        *(n for n, v in given.items() if v == _NULL or (isinstance(v, ex.Name) and v.id in missing)),
    })  # fmt: skip


def _shares(program: Program, class_id: str, resource: DriverClass) -> bool:
    """Whether what a function takes may come from the pool of a resource."""
    known = program.drivers.classes.get(class_id)
    return class_id == resource.id or (known is not None and known.shares_pool(resource))


def _taken_from(
    program: Program, function: Function, scope: Scope, resource: DriverClass, absent: frozenset[str]
) -> Iterator[tuple[Known, tuple[Step, ...]]]:
    """The pools from which a function takes such a resource for itself, as they are known there, and where it does.

    ``absent``: the parameters that are None, in which a caller could give one instead.
    """
    facts = scope.functions[-1]
    takes = borrows(facts) or may_take(program, facts, scope)
    summary = program.summary(function) if takes else None
    if summary is not None:
        kept = (owned for _, owned in summary.stores) if facts.name in ENTERING else ()
        of_these = (o for o in (*summary.checks_out, *kept) if _shares(program, o.resource, resource))
        yield from (((o.pool, o.place), o.steps) for o in of_these if o.unless is None or o.unless in absent)
    for name, callees in facts.calls.items():
        for callee in callees if is_of_pool(program, name, resource, taking=True) else ():
            if isinstance(callee, ex.Attribute) and any(_made(program, function, callee, absent)):
                yield (ex.dotted(callee.base), pool_place(program, scope, callee.base)), ()
