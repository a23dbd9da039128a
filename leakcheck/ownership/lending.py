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
    from collections.abc import Iterator

    from leakcheck.ownership.constants import Constants
    from leakcheck.ownership.obligation import Obligation

_ANYWHERE = State(Status.HELD, ())


def without_lender(constants: Constants, obligation: Obligation) -> frozenset[g.Test]:
    """The outcomes of the graph's tests that say there is no pool to give the resource back to."""
    if "{pool}" not in obligation.resource.release:
        return frozenset()
    if constants.lenders is None:
        constants.lenders = list(_tests_of_lenders(constants))
    return frozenset(test for call, tests in constants.lenders if _gives_back(call, obligation) for test in tests)


def _tests_of_lenders(constants: Constants) -> Iterator[tuple[g.Call, list[g.Test]]]:
    """The calls that are given something, with those outcomes of tests that say there is nobody to give it to."""
    for block in constants.graph.blocks if constants.tested else ():
        for call in block.instructions:
            if isinstance(call, g.Call) and isinstance(call.func, ex.Attribute) and call.arguments:
                tests = [test for test in absences(call.func.base) if test.subject in constants.tested]
                if tests:
                    yield call, tests


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
