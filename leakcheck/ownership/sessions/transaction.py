"""How statements, ``with`` blocks and calls change the transaction that is open on a connection.

Each function takes the transfer function at work and a state, and returns the state after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce
from leakcheck.driver_session import Begins
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.sessions import autocommit, ending
from leakcheck.ownership.sessions.session import Held, HeldKind, Open, Taken
from leakcheck.ownership.state import Deferred, Hold, Scope, State, Status, refers
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.obligation import Outcome
    from leakcheck.ownership.sessions.following import Following
    from leakcheck.ownership.sessions.statements import Action

_ENDING = frozenset({SqlKind.COMMIT, SqlKind.ROLLBACK})
SURE = _ENDING | {SqlKind.ROLLBACK_TO, SqlKind.RELEASE_SAVEPOINT}
"""What the server only refuses where there is nothing to end."""
_OUTSIDE = frozenset({SqlKind.BEGIN, SqlKind.COMMIT, SqlKind.ROLLBACK, SqlKind.SET_AUTOCOMMIT})
"""What a driver that begins by itself does not begin for; all of these are read before."""
_ACCEPTED = frozenset({SqlKind.COMMIT, SqlKind.ROLLBACK, SqlKind.ROLLBACK_TO, SqlKind.CHAIN})
"""What the server still takes in a transaction that has failed."""
_SILENT = frozenset({"cursor", "close", "fetchone", "fetchall", "fetchmany"})
"""Methods that send nothing."""
_WRITES = frozenset({SqlKind.WRITE})
MAY_WRITE = frozenset({SqlKind.WRITE, SqlKind.UNKNOWN, SqlKind.TEMP_TABLE, SqlKind.DDL})
"""What may leave rows that a rollback loses; a role, a setting or a subscription is nothing that others miss."""
_AFTER_UNSEEN = frozenset({SqlKind.WRITE, SqlKind.DDL, SqlKind.UNKNOWN})
_READING = frozenset({
    "query", "get", "get_one", "scalar", "scalars", "cursor", "select_from", "join", "outerjoin", "options", "filter",
    "filter_by", "where", "order_by", "group_by", "having", "distinct", "limit", "offset", "first", "one",
    "one_or_none", "all", "count", "exists", "unique", "mappings", "fetchone", "fetchmany", "fetchall", "close",
})  # fmt: skip
"""Methods of connections, sessions, queries and results that at most read."""
_UNSEEN = "the driver has not seen it and sends no BEGIN: each later statement is committed by itself"


def begun_by(following: Following, action: Action, state: State) -> State:
    """The transaction that a driver opens by itself before it sends a statement."""
    session = state.session
    if session.open is Open.YES or action.kind in _OUTSIDE or action.operation is not None:
        return state
    match following.driver.begins:
        case Begins.FIRST_STATEMENT:
            begins = session.autocommit is False
        case Begins.FIRST_WRITE:
            begins = session.autocommit is False and action.kind in _WRITES
        case _:
            begins = False
    if not begins or session.unseen is not None:
        return state
    return replace(state, session=replace(session, open=Open.YES, manual=False))


def is_refused(action: Action, state: State) -> bool:
    """Whether the server refuses a statement because an earlier one of the transaction failed."""
    return state.session.aborted and action.kind not in _ACCEPTED


def refused(following: Following, actions: Iterable[Action], state: State) -> State:
    """The state after statements that the server refuses: what they would have written is lost, too."""
    writes = following.held is None and any(action.kind in MAY_WRITE for action in actions)
    return wrote(state) if writes else state


def failing(following: Following, instruction: g.Instruction, state: State, *, wrote: bool | None = None) -> State:
    """What a statement that fails leaves: PostgreSQL goes on with nothing of the transaction.

    ``wrote``: whether something was perhaps written before it; what failed has written nothing itself.
    """
    session, held = state.session, following.held
    aborts = session.open is Open.YES and ending.is_postgresql(following)
    failed = replace(session, aborted=True) if aborts else session
    begins = following.driver.begins is Begins.FIRST_STATEMENT
    inside = session.open is Open.YES or (session.open is Open.MAYBE and session.autocommit is None and begins)
    if held is None and inside:
        written = session.wrote if wrote is None else wrote
        failed = replace(failed, failed=session.failed or instruction, wrote=written)
    return replace(state, session=failed)


def after(following: Following, call: g.Call, action: Action, state: State) -> State:
    """What a statement does to the transaction."""
    session = state.session
    if session.unseen is not None and action.kind in _AFTER_UNSEEN and following.held is None:
        following.event(EventKind.USELESS_END, session.unseen, _UNSEEN, call)
    match action.kind:
        case SqlKind.BEGIN:
            begun = replace(
                session, open=Open.YES, manual=action.operation is None, wrote=False, unseen=None, useless=False
            )
            return state if session.open is Open.YES else replace(state, session=begun)
        case SqlKind.COMMIT | SqlKind.ROLLBACK:
            return _end(following, call, action, state)
        case SqlKind.ROLLBACK_TO | SqlKind.CHAIN:
            return replace(state, session=replace(session, failed=None, aborted=False))
        case SqlKind.SET_AUTOCOMMIT:
            switched = replace(session, autocommit={"on": True, "off": False}.get(action.event.name or ""))
            return replace(state, session=switched)
        case SqlKind.DDL if following.driver.dialect == "mysql":
            return ended(following, call, SqlKind.COMMIT, state)  # it commits what is open
        case kind:
            return wrote(state) if kind in MAY_WRITE else state


def wrote(state: State) -> State:
    """The state after something that may write."""
    return state if state.session.wrote else replace(state, session=replace(state.session, wrote=True))


def switched(following: Following, call: g.Call, state: State) -> State:
    """What a call does that switches autocommit: psycopg2's ``set_isolation_level`` rolls back what is open."""
    if call.method == "set_isolation_level":
        state = ended(following, call, SqlKind.ROLLBACK, state)
    after = replace(state.session, autocommit=autocommit.switched(call, following.driver))
    return replace(state, session=after)


def _end(following: Following, call: g.Call, action: Action, state: State) -> State:
    session, operation = state.session, action.operation
    useless = _useless(following, call, action, state)
    if useless:
        if following.held is None and not session.useless:
            following.event(EventKind.USELESS_END, call, useless)
        if following.held is None:
            return replace(state, session=replace(session, useless=True))
        return following.done(call, state)  # reported there
    begun_by_driver = session.open is Open.YES and session.autocommit is False
    state = ended(following, call, action.kind, state)
    if state.status is not Status.HELD:
        return state
    if operation is None and following.driver.blind and begun_by_driver:
        return replace(state, session=replace(state.session, unseen=call))
    if operation is not None and operation.pauses and following.held is not None:
        gone = ending.given_back(following, state, committed=action.kind is SqlKind.COMMIT)
        return following.lost_with(state, gone) if gone else following.done(call, state, by_statement=False)
    return state


def _useless(following: Following, call: g.Call, action: Action, state: State) -> str:
    """Why an end of the transaction ends nothing; empty where it does."""
    session, operation = state.session, action.operation
    if operation is None:
        return ""
    if operation.does_nothing:
        return operation.does_nothing if session.open is Open.YES else ""
    if operation.awaited and following.speech.is_forgotten(call, state.get(call.receiver or "")):
        return ending.NOT_AWAITED
    if following.driver.deaf and session.autocommit is True and session.manual and session.open is Open.YES:
        return (
            f"in autocommit `{operation.name}()` leaves a transaction that SQL began as it is: send {action.kind.name}"
        )
    return ""


def ended(following: Following, instruction: g.Instruction, kind: SqlKind, state: State) -> State:
    """The state after the transaction has ended."""
    held = following.held
    if held is None and kind is SqlKind.COMMIT:
        _check_commit(following, instruction, state)
    if state.session.aborted:
        kind = SqlKind.ROLLBACK  # which is what the server answers to COMMIT
    if held is not None and held.kind in (HeldKind.TRANSACTION, HeldKind.SAVEPOINT):
        return following.done(instruction, state)
    if held is not None:
        state = ending.after_end(following, instruction, kind, state)
        if state.status is not Status.HELD:
            return state
    session = replace(
        state.session,
        open=Open.NO,
        manual=False,
        wrote=False,
        aborted=False,
        failed=None,
        slow=None,
        unseen=None,
        useless=False,
        scopes=(),
    )
    return replace(state, session=session)


def _check_commit(following: Following, instruction: g.Instruction, state: State) -> None:
    """Tell of a commit that saves nothing, or comes late."""
    session = state.session
    if session.failed is not None and session.wrote and following.driver.dialect == "postgresql":
        following.event(EventKind.COMMIT_AFTER_ERROR, instruction, because=session.failed)
    if session.slow is not None:
        following.event(EventKind.SLOW_CALL, session.slow, following.speech.slow_part(session.slow), instruction)


def after_failed_commit(following: Following, instruction: g.Instruction, state: State) -> State:
    """What a COMMIT that raises leaves: it is rolled back; with nothing to commit the connection is gone."""
    session = state.session
    alone = session.autocommit is True or following.driver.begins is Begins.NEVER
    if not session.wrote or (session.open is Open.NO and alone):
        return following.done(instruction, state, by_statement=False)
    if following.held is not None and (session.resetting or following.held.kind is HeldKind.TRANSACTION):
        return following.done(instruction, state)
    return ended(following, instruction, SqlKind.ROLLBACK, state)


def saved(following: Following, call: g.Instruction, state: State, *, given_back: bool) -> State:
    """What is left where a function of the project has committed, and perhaps given the connection back after that."""
    state = ending.after_end(following, call, SqlKind.COMMIT, state)
    if state.status is not Status.HELD:
        return state
    commit = following.resource.methods.get("commit")
    if commit is None or not commit.pauses:
        state = replace(state, session=replace(state.session, open=Open.MAYBE, aborted=False))
        return following.released(call, state) if given_back else state
    closed = replace(state, session=replace(state.session, open=Open.NO))
    gone = ending.given_back(following, closed, committed=True)
    return following.lost_with(state, gone) if gone else following.done(call, state, by_statement=False)


def entered(following: Following, instruction: g.Enter, scope: Scope, state: State) -> Outcome:
    """``with conn.transaction():`` opens a transaction, or a savepoint where one is open."""
    session = state.session
    before = Open.NO if scope.begun else session.open
    inside = replace(session, open=Open.YES, scopes=(*session.scopes, (instruction.manager, before)))
    if before is Open.NO:
        inside = replace(inside, manual=False)
    bound = state.bind({instruction.target: Scope(scope.class_id, begun=True)})
    if before is Open.YES and not session.manual and not session.scopes and following.driver.nests:
        _take_savepoint(following, instruction, replace(bound, session=inside))
    return [replace(bound, session=inside)], [] if scope.begun else [state]  # what has begun is asked nothing more


def _take_savepoint(following: Following, instruction: g.Enter, state: State) -> None:
    """A block that is a savepoint only: somebody must still commit."""
    node = instruction.node
    if following.held is None and isinstance(node, cst.WithItem) and isinstance(node.item, cst.Call):
        call = g.Call(node.item, instruction.target, reduce(node.item.func), None, None, None, ())
        starting = replace(state, raised=False, near_miss=0)
        following.takings.append(Taken(instruction, call, Held(SqlKind.SAVEPOINT), starting))


def left(following: Following, instruction: g.Exit, state: State) -> State:
    """Leaving it ends what it opened; of what was open before nothing is known that was not."""
    session = state.session
    opened = next((o for n, o in session.scopes if n == instruction.manager), None)
    outer = tuple(s for s in session.scopes if s[0] != instruction.manager)
    state = replace(state.bind({instruction.manager: None}), session=replace(session, scopes=outer))
    kind = SqlKind.ROLLBACK if instruction.exceptional else SqlKind.COMMIT
    if opened is Open.NO:
        return ended(following, instruction, kind, state)
    if opened is Open.MAYBE and following.held is not None and following.held.kind is HeldKind.TRANSACTION:
        return ended(following, instruction, kind, state)  # it was begun in the block, be that a savepoint or not
    if opened is Open.MAYBE:
        if following.held is None and not instruction.exceptional:
            _check_commit(following, instruction, state)
        if following.held is not None and following.held.kind not in (HeldKind.TRANSACTION, HeldKind.SAVEPOINT):
            state = ending.after_end(following, instruction, kind, state)
        return replace(state, session=replace(state.session, open=Open.MAYBE, failed=None, aborted=False))
    if not instruction.exceptional:
        return state
    return replace(state, session=replace(state.session, failed=None, aborted=False))


def other_call(following: Following, call: g.Call, states: list[State], *, given: bool) -> list[State]:
    """A call that says nothing itself; a project function that has the connection may have said anything.

    ``given``: it is one on the connection, or has it as an argument.
    """
    if not states:
        return []  # it only raises
    session = following.resource
    if following.held is None:
        begins = session.is_lazy and bool(following.callees.connects(call, session, states[0]))
        slow = following.speech.is_slow(call)
        if begins or slow:
            states = [_waited(s, call) if slow else s for s in states]
            return [_begun_by_itself(s) if begins else s for s in states]
    if following.held is not None and following.held.kind is HeldKind.TRANSACTION:
        states = [_after_use(following, call, s) for s in states]
    if not following.speech.may_speak(call):
        writes = given and call.method not in _SILENT
        return [wrote(s) if writes and s.session.open is not Open.NO else s for s in states]
    return [wrote(_unknown(following, s)) for s in states]


def _waited(state: State, call: g.Call) -> State:
    """The state after a call that waits for something else: of several in one transaction, the first is told."""
    if state.session.open is not Open.YES or state.session.slow is not None or state.raised:
        return state  # a path that an exception led to is gone as few times
    return replace(state, session=replace(state.session, slow=call))


def _begun_by_itself(state: State) -> State:
    """The state after a statement that an object makes of its own: ``session.get(Order, 1)``."""
    begins = state.session.autocommit is False and state.session.open is not Open.YES and state.session.unseen is None
    return replace(state, session=replace(state.session, open=Open.YES, manual=False)) if begins else state


def _unknown(following: Following, state: State) -> State:
    """What is known after somebody else has spoken: what is held is asked for elsewhere.

    The transaction of a block cannot be ended in it but by leaving.
    """
    if state.status is not Status.HELD:
        return state
    session = replace(state.session, failed=None, aborted=False)
    known = following.held is not None or session.scopes
    return replace(state, session=session if known else replace(session, open=Open.MAYBE))


def _after_use(following: Following, call: g.Call, state: State) -> State:
    """What has the connection, or leads from it, may write by any call but those that read."""
    given_back = state.get(call.target)
    if given_back is Hold.RELEASING or (isinstance(given_back, Deferred) and given_back.effect.releases):
        return state  # once it is awaited
    if state.session.changed or call.method in _READING:
        return state
    holders = {n for n, v in state.variables if refers(v)} | following.names
    if holders.isdisjoint(a.operand for a in call.arguments) and holders.isdisjoint(_bases(call.func)):
        return state
    return replace(state, session=replace(state.session, changed=True))


def _bases(func: ex.Expression) -> Iterator[str]:
    """What a chain of attributes and calls starts from: ``self`` and ``self.conn`` of ``self.conn.cursor().run``."""
    while isinstance(func, (ex.Attribute, ex.Call)):
        func = func.base if isinstance(func, ex.Attribute) else func.func
        dotted = ex.dotted(func)
        if dotted is not None:
            yield dotted
