"""Functions that are there to give a connection back, and lose it where something before the release raises.

    def put_back(conn):
        conn.rollback()          →   when it raises, `conn` is lost: the fault of this function,
        pool.putconn(conn)           told once, and not of everybody who calls it

For its callers such a function gives back, as any release does, whether it raises or not: see ``given``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import walk
from leakcheck.diagnostic import Step, StepKind
from leakcheck.driver import Protocol
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.ownership.report import reported
from leakcheck.project.names import Method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.functions import Functions
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.names import Symbol


def lost_in_handing_back(program: Program, functions: Functions, unit: Unit) -> Iterator[Leak]:
    """The connections that a function is given to give back, and loses."""
    facts = unit.facts
    if facts is None or not isinstance(unit.node, cst.FunctionDef) or not program.calls.says_release(facts.name):
        return
    for node, acquisition in _given(program, functions, unit, unit.node):
        found = functions.from_parameter(unit, node, acquisition)
        leaks = reported(found, in_main=False, module_level=False) if found is not None else ()
        yield from (leak for leak in leaks if leak.kind is LeakKind.ON_EXCEPTION and not leak.gap)


def _given(
    program: Program, functions: Functions, unit: Unit, function: cst.FunctionDef
) -> Iterator[tuple[cst.Param, Acquisition]]:
    """The parameters that a function hands to the pool, each as what its callers took from there."""
    try:
        graph = functions.graph(unit)
    except TooLargeError:
        return
    callees, seen = functions.units.callees(unit), set[str]()
    for call in (i for block in graph.blocks for i in block.instructions if isinstance(i, g.Call)):
        for symbol in callees.symbols(call):
            index = symbol.operation.releases if isinstance(symbol, Method) else None
            if not isinstance(index, int) or index >= len(call.arguments) or not isinstance(call.func, ex.Attribute):
                continue
            node = parameter_node(function, call.arguments[index].operand)
            taken = _taken_from(program, symbol)
            if node is None or taken is None or node.name.value in seen:
                continue
            seen.add(node.name.value)
            given = Step(StepKind.ACQUIRE, unit.path, unit.part.span(node), "given to this function to give it back")
            yield node, Acquisition(taken, Protocol.VALUE, ex.dotted(call.func.base), steps=(given,))


def _taken_from(program: Program, symbol: Symbol) -> DriverClass | None:
    """What is taken from the pool that has this method."""
    classes = program.drivers.classes
    methods = classes[symbol.of].methods.values() if isinstance(symbol, Method) else ()
    return next((classes[o.acquires] for o in methods if o.acquires is not None), None)


def parameter_node(function: cst.FunctionDef, name: str) -> cst.Param | None:
    """The syntax of a parameter."""
    return next((n for n in walk(function.params) if isinstance(n, cst.Param) and n.name.value == name), None)
