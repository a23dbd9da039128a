"""Objects that a function makes of what it takes, and hands out: whoever receives one must close it.

    @classmethod
    async def create(cls, dsn):
        return cls(await asyncpg.connect(dsn))      →   returns owned Client

Constructing the object takes the connection over, if a method of its class gives it back; where the object is no more
than returned, that method is what the function's callers owe.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce
from leakcheck.framework import load_frameworks
from leakcheck.ownership.arguments import place_of
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.state import Status
from leakcheck.project.names import Class

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.explore import Ending
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.summary import Owned
    from leakcheck.ownership.unit import Unit


def wrapped(program: Program, unit: Unit, found: Sequence[Found]) -> Iterator[Owned]:
    """What the function's callers owe for objects that it makes of what it takes."""
    for each in found:
        calls = {id(call): call for ending in each.exploration.endings if (call := _taking(ending)) is not None}
        for call in calls.values():
            returned = _is_only_returned(program, unit, call)
            made = _made(program, unit, call, each.acquisition.resource) if returned else None
            if made is not None:
                yield replace(each.owned, resource=made.id, pool=None, place=None)


def _taking(ending: Ending) -> g.Call | None:
    """The call that took the resource over where a path ends with that."""
    last = ending.events[-1] if ending.events else None
    if ending.state.status is not Status.MOVED or last is None or last.kind is not EventKind.TRANSFER:
        return None
    return last.instruction if isinstance(last.instruction, g.Call) else None


def _is_only_returned(program: Program, unit: Unit, call: g.Call) -> bool:
    """Whether what a call makes is returned, and nobody else is given it before."""
    facts, node = unit.facts, call.node
    if facts is None or not isinstance(node, cst.Call):
        return False
    made = reduce(node)
    if made in facts.returned:
        return True
    names = (n for n, values in facts.scope.assignments.items() if made in values and ex.Name(n) in facts.returned)
    text = program.rows(unit.path, facts.first_row, facts.last_row).decode(errors="replace")
    return any(
        len(re.findall(rf"(?<![\w.]){name}\b(?!\s*[.=:])", text)) == len(re.findall(rf"\breturn\s+{name}\b", text))
        for name in names
    )


def _made(program: Program, unit: Unit, call: g.Call, resource: DriverClass) -> DriverClass | None:
    """The class of the object as what must be closed, where it keeps an argument and has no other connection."""
    owners, hierarchy = program.functions.owners, program.resolver.hierarchy
    for symbol in program.functions.units.callees(unit).symbols(call):
        if not isinstance(symbol, Class) or hierarchy.is_shared(symbol, load_frameworks().memoisers):
            continue
        if program.construction(symbol) is not None:
            continue
        for argument in call.arguments:
            attribute = owners.kept_in(symbol, place_of(call, argument), resource)
            if attribute is not None:
                return owners.closable(symbol, attribute, resource)
    return None
