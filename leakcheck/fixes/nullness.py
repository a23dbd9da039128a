"""Whether a project function that hands out a connection may give None instead.

    def connect():                        →   True: the handler falls off the end
        try:
            return psycopg2.connect(DSN)
        except psycopg2.Error:
            log("no database")

What is not seen to return something else on every way may give None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.fixes.tree import TRIES, own
from leakcheck.project.names import Class, Function, ProjectModule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit


def may_be_none(tree: Tree, found: Found, program: Program) -> bool:
    """Whether a checkout may give None; a driver's own never does."""
    callees = tree.unit.callees
    if not found.acquisition.steps or callees is None:
        return False
    call = _generator(tree, found) or found.call
    symbols = [symbol for symbol in callees.symbols(call) if not isinstance(symbol, ProjectModule)]  # nobody calls one
    if symbols and all(isinstance(symbol, Class) for symbol in symbols):
        return False
    units = [program.functions.units.of(symbol) for symbol in symbols if isinstance(symbol, Function)]
    return not units or any(unit is None or _gives_none(unit) for unit in units)


def _generator(tree: Tree, found: Found) -> g.Call | None:
    """The call that makes the generator of which ``next(…)`` takes the first."""
    match found.call.node:
        case cst.Call(func=cst.Name(value="next" | "anext"), args=[cst.Arg(value=cst.Call() as inner)]):
            return tree.calls.get(id(inner))
        case _:
            return None


def _gives_none(unit: Unit) -> bool:
    if unit.facts is not None and unit.facts.is_generator:
        given = [node.value for node in own(unit.node) if isinstance(node, cst.Yield)]
        return any(not isinstance(value, cst.BaseExpression) or _is_none(value, unit) for value in given)
    returned = [node.value for node in own(unit.node) if isinstance(node, cst.Return)]
    if any(value is None or _is_none(value, unit) for value in returned):
        return True
    body = unit.node.body
    return isinstance(body, cst.BaseSuite) and not _leaves(body)


def _is_none(value: cst.BaseExpression, unit: Unit) -> bool:
    """Whether an expression may be None: the word, a choice, or a variable that was None somewhere."""
    match value:
        case cst.Name(value="None") | cst.IfExp() | cst.BooleanOperation():
            return True
        case cst.Name(value=name) if unit.facts is not None:
            assigned = unit.facts.scope.assignments.get(name, ())
            return not assigned or any(not isinstance(one, (ex.Call, ex.Await)) for one in assigned)
        case _:
            return False


def _leaves(suite: cst.BaseSuite) -> bool:
    """Whether no way through the suite reaches its end."""
    lines: Sequence[cst.CSTNode] = suite.body
    last = lines[-1] if lines else None
    match last:
        case cst.SimpleStatementLine(body=[*_, cst.Return() | cst.Raise()]) | cst.Return() | cst.Raise():
            return True
        case cst.If(body=body, orelse=cst.Else(body=other)):
            return _leaves(body) and _leaves(other)
        case cst.With(body=body):
            return _leaves(body)
        case cst.While(test=cst.Name(value="True")):
            return not any(isinstance(node, cst.Break) for node in own(last))
        case _ if isinstance(last, TRIES):
            through = _leaves(last.body) or (last.orelse is not None and _leaves(last.orelse.body))
            return through and all(_leaves(handler.body) for handler in last.handlers)
        case _:
            return False
