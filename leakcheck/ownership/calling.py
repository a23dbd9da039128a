"""What a call does to one path.

A call is judged in this order: what its receiver is, what its arguments hold, what the callee is known to do.

    conn.close()        →   RELEASED
    pool.putconn(conn)  →   RELEASED
    rows = load(conn)   →   HELD still, where ``load`` only borrows
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.calls import CallKind
from leakcheck.cfg import graph as g
from leakcheck.cfg.conditions import OPEN_TESTS
from leakcheck.cfg.walk import literal_key
from leakcheck.driver import ALWAYS, RECEIVER, WithEffect
from leakcheck.ownership.obligation import EventKind, consumed, missed
from leakcheck.ownership.state import ALIASES, Box, Closure, Deferred, Fact, Hold, Status, refers
from leakcheck.ownership.summary import BORROWS, End
from leakcheck.project.facts import ENTERING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.calls import CallEffect
    from leakcheck.driver import Operation
    from leakcheck.ownership.obligation import Obligation, Outcome
    from leakcheck.ownership.state import State, Value

KEEPING_METHODS = frozenset({
    "append", "appendleft", "add", "insert", "extend", "put", "put_nowait", "push", "set", "setdefault", "update",
    "set_result", "send", "emit", "_replace",
})  # fmt: skip
"""Methods of unknown objects that keep what they are given, or pass it on: a list, a queue, a future, a signal."""
_READING = frozenset({"list", "tuple", "set", "dict", "sorted"})
"""Builtins that go through a cursor's rows."""
_AWAITING_END = frozenset({"wait_closed", "ensure_closed"})
"""Methods that only wait until what was closed is: they come after the release."""
_NOT_AWAITED = "it is a coroutine: without `await` nothing is released"
_LEAVING = frozenset({
    "__exit__", "__aexit__", "close", "aclose", "__next__", "__anext__", "throw", "athrow", "send", "asend",
})  # fmt: skip
"""Methods of a manager, or of a generator that was advanced, after which the resource is given back."""


def call_(obligation: Obligation, call: g.Call, state: State) -> Outcome:
    """Any call: by its receiver, then its arguments, then what is known of the callee."""
    receiver = state.get(call.receiver) if call.receiver else None
    if call.receiver and (receiver is Fact.NONE or call.receiver == g.NONE):
        return [], [state.bind(operands(call))]
    before = state
    state = state.bind(operands(call))
    held = [(a, before.get(a.operand)) for a in call.arguments]
    given = [(a, v) for a, v in held if v is not None and (refers(v) or isinstance(v, Closure))]
    _check_nested(obligation, call, before)
    callee = before.get(call.callee) if call.callee else None
    if callee is Hold.RELEASER or callee is Hold.GIVER:
        after = obligation.released(call, state) if callee is Hold.RELEASER else state.bind({call.target: Hold.OWN})
        return [after], [after] if callee is Hold.RELEASER else []
    if isinstance(callee, Closure):
        effect = obligation.callees.closure_effect(callee.define, obligation.resource, before)
        if effect is not BORROWS and obligation.callees.is_coroutine(call):
            return [state.bind({call.target: Deferred(effect)})], []
        if effect is not BORROWS:
            return obligation.affected(effect, state, call, call.target)
    if receiver in ALIASES:
        outcome = _method(obligation, call, state, call.method or "")
    elif receiver is Hold.DERIVED:
        outcome = _derived_method(obligation, call, state)
    elif receiver in (Hold.PENDING, Hold.MANAGER) and call.method in ENTERING:
        outcome = _entered_by_hand(call, before, state)
    elif receiver is Hold.MANAGER and call.method in _LEAVING:
        released = obligation.released(call, state)
        return [released], [released]
    elif receiver is Hold.MANAGER and call.method == "pop_all":
        return [state.bind({call.receiver or "": None, call.target: Hold.MANAGER})], []
    elif given:
        outcome = _given(obligation, call, given, before, state)
    else:
        outcome = _unrelated(obligation, call, before, state)
    normal, raised = outcome
    told = obligation.callees.connects(call, obligation.resource, before) if obligation.resource.is_lazy else None
    if told is not None:
        normal = [replace(s, connected=told, paused=s.paused or not told) for s in normal]
    if receiver is Fact.OPTIONAL:
        normal = [s.bind({call.receiver or "": Fact.TRUE}) for s in normal]  # a method of None would have raised
    if obligation.callees.gives_true(call):
        normal = [s.bind({call.target: Fact.TRUE}) for s in normal]
    ways = obligation.callees.ways_given(call, before)
    if ways is not None and ways.raises and ways.given_none:
        return normal if ways.returns else [], raised or [state]
    return normal, [] if obligation.callees.is_quiet(call) or (ways is not None and not ways.raises) else raised


def operands(call: g.Call) -> dict[str, Value | None]:
    """The operands that the call uses up, and its result, unknown so far."""
    changes: dict[str, Value | None] = {call.target: None}
    for operand in (call.receiver, call.callee, *(a.operand for a in call.arguments)):
        if operand is not None:
            changes.update(consumed(operand))
    return changes


def _method(obligation: Obligation, call: g.Call, state: State, name: str) -> Outcome:
    """A method of the resource itself."""
    leaving = obligation.resource.with_effect
    if name in ("__exit__", "__aexit__"):
        left = obligation.released(call, state) if leaving is WithEffect.RELEASES else state
        return [left], [left]
    operation = obligation.resource.methods.get(name)
    if operation is not None and operation.acquires_receiver:
        return obligation.opened(call, state, operation)
    if name in ENTERING:
        return [state.bind({call.target: Hold.OWN})], [] if leaving is WithEffect.RELEASES else [state]
    expected = id(call.node) in obligation.callees.expected_to_raise
    if operation is not None and state.status is Status.RELEASED and not expected and _reopens(call, operation):
        return [obligation.taken_now(call, state)], [state]
    if operation is None and name in _AWAITING_END:
        return [state], [state]
    if operation is None and name in OPEN_TESTS:
        return [state], []
    if operation is None:
        normal, raised = obligation.used(call, state)
        given = Hold.OWN if obligation.callees.gives_receiver(call) else None
        return [s.bind({call.target: given}) for s in normal], raised
    if obligation.is_own_release(operation):
        return _release_call(obligation, call, state, operation)
    if operation.near_miss:
        if state.status is Status.HELD:
            obligation.event(EventKind.NEAR_MISS, call, operation.near_miss)
            state = missed(state, 2)
        return [state], [state]
    if operation.pauses and operation.derives is None:
        return [replace(state, paused=True, connected=False)], [state]
    if operation.idle and state.status is Status.RELEASED:
        return [state], []
    normal, raised = obligation.used(call, state)
    if operation.pauses:
        raised = []  # it only starts a block that commits
    if operation.derives is not None:
        same = operation.derives == obligation.resource.id
        if same and (call.receiver or "").startswith("%"):
            raised = []  # it only sets options: `engine.connect().execution_options(...)`
        value = Hold.OWN if same else obligation.callees.derived(operation.derives)
        normal = [s.bind({call.target: value}) for s in normal]
    return normal, raised


def _release_call(obligation: Obligation, call: g.Call, state: State, operation: Operation) -> Outcome:
    if operation.awaited and state.status is Status.HELD:
        if obligation.callees.is_awaited(call):
            waiting = state.bind({call.target: Hold.RELEASING})
            return [waiting], obligation.releasing(call, state)[1]
        obligation.event(EventKind.NEAR_MISS, call, _NOT_AWAITED)
        return [missed(state, 2).bind({call.target: Hold.RELEASING})], [state]
    normal, raised = obligation.releasing(call, state)
    if operation.releases == RECEIVER or any(_is_set(a, operation.closed_by) for a in call.arguments):
        return [replace(s, closed=True) for s in normal], [replace(s, closed=True) for s in raised]
    return normal, raised


def _reopens(call: g.Call, operation: Operation) -> bool:
    """Whether it connects again where the connection was closed: ``conn.ping(reconnect=True)``."""
    if operation.reopens in ("", ALWAYS):
        return operation.reopens == ALWAYS and all(a.operand != g.FALSE for a in call.arguments)
    return any(a.operand == g.TRUE and a.keyword in (None, operation.reopens) for a in call.arguments)


def _is_set(argument: g.Argument, keyword: str) -> bool:
    return bool(keyword) and argument.keyword == keyword and argument.operand == g.TRUE


def _derived_method(obligation: Obligation, call: g.Call, state: State) -> Outcome:
    if call.method in ("close", "aclose"):
        return [state], [state]
    normal, raised = obligation.used(call, state)
    executes = obligation.resource.methods.get("execute") if call.method == "execute" else None
    if call.method in ("__enter__", "__aenter__", "cursor") or (executes is not None and executes.derives is not None):
        # A cursor's own `execute()` gives a cursor where that of the connection does: elsewhere a number, or None.
        normal = [s.bind({call.target: Hold.DERIVED}) for s in normal]
    return normal, raised


def _entered_by_hand(call: g.Call, before: State, state: State) -> Outcome:
    held = state.with_status(Status.HELD).bind({call.target: Hold.OWN})
    receiver = call.receiver or ""
    held = held.bind({receiver: Hold.MANAGER}) if not receiver.startswith("%") else held
    if call.method == "__aenter__" and before.status is Status.WAITING:
        held = held.with_status(Status.WAITING).bind({call.target: Hold.PENDING})
    return [held], [state]


def _unrelated(obligation: Obligation, call: g.Call, before: State, state: State) -> Outcome:
    """A call that is given nothing of the resource; a nested function may still release what it captured."""
    if obligation.callees.closes_pool(call, obligation.pool):
        # Who has it may give it back once more: the pool knows what it closed.
        released = replace(obligation.released(call, state, by_with=True), release_raised=True)
        return [released], [released]
    for attribute in _kept_by_receiver(call, before):
        effect = obligation.callees.attribute_effect(call, attribute, obligation.resource, before)
        if effect is not BORROWS:
            return obligation.affected(effect, state, call, call.target)
    captured = obligation.callees.captured_effect(call, obligation.resource, before)
    if captured is not None and captured is not BORROWS:
        return obligation.affected(captured, state, call, call.target)
    holder = before.get(call.receiver) if call.receiver is not None else None
    if isinstance(holder, Box) and call.method in ("values", "items") and not call.arguments:
        return [state.bind({call.target: holder.values if call.method == "values" else holder.pairs})], []
    if isinstance(holder, Box) and call.method == "get" and call.arguments:
        return [state.bind({call.target: holder.at(_literal_key(call))})], []
    if call.func == ex.Name("locals") and not call.arguments:
        return [state.bind({call.target: _variables(before)})], []
    return [state.bind({call.target: obligation.callees.given_by(call)})], [state]


def _kept_by_receiver(call: g.Call, state: State) -> Iterator[str]:
    """The attributes in which the object whose method is called keeps the resource: ``self.db.commit()``."""
    path = ex.dotted(call.func.base) if isinstance(call.func, ex.Attribute) else None
    for receiver in dict.fromkeys(filter(None, (call.receiver, path))):
        own = (n for n, v in state.variables if v is Hold.OWN and n.startswith(f"{receiver}."))
        yield from (name.removeprefix(f"{receiver}.") for name in own)


def _literal_key(call: g.Call) -> str | int | None:
    """The key that a call asks for, where it is a literal."""
    return literal_key(call.node.args[0].value) if isinstance(call.node, cst.Call) else None


def _variables(state: State) -> Box | None:
    """What ``locals()`` gives: each variable that leads to the resource, under its name."""
    held = tuple((name, value) for name, value in state.variables if name.isidentifier() and refers(value))
    return Box(held) if held else None


def _given(
    obligation: Obligation, call: g.Call, given: list[tuple[g.Argument, Value]], before: State, state: State
) -> Outcome:
    """The resource, or something that holds it, is an argument."""
    argument, value = _telling(obligation, call, given, before)
    release = obligation.callees.release_of(call, argument, obligation.resource, obligation.pool)
    if release is not None and value in ALIASES:
        if release.near_miss:
            if state.status is Status.HELD:
                obligation.event(EventKind.NEAR_MISS, call, release.near_miss)
            return [missed(state, 2)], [state]
        return _release_call(obligation, call, state, release)
    if isinstance(value, Closure) or value is Hold.RELEASER:
        return _escaping(obligation, call, value, before, state)
    if value is Hold.PENDING:
        return _pending_given(obligation, call, state)
    if value is Hold.DERIVED and not obligation.ends_by_cursor(call):
        return obligation.used(call, state) if ex.dotted(call.func) in _READING else ([state], [state])
    if value is Hold.MANAGER and ex.dotted(call.func) in ("next", "anext"):
        released = obligation.released(call, state)  # its generator goes on behind the `yield`
        return [released], [released]
    known = obligation.callees.known_call(call)
    if obligation.callees.is_partial(call):
        releases = obligation.callees.partial_effect(call, argument, obligation.resource).releases
        return [state.bind({call.target: Hold.RELEASER if releases else None})], []
    if value is Hold.RELEASING:
        passes = known is not None and known.kind in (CallKind.PASSES, CallKind.SPAWNS)
        return [state.bind({call.target: value}) if passes else obligation.released(call, state)], []
    if known is not None:
        return _known(obligation, known, call, value, state)
    if isinstance(value, Deferred):
        after = state.with_status(Status.MOVED) if value.effect.releases else state
        return [after], [state]
    if value in ALIASES and obligation.callees.registers_release(call):
        if obligation.callees.is_manager(call):
            return [state.bind({call.target: Hold.MANAGER})], []
        obligation.event(EventKind.TRANSFER, call)
        return [state.with_status(Status.MOVED)], []
    if call.method in KEEPING_METHODS and not obligation.callees.is_resolved(call):
        obligation.event(EventKind.TRANSFER, call)
        return [state.with_status(Status.MOVED)], []
    effect = obligation.callees.argument_effect(call, argument, obligation.resource, before)
    if obligation.callees.is_manager(call) and effect.releases:
        _, raised = obligation.affected(effect, state, call, call.target)  # what comes before its `yield` may raise
        return [state.bind({call.target: Hold.MANAGER})], raised
    if obligation.callees.is_coroutine(call):
        if effect.normal == {End.RELEASED} and state.status is Status.HELD and not obligation.callees.is_awaited(call):
            obligation.event(EventKind.NEAR_MISS, call, _NOT_AWAITED)
            state = missed(state, 2)
        return [state.bind({call.target: Deferred(effect)})], []
    callees = obligation.callees
    if obligation.resource.is_owner and not callees.is_resolved(call) and not callees.is_quiet(call):
        obligation.event(EventKind.TRANSFER, call)  # a whole object given away: its new holder closes it
        return [state.with_status(Status.MOVED)], []
    field_name = obligation.callees.boxed_field(call, argument, obligation.resource) if effect is BORROWS else None
    if field_name is not None and value is Hold.OWN:
        return [state.bind({call.target: Box(((field_name, Hold.OWN),))})], [state]
    if effect is BORROWS:
        normal, raised = obligation.used(call, state, borrowed=True)
        maybe = Hold.MAYBE if not obligation.callees.is_resolved(call) else None
        return [s.bind({call.target: maybe}) for s in normal], raised
    return obligation.affected(effect, state, call, call.target)


def _telling(
    obligation: Obligation, call: g.Call, given: list[tuple[g.Argument, Value]], before: State
) -> tuple[g.Argument, Value]:
    """The argument that decides: the first with which the callee does more than borrow it; cursors come last."""
    held = [(a, v) for a, v in given if v is not Hold.DERIVED] or given
    callees, resource = obligation.callees, obligation.resource
    for argument, value in held if len(held) > 1 else ():
        released = callees.release_of(call, argument, resource, obligation.pool)
        if released is not None or callees.argument_effect(call, argument, resource, before) is not BORROWS:
            return argument, value
    return held[0]


def _escaping(obligation: Obligation, call: g.Call, value: Value, before: State, state: State) -> Outcome:
    """A callable that may release is handed on: whoever has it now releases."""
    if before.status is Status.RELEASED:
        return [state], [state]
    if isinstance(value, Closure):
        effect = obligation.callees.closure_effect(value.define, obligation.resource, before)
        if not effect.hands_on:
            return [state], [state]
    if obligation.callees.is_loose_stack(call):
        return [_on_stack(call, state)], []
    obligation.event(EventKind.TRANSFER, call)
    return [state.with_status(Status.MOVED)], []


def _on_stack(call: g.Call, state: State) -> State:
    """The state after an exit stack took over the release: it gives back when it is closed, not before."""
    return state.bind({call.receiver or "": Hold.MANAGER})


def _pending_given(obligation: Obligation, call: g.Call, state: State) -> Outcome:
    known = obligation.callees.known_call(call)
    match known.kind if known is not None else None:
        case CallKind.PASSES | CallKind.SPAWNS:
            return [state.bind({call.target: Hold.PENDING})], [state]
        case CallKind.RUNS:
            return [state.with_status(Status.HELD).bind({call.target: obligation.fresh()})], []
        case CallKind.ENTERS if obligation.callees.is_loose_stack(call):
            target = Hold.PENDING if known is not None and known.awaited else Hold.OWN
            status = state.status if target is Hold.PENDING else Status.HELD
            return [_on_stack(call, state).with_status(status).bind({call.target: target})], []
        case CallKind.ENTERS:
            return [state.with_status(Status.MOVED)], []
        case _:
            return [], []


def _known(obligation: Obligation, known: CallEffect, call: g.Call, value: Value, state: State) -> Outcome:
    """Calls of Python's own library that pass on, manage, register or spawn."""
    match known.kind:
        case CallKind.MANAGES:
            operation = obligation.resource.methods.get(known.releases) if known.releases else None
            if operation is not None and operation.releases != "receiver":
                return [missed(state, 2)], [state]
            return [state.bind({call.target: Hold.MANAGER})], []
        case CallKind.ENTERS if value is Hold.OWN and obligation.resource.with_effect is not WithEffect.RELEASES:
            if state.status is Status.HELD:
                obligation.event(EventKind.NEAR_MISS, call)
                state = missed(state, 1)
            return [state.bind({call.target: Hold.OWN})], [state]
        case CallKind.ENTERS | CallKind.REGISTERS if obligation.callees.is_loose_stack(call):
            return [_on_stack(call, state).bind({call.target: Hold.OWN})], []
        case CallKind.ENTERS | CallKind.REGISTERS:
            obligation.event(EventKind.TRANSFER, call)
            return [state.with_status(Status.MOVED).bind({call.target: Hold.OWN})], []
        case CallKind.SPAWNS:
            effect = obligation.callees.spawned_effect(call, obligation.resource)
            if isinstance(value, Deferred):
                effect = value.effect
            if effect.releases:
                obligation.event(EventKind.TRANSFER, call)
                return [state.with_status(Status.MOVED)], []
            return [state], [state]
        case CallKind.PASSES | CallKind.RUNS:
            if isinstance(value, Deferred) and known.kind is CallKind.RUNS:
                return obligation.affected(value.effect, state, call, call.target)
            return [state.bind({call.target: value})], [] if value is Hold.OWN else [state]  # its awaitable only
    return [state], [state]


def _check_nested(obligation: Obligation, call: g.Call, state: State) -> None:
    """Tell of a second checkout from the pool that the resource came from, made while it is held."""
    given = (call.receiver, *(a.operand for a in call.arguments))
    if any(state.get(o) in (Hold.OWN, Hold.DERIVED, Hold.MANAGER) for o in given if o is not None):
        return  # it is handed the connection that is held
    if obligation.resource.shared or (obligation.pool is None and obligation.place is None):
        return
    if obligation.place is None and obligation.callees.makes(obligation.pool):
        return  # nobody else waits for a connection of this pool
    waits = obligation.resource.is_lazy and not state.connected
    if state.status is Status.HELD and not state.paused and not waits and call.node is not obligation.site:
        steps = obligation.callees.checks_out_from(call, obligation.pool, obligation.place, obligation.resource)
        if steps is not None:
            obligation.event(EventKind.NESTED, call, steps=steps)
