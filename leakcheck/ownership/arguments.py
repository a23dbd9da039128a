"""What the parameters of a project function hold when a call of it starts.

def finish(conn, close=True): ...

finish(conn)                       →   `conn` holds the resource, `close` is true
finish(conn, close=False)          →   `conn` holds the resource, `close` is false
close_all([conn])                  →   the parameter is a box that holds the resource
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.ownership.constants import LITERALS
from leakcheck.ownership.correlated import asks_self
from leakcheck.ownership.state import Box, Fact, Hold, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leakcheck.cfg import graph as g
    from leakcheck.driver import Operation
    from leakcheck.ownership.state import Value
    from leakcheck.project.facts import FunctionFacts

_DECISIVE = (Fact.NONE, Fact.TRUE, Fact.FALSE)
"""What is worth telling a callee: a flag that is set or not, an option that was left out."""


_SELF = ex.Name("self")


class Start(Struct, frozen=True):
    """How a function is entered: what the parameter at hand holds, and what is known of the others."""

    value: Hold | Box = Hold.OWN
    known: tuple[tuple[str, Fact], ...] = ()


def place_of(call: g.Call, argument: g.Argument) -> int | str:
    """The argument's keyword or position."""
    if argument.keyword is not None:
        return argument.keyword
    return [a for a in call.arguments if a.keyword is None].index(argument)


def is_released(operation: Operation, call: g.Call, argument: g.Argument) -> bool:
    """Whether an operation of a driver gives this argument of its call back."""
    if argument.keyword is not None:
        return argument.keyword in (operation.keyword, operation.releases)
    if not isinstance(operation.releases, int) or isinstance(operation.releases, bool):
        return False
    positional = [a for a in call.arguments if a.keyword is None]
    return operation.releases < len(positional) and positional[operation.releases] is argument


def parameter_at(facts: FunctionFacts, place: int | str, *, bound: bool) -> str | None:
    """The parameter that receives the argument at a position or keyword."""
    if isinstance(place, str):
        return place if any(p.name == place for p in facts.parameters) else None
    positional = [p.name for p in facts.parameters if p.kind == "positional"]
    index = place + (1 if bound else 0)
    if index < len(positional):
        return positional[index]
    return next((p.name for p in facts.parameters if p.kind == "*"), None)


def entered(
    facts: FunctionFacts, call: g.Call, argument: g.Argument, value: Value | None, *, bound: bool
) -> tuple[str, Hold | Box] | None:
    """The parameter that receives an argument with this value, and what it holds then."""
    place, held = place_of(call, argument), value if isinstance(value, Box) or value is Hold.DERIVED else Hold.OWN
    if argument.star and isinstance(held, Box):
        key = next((k for k, v in held.items if v is Hold.OWN), None)
        if argument.star == "*" and isinstance(place, int) and isinstance(key, int):
            place, held = place + key, Hold.OWN
        elif argument.star == "**" and isinstance(key, str):
            place, held = key, Hold.OWN
    name = parameter_at(facts, place, bound=bound)
    if (
        name is None
        or not isinstance(place, int)
        or not any(p.name == name and p.kind == "*" for p in facts.parameters)
    ):
        return None if name is None else (name, held)
    if argument.star:
        return name, held if isinstance(held, Box) else Box(((None, held),))
    taken = sum(p.kind == "positional" for p in facts.parameters) - int(bound)
    positional = [a for a in call.arguments if a.keyword is None]
    is_complete = not any(a.star for a in positional)
    return name, Box(((place - taken, held),), len(positional) - taken if is_complete else None)


def known_of(
    facts: FunctionFacts, call: g.Call, state: State | Mapping[str, Value], *, bound: bool
) -> tuple[tuple[str, Fact], ...]:
    """What is known of the parameters of a call: by its arguments, or by their defaults.

    A method of the same object asks of that object what its caller has asked: ``if not self.shared: conn.close()``.
    """
    positional = [p.name for p in facts.parameters if p.kind == "positional"][int(bound) :]
    operands: dict[str, str] = {}
    for position, argument in enumerate(a for a in call.arguments if a.keyword is None):
        if argument.star:
            break
        if position < len(positional):
            operands[positional[position]] = argument.operand
    operands.update((a.keyword, a.operand) for a in call.arguments if a.keyword is not None)
    is_complete = not any(a.star for a in call.arguments)
    found: list[tuple[str, Fact]] = []
    for parameter in facts.parameters[int(bound) :]:
        value: Value | None = None
        if parameter.name in operands:
            operand = operands[parameter.name]
            value = LITERALS.get(operand) or state.get(operand)
        elif is_complete and isinstance(parameter.default, ex.Constant):
            value = _literal(parameter.default.value)
        if isinstance(value, Fact) and value in _DECISIVE:
            found.append((parameter.name, value))
    of_self = isinstance(call.func, ex.Attribute) and call.func.base == _SELF and bound
    asked = state.variables if isinstance(state, State) and of_self else ()
    return (*found, *((name, value) for name, value in asked if isinstance(value, Fact) and asks_self(name)))


def displays(facts: FunctionFacts, call: g.Call, *, bound: bool) -> frozenset[tuple[str, int]]:
    """The parameters that a call gives a list or tuple that is written out, and how many items it has at least."""
    node = call.node
    given = list(zip(call.arguments, node.args, strict=False)) if isinstance(node, cst.Call) else []
    found = (
        (parameter_at(facts, place_of(call, argument), bound=bound), syntax.value.elements)
        for argument, syntax in given
        if isinstance(syntax.value, (cst.List, cst.Tuple)) and not argument.star
    )
    return frozenset(
        (name, sum(isinstance(element, cst.Element) for element in elements))
        for name, elements in found
        if name is not None
    )


def told(state: State, names: frozenset[str]) -> tuple[tuple[str, Fact], ...]:
    """What is known of variables that a nested function reads."""
    return tuple((n, v) for n, v in state.variables if n in names and isinstance(v, Fact) and v in _DECISIVE)


def _literal(value: object) -> Fact | None:
    if value is None:
        return Fact.NONE
    return (Fact.TRUE if value else Fact.FALSE) if isinstance(value, bool) else None
