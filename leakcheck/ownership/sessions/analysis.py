"""What a function leaves on its connections: transactions, roles, settings, locks, subscriptions.

Each connection is followed once to find where something is taken on it, and then from each of these places until it
has ended; see ``following``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.driver import ClassKind, Protocol
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.explore import BoundReachedError, Exploration, Explorer, seeds
from leakcheck.ownership.found import Fault, SessionFound
from leakcheck.ownership.obligation import SESSION_FAULTS, EventKind
from leakcheck.ownership.sessions import connections, left_open
from leakcheck.ownership.sessions.blocks import block_faults
from leakcheck.ownership.sessions.callees import SessionCallees, SessionGiven
from leakcheck.ownership.sessions.cleared import Cleared
from leakcheck.ownership.sessions.connections import Connection
from leakcheck.ownership.sessions.executing import Executing
from leakcheck.ownership.sessions.following import Following, refers_to
from leakcheck.ownership.sessions.lent import Lent, agreed, behind_yield, in_exit, lending
from leakcheck.ownership.sessions.noted import noted_in
from leakcheck.ownership.sessions.pool_statements import pool_faults
from leakcheck.ownership.sessions.session import Held, Open, Session, Taken
from leakcheck.ownership.sessions.statements import QUIET, Action, Statements
from leakcheck.ownership.sessions.turns import turns
from leakcheck.ownership.state import Hold, State, Status
from leakcheck.project.names import Class, Function, Method
from leakcheck.project.speaking import speaks
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units


_BEGUN_AND_ENDED = frozenset({SqlKind.BEGIN, SqlKind.COMMIT})
_WORK = frozenset({SqlKind.READ, SqlKind.WRITE, SqlKind.DDL})
"""Who is sent all of the former and some of the latter is a connection, whatever it is called."""
_HANDED_ON = 3
"""Functions by which what a block enters may be handed on."""


class Sessions:
    """Answers about functions; what one leaves open for its callers to end is computed once."""

    def __init__(self, program: Program, units: Units) -> None:
        self._program = program
        self._units = units
        self._given: dict[Held, SessionGiven] = {}
        self._left: dict[Function, tuple[tuple[str, Action], ...]] = {}
        self._lent: dict[Function | Class, tuple[Connection, Lent] | None] = {}
        self._cleared = Cleared(program)
        self.executing = Executing(program, units)

    def found(
        self, unit: Unit, acquired: Iterable[Found], *, given: bool = False
    ) -> tuple[Sequence[SessionFound], Sequence[Fault]]:
        """Everything that the unit takes on its connections, with what becomes of it on all paths; and other faults.

        ``given``: who asks knows that what the unit is given is a connection.
        """
        search = _Search(self._program, self._units, self, unit)
        try:
            search.run(acquired, certain=given)
        except TooLargeError:
            return (), ()
        return [each for each in search.found if not self._cleared.is_cleared(each)], search.faults

    def given(self, held: Held) -> SessionGiven:
        """What project functions do with a thing that is held on a connection that they are given."""
        if held not in self._given:
            self._given[held] = SessionGiven(self._program, self._units, held)
        return self._given[held]

    def left_by(self, function: Function) -> tuple[tuple[str, Action], ...]:
        """What a project function leaves open, on all ways on which it returns, on a connection that is not its own.

        With the name by which it knows the connection.
        """
        key = replace(function, bound=False)
        if key not in self._left:
            self._left[key] = ()
            module = self._program.facts(key.path)
            facts = module.functions.get(key.qualname) if module is not None else None
            if module is not None and facts is not None and speaks(self._program, module, facts):
                unit = self._units.of(key)
                found, _ = self.found(unit, (), given=True) if unit is not None else ((), ())
                restoring = {s for each in found for s in each.following.restored_by if s[0] != id(each.call.node)}
                self._left[key] = tuple(
                    left_open.action(f)
                    for f in found
                    if left_open.leaves(f) and (id(f.call.node), f.held.name) not in restoring
                )
        return self._left[key]

    def lent_by(self, lender: Function | Class) -> tuple[Connection, Lent] | None:
        """The connection that a context manager of the project lends to its block, if there is one."""
        key = replace(lender, bound=False) if isinstance(lender, Function) else lender
        if key not in self._lent:
            self._lent[key] = None
            self._lent[key] = self._lending(key)
        return self._lent[key]

    def _lending(self, lender: Function | Class) -> tuple[Connection, Lent] | None:
        if isinstance(lender, Function):
            facts, _ = self._program.resolver.function(lender)
            unit = self._units.of(lender) if facts is not None and facts.is_generator else None
            return _Search(self._program, self._units, self, unit).lends() if unit is not None else None
        for enter, leave in (("__enter__", "__exit__"), ("__aenter__", "__aexit__")):
            entering, leaving = (self._method(lender, name) for name in (enter, leave))
            if entering is not None and leaving is not None:
                found = _Search(self._program, self._units, self, entering).lends_until(leaving)
                if found is not None:
                    return found
        return None

    def _method(self, of: Class, name: str) -> Unit | None:
        found = (s for s in self._program.resolver.member(of, name, bound=True) if isinstance(s, Function))
        function = next(found, None)
        return self._units.of(function) if function is not None else None


class _Search:
    """Follows the connections of one unit."""

    def __init__(self, program: Program, units: Units, sessions: Sessions, unit: Unit) -> None:
        self._program = program
        self._units = units
        self._sessions = sessions
        self._unit = unit
        self._statements = Statements(unit, program)
        self._heard: set[int] = set()
        self.found: list[SessionFound] = []
        self.faults: list[Fault] = []

    def run(self, acquired: Iterable[Found], *, certain: bool = False) -> None:
        """Follow the connections that were acquired here, then those that were not. Raises TooLargeError.

        ``certain``: what the function is given is one, whatever it is called.
        """
        graph = self._units.graph(self._unit)
        self.faults += pool_faults(self._program, self._unit, graph, self._statements)
        self._heard.update(id(f.event.instruction.node) for f in self.faults)
        speech = SessionCallees(self._unit, self._program, None)
        self.faults += block_faults(self._program, self._unit, graph, speech)
        for connection in self._taken(graph, acquired):
            self._follow(connection)
        names, known = self._unheard(graph)
        for each in connections.apart(names, self._unit, self._program) if names else ():
            is_given = certain and connections.are_given(each, self._unit)
            given = connections.given(each, self._unit, self._program, certain=known or is_given)
            if given is not None:
                self._follow(given)

    def _taken(self, graph: g.ControlFlowGraph, acquired: Iterable[Found]) -> Iterator[Connection]:
        """The connections that are taken here, and those that a context manager of the project lends to a block."""
        for each in acquired:
            own = connections.taken(each, self._program)
            if own is not None:
                yield own
        entered = (i for b in graph.blocks for i in b.instructions if isinstance(i, g.Call))
        calls = {id(call.node): call for call in entered if self._statements.is_entered(call)}
        for call in calls.values():
            for symbol in self._program.resolver.resolve(call.func, self._unit.scope):
                if isinstance(symbol, (Function, Class)):
                    yield from self._handed_to_block(call, symbol)

    def _handed_to_block(self, call: g.Call, symbol: Function | Class) -> Iterator[Connection]:
        """What a ``with`` takes by a project function or class: what that lends, or what is returned to be entered."""
        lender = self._sessions.lent_by(self._lender(symbol))
        if lender is not None:
            lending, lent = lender
            acquisition = Acquisition(lending.resource, Protocol.CONTEXT, lending.acquisition.pool)
            for each in self._explored(call, acquisition):
                yield Connection(acquisition, lending.driver, found=each, lent=lent)
            return
        returned = self._returned(symbol) if isinstance(symbol, Function) else None
        for each in self._explored(call, returned) if returned is not None else ():
            own = connections.taken(each, self._program)
            if own is not None:
                yield replace(own, autocommit=None)  # what is said where it is made is not read from here

    def _lender(self, symbol: Function | Class) -> Function | Class:
        """Whom a plain function asks whose caller enters what it returns."""
        for _ in range(_HANDED_ON):
            facts, scope = self._program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
            made = facts.returned[0] if facts is not None and len(facts.returned) == 1 else None
            if facts is None or scope is None or facts.is_async or facts.is_generator or not isinstance(made, ex.Call):
                break
            found = [s for s in self._program.resolver.resolve(made.func, scope) if isinstance(s, (Function, Class))]
            if len(found) != 1:
                break
            symbol = found[0]
        return symbol

    def _explored(self, call: g.Call, acquisition: Acquisition) -> Sequence[Found]:
        try:
            return self._program.functions.explore(self._unit, call, acquisition)
        except BoundReachedError:
            return ()

    def _returned(self, function: Function) -> Acquisition | None:
        """What a plain function returns for its caller to enter: ``return self.pool.acquire()``."""
        facts, scope = self._program.resolver.function(function)
        if facts is None or scope is None or facts.is_async or facts.is_generator or len(facts.returned) != 1:
            return None
        (made,) = facts.returned
        taken = self._program.acquisitions.at(made, scope, awaited=lambda: True) if isinstance(made, ex.Call) else None
        return replace(taken, pool=None) if taken is not None and taken.protocol is not Protocol.VALUE else None

    def lends(self) -> tuple[Connection, Lent] | None:
        """The connection that this generator lends at its only ``yield``."""
        try:
            for connection in self._taken(
                self._units.graph(self._unit), self._program.functions.found(self._unit).found
            ):
                following = self._following(connection, None)
                self._explore(connection, following)
                places = [(i, state) for i, state in following.yields if refers_to(state, i.value)]
                value = lending(places)
                if value is not None:
                    session = agreed([state.session for _, state in places])
                    goes_on = partial(behind_yield, tuple(dict.fromkeys(places)))
                    return connection, Lent(value, session, partial(self._explorer, connection), goes_on)
        except (TooLargeError, BoundReachedError):
            pass
        return None

    def lends_until(self, leaving: Unit) -> tuple[Connection, Lent] | None:
        """The connection that this ``__enter__`` takes, keeps for ``leaving`` in an attribute, and gives to a block."""
        named = [p.name for p in leaving.facts.parameters] if leaving.facts is not None else []
        holder, *told = named or [""]
        try:
            for found in self._program.functions.found(self._unit).found:
                connection = connections.taken(found, self._program)
                kept = {(name, ending.state.get(g.RETURN)) for name, ending in found.stores()}
                name, value = kept.pop() if len(kept) == 1 else ("", None)
                if connection is None or value not in (Hold.OWN, Hold.DERIVED) or not isinstance(value, Hold):
                    continue
                following = self._following(connection, None)
                following.entering = True
                explored = self._explore(connection, following)
                session = agreed([e.state.session for e in explored.endings if e.returned] or [Session()])
                behind = _Search(self._program, self._units, self._sessions, leaving)
                explorer = partial(behind._explorer, replace(connection, found=None))
                return connection, Lent(value, session, explorer, partial(in_exit, f"{holder}.{name}", told))
        except (TooLargeError, BoundReachedError):
            pass
        return None

    def _explorer(self, connection: Connection, held: Held | None) -> Explorer:
        graph, constants = self._units.graph(self._unit), self._units.constants(self._unit)
        return Explorer(graph, constants, self._following(connection, held))

    def _unheard(self, graph: g.ControlFlowGraph) -> tuple[frozenset[str], bool]:
        """What the connection is called that was not taken here; and whether what is called knows it for one."""
        callees = SessionCallees(self._unit, self._program, None)
        names: set[str | None] = set()
        own: set[str | None] = {None}
        known: set[str] = set()
        spoken: dict[str, set[SqlKind]] = {}
        for block in graph.blocks:
            for call in block.instructions:
                if not isinstance(call, g.Call):
                    continue
                left = (*callees.leaves(call), *callees.says(call))
                places = {each.place if isinstance(each.place, str) else each.place.operand for each in left}
                if id(call.node) in self._heard:
                    own.update(places, (connections.root(call, self._unit),))
                    continue
                known |= places
                given = [(place, each) for place, each in callees.hands_over(call) if isinstance(place, str)]
                names.update(place for place, each in given if self._concerns(place, each.method))
                symbols = callees.symbols(call)
                of_a_module = connections.is_of_a_module(call, self._unit, self._program)
                if call.method is not None and not of_a_module and not any(isinstance(s, Function) for s in symbols):
                    methods = [s for s in symbols if isinstance(s, Method)]
                    names.add(self._named_by(call, methods))
                    said = spoken.setdefault(connections.root(call, self._unit) or "", set())
                    said.update(event.kind for event in self._statements.executing(call))
        found = frozenset(n for n in (names | known) - own if n is not None and n[0] not in "%#")
        known |= {n for n, kinds in spoken.items() if kinds >= _BEGUN_AND_ENDED and not kinds.isdisjoint(_WORK)}
        return found, not known.isdisjoint(found)

    def _named_by(self, call: g.Call, methods: Sequence[Method]) -> str | None:
        """What a call on it calls the connection; None where it is on something else."""
        name = connections.root(call, self._unit)
        if methods:
            pooled = any(self._program.drivers.classes[m.of].kind is ClassKind.POOL for m in methods)
            return None if pooled else name
        if any(e.kind not in QUIET for e in self._statements.executing(call)):
            return name
        return name if self._concerns(name, call.method or "") else None

    def _concerns(self, name: str | None, method: str) -> bool:
        """Whether a method of something with this name is, as far as names say, one of a connection."""
        vocabulary = self._program.vocabulary
        concerns = method == "cursor" or method in vocabulary.sending or method in vocabulary.executing
        return concerns and name is not None and connections.is_word(name)

    def _follow(self, connection: Connection) -> None:
        """Add what is taken on one connection, and what is wrong on it."""
        first = self._following(connection, None)
        try:
            explored = self._explore(connection, first)
        except BoundReachedError:
            return
        quietly = self._units.constants(self._unit).reach.returning_quietly
        faults = (
            event
            for node, event, _ in explored.faults
            if event.kind in SESSION_FAULTS
            and (event.kind is not EventKind.COMMIT_AFTER_ERROR or node.block in quietly)  # else the error passes on
        )
        self.faults += {(e.kind, id(e.instruction.node)): Fault(self._unit, e) for e in faults}.values()
        groups: dict[tuple[int, Held], list[Taken]] = {}
        for each in first.takings:
            groups.setdefault((id(each.call.node), each.held), []).append(each)
        for (_, held), group in groups.items():
            try:
                self._add(connection, held, group)
            except BoundReachedError:
                continue

    def _add(self, connection: Connection, held: Held, group: Sequence[Taken]) -> None:
        """Add one thing that is taken, followed from all places where it is. Raises BoundReachedError."""
        graph, constants = self._units.graph(self._unit), self._units.constants(self._unit)
        places = {id(i): (block, n) for block in graph.blocks for n, i in enumerate(block.instructions)}
        effects = self._following(connection, held)
        effects.turns = turns(graph, group[0].call, held, self._statements)
        explorer = Explorer(graph, constants, effects)
        for instruction, state in dict.fromkeys((id(t.instruction), t.state) for t in group):
            block, position = places[instruction]
            explorer.run(block, position + 1, state)
        call, acquisition, result = group[0].call, connection.acquisition, explorer.result
        self.found.append(
            SessionFound(
                self._unit, call, acquisition, result, effects, held=held, connection=connection, following=effects
            )
        )

    def _following(self, connection: Connection, held: Held | None) -> Following:
        acquisition = connection.acquisition
        given = self._sessions.given(held) if held is not None else None
        callees = SessionCallees(self._unit, self._program, given)
        return Following(
            acquisition.resource,
            acquisition.pool,
            connection.found.call.node if connection.found is not None else None,
            callees,
            acquisition.position,
            acquisition.companions,
            acquisition.takes_receiver,
            speech=callees,
            statements=self._statements,
            driver=connection.driver,
            names=connection.names,
            noted=noted_in(self._unit, self._units.graph(self._unit), connection.names, self._program)
            if held is not None
            else frozenset(),
            leaves_committed=connection.leaves_committed,
            held=held,
            heard=self._heard,
            lent=connection.lent,
        )

    def _explore(self, connection: Connection, effects: Following) -> Exploration:
        """Follow a connection from where it is in reach. Raises BoundReachedError."""
        graph, constants = self._units.graph(self._unit), self._units.constants(self._unit)
        explorer = Explorer(graph, constants, effects)
        if connection.found is None:
            facts = dict(constants.start[graph.entry.index])
            facts.update(dict.fromkeys(connection.names, Hold.OWN))
            opened = Open.NO if connection.outside else Open.MAYBE
            session = Session(opened, autocommit=connection.autocommit, wrote=True)
            state = State(Status.HELD, tuple(sorted(facts.items())), session=session)
            return explorer.run(graph.entry, 0, state)
        for block, position, instruction in seeds(graph, connection.found.call.node):
            facts = constants.before(block, position)
            constants.step(facts, instruction)
            known = {n: v for n, v in facts.items() if not (n.startswith("%") and n[1:].isdigit())}
            session = Session(open=Open.NO, autocommit=connection.autocommit)
            state = State(Status.WAITING, tuple(sorted(known.items())), session=session)
            explorer.run(block, position + 1, effects.taken(instruction, connection.acquisition.protocol, state))
        return explorer.result
