"""From what is held on connections to leaks: transactions left open, roles, settings, locks and subscriptions kept.

The connection's own leak comes first: where it is lost, what is open on it is not told besides.
"""

from __future__ import annotations

from itertools import dropwhile
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.driver_session import Begins
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.sessions.ending import ROLLED_BACK
from leakcheck.ownership.sessions.remedy import may_be_local
from leakcheck.ownership.sessions.session import HeldKind
from leakcheck.ownership.sessions.swallowed import is_swallowed
from leakcheck.ownership.state import Status
from leakcheck.ownership.steps import cause_text, path_steps, reason_text, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from leakcheck.ownership.explore import Ending
    from leakcheck.ownership.found import Fault, SessionFound
    from leakcheck.ownership.program import Program

_TRANSACTION = (LeakKind.TRANSACTION_NEVER_ENDED, LeakKind.TRANSACTION_ON_EXCEPTION, LeakKind.TRANSACTION_ON_PATH)
_ROLE = (LeakKind.ROLE_NEVER_RESET, LeakKind.ROLE_ON_EXCEPTION, LeakKind.ROLE_ON_PATH)
_KINDS = {
    HeldKind.TRANSACTION: _TRANSACTION,
    HeldKind.ROLE: _ROLE,
    HeldKind.AUTHORIZATION: _ROLE,
    HeldKind.SETTING: (LeakKind.SETTING_KEPT,) * 3,
    HeldKind.LOCK: (LeakKind.LOCK_KEPT,) * 3,
    HeldKind.LISTEN: (LeakKind.LISTENING_KEPT,) * 3,
    HeldKind.SAVEPOINT: (LeakKind.SAVEPOINT_ONLY,) * 3,
}
"""Where no path ends it, where only what raises leaves it, and where some quiet path does."""
_NEAR_MISSES = {
    HeldKind.TRANSACTION: LeakKind.END_DOES_NOTHING,
    HeldKind.ROLE: LeakKind.RESET_DOES_NOT_RESET,
    HeldKind.AUTHORIZATION: LeakKind.RESET_DOES_NOT_RESET,
    HeldKind.SETTING: LeakKind.RESET_DOES_NOT_RESET,
    HeldKind.LISTEN: LeakKind.RESET_DOES_NOT_RESET,
}
_NOUNS = {
    HeldKind.TRANSACTION: "transaction",
    HeldKind.SAVEPOINT: "savepoint",
    HeldKind.ROLE: "role",
    HeldKind.AUTHORIZATION: "session authorization",
    HeldKind.SETTING: "setting",
    HeldKind.LOCK: "lock",
    HeldKind.LISTEN: "subscription",
}


def session_leaks(
    found: Sequence[SessionFound],
    *,
    in_main: bool,
    ends_elsewhere: Callable[[bool], bool],
    said_beside: Callable[[str], bool],
) -> Iterator[tuple[SessionFound, Leak]]:
    """The leaks of all that a function takes on connections, one for each, with what it is about.

    ``ends_elsewhere``: whether other functions of the file end such things; True asks about roles. ``said_beside``:
    whether another method of the class names a setting.
    """
    restoring = {site for each in found for site in each.following.restored_by if site[0] != id(each.call.node)}
    for each in found:
        if (id(each.call.node), each.held.name) in restoring:
            continue  # it sets back what was set before
        if each.held.name is not None and _is_of_its_object(each) and said_beside(each.held.name):
            continue
        leak = _session_leak(each, in_main=in_main, ends_elsewhere=ends_elsewhere)
        if leak is not None:
            yield each, leak


def _session_leak(found: SessionFound, *, in_main: bool, ends_elsewhere: Callable[[bool], bool]) -> Leak | None:
    kept = [e for e in found.exploration.endings if e.state.status is Status.HELD]
    leaks = [e for e in kept if _counts(found, e) and not _is_known_to_its_object(found, e)]
    ended = found.following.ended or any(e.state.status is Status.MOVED for e in found.exploration.endings)
    if found.held.tried and ended and found.following.answered and not found.following.asked:
        return None  # what it does with the answer is not followed
    gone = any(e.state.session.gone for e in leaks)  # with the connection: nobody else can end it on that
    again = gone and bool(found.connection.names) and _is_set_again(found)
    alone = (gone and not again) or ended or not found.connection.names
    alone = alone or (not again and _is_alone(found, ends_elsewhere=ends_elsewhere))
    if not leaks or not alone:
        return None
    leaks.sort(key=lambda e: (e.state.raised, len(found.exploration.path(e.node))))
    quiet = [e for e in leaks if not e.state.raised]
    missed = [e for e in leaks if e.state.near_miss == 2]
    never, on_exception, on_path = _KINDS[found.held.kind]
    always = not ended and (bool(quiet) or not any(_ends_quietly(e) for e in found.exploration.endings))
    kind, ending = on_exception, leaks[0]
    if missed and found.held.kind in _NEAR_MISSES:
        kind, ending = _NEAR_MISSES[found.held.kind], missed[0]
    elif always:
        kind = never
    elif quiet:
        kind = on_path
    severity = Severity.ERROR if quiet or always else Severity.WARNING
    return _leak(found, kind, severity.lowered() if in_main else severity, ending)


def _is_of_its_object(found: SessionFound) -> bool:
    """Whether it is a setting of a connection that is not its own and goes back with no commit of this function."""
    gone = any(e.state.session.gone for e in found.exploration.endings)
    return found.held.kind is HeldKind.SETTING and bool(found.connection.names) and not gone


def kept_leak(found: SessionFound, severity: Severity, ending: Ending, *, raised: bool = True) -> Leak:
    """What is held after something raised, or whatever happens."""
    return _leak(found, _KINDS[found.held.kind][int(raised)], severity, ending)


def _is_known_to_its_object(found: SessionFound, ending: Ending) -> bool:
    """Whether what the object has noted decides that nothing is ended here, and elsewhere that it is."""
    decided = ending.state.session.decided
    if decided is None:
        return False
    subject, outcome = decided
    ends = (e.state.session.decided for e in found.exploration.endings if e.state.status is Status.RELEASED)
    return (subject, not outcome) in ends


def _ends_quietly(ending: Ending) -> bool:
    """Whether it has ended where nothing raised: by a rollback, say."""
    return ending.state.status is Status.RELEASED and not ending.state.raised


def _counts(found: SessionFound, ending: Ending) -> bool:
    """Whether a path that leaves it held is a fault of its own."""
    if ending.state.session.gone == ROLLED_BACK:
        lost = ending.state.session.changed or not found.following.ended
        return lost and not _is_passing(found, ending)
    if ending.state.session.gone:
        return True
    if not found.connection.names or ending.lost is not None:
        return False  # the connection itself is lost there, or somebody else's
    if found.connection.kept_here and found.unit.is_entering and ending.state.raised:
        return False  # so it is where entering raises: nobody leaves the block then
    match found.held.kind:
        case HeldKind.TRANSACTION:
            # A session has a transaction anyway, which whoever made it ends when something raises, BEGIN or not.
            commit = found.connection.resource.methods.get("commit")
            anyway = bool(found.held.text) and commit is not None and commit.pauses
            return not (ending.state.raised and (anyway or found.connection.torn_down or _is_inner(found)))
        case HeldKind.LOCK:
            return True
        case HeldKind.SAVEPOINT:
            return found.connection.autocommit is False and not ending.state.raised
        case HeldKind.ROLE | HeldKind.AUTHORIZATION:
            # Whoever gave the connection rolls back what a failed function did, which undoes it where it was set in
            # the caller's transaction.
            return not ending.state.raised or found.connection.driver.begins is Begins.NEVER
        case HeldKind.SETTING:
            # One connection serves this function and the next: what is reset when all goes well is kept when not. What
            # a quiet path leaves is meant to last, for the view behind a middleware say.
            driver, ended = found.connection.driver, found.following.ended and ending.state.raised
            return driver.pooled and driver.begins is Begins.NEVER and ended
        case _:
            return False


def _is_inner(found: SessionFound) -> bool:
    """Whether the function around this one gives it the connection, and is there to end what an error leaves open."""
    facts = found.unit.facts
    names = {p.name for p in facts.parameters} if facts is not None else set()
    return facts is not None and facts.parent is not None and found.connection.names <= names


def _is_passing(found: SessionFound, ending: Ending) -> bool:
    """Whether an exception from before is on its way out where the connection goes: its rollback is meant."""
    constants = found.unit.constants
    return constants is not None and ending.node.block not in constants.reach.returning


def _is_set_again(found: SessionFound) -> bool:
    """Whether the function says the name of a setting once more: a script sets it back behind the commit."""
    name = found.held.name
    text = found.unit.part.text(found.unit.node).casefold()
    return found.held.kind is HeldKind.SETTING and name is not None and text.count(name.casefold()) > 1


def _is_alone(found: SessionFound, *, ends_elsewhere: Callable[[bool], bool]) -> bool:
    """Whether nobody else is there to end what this function leaves on a connection that is not its own."""
    if found.held.kind is HeldKind.LOCK or (found.held.kind is HeldKind.TRANSACTION and found.by_project):
        return False
    facts = found.unit.facts
    name = facts.name.strip("_") if facts is not None else ""
    if name.startswith(_OPENING_NAMES):
        return False
    role = found.held.kind in (HeldKind.ROLE, HeldKind.AUTHORIZATION)
    works = any(e.state.session.worked for e in found.exploration.endings)
    works = works or found.connection.outside or _calls_back(found)
    return works and not ends_elsewhere(role)


def _calls_back(found: SessionFound) -> bool:
    """Whether the function then calls what it, or the one around it, was given to call: ``return view(request)``."""
    given = {p.name for facts in found.unit.scope.functions for p in facts.parameters}
    behind = dropwhile(lambda node: node is not found.call.node, walk(found.unit.node))
    return any(isinstance(n, cst.Call) and isinstance(n.func, cst.Name) and n.func.value in given for n in behind)


_OPENING_NAMES = (
    "begin", "start", "open", "set", "switch", "assume", "become", "use", "enter", "setup", "init", "connect",
    "configure", "on_", "before", "acquire", "lock", "as_", "impersonate", "prepare",
)  # fmt: skip
"""Functions named like these are there to leave it open."""


def _leak(found: SessionFound, kind: LeakKind, severity: Severity, ending: Ending) -> Leak:
    part, held = found.unit.part, found.held
    steps = [_start(found), *_path(found, ending)]
    said = short(found.unit, found.call.node)
    return Leak(
        kind=kind,
        severity=severity,
        span=part.span(found.call.node),
        statement=part.statement(found.call.node),
        steps=tuple(steps),
        acquire=held.text or said,
        release=found.release_text,
        name=held.name,
        cause=cause_text(found, ending, kind),
        reason=_reason(found, ending),
        noun=_NOUNS[held.kind],
        paused_by=_paused_by(found, ending),
        may_be_local=may_be_local(held, found.connection.driver.dialect),
    )


def _paused_by(found: SessionFound, ending: Ending) -> str:
    """The commit by which a session gives its connection back until its next statement, where the path ends by it."""
    node = ending.lost.node if ending.lost is not None else None
    call = node.expression if isinstance(node, cst.Await) else node
    method = ex.last_name(reduce(call.func)) if isinstance(call, cst.Call) else None
    methods = found.connection.resource.methods
    commit, operation = methods.get("commit"), methods.get(method or "")
    by_function = ending.state.session.saved and commit is not None and commit.pauses
    pauses = by_function or (operation is not None and operation.pauses)
    return short(found.unit, call) if pauses and isinstance(call, cst.Call) else ""


def _reason(found: SessionFound, ending: Ending) -> str:
    """Why what looks like its end is none, else how the connection went with it; for a lock only the former."""
    looked = reason_text(found, ending)
    known = ending.state.near_miss == 2 or found.held.kind is HeldKind.LOCK
    return looked if known and looked else "" if found.held.kind is HeldKind.LOCK else ending.state.session.gone


def _start(found: SessionFound) -> Step:
    verb = {
        HeldKind.TRANSACTION: "transaction begun here",
        HeldKind.SAVEPOINT: "only a savepoint: a transaction is open already",
        HeldKind.LOCK: "locked here",
        HeldKind.LISTEN: "subscribed here",
    }.get(found.held.kind, f"{_NOUNS[found.held.kind]} set here")
    return Step(StepKind.ACQUIRE, found.unit.path, found.unit.part.span(found.call.node), verb)


def _path(found: SessionFound, ending: Ending) -> Sequence[Step]:
    steps = list(path_steps(found, ending))
    gone = ending.state.session.gone
    if gone and ending.lost is not None:
        span = found.unit.part.span(ending.lost.node)
        steps = [s for s in steps if s.kind is not StepKind.CALL or s.span != span]  # on other paths it does not
        steps[-1] = Step(StepKind.RELEASE, found.unit.path, span, f"the connection goes back here: {gone}")
    return steps


_FAULTS = {
    EventKind.LOCAL_OUTSIDE: LeakKind.LOCAL_OUTSIDE,
    EventKind.COMMIT_AFTER_ERROR: LeakKind.COMMIT_AFTER_ERROR,
    EventKind.SLOW_CALL: LeakKind.SLOW_CALL,
    EventKind.USELESS_END: LeakKind.END_DOES_NOTHING,
    EventKind.BROKEN_CACHE: LeakKind.RESET_DOES_NOT_RESET,
    EventKind.KEPT_BY_POOL: LeakKind.ROLE_NEVER_RESET,
}
_FAULT_WORDS = {
    EventKind.LOCAL_OUTSIDE: "no transaction is open here",
    EventKind.COMMIT_AFTER_ERROR: "commits a transaction that has failed: the server rolls it back without an error",
    EventKind.SLOW_CALL: "the transaction is open meanwhile",
    EventKind.USELESS_END: "has no effect",
    EventKind.BROKEN_CACHE: "the driver goes on to use prepared statements that are gone",
    EventKind.KEPT_BY_POOL: "the connection that the pool took for it goes back with the role",
}
_BECAUSE_WORDS = {
    EventKind.COMMIT_AFTER_ERROR: (StepKind.RAISE, "may raise; the error is swallowed and the transaction goes on"),
    EventKind.SLOW_CALL: (StepKind.CALL, "the transaction ends here"),
    EventKind.USELESS_END: (StepKind.CALL, "runs outside the transaction that it was meant for"),
}


def fault_leak(program: Program, fault: Fault) -> Leak | None:
    """A statement in the wrong place."""
    event, unit = fault.event, fault.unit
    if event.kind is EventKind.COMMIT_AFTER_ERROR and not is_swallowed(program, fault):
        return None
    part, node = unit.part, event.instruction.node
    kept = event.kind is EventKind.KEPT_BY_POOL
    words = event.note if event.note and not kept else _FAULT_WORDS[event.kind]
    if event.kind is EventKind.SLOW_CALL and event.note:
        words = f"waits in `{event.note}`; {_FAULT_WORDS[event.kind]}"
    steps = [Step(StepKind.USE, unit.path, part.span(node), words)]
    cause = ""
    if event.because is not None:
        kind, words = _BECAUSE_WORDS[event.kind]
        step = Step(kind, unit.path, part.span(event.because.node), words)
        steps = [step, *steps] if kind is StepKind.RAISE else [*steps, step]
        cause = short(unit, event.because.node)
    severity = Severity.WARNING if event.kind in (EventKind.SLOW_CALL, EventKind.COMMIT_AFTER_ERROR) else Severity.ERROR
    return Leak(
        kind=_FAULTS[event.kind],
        severity=severity,
        span=part.span(node),
        statement=part.statement(node),
        steps=tuple(steps),
        acquire=event.note if kept else short(unit, node),
        release="",
        name=None,
        cause=cause,
        reason="" if kept else event.note,
        noun="role" if kept else "transaction",
        paused_by=short(unit, node) if kept else "",
    )
