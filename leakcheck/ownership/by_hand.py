"""Context managers of the project that a function enters by hand: it owes their exit.

    manager = connected(path)
    conn = manager.__enter__()          →   taken, until `manager.__exit__(...)` is called, or `conn.close()`

A manager that the function makes for itself only: where somebody else has it, too, that may leave it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.driver import Protocol
from leakcheck.framework import load_frameworks
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.pools import is_global
from leakcheck.ownership.wrapping import mentions
from leakcheck.project.facts import ENTERING
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from leakcheck.cfg import graph as g
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit


def entered_by_hand(program: Program, unit: Unit, call: g.Call) -> Acquisition | None:
    """What a call takes that enters a context manager of the project."""
    entered = call.func.base if isinstance(call.func, ex.Attribute) and call.func.name in ENTERING else None
    named = isinstance(entered, ex.Name)
    made = _made_here(program, unit, entered.id) if isinstance(entered, ex.Name) else entered
    if not isinstance(made, ex.Call):
        return None
    for symbol in program.resolver.resolve(made.func, unit.scope):
        found: Acquisition | None = None
        match symbol:
            case Function():
                found = _by_generator(program, unit, made, symbol)
            case Class() if named:
                found = _by_object(program, symbol, call.method or "")
            case _:
                pass
        if found is not None:
            is_async = call.method == "__aenter__"
            return found.by(Protocol.COROUTINE if is_async else Protocol.VALUE)
    return None


def _made_here(program: Program, unit: Unit, name: str) -> ex.Expression | None:
    """The one value that a function gives a name of its own, and does nothing with but ask it for its methods."""
    facts = unit.facts
    values = facts.scope.assignments.get(name, ()) if facts is not None else ()
    if facts is None or len(values) != 1 or is_global(program, unit.scope.module, facts, name):
        return None
    text = program.rows(unit.path, facts.row, facts.last_row).decode(errors="replace")
    is_shared = mentions(text, name) or re.search(rf"\bnonlocal\b[^\n]*\b{name}\b", text)
    return None if is_shared else values[0]


def _by_generator(program: Program, unit: Unit, made: ex.Call, manager: Function) -> Acquisition | None:
    """What a generator function holds that is a context manager, where it holds it whatever it is given."""
    summary = program.summary(manager) if program.is_manager(manager) else None
    yielded = summary.yields if summary is not None else ()
    if not yielded or (len(yielded) > 1 and any(each.position is not None for each in yielded)):
        return None
    owned = replace(yielded[0], asked=()) if len(yielded) > 1 else yielded[0]  # one of several stands for all
    taken = program.acquisitions.handed_over(manager, made, owned, unit.scope)
    instead = taken.condition
    if instead is not None and (
        instead.keyword in dict(made.keywords) or (instead.position is not None and instead.position < len(made.args))
    ):
        return None
    return replace(taken, condition=None, advances=True)


def _by_object(program: Program, cls: Class, entering: str) -> Acquisition | None:
    """What an object keeps from its `__enter__` to its `__exit__`."""
    owners, hierarchy = program.functions.owners, program.resolver.hierarchy
    if hierarchy.is_shared(cls, load_frameworks().memoisers) or owners.may_inherit_anything(cls):
        return None
    if program.construction(cls) is not None:
        return None  # it is owed from the start
    for owner, facts, _ in hierarchy.lineage(cls):
        if entering not in facts.methods:
            continue
        summary = program.summary(Function(owner.path, facts.methods[entering]))
        for attribute, owned in summary.stores if summary is not None else ():
            resource = owners.resource(owned.resource)
            releases = owners.releasing_methods(cls, attribute, resource)
            if entering.replace("enter", "exit") in releases and owned.unless is None:
                wrapped = owners.register(cls, attribute, resource, releases)
                return Acquisition(wrapped, Protocol.VALUE, None, steps=owned.steps, takes_receiver=True)
        return None
    return None
