"""What a method keeps on its object and returns besides: whoever calls it may see to it that it goes back.

def open(self):                  db = Store()
    self.conn = connect()        conn = db.open()
    return self.conn             …
                                 conn.close()     →   owed by no `Store`, where every caller does this
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.driver import Protocol
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.explore import BoundReachedError
from leakcheck.ownership.state import Hold, Status
from leakcheck.project.names import Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts

_HOPS = 2
"""How many functions hand it on by returning it in turn."""
_MOST_FILES = 40
"""A name that so many files hold says nothing of who calls the method."""


def given_back_by_callers(program: Program, found: Found) -> bool:
    """Whether the function returns what it keeps, and every caller that is seen gives that back on every path."""
    facts = found.unit.facts
    if facts is None or facts.is_generator:
        return False
    try:
        followed = program.functions.explore(found.unit, found.call, found.acquisition, followed=True)
    except BoundReachedError:
        return False
    if not any(_returns(each) for each in followed):
        return False
    function = Function(found.unit.path, facts.qualname)
    return _all_give_back(program, function, facts, found.acquisition.resource, _HOPS)


def _all_give_back(
    program: Program, function: Function, facts: FunctionFacts, resource: DriverClass, hops: int
) -> bool:
    """Whether there are callers, and all give back what they get."""
    taken = Acquisition(resource, Protocol.COROUTINE if facts.is_async else Protocol.VALUE, None)
    seen = False
    for unit, call in _calls(program, function, facts.name):
        try:
            explored = program.functions.explore(unit, call, taken)
        except BoundReachedError:
            return False
        for each in explored:
            seen = True
            if each.leaks or not each.ended:
                return False
            if _returns(each):
                own = unit.facts
                handed = Function(unit.path, own.qualname) if own is not None else None
                if own is None or handed is None or not hops:
                    return False
                if not _all_give_back(program, handed, own, resource, hops - 1):
                    return False
    return seen


def _returns(found: Found) -> bool:
    """Whether some path returns it."""
    ends = (e.state for e in found.exploration.endings if e.returned and not e.state.raised)
    return any(s.get(g.RETURN) is Hold.OWN and s.status is not Status.RELEASED for s in ends)


def _calls(program: Program, function: Function, name: str) -> Iterator[tuple[Unit, g.Call]]:
    """The calls of a function in the functions of the project."""
    word = re.compile(rb"\b" + re.escape(name.encode()) + rb"\b")
    paths = [p for p in program.modules.around(function.path) if word.search(program.peek(p)) is not None]
    for path in paths if len(paths) <= _MOST_FILES else [function.path]:
        module = program.facts(path)
        for caller in module.functions.values() if module is not None else ():
            if module is None or not any(
                _may_mean(program, callee, Scope.of(module, caller), function) for callee in caller.calls.get(name, ())
            ):
                continue
            unit = program.functions.units.of(Function(path, caller.qualname))
            if unit is not None:
                yield from ((unit, call) for call in _calls_in(program, unit, name, function))


def _calls_in(program: Program, unit: Unit, name: str, function: Function) -> Iterator[g.Call]:
    try:
        graph = program.functions.units.graph(unit)
    except TooLargeError:
        return
    seen: set[int] = set()
    for block in graph.blocks:
        for call in block.instructions:
            if isinstance(call, g.Call) and id(call.node) not in seen and ex.last_name(call.func) == name:
                seen.add(id(call.node))
                if _may_mean(program, call.func, unit.scope, function):
                    yield call


def _may_mean(program: Program, callee: ex.Expression, scope: Scope, function: Function) -> bool:
    symbols = program.resolver.resolve(callee, scope)
    return any(isinstance(s, Function) and (s.path, s.qualname) == (function.path, function.qualname) for s in symbols)
