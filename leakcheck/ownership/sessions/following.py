"""What one instruction does to a connection's session on one path: the transfer function for what is held on it.

    Following(...).apply(instruction, state)   →   (states after, states when it raises)

A connection is followed twice. First from where it is in reach, to learn what is open where: statements that take
something are noted in ``takings``, statements in the wrong place are events. Then from each of these, with ``held``
set, until what was taken has ended: then HELD means that it is held, RELEASED that it has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import field
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.driver import Protocol, WithEffect
from leakcheck.ownership.calling import operands
from leakcheck.ownership.constants import written
from leakcheck.ownership.effects import Effects
from leakcheck.ownership.obligation import EventKind, Outcome, consumed, missed
from leakcheck.ownership.reach import LEAVING
from leakcheck.ownership.sessions import answers, autocommit, connections, ending, transaction
from leakcheck.ownership.sessions.session import TAKES, Held, HeldKind, Open, Taken
from leakcheck.ownership.sessions.statements import Action, Statements
from leakcheck.ownership.sessions.turns import NO_TURNS, Turns
from leakcheck.ownership.state import Fact, Hold, Said, Scope, State, Status, Value, refers
from leakcheck.ownership.summary import End
from leakcheck.project.names import Function
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from leakcheck.driver_session import Session as DriverSession
    from leakcheck.ownership.sessions.callees import SessionCallees
    from leakcheck.ownership.sessions.lent import Lent
    from leakcheck.ownership.summary import Effect


_IN_TRANSACTION = "name='in_transaction')"
"""The end of the text of a condition that asks for it."""


class Following(Effects, kw_only=True):
    """The transfer function for a connection and for what is held on it; ``speech`` is its ``callees``.

    ``names`` are variables and dotted paths that always hold it, where it was not taken in this function.
    ``leaves_committed``: leaving the ``with`` that handed it out commits. ``ended``: some statement ended what is held.
    """

    speech: SessionCallees
    statements: Statements
    driver: DriverSession
    names: frozenset[str] = frozenset()
    noted: frozenset[str] = frozenset()
    """Subjects of tests that ask what the object that keeps the connection has noted of its transaction."""
    leaves_committed: bool = False
    held: Held | None = None
    takings: list[Taken] = field(default_factory=list)
    ended: bool = False
    heard: set[int] = field(default_factory=set)
    """The calls that spoke to some connection that was followed."""
    answered: bool = False
    """Something asks the server whether it took what was only tried, and ``asked``: a branch depends on it."""
    asked: bool = False
    restored_by: set[tuple[int, str | None]] = field(default_factory=set)
    """The calls that set a setting, by its name, back to what it was before."""
    for_caller: bool = False
    """The caller of the function knows what becomes of it where the connection goes back."""
    turns: Turns = NO_TURNS
    """The loops that end what is held where the loop that took it had a turn."""
    lent: Lent | None = None
    """What lends the connection to a block."""
    yields: list[tuple[g.Yield, State]] = field(default_factory=list)
    """Where it is lent to a block in turn."""

    def apply(self, instruction: g.Instruction, state: State) -> Outcome:
        """The states after the instruction, and those on its exception edges."""
        if state.status is Status.WAITING:
            normal, raised = Effects.apply(self, instruction, state)
            if isinstance(instruction, g.Enter) and self.lent is not None:
                normal = [self._borrowed(self.lent, instruction, s) for s in normal]
            return normal, raised
        match instruction:
            case g.Call():
                normal, raised = self._call(instruction, state)
            case g.Await():
                normal, raised = self._await(instruction, state)
            case g.Enter():
                normal, raised = self._enter(instruction, state)
            case g.Exit():
                normal, raised = self._exit(instruction, state)
            case g.Point(operand=str() as operand) if state.get(operand) is Fact.ANSWER:  # it is unpacked
                normal, raised = [state], []
            case g.LoadItem(base=base) | g.LoadAttribute(base=base) if state.get(base) is Fact.ANSWER:
                normal, raised = [state.bind({**consumed(base), instruction.target: Fact.ANSWER})], []
            case g.Yield():
                self.yields.append((instruction, state))
                normal, raised = Effects.apply(self, instruction, state)
            case g.StoreAttribute(name=name, base=base) if name in self.driver.autocommit and (
                state.get(base) is Hold.OWN
            ):
                switched = replace(state.session, autocommit=autocommit.assigned(name, instruction.value))
                normal, raised = [replace(state.bind(consumed(instruction.value)), session=switched)], [state]
            case g.StoreAttribute(base=base, name=name, value=value) if f"{base}.{name}" in self.names:
                normal, raised = [state.bind(consumed(value))], [state]
            case _:
                normal, raised = Effects.apply(self, instruction, state)
        if id(instruction.node) in self.turns.steps:
            raised = []
        normal = [self._named(instruction, s) for s in normal]
        return (normal, raised) if self.held is not None else ([_kept(s) for s in normal], [_kept(s) for s in raised])

    def _named(self, instruction: g.Instruction, state: State) -> State:
        """The names that always hold the connection hold it, whatever was just assigned to them."""
        again = {
            n: Hold.OWN for n in written(instruction) if n in self.names and not isinstance(state.get(n), (Hold, Scope))
        }
        return state.bind(again) if again and state.status is Status.HELD else state

    # Calls

    def _call(self, call: g.Call, state: State) -> Outcome:
        if call.receiver is not None and not refers_to(state, call.receiver) and self.names:
            dotted = ex.dotted(call.func.base) if isinstance(call.func, ex.Attribute) else None
            if dotted in self.names:
                state = state.bind({call.receiver: Hold.OWN})
        known = state.get(call.receiver or "")
        value = None if isinstance(known, Fact) else known  # of something else
        said = next((v for a in call.arguments if isinstance(v := state.get(a.operand), Said)), None)
        if said is not None:  # `wait_for(conn.execute(...))`
            return [state.bind({call.target: said})], []
        if self.held is not None and self.held.tried and answers.gives_answer(self, call, state):
            return [state.bind({**operands(call), call.target: Fact.ANSWER})], []
        actions = self.statements.actions(call, value, self.resource) or self._left_by(call, state)
        if actions and self._is_lazy(call, actions):
            actions = ()
        normal, raised = Effects.apply(self, call, state)
        if value is not None:
            self.heard.add(id(call.node))
        if value is Hold.OWN and call.method == "cursor":  # it sends nothing: it only raises on a dead connection
            raised = [self._on_dead_connection(call, s) for s in raised]
        if value is Hold.OWN and autocommit.switches(call, self.driver):
            return [transaction.switched(self, call, s) for s in normal], raised
        if not actions:
            concerns = value is not None or any(refers_to(state, a.operand) for a in call.arguments)
            return transaction.other_call(self, call, normal, given=concerns), raised
        if self.speech.is_unsent(call, actions, None if self.names else self.resource):
            return [ending.unsent(self, call, actions, s) for s in normal], raised
        if self.callees.is_entered_or_awaited(call):
            after = normal[0] if normal else state
            kept = after.get(call.target)
            given = kept if isinstance(kept, (Hold, Scope)) else None
            return [after.bind({call.target: Said(call, actions, given)})], []
        done: list[State] = []
        failed: list[State] = []
        for after in normal:
            if after.status is not Status.HELD:
                done.append(after)
                continue
            states, errors = self._say(call, call, actions, after)
            done += states
            failed += errors
        return done, failed or raised

    def _on_dead_connection(self, instruction: g.Instruction, state: State) -> State:
        """The state where something raised that can only have done so because the connection is gone."""
        return self.done(instruction, state, by_statement=False) if state.status is Status.HELD else state

    def _is_lazy(self, call: g.Call, actions: tuple[Action, ...]) -> bool:
        """Whether what it gives says it once that is entered: ``tx = session.begin()`` of asyncio."""
        operations = (action.operation for action in actions if action.operation is not None)
        derived = any(o.derives is not None and o.protocol is Protocol.AWAITABLE_CONTEXT for o in operations)
        return derived and not self.callees.is_entered_or_awaited(call)

    def _left_by(self, call: g.Call, state: State) -> tuple[Action, ...]:
        """What a project function sends for its caller, or leaves open for it to end: it says as much."""
        found: list[Action] = []
        for left in (*(self.speech.leaves(call) if self.held is None else ()), *self.speech.says(call)):
            if self._held_at(left.place, state) is not None:
                self.heard.add(id(call.node))
                found.append(left.action)
        for place, each in self.speech.hands_over(call):
            value = self._held_at(place, state)
            if value is not None:
                self.heard.add(id(call.node))
                derived = each.given is None and ex.dotted(each.receiver) != place
                found += self.statements.handed(each, Hold.DERIVED if derived else value, self.resource)
        return tuple(found)

    def _held_at(self, place: g.Argument | str, state: State) -> Value | None:
        """How the connection is held at a place of the caller's: an argument, a name, a dotted path."""
        if isinstance(place, g.Argument):
            return Hold.OWN if refers_to(state, place.operand) else None
        return Hold.OWN if place in self.names else state.get(place) if refers_to(state, place) else None

    def _await(self, instruction: g.Await, state: State) -> Outcome:
        said = state.get(instruction.value)
        if not isinstance(said, Said):
            return Effects.apply(self, instruction, state)
        before = state.bind(consumed(instruction.value)).bind({instruction.target: said.value})
        return self._say(instruction, said.call, said.actions, before)

    def _say(
        self, instruction: g.Instruction, call: g.Call, actions: tuple[Action, ...], before: State
    ) -> tuple[list[State], list[State]]:
        """The states after all that one call says; a statement that ends something has done so even if it raises."""
        if transaction.is_refused(actions[0], before):
            return [], [transaction.refused(self, actions, ending.refused(self, call, actions[0], before))]
        state, known = before, len(self.takings)
        for action in actions:
            if state.status is Status.HELD:
                state = self._act(instruction, call, action, state)
        self.takings[known:] = [t for t in self.takings[known:] if not ending.ends_in(t.held, actions)]
        is_setting = self.held is not None and self.held.kind is HeldKind.SETTING  # a role may be refused
        if is_setting and state.status is not Status.HELD and any(a.takes for a in actions):
            return [state], [self._on_dead_connection(instruction, before)]  # it sets back what was set before
        if any(a.takes for a in actions):
            return [state], [transaction.failing(self, instruction, transaction.begun_by(self, actions[0], before))]
        if all(a.kind in transaction.SURE or a.kind in ending.ENDING for a in actions):
            failed = state
            if any(a.kind is SqlKind.COMMIT for a in actions):
                failed = transaction.after_failed_commit(self, instruction, before)
            else:
                failed = self.done(instruction, state, by_statement=False)  # it only raises on a dead connection
            return [state], [failed]
        return [state], [transaction.failing(self, instruction, state, wrote=before.session.wrote)]

    def _act(self, instruction: g.Instruction, call: g.Call, action: Action, state: State) -> State:
        """The state after one statement."""
        state = transaction.begun_by(self, action, state)
        if self.held is None:
            ending.check(self, call, action, state)
        if action.takes and self.held is None:
            state = self._take(instruction, call, action, state)
        if self.held is not None and self.held.kind is not HeldKind.TRANSACTION:
            state = ending.after(self, call, action, state)
        if state.status is Status.HELD:
            state = transaction.after(self, call, action, state)
        if state.status is Status.HELD and self.held is not None:
            changed = state.session.changed or action.kind in transaction.MAY_WRITE
            worked = state.session.worked or action.kind not in TAKES
            state = replace(state, session=replace(state.session, worked=worked, changed=changed))
        return state

    def _take(self, instruction: g.Instruction, call: g.Call, action: Action, state: State) -> State:
        text = self.statements.text(call) if action.operation is None and not action.text else action.text
        held = ending.held_by(action, text)
        inside = state.session.open is not Open.NO or ending.is_perhaps_begun(self, state)
        fresh = inside and held.kind is not HeldKind.TRANSACTION
        starting = replace(state.session, fresh=fresh, resetting=False, worked=False, changed=False)
        if self.names:
            starting = replace(starting, wrote=False)  # what others wrote before is not what makes its COMMIT fail
        if held.kind is HeldKind.TRANSACTION:
            lost = starting.wrote and state.session.open is Open.YES  # a first statement had begun it
            starting = replace(starting, open=Open.YES, manual=action.operation is None, changed=lost)
            scope = state.get(call.target)
            if action.operation is not None and isinstance(scope, Scope):
                state = state.bind({call.target: Scope(scope.class_id, begun=True)})
        target = instruction.target if isinstance(instruction, (g.Call, g.Await)) else ""
        if target and action.gives is not None:
            state = state.bind({target: action.gives})
        if target and state.get(target) is None and (held.tried or action.answered):
            state = state.bind({target: Fact.ANSWER if held.tried else Fact.TRUE})
        before = replace(ending.keyed(call, held, state), session=starting, raised=False, near_miss=0)
        self.takings.append(Taken(instruction, call, held, before))
        return state

    def branched(self, test: g.Test, state: State) -> State:
        """``if conn.in_transaction:`` says whether there is one; the answer to what was tried, that it was taken."""
        self.asked = self.asked or Fact.ANSWER in (state.get(test.subject), state.get(test.asked))
        known = test.kind is g.TestKind.TRUTH and test.subject.endswith(_IN_TRANSACTION) and not test.outcome
        held = self.held is not None and self.held.kind is HeldKind.TRANSACTION and state.status is Status.HELD
        if held and test.kind is g.TestKind.TRUTH and test.subject in self.noted:
            return replace(state, session=replace(state.session, decided=(test.subject, test.outcome)))
        return _without_holders(state).with_status(Status.RELEASED) if known and held else state

    def goes_on(self, test: g.Test, state: State) -> bool:
        """Not past a loop that has a turn for what is held."""
        past = test.kind is g.TestKind.ITERATES and not test.outcome and test.subject in self.turns.iterables
        return not (past and state.status is Status.HELD)

    def ends_by_cursor(self, call: g.Call) -> bool:
        """A cursor is all that a function needs to send what ends it."""
        return self.held is not None and any(isinstance(s, Function) for s in self.speech.symbols(call))

    @property
    def ends_with_program(self) -> bool:
        """What is held on connections goes with them, and a program that is left by ``sys.exit()`` has none."""
        return self.held is not None

    def follows(self, edge: g.Edge) -> bool:
        """Not what leaves the program."""
        return self.held is None or edge.raised != LEAVING

    # With blocks

    def _enter(self, instruction: g.Enter, state: State) -> Outcome:
        value = state.get(instruction.manager)
        if isinstance(value, Scope):
            return transaction.entered(self, instruction, value, state)
        normal, raised = Effects.apply(self, instruction, state)
        if value is Hold.DERIVED:  # a cursor gives itself
            normal = [s.bind({instruction.target: Hold.DERIVED}) for s in normal]
            raised = raised if instruction.is_async else [self._on_dead_connection(instruction, s) for s in raised]
        if value is None and connections.handed_out_by(instruction) in self.names:
            normal = [s.bind({instruction.manager: Hold.MANAGER, instruction.target: Hold.OWN}) for s in normal]
        return normal, raised

    def _exit(self, instruction: g.Exit, state: State) -> Outcome:
        value = state.get(instruction.manager)
        if isinstance(value, Scope):
            return [transaction.left(self, instruction, state)], []
        if value is Hold.MANAGER and self.lent is not None and state.status is Status.HELD:
            return [self._handed_back(self.lent, instruction, state.bind({instruction.manager: None}))], []
        if value is Hold.OWN and self.resource.with_effect is not WithEffect.RELEASES:
            after = state.bind({instruction.manager: None})
            if not self.driver.ends:
                return [after], []
            commits = self.driver.commits and not instruction.exceptional
            kind = SqlKind.COMMIT if commits else SqlKind.ROLLBACK
            return [transaction.ended(self, instruction, kind, after)], []
        held = self.held is not None and state.status is Status.HELD
        if held and self.names and self.speech.ends_when_left(instruction, self.names, self.resource):
            return [self.done(instruction, state)], []
        return Effects.apply(self, instruction, state)

    @staticmethod
    def _borrowed(lent: Lent, instruction: g.Enter, state: State) -> State:
        """The block begins that the connection is lent to."""
        lending = replace(state.bind({instruction.target: lent.value}), session=lent.session)
        return lending if state.status is Status.HELD else state

    def _handed_back(self, lent: Lent, instruction: g.Exit, state: State) -> State:
        """The block ends that the connection was lent to: its lender goes on."""
        left = lent.left(self.held, state, exceptional=instruction.exceptional)
        session = state.session
        if EventKind.COMMIT_AFTER_ERROR in left.faults:
            self.event(EventKind.COMMIT_AFTER_ERROR, instruction, because=session.failed)
        if EventKind.SLOW_CALL in left.faults and session.slow is not None:
            self.event(EventKind.SLOW_CALL, session.slow, self.speech.slow_part(session.slow), instruction)
        self.ended = self.ended or left.ended
        return self.lost_with(state, left.gone) if left.gone else self.done(instruction, state, by_statement=left.ended)

    # The connection goes, and what is held with it

    def released(self, instruction: g.Instruction, state: State, *, by_with: bool = False) -> State:
        """The connection is given back or closed."""
        if state.status is not Status.HELD:
            return state
        commits = isinstance(instruction, g.Exit) and not instruction.exceptional and self.leaves_committed
        if commits and by_with:
            state = transaction.ended(self, instruction, SqlKind.COMMIT, state)
            if state.status is not Status.HELD:
                return state
        if self.held is None or (self.names and not self.for_caller) or self.speech.closes_for_good(instruction):
            return self.done(instruction, state, by_statement=False)
        gone = "given back" if self.for_caller else ending.given_back(self, state, committed=commits)
        return self.done(instruction, state, by_statement=False) if not gone else self.lost_with(state, gone)

    def done(self, instruction: g.Instruction, state: State, *, by_statement: bool = True) -> State:
        """What was held has ended: nothing of the connection matters any more."""
        self.event(EventKind.RELEASE, instruction)
        self.ended = self.ended or by_statement
        return _without_holders(state).with_status(Status.RELEASED)

    def lost_with(self, state: State, gone: str) -> State:
        """The connection goes, and what is held is held still."""
        if state.session.resetting:
            state = missed(state, 2)
        return _without_holders(replace(state, session=replace(state.session, gone=gone)))

    def _ended(self, end: End, effect: Effect, state: State, call: g.Instruction, target: str) -> State:
        if end is End.GIVEN_BACK:
            return self.released(call, state)
        if end is End.RELEASED:  # where only some of the function's exceptions end it, the connection was dead
            return self.done(call, state, by_statement=end in effect.normal or effect.raised == {end})
        if end is End.UNDONE:
            return ending.after_end(self, call, SqlKind.ROLLBACK, state)
        if end in (End.COMMITTED, End.SAVED):
            return transaction.saved(self, call, state, given_back=end is End.SAVED)
        return Effects._ended(self, end, effect, state, call, target)


def refers_to(state: State, operand: str) -> bool:
    """Whether an operand has to do with the connection."""
    value = state.get(operand)
    return value is not None and refers(value)


def _kept(state: State) -> State:
    """Where the connection itself is followed, whoever else has it does not matter."""
    return state.with_status(Status.HELD) if state.status is Status.MOVED else state


def _without_holders(state: State) -> State:
    return state.bind({n: None for n, v in state.variables if refers(v) or v is Hold.MAYBE})
