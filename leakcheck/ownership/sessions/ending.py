"""How statements end what is held on a connection: a role, a setting, a lock, a subscription.

    SET ROLE a, RESET ALL    →   held: RESET ALL does not touch the role
    SET ROLE a, ROLLBACK     →   ended, where it was set in the transaction that is rolled back

Each function takes the transfer function at work and a state, and returns the state after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck.cfg.walk import walk
from leakcheck.driver_session import Begins, OpenAtRelease
from leakcheck.ownership.obligation import EventKind, missed
from leakcheck.ownership.sessions.session import ENDS, NAMED, TAKES, Held, HeldKind, Open
from leakcheck.ownership.state import Fact, Status
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.cfg import graph as g
    from leakcheck.ownership.sessions.following import Following
    from leakcheck.ownership.sessions.statements import Action
    from leakcheck.ownership.state import State

ENDING = frozenset(kind for kinds in ENDS.values() for kind in kinds if kind not in TAKES) | {
    SqlKind.DISCARD_ALL,
}
_TRANSACTION_ENDS = frozenset({SqlKind.COMMIT, SqlKind.ROLLBACK})
_LOCAL = frozenset({SqlKind.SET, SqlKind.SET_ROLE, SqlKind.SET_AUTHORIZATION})
_POSTGRESQL = frozenset({SqlKind.SET_ROLE, SqlKind.SET_AUTHORIZATION, SqlKind.LOCK, SqlKind.LISTEN})
ROLLED_BACK = "rolled back: what was done in it is lost"
NOT_AWAITED = "it is a coroutine: without `await` nothing is sent"
_PENDING = "UNLISTEN takes effect when its transaction commits, which is left open"
ROLES = frozenset({HeldKind.ROLE, HeldKind.AUTHORIZATION})


def held_by(action: Action, text: str) -> Held:
    """What a statement takes."""
    name = action.event.name
    if action.kind is SqlKind.GET_LOCK and name is not None:
        name = name.partition(",")[0]  # without its timeout
    return Held(action.kind, name, text, tried=action.kind is SqlKind.GET_LOCK or "_try_" in text)


def keyed(call: g.Call, held: Held, state: State) -> State:
    """The state in which a lock is taken: what it is named by is there, so that ``if key is not None:`` unlocks it."""
    if held.kind is not HeldKind.LOCK or not isinstance(call.node, cst.Call):
        return state
    names = {n.value for argument in call.node.args for n in walk(argument.value) if isinstance(n, cst.Name)}
    return state.bind({name: Fact.NOT_NULL for name in names if state.get(name) is None})


def ends_in(held: Held, actions: Sequence[Action]) -> bool:
    """Whether what one of several statements takes is ended by a later one: ``BEGIN; DELETE FROM orders; COMMIT``."""
    takes = [n for n, action in enumerate(actions) if action.takes and held_by(action, held.text) == held]
    ends = _TRANSACTION_ENDS if held.kind is HeldKind.TRANSACTION else ENDS[held.kind] | {SqlKind.DISCARD_ALL}
    later = (a for a in actions[max(takes, default=len(actions)) + 1 :] if a.kind in ends and not a.event.local)
    return any(a.kind not in NAMED or None in (a.event.name, held.name) or _is_of(a.event.name, held) for a in later)


def _is_of(name: str | None, held: Held) -> bool:
    return name in (held.name, "*")


def check(following: Following, call: g.Call, action: Action, state: State) -> None:
    """Tell of a statement that has no effect here, or harms the driver."""
    session, driver = state.session, following.driver
    if action.kind is SqlKind.DISCARD_ALL and action.operation is None and driver.caches:
        following.event(EventKind.BROKEN_CACHE, call)
    unprotected = driver.begins is Begins.NEVER or session.autocommit is True
    if action.event.local and action.alone and action.kind in _LOCAL and session.open is Open.NO and unprotected:
        following.event(EventKind.LOCAL_OUTSIDE, call)


def is_postgresql(following: Following) -> bool:
    """Whether the server is PostgreSQL: the driver only speaks to that, or what is held is only known there."""
    dialect, held = following.driver.dialect, following.held
    return dialect == "postgresql" or (dialect == "" and held is not None and held.by in _POSTGRESQL)


def _is_transactional(following: Following) -> bool:
    """Whether a rollback undoes what is said of it."""
    held = following.held
    return held is not None and held.kind is not HeldKind.LOCK and following.driver.dialect != "mysql"


def _undone(following: Following, state: State) -> bool:
    """Whether a rollback now undoes that it was set."""
    return state.session.fresh and _is_transactional(following)


def after(following: Following, call: g.Call, action: Action, state: State) -> State:
    """What a statement does to what is held."""
    held = following.held
    assert held is not None
    kind, name = action.kind, action.event.name
    if kind is SqlKind.DISCARD_ALL:
        if state.session.open is Open.YES and action.operation is None:
            return _near_miss(following, call, "DISCARD ALL fails inside a transaction", state)
        return following.done(call, state)
    if held.kind in ROLES and kind is SqlKind.RESET_ALL:
        return _near_miss(following, call, "RESET ALL does not touch the role: send RESET ROLE", state)
    if held.kind is HeldKind.AUTHORIZATION and kind is SqlKind.RESET_ROLE:
        why = "RESET ROLE does not end SET SESSION AUTHORIZATION: send RESET SESSION AUTHORIZATION"
        return _near_miss(following, call, why, state)
    if kind not in ENDS[held.kind] or action.event.local or id(call.node) == following.turns.taking:
        return state
    if kind is SqlKind.SET and held.kind is HeldKind.SETTING and name == held.name:
        following.restored_by.add((id(call.node), name))
    if kind in NAMED and None not in (name, held.name) and not _is_of(name, held):
        return state
    if state.session.open is Open.YES and not state.session.fresh and _is_transactional(following):
        return replace(state, session=replace(state.session, resetting=True))
    return following.done(call, state)


def refused(
    following: Following,
    call: g.Call,
    action: Action,
    state: State,
    why: str = "the server refuses it in a transaction that has failed",
) -> State:
    """The state after a statement that does nothing, though it would have ended what is held."""
    held = following.held
    if held is None or (action.kind not in ENDS[held.kind] and action.kind is not SqlKind.DISCARD_ALL):
        return state
    following.ended = True
    return _near_miss(following, call, why, state)


def unsent(following: Following, call: g.Call, actions: Sequence[Action], state: State) -> State:
    """The state after statements that never reach the server."""
    for action in actions if state.status is Status.HELD else ():
        if action.kind not in _TRANSACTION_ENDS:
            state = refused(following, call, action, state, NOT_AWAITED)
        elif following.held is None and state.session.open is Open.YES and not state.session.useless:
            following.event(EventKind.USELESS_END, call, NOT_AWAITED)
            state = replace(state, session=replace(state.session, useless=True))
        elif following.held is not None and following.held.kind is HeldKind.TRANSACTION:
            return following.done(call, state)  # reported there
    return state


def _near_miss(following: Following, instruction: g.Instruction, why: str, state: State) -> State:
    following.event(EventKind.NEAR_MISS, instruction, why)
    return missed(state, 2)


def after_end(following: Following, instruction: g.Instruction, kind: SqlKind, state: State) -> State:
    """What the end of the transaction does to what is held."""
    session = state.session
    if kind is SqlKind.ROLLBACK:
        if _undone(following, state) and following.for_caller:
            return replace(state, session=replace(session, fresh=False, undone=True))  # if it was set in this one
        if _undone(following, state):
            return following.done(instruction, state, by_statement=False)
        if session.resetting:
            state = _near_miss(following, instruction, "the rollback undoes the reset: the role is back", state)
        return replace(state, session=replace(state.session, resetting=False))
    if session.resetting:
        return following.done(instruction, state)
    return replace(state, session=replace(session, fresh=False, saved=session.saved or session.fresh))


def is_perhaps_begun(following: Following, state: State) -> bool:
    """Whether the driver opens a transaction by itself unless autocommit is on, of which nothing is known."""
    begins = following.driver.begins is Begins.FIRST_STATEMENT
    return begins and state.session.open is Open.NO and state.session.autocommit is None


def _passes_on(following: Following, state: State) -> OpenAtRelease:
    """What giving the connection back does with the transaction that is open in this state."""
    driver, session = following.driver, state.session
    manual = session.manual and (session.autocommit is True or driver.begins is Begins.NEVER)
    return driver.begun if manual else driver.open


def given_back(following: Following, state: State, *, committed: bool) -> str:
    """How what is held outlives giving the connection back; empty where it does not."""
    held, driver, session = following.held, following.driver, state.session
    assert held is not None
    opened = _passes_on(following, state)
    if held.kind in (HeldKind.TRANSACTION, HeldKind.SAVEPOINT):
        if opened is OpenAtRelease.PASSED_ON:
            return "passed on open to whoever takes the connection next"
        return "" if state.raised else ROLLED_BACK
    if not driver.pooled or held.kind.value in driver.clears:
        return ""
    if (session.open is Open.YES or is_perhaps_begun(following, state)) and not committed:
        if session.aborted and _undone(following, state):
            return ""  # all that whoever takes it next can do is to roll back
        if opened is OpenAtRelease.CLOSED or (_undone(following, state) and opened is OpenAtRelease.ROLLED_BACK):
            return ""
        if session.resetting and opened is OpenAtRelease.ROLLED_BACK:
            return "the pool's rollback undoes the reset"
        if session.resetting and session.aborted and _is_transactional(following):
            return "passed on in a transaction that has failed: the rollback that must follow undoes the reset"
        if session.resetting:
            return _PENDING if held.kind is HeldKind.LISTEN else ""
    elif session.resetting:
        return ""
    return "passed on to whoever takes the connection next"
