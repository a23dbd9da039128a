"""Tests on what stands behind a resource: while it is held, its pool is there, and so is what an object keeps.

if pool is not None:         the way around it is not followed while `conn` is held
    pool.putconn(conn)

if not store.conn:           this is not followed while `store` is owed for its connection
    return

if self._owns_sessions:      nor the way around this, while what the object itself gave is held
    session.close()

To who is given the connection a flag that the object raises where it gets its pool (``self.opened = True``) says the
same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.conditions import absences
from leakcheck.cfg.walk import reduce
from leakcheck.ownership.state import State, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.callees import Callees
    from leakcheck.ownership.constants import Constants
    from leakcheck.ownership.obligation import Obligation

_FLAG = re.compile(r"\?Attribute\(base=Name\(id='self'\), name='(?P<name>\w+)'\)\Z")
"""The subject of a test of an attribute of self."""
_ANYWHERE = State(Status.HELD, ())


def without_lender(constants: Constants, obligation: Obligation) -> frozenset[g.Test]:
    """The outcomes of the graph's tests that say there is no pool to give the resource back to."""
    if "{pool}" not in obligation.resource.release:
        return frozenset()
    given = obligation.site is None  # whoever took it itself may be stopped by a flag while it holds it
    if given not in constants.lenders:
        constants.lenders[given] = list(_tests_of_lenders(constants, obligation.callees, flags=given))
    return frozenset(t for call, tests in constants.lenders[given] if _gives_back(call, obligation) for t in tests)


def without_owner(constants: Constants, obligation: Obligation) -> frozenset[g.Test]:
    """The outcomes of the graph's tests by which an object says that what it gave is another's: ``_owns_sessions``."""
    if obligation.site is not None and not _is_of_self(obligation.site):
        return frozenset()
    flags = (flag for flag in map(_flag_of_self, constants.tested) if flag is not None)
    own = (flag for flag in flags if obligation.callees.says_own(flag))
    return frozenset(test for flag in own for test in absences(ex.Attribute(ex.Name("self"), flag)))


def without_contents(obligation: Obligation, name: str) -> frozenset[g.Test]:
    """The outcomes of tests that say that an object of this name keeps nothing: ``if not store.conn:``."""
    keeping = (ex.Attribute(ex.Name(name), attribute) for attribute in obligation.resource.attributes)
    return frozenset(test for kept in keeping for test in absences(kept))


def _tests_of_lenders(constants: Constants, callees: Callees, *, flags: bool) -> Iterator[tuple[g.Call, list[g.Test]]]:
    """The calls that are given something, with those outcomes of tests that say there is nobody to give it to."""
    for block in constants.graph.blocks if constants.tested else ():
        for call in block.instructions:
            if isinstance(call, g.Call) and isinstance(call.func, ex.Attribute) and call.arguments:
                telling = (call.func.base, *(callees.flags_beside(call.func.base) if flags else ()))
                tests = [test for told in telling for test in absences(told) if test.subject in constants.tested]
                if tests:
                    yield call, tests


def _is_of_self(site: object) -> bool:
    """Whether a call is one of a method of self, or of what self keeps."""
    func = ex.dotted(reduce(site.func)) if isinstance(site, cst.Call) else None
    return func is not None and func.startswith("self.")


def _flag_of_self(subject: str) -> str | None:
    match = _FLAG.match(subject)
    return match["name"] if match is not None else None


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
