"""When a session takes its connection: at its first statement, not before.

session.add(order)                     →   it has none yet
session.scalars(select(Order))         →   it has one, until it commits, rolls back or is closed
session.query(Order).first()           →   so it has here
orders.find(session, number)           →   and here, where ``find`` does one of these with what it is given
orders.save(session, order)            →   and has none, where ``save`` has committed whenever it returns
Order.query.get(number)                →   of Flask-SQLAlchemy: a statement of the session that all share
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import ClassKind
from leakcheck.ownership.arguments import parameter_at, place_of
from leakcheck.ownership.state import ALIASES
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from leakcheck.cfg import graph as g
    from leakcheck.driver import DriverClass, Drivers
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.state import State
    from leakcheck.project.names import Symbols

_OF_MODELS = "query"
"""The method of a session that makes a query, and the attribute by which a class of Flask-SQLAlchemy has one."""


def connects(program: Program, call: g.Call, symbols: Symbols, session: DriverClass, state: State) -> bool | None:
    """Whether the session that is followed has its connection after a call, None where the call changes nothing.

    It has one where the call runs a statement of it, and none where a project function has committed it.
    """
    names = {name for name, value in state.variables if value in ALIASES}
    if isinstance(call.func, ex.Attribute) and _runs(program.drivers, call.func, session, names):
        return True
    for argument in call.arguments:
        if state.get(argument.operand) in ALIASES:
            left = {_left_by(program, symbol, call, argument, session) for symbol in symbols}
            return True if True in left else False if left == {False} else None
    return None


def _left_by(program: Program, symbol: object, call: g.Call, argument: g.Argument, session: DriverClass) -> bool | None:
    """Whether the session that a project function is given has its connection when that returns, as above."""
    facts, _ = program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
    if facts is None or facts.is_generator or not isinstance(symbol, Function):
        return None
    name = parameter_at(facts, place_of(call, argument), bound=symbol.bound)
    if name is None:
        return None
    made = [callee for found in facts.calls.values() for callee in found if isinstance(callee, ex.Attribute)]
    if any(_pauses(callee, session, name) for callee in made):
        return program.functions.given.connected(symbol, name, session)
    return True if any(_runs(program.drivers, callee, session, {name}) for callee in made) else None


def _pauses(method: ex.Attribute, session: DriverClass, name: str) -> bool:
    """Whether it is a method of the session of this name by which that gives its connection back."""
    own = session.methods.get(method.name)
    return own is not None and own.pauses and ex.dotted(method.base) == name


def _runs(drivers: Drivers, method: ex.Attribute, session: DriverClass, names: AbstractSet[str]) -> bool:
    """Whether a method of a session that is called so, or of a query that it has made, runs a statement."""
    base: ex.Expression = method.base
    if ex.dotted(base) in names:
        own = session.methods.get(method.name)
        return own is not None and (own.connects or own.executes is not None)
    while isinstance(base, (ex.Attribute, ex.Call)):
        maker = base.func if isinstance(base, ex.Call) else None
        if isinstance(maker, ex.Attribute) and ex.dotted(maker.base) in names:
            made = session.methods.get(maker.name)
            query = drivers.classes[made.derives] if made is not None and made.derives is not None else None
            last = query.methods.get(method.name) if query is not None else None
            return last is not None and last.connects
        if isinstance(base, ex.Attribute) and base.name == _OF_MODELS and session.kind is ClassKind.OTHER:
            query = drivers.classes[session.methods[_OF_MODELS].derives or ""]
            last = query.methods.get(method.name)
            return (ex.last_name(base.base) or "")[:1].isupper() and last is not None and last.connects
        base = base.func if isinstance(base, ex.Call) else base.base
    return False
