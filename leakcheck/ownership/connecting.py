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


def connects(program: Program, call: g.Call, symbols: Symbols, session: DriverClass, state: State) -> bool:
    """Whether a call runs a statement of the session that is followed, so that it has its connection then."""
    names = {name for name, value in state.variables if value in ALIASES}
    if isinstance(call.func, ex.Attribute) and _runs(program.drivers, call.func, session, names):
        return True
    for argument in call.arguments:
        if state.get(argument.operand) in ALIASES:
            return any(_runs_by(program, symbol, call, argument, session) for symbol in symbols)
    return False


def _runs_by(program: Program, symbol: object, call: g.Call, argument: g.Argument, session: DriverClass) -> bool:
    """Whether a project function runs a statement of the session that it is given."""
    facts, _ = program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
    if facts is None or facts.is_generator or not isinstance(symbol, Function):
        return False
    name = parameter_at(facts, place_of(call, argument), bound=symbol.bound)
    made = (callee for found in facts.calls.values() for callee in found if isinstance(callee, ex.Attribute))
    return name is not None and any(_runs(program.drivers, callee, session, {name}) for callee in made)


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
