"""What an object sets on a pooled connection that it keeps, and gives back by another method with what is set.

    def __enter__(self):
        self.conn = pool.getconn()
        self.conn.execute("SET ROLE tenant")    →   kept: nothing of the class resets it

    def __exit__(self, *exc):
        pool.putconn(self.conn)                 →   the next borrower gets the role

A method that ends it, or closes the connection for good, sees to it for all others. Objects that last as long as the
process give nothing back before others.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.driver_session import Begins
from leakcheck.ownership.classes.lasting import lasts
from leakcheck.ownership.sessions.report import kept_leak
from leakcheck.ownership.sessions.session import HeldKind, Open
from leakcheck.ownership.state import Status
from leakcheck.ownership.summary import End
from leakcheck.project.facts import SELF
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from leakcheck.ownership.explore import Ending
    from leakcheck.ownership.found import SessionFound
    from leakcheck.ownership.leak import Leak
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.analysis import Sessions
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units

_NEVER_KEPT = (HeldKind.TRANSACTION, HeldKind.SAVEPOINT)
"""Who asks the object for work decides when they end."""
_ENDS = frozenset({End.RELEASED, End.TAKEN})
_GIVES = frozenset({End.GIVEN_BACK, End.SAVED})
_COMMITS = frozenset({End.COMMITTED, End.SAVED})
_GONE = "passed on to whoever takes the connection next"


def given_back_later(
    program: Program,
    units: Units,
    sessions: Sessions,
    found: Iterable[SessionFound],
    *,
    reset_beside: Callable[[str | None], bool],
) -> Iterator[tuple[SessionFound, Leak]]:
    """The leaks of what a method sets on its object's connection; ``reset_beside``: others see to a setting, or all."""
    for each in found:
        owner, driver = each.unit.scope.owner, each.connection.driver
        if owner is None or each.held.kind in _NEVER_KEPT or each.held.kind.value in driver.clears:
            continue
        cls = Class(each.unit.path, owner)
        kept = _kept(program, each, cls) if driver.pooled else None
        if (
            kept is None
            or lasts(program, cls)
            or reset_beside(each.held.name if each.held.kind is HeldKind.SETTING else None)
        ):
            continue
        giver = _giver(program, units, sessions, each, kept)
        if giver is not None:
            yield each, _leak(each, kept[1], giver)


def _kept(program: Program, found: SessionFound, cls: Class) -> tuple[str, Ending] | None:
    """The attribute that keeps the connection when the method has returned, with what is held."""
    holders = {(holder, attribute) for holder, _, attribute in (n.partition(".") for n in found.connection.names)}
    own = sorted(a for holder, a in holders if holder in SELF and a in _checked_out(program, cls))
    for ending in found.exploration.endings if own else ():
        state = ending.state
        if ending.returned and not state.raised and not state.session.gone and state.status is not Status.RELEASED:
            return own[0], ending
    return None


def _checked_out(program: Program, cls: Class) -> frozenset[str]:
    """The attributes in which methods of a class keep what they take from a pool."""
    return frozenset(
        attribute
        for function, _ in program.resolver.hierarchy.methods(cls)
        if (summary := program.summary(function)) is not None
        for attribute, owned in summary.stores
        if (known := program.drivers.classes.get(owned.resource)) is not None
        and known.session is not None
        and known.session.pooled
    )


def _giver(
    program: Program, units: Units, sessions: Sessions, found: SessionFound, kept: tuple[str, Ending]
) -> Unit | None:
    """The method that gives the connection back with what is held, if none of the class ends that."""
    attribute, ending = kept
    given, facts = sessions.given(found.held), found.unit.facts
    ends: dict[Function, frozenset[End]] = {}
    for function, method in program.resolver.hierarchy.methods(Class(found.unit.path, found.unit.scope.owner or "")):
        if facts is not None and (function.path, function.qualname) == (found.unit.path, facts.qualname):
            continue
        effect = given.parameter(function, f"{method.parameters[0].name}.{attribute}", found.connection.resource)
        ends[function] = effect.normal
    everything = reduce(frozenset.union, ends.values(), frozenset[End]())
    session = ending.state.session
    own = session.autocommit is True or found.connection.driver.begins is Begins.NEVER
    outside = session.open is Open.NO or (own and session.open is Open.MAYBE)
    lasts = outside or found.held.kind is HeldKind.LOCK or not everything.isdisjoint(_COMMITS)
    if not lasts or not everything.isdisjoint(_ENDS):
        return None
    return next((units.of(function) for function, each in ends.items() if not each.isdisjoint(_GIVES)), None)


def _leak(found: SessionFound, ending: Ending, giver: Unit) -> Leak:
    session = replace(ending.state.session, gone=_GONE)
    leak = kept_leak(found, Severity.ERROR, replace(ending, state=replace(ending.state, session=session)), raised=False)
    at = giver.node.name if isinstance(giver.node, cst.FunctionDef) else giver.node
    words = f"`{giver.name.rpartition('.')[2]}` gives the connection back as it is"
    return replace(
        leak, steps=(leak.steps[0], Step(StepKind.RELEASE, giver.path, giver.part.span(at), words)), cause=""
    )
