"""What project functions do to what is held on a connection that they are given.

    def finish(conn):           a transaction that is open on conn has ended after finish(conn)
        conn.commit()

The same questions as about the connection itself, answered by following what is held.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.driver import ClassKind
from leakcheck.ownership.arguments import parameter_at, place_of
from leakcheck.ownership.callees import Callees
from leakcheck.ownership.given import Given
from leakcheck.ownership.sessions.connections import UNKNOWN_DRIVER
from leakcheck.ownership.sessions.following import Following
from leakcheck.ownership.sessions.session import HeldKind, Open, Session
from leakcheck.ownership.sessions.slow import is_coroutine, is_slow
from leakcheck.ownership.sessions.statements import Action, Statements, most_telling
from leakcheck.ownership.state import Hold, Scope
from leakcheck.project.names import Function, Method
from leakcheck.project.texts import sql_texts
from leakcheck.sql.events import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.cfg import graph as g
    from leakcheck.driver import DriverClass
    from leakcheck.ownership.effects import Effects
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.session import Held
    from leakcheck.ownership.state import State, Value
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.sql.event import SqlEvent

_SPEAKING = frozenset({"commit", "rollback", "begin", "execute", "cursor", "close", "run", "query", "transaction"})


@dataclass(frozen=True, slots=True)
class Left:
    """What a call leaves open: on the connection of an argument, or on the one that the caller calls ``path``."""

    argument: g.Argument | None
    path: str | None
    action: Action


class SessionGiven(Given):
    """Effects of project functions on one thing that is held on a connection."""

    def __init__(self, program: Program, units: Units, held: Held) -> None:
        super().__init__(program, units)
        self._held = held
        self._callees: dict[int, SessionCallees] = {}

    def _effects_of(self, unit: Unit, variable: str, resource: DriverClass) -> Effects:
        callees = self._callees.get(id(unit))
        if callees is None:
            callees = self._callees[id(unit)] = SessionCallees(unit, self._program, self)
        return Following(
            resource,
            None,
            None,
            callees,
            speech=callees,
            statements=Statements(unit, self._program),
            driver=resource.session or UNKNOWN_DRIVER,
            names=frozenset({variable}),
            held=self._held,
            for_caller=True,
        )

    def _started(self, state: State) -> State:
        opened = Open.YES if self._held.kind is HeldKind.TRANSACTION else Open.MAYBE
        return replace(state, session=Session(open=opened, wrote=True))


class SessionCallees(Callees):
    """Answers about the calls in one unit, with respect to what is held on a connection."""

    def __init__(self, unit: Unit, program: Program, given: Given | None) -> None:
        super().__init__(unit, program)
        self._given = given
        self._waited: set[int] | None = None

    @property
    def given(self) -> Given:
        """What project functions do with what is held; without it, with the connection."""
        return self._given if self._given is not None else super().given

    def derived(self, class_id: str) -> Hold | Scope | None:
        """A transaction object is followed by its class, for its methods."""
        if self._program.drivers.classes[class_id].kind is ClassKind.TRANSACTION:
            return Scope(class_id)
        return super().derived(class_id)

    def leaves(self, call: g.Call) -> tuple[Left, ...]:
        """What a called project function leaves open on a connection that it is given, or finds on its object."""
        found: list[Left] = []
        for symbol in self.symbols(call):
            if not isinstance(symbol, Function):
                continue
            facts, _ = self._program.resolver.function(symbol)
            if facts is not None:
                for name, action in self._program.functions.sessions.left_by(symbol):
                    found += self._placed(call, symbol, facts, name, action)
        return tuple(found)

    def says(self, call: g.Call) -> tuple[Left, ...]:
        """What a called project function sends that executes what it is given: ``run("BEGIN")``."""
        found: list[Left] = []
        for symbol in self.symbols(call):
            facts = self._program.resolver.function(symbol)[0] if isinstance(symbol, Function) else None
            if not isinstance(symbol, Function) or facts is None:
                continue
            for name, parameter in self._program.functions.sessions.executed_by(symbol):
                said = self._said_as(call, symbol, facts, parameter)
                for event in said:
                    found += self._placed(call, symbol, facts, name, Action(event, alone=len(said) == 1))
        return tuple(found)

    def _said_as(self, call: g.Call, function: Function, facts: FunctionFacts, parameter: str) -> tuple[SqlEvent, ...]:
        """What the argument for a parameter says; of several possible texts the one that does most."""
        assert isinstance(call.node, cst.Call)
        for argument, given in zip(call.arguments, call.node.args, strict=False):
            place = place_of(call, argument) if not argument.star else None
            if place is not None and parameter_at(facts, place, bound=function.bound) == parameter:
                texts = sql_texts(reduce(given.value), self._unit.scope, self._program) or ()
                return most_telling(events(text) for text in texts)
        return ()

    def _placed(
        self, call: g.Call, function: Function, facts: FunctionFacts, name: str, action: Action
    ) -> Iterator[Left]:
        """Where the caller has the connection that the callee calls ``name``."""
        root, _, rest = name.partition(".")
        parameters = [p.name for p in facts.parameters]
        if root not in parameters:
            yield Left(None, name, action)  # a name of the module
            return
        if function.bound and root == parameters[0]:
            base = ex.dotted(call.func.base) if isinstance(call.func, ex.Attribute) else None
            if base is not None:
                yield Left(None, f"{base}.{rest}" if rest else base, action)
            return
        for argument in call.arguments:
            place = place_of(call, argument) if not argument.star else None
            if place is not None and parameter_at(facts, place, bound=function.bound) == root and not rest:
                yield Left(argument, None, action)

    def is_forgotten(self, call: g.Call, receiver: Value | None) -> bool:
        """Whether the call certainly makes a coroutine that nobody awaits; a class that is guessed is no evidence."""
        if not self._unit.is_async or self.is_awaited(call):
            return False
        methods = [s.operation for s in self.symbols(call) if isinstance(s, Method)]
        return isinstance(receiver, Scope) or any(o.awaited for o in methods)

    def is_slow(self, call: g.Call) -> bool:
        """Whether the call waits for something outside the database; a coroutine only where it is awaited."""
        if not is_slow(self._program, call.func, self._unit.scope):
            return False
        return not is_coroutine(self._program, call.func, self._unit.scope) or id(call.node) in self._awaited_here

    @property
    def _awaited_here(self) -> set[int]:
        """The calls that stand under an ``await`` or in ``async with``, not those that run as tasks of their own."""
        if self._waited is None:
            self._waited = set()
            for node in walk(self._unit.node):
                if isinstance(node, cst.Await):
                    self._waited.update(id(n) for n in walk(node) if isinstance(n, cst.Call))
                elif isinstance(node, cst.With) and node.asynchronous is not None:
                    self._waited.update(id(n) for i in node.items for n in walk(i.item) if isinstance(n, cst.Call))
        return self._waited

    def may_speak(self, call: g.Call) -> bool:
        """Whether the call is one of a project function that may send statements of its own."""
        for symbol in self.symbols(call):
            if isinstance(symbol, Function):
                facts, _ = self._program.resolver.function(symbol)
                if facts is None or not _SPEAKING.isdisjoint(facts.calls):
                    return True
        return False
