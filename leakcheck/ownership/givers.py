"""The project's own function by which a connection goes back that another function of it handed out.

    conn = database.take()   →   `database.give_back(conn)`, where the class of `take()` has such a method

Messages name it: a caller has no business with the pool behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.ownership.queues import says_put
from leakcheck.ownership.summary import End
from leakcheck.project.facts import ENTERING
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.cfg import graph as g
    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts


def giver(program: Program, unit: Unit, call: g.Call, acquisition: Acquisition) -> str | None:
    """How to give back what a call of a project function took from a pool, with ``{name}`` for the connection.

    Or how to leave the context manager that the call enters.
    """
    if isinstance(call.func, ex.Attribute) and call.func.name in ENTERING:
        entered, leaving = ex.dotted(call.func.base), call.func.name.replace("enter", "exit")
        prefix = "await " if call.func.name == "__aenter__" else ""
        return f"{prefix}{entered}.{leaving}(*sys.exc_info())" if entered is not None else None
    if not acquisition.steps or "{pool}" not in acquisition.resource.release:
        return None
    holder = ex.dotted(call.func.base) if isinstance(call.func, ex.Attribute) else ""
    for symbol in program.resolver.resolve(call.func, unit.scope) if holder is not None else ():
        if not isinstance(symbol, Function) or _asks_for_pool(program, symbol):
            continue
        for function, facts in _beside(program, symbol):
            if not program.calls.says_release(facts.name) and not says_put(facts.name, acquisition.resource):
                continue
            effects = program.functions.given.parameters(function, acquisition.resource).values()
            if any(End.RELEASED in effect.normal for effect in effects):
                prefix = ("await " if facts.is_async else "") + (f"{holder}." if holder else "")
                return f"{prefix}{facts.name}({{name}})"
    return None


def _asks_for_pool(program: Program, function: Function) -> bool:
    """Whether a function takes from a pool that it is given: the others give back to theirs."""
    facts, summary = program.resolver.function(function)[0], program.summary(function)
    parameters = {p.name for p in facts.parameters} - {"self", "cls"} if facts is not None else set()
    return summary is not None and any((o.pool or "").partition(".")[0] in parameters for o in summary.returns)


def _beside(program: Program, function: Function) -> Iterator[tuple[Function, FunctionFacts]]:
    """The other methods of the function's class, or the other functions of its module."""
    taking, _ = program.resolver.function(function)
    if taking is not None and taking.owner is not None:
        for owner, facts, module in program.resolver.hierarchy.lineage(Class(function.path, taking.owner)):
            for qualname in facts.methods.values():
                yield Function(owner.path, qualname, bound=True), module.functions[qualname]
        return
    found = program.facts(function.path)
    for other in found.functions.values() if found is not None else ():
        if other.owner is None and other.parent is None:
            yield Function(function.path, other.qualname), other
