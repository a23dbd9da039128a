"""Functions that take a resource only where they are given none.

    def get(conn=None):
        return conn or pool.getconn()       get()  →  taken      get(held)  →  nothing is taken

A call takes something where the argument is None or absent. Where the caller passes on a parameter of its own that
defaults to None, the paths on which it is None are followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.ownership.constants import LITERALS, Facts, learn
from leakcheck.ownership.state import Fact

if TYPE_CHECKING:
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import FunctionFacts, Parameter

_NOTHING = (Fact.NONE, Fact.FALSY)
_NULL = ex.Constant(None)


class Condition(Struct, frozen=True):
    """The argument that must be None for the call to take something: its position, where it has one, and its name.

    ``absent``: None is something, too.
    """

    position: int | None
    keyword: str
    absent: bool = False


def condition_of(facts: FunctionFacts, parameter: str | None, *, bound: bool) -> Condition | None:
    """The condition on a call's arguments that is one on this parameter of the callee."""
    if parameter is None:
        return None
    positional = [p.name for p in facts.parameters if p.kind == "positional"]
    position = positional.index(parameter) - int(bound) if parameter in positional else None
    return Condition(position, parameter)


def required_null(unit: Unit, graph: g.ControlFlowGraph, facts: Facts) -> str | None:
    """The parameter that is None wherever these facts hold, and that only the caller can have made so."""
    for parameter in unit.facts.parameters if unit.facts is not None else ():
        known = facts.get(parameter.name)
        if known is Fact.FALSY and parameter.default != _NULL and not _may_be_given(graph, parameter):
            continue  # `readonly=False` is a flag, `attempts` a number: nothing that is given instead
        if known in _NOTHING and not _is_written(graph, parameter.name, literal=True):
            return parameter.name
    return None


def assumed(unit: Unit, graph: g.ControlFlowGraph, call: g.Call, condition: Condition, facts: Facts) -> Facts | None:
    """The facts with which the call takes something; None where it takes nothing, or nobody can say."""
    operand = _operand(call, condition)
    if operand is None:
        return None if any(a.star for a in call.arguments) else facts
    if condition.absent:
        return None
    known = LITERALS.get(operand) or facts.get(operand)
    if known in _NOTHING:
        return facts
    parameters = unit.facts.parameters if unit.facts is not None else ()
    optional = any(p.name == operand and p.default == _NULL for p in parameters)
    if optional and not isinstance(known, Fact) and not _is_written(graph, operand, besides=call):
        return {**facts, **learn(facts.items(), g.Test(g.TestKind.IS_NONE, operand, outcome=True), Fact.NONE)}
    return None


def _may_be_given(graph: g.ControlFlowGraph, parameter: Parameter) -> bool:
    """Whether a parameter without a default is bound again, or its value goes on under another name."""
    moves = (i for block in graph.blocks for i in block.instructions if isinstance(i, g.Move))
    return parameter.default is None and any(parameter.name in (move.target, move.value) for move in moves)


def _operand(call: g.Call, condition: Condition) -> str | None:
    positional = [a for a in call.arguments if a.keyword is None and not a.star]
    for argument in call.arguments:
        if argument.keyword == condition.keyword:
            return argument.operand
    if condition.position is not None and condition.position < len(positional):
        return positional[condition.position].operand
    return None


def _is_written(graph: g.ControlFlowGraph, name: str, *, literal: bool = False, besides: g.Call | None = None) -> bool:
    """Whether a name is assigned: None itself (``literal``), or anything but what the call gives (``besides``)."""
    results = {besides.target} if besides is not None else set()
    for block in graph.blocks:
        for instruction in block.instructions:
            if isinstance(instruction, g.Await) and instruction.value in results:
                results.add(instruction.target)
            if isinstance(instruction, g.Move) and instruction.target == name:
                if literal and instruction.value == g.NONE:
                    return True
                if besides is not None and instruction.value not in results:
                    return True
    return False
