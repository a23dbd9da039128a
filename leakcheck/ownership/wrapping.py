"""Objects that a function makes of what it takes: they must be closed in its stead.

    conn = sqlite3.connect(path)
    store = Store(conn)                             →   taken: a Store, to be given back by `store.close()`
    return cls(await asyncpg.connect(dsn))          →   returns owned Client
    return Pooled(raw, pool)                        →   returns owned Pooled, also where other paths give `raw` back

Constructing the object takes the connection over, if a method of its class gives it back. From then on that method is
what is owed, where nobody else has the connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.calls import load_calls
from leakcheck.cfg.walk import call_of
from leakcheck.driver import Protocol
from leakcheck.framework import load_frameworks
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.arguments import place_of
from leakcheck.project.names import Class

if TYPE_CHECKING:
    from leakcheck.cfg import graph as g
    from leakcheck.driver import DriverClass
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit


def may_wrap(call: g.Call) -> bool:
    """Whether a call may make an object of something: the cheap question."""
    name = ex.last_name(call.func) or ""
    return bool(call.arguments) and (name[:1].isupper() or name == "cls")


def made_of(program: Program, unit: Unit, call: g.Call) -> Acquisition | None:
    """The object that a call makes of what the function itself takes, where a method of it must be called then."""
    made = call_of(call)
    if unit.facts is None or any(argument.star for argument in call.arguments):
        return None
    owners, hierarchy = program.functions.owners, program.resolver.hierarchy
    for symbol in program.functions.units.callees(unit).symbols(call):
        if not isinstance(symbol, Class) or hierarchy.is_shared(symbol, load_frameworks().memoisers):
            continue
        if program.construction(symbol) is not None or owners.may_inherit_anything(symbol):
            continue
        for argument in call.arguments:
            place = place_of(call, argument)
            value = dict(made.keywords).get(place) if isinstance(place, str) else made.args[place]
            taken = _taken(program, unit, made, value) if value is not None else None
            attribute = owners.kept_in(symbol, place, taken) if taken is not None else None
            if taken is not None and attribute is not None:
                wrapped = owners.closable(symbol, attribute, taken)
                return None if wrapped is None else Acquisition(wrapped, Protocol.VALUE, None)
    return None


def _taken(program: Program, unit: Unit, made: ex.Call, value: ex.Expression) -> DriverClass | None:
    """What an argument of the object is that the function takes for nothing else."""
    assert unit.facts is not None
    name = value.id if isinstance(value, ex.Name) else None
    if name is not None:
        values = unit.facts.scope.assignments.get(name, ())
        if len(values) != 1 or any(p.name == name for p in unit.facts.parameters):
            return None
        value = values[0]
    awaited = isinstance(value, ex.Await)
    call = value.value if isinstance(value, ex.Await) else value
    if not isinstance(call, ex.Call):
        return None
    taken = program.acquisitions.at(call, unit.scope, awaited=lambda: awaited)
    if taken is None or taken.position is not None or taken.unopened or taken.protocol.is_async is not awaited:
        return None
    return taken.resource if name is None or _is_handed_on_once(program, unit, made, name, taken.resource) else None


def _is_handed_on_once(program: Program, unit: Unit, made: ex.Call, name: str, resource: DriverClass) -> bool:
    """Whether a function gives what a name holds to one call only, and does not give it back itself."""
    assert unit.facts is not None
    text = program.rows(unit.path, unit.facts.first_row, unit.facts.last_row).decode(errors="replace")
    ending = {n for n, o in resource.methods.items() if o.releases is not None or o.near_miss}

    def releases(method: str) -> bool:
        return method in ending or load_calls().says_release(method)

    if _is_the_end(text, made, name):
        text = re.sub(rf"(?<!\w)(\w+)\s*\(\s*{name}\b", lambda m: "" if releases(m[1]) else m[0], text)
    elif any(map(releases, re.findall(rf"(?<![\w.]){name}\s*\.\s*(\w+)", text))):
        return False
    return mentions(text, name) == 1


def _is_the_end(text: str, made: ex.Call, name: str) -> bool:
    """Whether a function returns at once what it makes of a name: what gives that back stands on other paths then."""
    making = rf"(?:\w+\.)*{re.escape(ex.last_name(made.func) or '')}\s*\([^()]*\b{name}\b"
    returned = rf"\breturn\s+{making}|\b(\w+)\s*=\s*{making}[^()]*\)[\s;]*return\s+\1\b"
    return "finally" not in text and re.search(returned, text) is not None


def mentions(text: str, name: str) -> int:
    """How often a text has a name otherwise than to bind it, or to ask it for something: as what is handed on."""
    asked = r"(?<!None is )(?<!None is not )(?<!None [=!]= )"
    return len(re.findall(rf"(?<![\w.]){asked}{name}\b(?!\s*([.=:]|!=|is\b))", text))
