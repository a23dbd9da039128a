"""Tests on the pool that a resource is given back to: while something of it is held, the pool is there.

if pool is not None:         the way around it is not followed while `conn` is held
    pool.putconn(conn)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.conditions import absences
from leakcheck.ownership.state import State, Status

if TYPE_CHECKING:
    from collections.abc import Container

    from leakcheck.ownership.obligation import Obligation

_ANYWHERE = State(Status.HELD, ())


def without_lender(graph: g.ControlFlowGraph, tested: Container[str], obligation: Obligation) -> frozenset[g.Test]:
    """The outcomes of tests that say there is no pool to give the resource back to, of those ``tested``."""
    if "{pool}" not in obligation.resource.release:
        return frozenset()
    found: set[g.Test] = set()
    for block in graph.blocks:
        for call in block.instructions:
            if isinstance(call, g.Call) and isinstance(call.func, ex.Attribute) and call.arguments:
                tests = [test for test in absences(call.func.base) if test.subject in tested]
                if tests and _gives_back(call, obligation):
                    found.update(tests)
    return frozenset(found)


def _gives_back(call: g.Call, obligation: Obligation) -> bool:
    """Whether the call would give the resource back, were it the argument."""
    callees, resource = obligation.callees, obligation.resource
    for argument in call.arguments:
        operation = callees.release_of(call, argument, resource, None)
        if operation is not None:
            return not operation.near_miss
        if callees.argument_effect(call, argument, resource, _ANYWHERE).releases:
            return True
    return False
