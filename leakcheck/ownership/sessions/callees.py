"""What project functions do to what is held on a connection that they are given.

    def finish(conn):           a transaction that is open on conn has ended after finish(conn)
        conn.commit()

The same questions as about the connection itself, answered by following what is held.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce, walk
from leakcheck.driver import ClassKind
from leakcheck.ownership.callees import Callees
from leakcheck.ownership.given import Given
from leakcheck.ownership.sessions import connections
from leakcheck.ownership.sessions.connections import UNKNOWN_DRIVER
from leakcheck.ownership.sessions.following import Following
from leakcheck.ownership.sessions.handed import Handed, handed
from leakcheck.ownership.sessions.session import HeldKind, Open, Session
from leakcheck.ownership.sessions.slow import is_coroutine, slow_part
from leakcheck.ownership.sessions.statements import Action, Statements, most_telling
from leakcheck.ownership.state import Hold, Scope
from leakcheck.ownership.summary import End
from leakcheck.project.names import Class, Function, Instance, Method
from leakcheck.project.texts import sql_texts
from leakcheck.sql.event import SqlKind
from leakcheck.sql.events import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.arguments import Start
    from leakcheck.ownership.effects import Effects
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.session import Held
    from leakcheck.ownership.state import State, Value
    from leakcheck.ownership.summary import Effect
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.sql.event import SqlEvent

_SPEAKING = frozenset({"commit", "rollback", "begin", "execute", "cursor", "close", "run", "query", "transaction"})
_EXITS = ("__exit__", "__aexit__")
_UNDOING = re.compile(r"unlock|release|rollback|roll_back|abort|undo|reset|unlisten", re.IGNORECASE)
"""What a function is called that is there to end something, whatever raises in it before."""


class Left(Struct, frozen=True):
    """What a call leaves open, or says: on the connection of an argument, or on the one that the caller calls so."""

    place: g.Argument | str
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

    def _follow(self, unit: Unit, variable: str, resource: DriverClass, start: Start) -> Effect:
        """As for the connection; where its object decides whether to end what is held, it knows that it need not."""
        effect = super()._follow(unit, variable, resource, start)
        undoes = unit.facts is not None and _UNDOING.search(unit.facts.name) is not None
        if undoes:
            effect = effect.as_release()
        decides = "." in variable or (undoes and self._held.kind is HeldKind.LOCK)  # SQLite takes none, say
        if not decides or not {End.RELEASED, End.BORROWED} <= effect.normal & effect.quiet:
            return effect
        raised = effect.raised - {End.BORROWED} if End.RELEASED in effect.raised else effect.raised
        return replace(effect, normal=effect.normal - {End.BORROWED}, raised=raised)

    def _started(self, state: State) -> State:
        if self._held.kind is HeldKind.TRANSACTION:
            return replace(state, session=Session(open=Open.YES, wrote=True))
        return replace(state, session=Session(fresh=self._held.kind is not HeldKind.SAVEPOINT, wrote=True))


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

    def closes_for_good(self, call: g.Instruction) -> bool:
        """Whether a release closes the connection, by its keyword: ``pool.putconn(conn, close=True)``."""
        told = {a.keyword for a in call.arguments if a.operand == g.TRUE} if isinstance(call, g.Call) else set()
        if not told or not isinstance(call, g.Call):
            return False
        methods = (known.methods.get(call.method or "") for known in self._program.drivers.classes.values())
        return any(method is not None and method.closed_by in told for method in methods)

    def leaves(self, call: g.Call) -> tuple[Left, ...]:
        """What a called project function leaves open on a connection that it is given, or finds on its object."""
        sessions = self._program.functions.sessions
        return tuple(
            Left(place, action)
            for called in sessions.executing.called(self.symbols(call), call, self._unit)
            for name, action in sessions.left_by(called.function)
            if (place := called.connection(name)) is not None
        )

    def says(self, call: g.Call) -> tuple[Left, ...]:
        """What a called project function sends that executes what it is given: ``run("BEGIN")``."""
        executing, found = self._program.functions.sessions.executing, list[Left]()
        for called in executing.called(self.symbols(call), call, self._unit):
            for each in executing.by(called.function):
                place, said = called.connection(each.connection), self._said_as(called.given(each.sql))
                if place is not None and not (each.ends and any(e.kind is SqlKind.BEGIN for e in said)):
                    found += [Left(place, Action(event, alone=len(said) == 1)) for event in said]
        return tuple(found)

    def hands_over(self, call: g.Call) -> Iterator[tuple[g.Argument | str, Handed]]:
        """The calls on a connection that a call hands over, and where the caller has the connection."""
        executing = self._program.functions.sessions.executing
        for each in handed(call):
            if each.given is None:
                name = connections.root_of(each.receiver, self._unit)
                if name is not None:
                    yield name, each
                continue
            for called in executing.called(self.symbols(call), call, self._unit):
                for applied in executing.applied_by(called.function):
                    place = called.connection(applied.connection)
                    if called.argument(applied.sql) is each.argument and place is not None:
                        begins = any(e.kind is SqlKind.BEGIN for e in self._said_as(next(iter(each.call.args), None)))
                        if not (applied.ends and begins):
                            yield place, each

    def _said_as(self, sql: ex.Expression | None) -> tuple[SqlEvent, ...]:
        """What SQL says; of several possible texts the one that does most."""
        texts = sql_texts(sql, self._unit.scope, self._program) if sql is not None else None
        return most_telling(events(text) for text in texts or ())

    def ends_when_left(self, instruction: g.Exit, names: Iterable[str], resource: DriverClass) -> bool:
        """Whether an object whose ``with`` block is left ends what is held on a connection that it keeps."""
        item = instruction.node
        assert isinstance(item, cst.WithItem)
        for node in (item.item, item.asname.name if item.asname is not None else None):
            path = ex.dotted(reduce(node)) if isinstance(node, (cst.Name, cst.Attribute)) else None
            attributes = [n.removeprefix(f"{path}.") for n in names if n.startswith(f"{path}.")]
            method = self._exit_of(reduce(node)) if node is not None and attributes else None
            if method is not None:
                function, facts = method
                ways = [self.given.left(function, facts, attribute, resource) for attribute in attributes]
                return any(way[instruction.exceptional].releases for way in ways)
        return False

    def _exit_of(self, entered: ex.Expression) -> tuple[Function, FunctionFacts] | None:
        """The method of a project class that runs when a block is left that such an object was entered for."""
        for symbol in self._program.resolver.resolve(entered, self._unit.scope):
            of = symbol.of if isinstance(symbol, Instance) else None
            members = self._program.resolver.member
            exits = (members(of, name, bound=True) for name in _EXITS) if isinstance(of, Class) else ()
            for method in (m for found in exits for m in found if isinstance(m, Function)):
                facts, _ = self._program.resolver.function(method)
                if facts is not None:
                    return method, facts
        return None

    def is_forgotten(self, call: g.Call, receiver: Value | None) -> bool:
        """Whether the call certainly makes a coroutine that nobody awaits; a class that is guessed is no evidence."""
        if not self._unit.is_async or self.is_awaited(call):
            return False
        methods = [s.operation for s in self.symbols(call) if isinstance(s, Method)]
        return isinstance(receiver, Scope) or any(o.awaited for o in methods)

    def is_unsent(self, call: g.Call, actions: Iterable[Action], taken: DriverClass | None) -> bool:
        """Whether SQL is certainly not sent: nobody runs the coroutine that the call makes.

        ``taken`` is the class of the connection, where that is no guess.
        """
        if not self._unit.is_async or id(call.node) in self._used.run or any(a.operation for a in actions):
            return False
        classes = [self._program.drivers.classes[s.of] for s in self.symbols(call) if isinstance(s, Method)]
        known = (*classes, *((taken,) if taken is not None else ()))
        return any(operation.awaited for each in known for operation in each.methods.values())

    def is_slow(self, call: g.Call) -> bool:
        """Whether the call waits for something outside the database; a coroutine only where it is awaited."""
        if _waits_no_time(call) or not slow_part(self._program, call.func, self._unit.scope):
            return False
        return not is_coroutine(self._program, call.func, self._unit.scope) or id(call.node) in self._awaited_here

    def slow_part(self, call: g.Call) -> str:
        """What a slow call waits in, where that is not the call itself."""
        part = slow_part(self._program, call.func, self._unit.scope)
        return part if part.rpartition(".")[2] != ex.last_name(call.func) else ""

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


def _waits_no_time(call: g.Call) -> bool:
    """Whether the call only lets others run."""
    if call.method != ex.SLEEP or not isinstance(call.node, cst.Call):
        return False
    return ex.only_lets_others_run(reduce(call.node))
