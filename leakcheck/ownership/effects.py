"""What one instruction does to one path: the transfer function for a single resource.

    Effects(context).apply(instruction, state) → (states after, states when it raises)

A call is judged in this order: what its receiver is, what its arguments hold, what the callee is known to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.calls import CallKind
from leakcheck.cfg import graph as g
from leakcheck.cfg.lower import OPEN_TESTS
from leakcheck.driver import Protocol, ReleaseTwice, UseAfterRelease, WithEffect
from leakcheck.ownership.constants import flag
from leakcheck.ownership.state import (
    ALIASES,
    Box,
    Closure,
    Deferred,
    Fact,
    Hold,
    State,
    Status,
    Value,
    refers,
)
from leakcheck.ownership.summary import BORROWS, Effect, End

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakcheck.calls import CallEffect
    from leakcheck.driver import DriverClass, Operation
    from leakcheck.ownership.callees import Callees

_LITERALS: dict[str, Fact] = {g.NONE: Fact.NONE, g.TRUE: Fact.TRUE, g.FALSE: Fact.FALSE}
BACK_TO_OWNER = frozenset({"connection", "conn", "_connection", "_conn"})
"""Attributes of a cursor that are its connection."""
_KEEPING_METHODS = frozenset({
    "append", "appendleft", "add", "insert", "extend", "put", "put_nowait", "push", "set", "setdefault", "update",
    "set_result", "send",
})  # fmt: skip


class EventKind(Enum):
    """What the explorer wants to know besides the states."""

    RELEASE = "release"
    NEAR_MISS = "near-miss"
    RELEASED_TWICE = "released-twice"
    USED_AFTER = "used-after"
    NESTED = "nested"
    TRANSFER = "transfer"
    BORROW = "borrow"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at an instruction; ``note`` is the driver's reason or the callee's name."""

    kind: EventKind
    instruction: g.Instruction
    note: str = ""


Outcome = tuple[list[State], list[State]]


@dataclass(slots=True)
class Effects:
    """The transfer function for one resource in one function. ``site`` is the syntax of its acquire (None when
    a parameter or attribute is followed), ``pool`` the text of the pool it came from."""

    resource: DriverClass
    pool: str | None
    site: object
    callees: Callees
    position: str | int | None = None
    companions: tuple[str | int | None, ...] = ()
    """Items beside it that live by it: the cursor of ``conn, cur = take()``."""
    takes_receiver: bool = False
    entering: bool = False
    """In ``__enter__`` what is kept on self stays owed until the method returns."""
    events: list[Event] = field(default_factory=list)
    bound_to: str | None = None
    """The first source name that held the resource."""

    def apply(self, instruction: g.Instruction, state: State) -> Outcome:
        """The states after the instruction, and those on its exception edges."""
        return _HANDLERS[type(instruction)](self, instruction, state)

    # Plain data movement

    def value_of(self, operand: str, state: State) -> Value | None:
        return _LITERALS.get(operand) or state.get(operand)

    def _move(self, instruction: g.Move, state: State) -> Outcome:
        value = self.value_of(instruction.value, state)
        if value is Hold.MAYBE:  # `conn = prepare(conn)` goes on being the resource, `rows = load(conn)` does not
            value = Hold.OWN if state.get(instruction.target) is Hold.OWN else None
        return self._bound(instruction.target, value, state, used=instruction.value)

    def _null_test(self, instruction: g.NullTest, state: State) -> Outcome:
        value = flag(
            self.value_of(instruction.subject, state), negated=instruction.negated, subject=instruction.subject
        )
        return [state.bind({instruction.target: value})], [state]

    def _bound(self, target: str, value: Value | None, state: State, *, used: str = "") -> Outcome:
        if value in ALIASES and self.bound_to is None and target[0] != "%":
            self.bound_to = target
        after = state.bind({**_consumed(used), target: value})
        return [after], [state]

    def _load_attribute(self, instruction: g.LoadAttribute, state: State) -> Outcome:
        base, name = self.value_of(instruction.base, state), instruction.name
        value: Value | None = None
        if base in ALIASES:
            operation = self.resource.methods.get(name)
            if operation is not None and operation.releases == "receiver":
                value = Hold.RELEASER
            elif name in self.resource.attributes and self.callees.is_connection(self.resource.attributes[name]):
                value = Hold.OWN  # `engine.connect().connection`: closing it gives the connection back
        elif base is Hold.DERIVED and name in BACK_TO_OWNER:
            value = Hold.OWN
        elif isinstance(base, Box):
            value = _item(base, name)
        else:
            value = state.get(f"{instruction.base}.{name}")
        return self._bound(instruction.target, value, state, used=instruction.base)

    def _load_item(self, instruction: g.LoadItem, state: State) -> Outcome:
        base = self.value_of(instruction.base, state)
        value = _item(base, instruction.key) if isinstance(base, Box) else None
        return self._bound(instruction.target, value, state, used=instruction.base)

    def _iterate(self, instruction: g.Iterate, state: State) -> Outcome:
        base = state.get(instruction.iterable)
        value = _item(base, None) if isinstance(base, Box) else None
        return self._bound(instruction.target, value, state)

    def _build(self, instruction: g.Build, state: State) -> Outcome:
        held = [(key, state.get(operand)) for key, operand in instruction.items]
        kept = tuple((k, v) for k, v in held if v is not None and (v is Hold.DERIVED or self.keeps(v, state)))
        if all(value is Hold.DERIVED for _, value in kept):
            kept = ()
        changes: dict[str, Value | None] = {}
        for _, operand in instruction.items:
            changes.update(_consumed(operand))
        changes[instruction.target] = Box(kept) if kept else Fact.TRUE if instruction.items else None
        return [state.bind(changes)], [state]

    def _forget(self, instruction: g.Forget, state: State) -> Outcome:
        return [state.bind(dict.fromkeys(instruction.names))], [state]

    def _define(self, instruction: g.Define, state: State) -> Outcome:
        return [state.bind({instruction.target: Closure(instruction)})], [state]

    def _point(self, point: g.Point, state: State) -> Outcome:
        unpacks_known = point.operand is not None and isinstance(state.get(point.operand), Box)
        return [state], [] if unpacks_known else [state]

    # Stores

    def _store(self, operand: str, state: State, instruction: g.Instruction, *, moved_to: str | None = None) -> Outcome:
        value = state.get(operand)
        after = state.bind(_consumed(operand))
        if value is Hold.PENDING:
            return [], []  # nothing is taken yet, and whoever has it now decides
        if self.keeps(value, after) and not self._is_managed(after):
            self._event(EventKind.TRANSFER, instruction)
            return [after.with_status(Status.MOVED, moved_to)], [state]
        return [after], [state]

    def _is_managed(self, state: State) -> bool:
        """Whether a ``with`` around this place releases it, whoever else refers to it."""
        releases = self.resource.with_effect is WithEffect.RELEASES
        return any(
            n.startswith("%with") and (v is Hold.MANAGER or (v is Hold.OWN and releases)) for n, v in state.variables
        )

    def keeps(self, value: Value | None, state: State) -> bool:
        """Whether whoever gets this value owes the release."""
        if state.status is Status.RELEASED or value is None:
            return False
        if isinstance(value, Closure):
            return self.callees.closure_effect(value.define, self.resource, state).releases
        if isinstance(value, Deferred):
            return value.effect.releases
        return value is not Hold.DERIVED and refers(value)

    def _store_attribute(self, instruction: g.StoreAttribute, state: State) -> Outcome:
        value = state.get(instruction.value)
        base = state.get(instruction.base)
        path = f"{instruction.base}.{instruction.name}"
        if base in ALIASES:
            return self._used(instruction, state.bind(_consumed(instruction.value)))
        if state.get(path) is not None and value is not Hold.OWN:
            cleared = state.bind({path: self.value_of(instruction.value, state), **_consumed(instruction.value)})
            return [cleared], [state]
        known = self.value_of(instruction.value, state)
        if self.entering and instruction.path == "self" and value is Hold.OWN:
            return [state.bind({**_consumed(instruction.value), path: Hold.OWN})], [state]
        outcome = self._store(
            instruction.value,
            state,
            instruction,
            moved_to=instruction.name
            if instruction.path in ("self", "cls")
            else f"{instruction.path}.{instruction.name}",
        )
        if isinstance(known, Fact):
            subject = _path_subject(instruction)
            outcome[0][:] = [s.bind({subject: known}) if subject else s for s in outcome[0]]
        return outcome

    def _store_item(self, instruction: g.StoreItem, state: State) -> Outcome:
        outcome = self._store(instruction.value, state, instruction)
        if any(s.status is Status.MOVED for s in outcome[0]):
            return outcome[0], []
        outcome[0][:] = [s.bind(_consumed(instruction.base)) for s in outcome[0]]
        return outcome

    def _store_global(self, instruction: g.StoreGlobal, state: State) -> Outcome:
        return self._store(instruction.value, state, instruction)

    # Awaiting, entering, yielding

    def _await(self, instruction: g.Await, state: State) -> Outcome:
        value = state.get(instruction.value)
        failed = state.bind(_consumed(instruction.value))
        if value is Hold.PENDING:
            return [failed.bind({instruction.target: self._fresh()}).with_status(Status.HELD)], []
        if value is Hold.RELEASING:
            released = self._released(instruction, failed)
            return [released], [released]
        if isinstance(value, Deferred):
            normal, raised = self._affected(value.effect, failed, instruction, instruction.target)
            return normal, raised
        kept = value if value in (Fact.TRUE, Hold.MAYBE, Hold.DERIVED, Hold.OWN) else None
        raised = [] if self.callees.is_quiet_await(instruction) else [failed]
        return [failed.bind({instruction.target: kept})], raised

    def _enter(self, instruction: g.Enter, state: State) -> Outcome:
        value = state.get(instruction.manager)
        if value is Hold.PENDING:
            entered = state.with_status(Status.HELD).bind(
                {instruction.manager: Hold.MANAGER, instruction.target: Hold.OWN}
            )
            return [entered], []
        if value is Hold.OWN:
            if self.resource.with_effect is WithEffect.ERROR:
                return [], [state]
            raised = [] if self.resource.with_effect is WithEffect.RELEASES else [state]
            return [state.bind({instruction.target: Hold.OWN})], raised
        if value is Hold.MANAGER:
            return [state.bind({instruction.target: Hold.OWN})], []
        if value is Fact.NONE:
            return [], [state]
        raised = [] if self.callees.is_quiet_enter(instruction) else [state]
        return [state.bind({instruction.target: None})], raised

    def _exit(self, instruction: g.Exit, state: State) -> Outcome:
        value = state.get(instruction.manager)
        after = state.bind({instruction.manager: None})
        if value is Hold.MANAGER:
            return [self._released(instruction, after, by_with=True)], []
        if value is Hold.OWN:
            if self.resource.with_effect is WithEffect.RELEASES:
                return [self._released(instruction, after, by_with=True)], []
            if after.status is Status.HELD:
                self._event(EventKind.NEAR_MISS, instruction)
                after = _missed(after, 1)
        return [after], []

    def _yield(self, instruction: g.Yield, state: State) -> Outcome:
        after = state.bind({**_consumed(instruction.value), instruction.target: None})
        return [after], [after]

    # Calls

    def _call(self, call: g.Call, state: State) -> Outcome:
        receiver = state.get(call.receiver) if call.receiver else None
        if call.receiver and (receiver is Fact.NONE or call.receiver == g.NONE):
            return [], [state.bind(self._operands(call))]
        before = state
        state = state.bind(self._operands(call))
        held = [(a, before.get(a.operand)) for a in call.arguments]
        given = [(a, v) for a, v in held if v is not None and (refers(v) or isinstance(v, Closure))]
        self._check_nested(call, before)
        callee = before.get(call.callee) if call.callee else None
        if callee is Hold.RELEASER:
            released = self._released(call, state)
            return [released], [released]
        if isinstance(callee, Closure):
            effect = self.callees.closure_effect(callee.define, self.resource, before)
            if effect is not BORROWS:
                return self._affected(effect, state, call, call.target)
        if receiver in ALIASES:
            outcome = self._method(call, state, call.method or "")
        elif receiver is Hold.DERIVED:
            outcome = self._derived_method(call, state)
        elif receiver in (Hold.PENDING, Hold.MANAGER) and call.method in ("__enter__", "__aenter__"):
            outcome = self._entered_by_hand(call, before, state)
        elif receiver is Hold.MANAGER and call.method in ("__exit__", "__aexit__", "close", "aclose"):
            released = self._released(call, state)
            return [released], [released]
        elif given:
            outcome = self._given(call, given, before, state)
        else:
            outcome = self._unrelated(call, before, state)
        if self.callees.is_quiet(call):
            outcome = (outcome[0], [])
        return outcome

    @staticmethod
    def _operands(call: g.Call) -> dict[str, Value | None]:
        """The operands that the call uses up, and its result, unknown so far."""
        changes: dict[str, Value | None] = {call.target: None}
        for operand in (call.receiver, call.callee, *(a.operand for a in call.arguments)):
            if operand is not None:
                changes.update(_consumed(operand))
        return changes

    def _method(self, call: g.Call, state: State, name: str) -> Outcome:
        """A method of the resource itself."""
        if name in ("__enter__", "__aenter__"):
            return [state.bind({call.target: Hold.OWN})], [state]
        if name in ("__exit__", "__aexit__"):
            if self.resource.with_effect is WithEffect.RELEASES:
                released = self._released(call, state)
                return [released], [released]
            return [state], [state]
        operation = self.resource.methods.get(name)
        if operation is not None and operation.acquires_receiver:
            return [state.with_status(Status.HELD)], [state]  # opened again
        if operation is None:
            return ([state], [state]) if name in OPEN_TESTS else self._used(call, state)
        if operation.releases == "receiver":
            return self._release_call(call, state, operation)
        if operation.near_miss and not self.callees.option_set(operation.near_miss_unless, self.pool):
            if state.status is Status.HELD:
                self._event(EventKind.NEAR_MISS, call, operation.near_miss)
                state = _missed(state, 2)
            return [state], [state]
        if operation.near_miss:
            return self._release_call(call, state, operation)
        if operation.pauses:
            return [replace(state, paused=True)], [state]
        normal, raised = self._used(call, state)
        if operation.derives is not None:
            value = Hold.OWN if operation.derives == self.resource.id else self.callees.derived(operation.derives)
            normal = [s.bind({call.target: value}) for s in normal]
        return normal, raised

    def _release_call(self, call: g.Call, state: State, operation: Operation) -> Outcome:
        if operation.awaited and state.status is Status.HELD:
            if self.callees.is_awaited(call):
                waiting = state.bind({call.target: Hold.RELEASING})
                return [waiting], [self._released(call, state)]
            self._event(EventKind.NEAR_MISS, call, "it is a coroutine: without `await` nothing is released")
            return [_missed(state, 2).bind({call.target: Hold.RELEASING})], [state]
        released = self._released(call, state)
        return [released], [released]

    def _derived_method(self, call: g.Call, state: State) -> Outcome:
        if call.method in ("close", "aclose"):
            return [state], [state]
        normal, raised = self._used(call, state)
        if call.method in ("__enter__", "__aenter__", "execute", "cursor"):
            normal = [s.bind({call.target: Hold.DERIVED}) for s in normal]
        return normal, raised

    def _entered_by_hand(self, call: g.Call, before: State, state: State) -> Outcome:
        held = state.with_status(Status.HELD).bind({call.target: Hold.OWN})
        receiver = call.receiver or ""
        held = held.bind({receiver: Hold.MANAGER}) if not receiver.startswith("%") else held
        if call.method == "__aenter__" and before.status is Status.WAITING:
            held = held.with_status(Status.WAITING).bind({call.target: Hold.PENDING})
        return [held], [state]

    def _unrelated(self, call: g.Call, before: State, state: State) -> Outcome:
        """A call that is given nothing of the resource; a nested function may still release what it captured."""
        if self.callees.closes_pool(call, self.pool):
            released = self._released(call, state, by_with=True)
            return [released], [released]
        kept = next((n for n, v in before.variables if v is Hold.OWN and n.startswith(f"{call.receiver}.")), None)
        if call.receiver is not None and kept is not None:
            effect = self.callees.attribute_effect(call, kept.partition(".")[2], self.resource)
            if effect is not BORROWS:
                return self._affected(effect, state, call, call.target)
        effect = self.callees.captured_effect(call, self.resource, before)
        if effect is not None and effect is not BORROWS:
            return self._affected(effect, state, call, call.target)
        known = Fact.TRUE if self.callees.takes_value(call) else None
        return [state.bind({call.target: known})], [state]

    def _given(self, call: g.Call, given: list[tuple[g.Argument, Value]], before: State, state: State) -> Outcome:
        """The resource, or something that holds it, is an argument."""
        argument, value = given[0]
        release = self.callees.release_of(call, argument, self.resource, self.pool)
        if release is not None and value in ALIASES:
            if release.near_miss:
                if state.status is Status.HELD:
                    self._event(EventKind.NEAR_MISS, call, release.near_miss)
                return [_missed(state, 2)], [state]
            return self._release_call(call, state, release)
        if isinstance(value, Closure) or value is Hold.RELEASER:
            return self._escaping(call, value, before, state)
        if value is Hold.PENDING:
            return self._pending_given(call, state)
        if value is Hold.DERIVED:
            return [state], [state]
        known = self.callees.known_call(call)
        if self.callees.is_partial(call):
            releases = self.callees.partial_effect(call, argument, self.resource).releases
            return [state.bind({call.target: Hold.RELEASER if releases else None})], []
        if value is Hold.RELEASING:
            passes = known is not None and known.kind in (CallKind.PASSES, CallKind.RUNS, CallKind.SPAWNS)
            return [state.bind({call.target: value}) if passes else self._released(call, state)], []
        if known is not None:
            return self._known(known, call, value, state)
        if isinstance(value, Deferred):
            after = state.with_status(Status.MOVED) if value.effect.releases else state
            return [after], [state]
        if call.method in _KEEPING_METHODS and not self.callees.is_resolved(call):
            self._event(EventKind.TRANSFER, call)
            return [state.with_status(Status.MOVED)], []
        effect = self.callees.argument_effect(call, argument, self.resource)
        if self.callees.is_manager(call) and effect.releases:
            return [state.bind({call.target: Hold.MANAGER})], [state]
        if self.callees.is_coroutine(call):
            return [state.bind({call.target: Deferred(effect)})], []
        if not self.callees.is_resolved(call) and ":" in self.resource.id:
            self._event(EventKind.TRANSFER, call)  # a whole object given away: its new holder closes it
            return [state.with_status(Status.MOVED)], []
        field_name = self.callees.boxed_field(call, argument, self.resource) if effect is BORROWS else None
        if field_name is not None and value is Hold.OWN:
            return [state.bind({call.target: Box(((field_name, Hold.OWN),))})], [state]
        if effect is BORROWS:
            normal, raised = self._used(call, state, borrowed=True)
            maybe = Hold.MAYBE if not self.callees.is_resolved(call) else None
            return [s.bind({call.target: maybe}) for s in normal], raised
        return self._affected(effect, state, call, call.target)

    def _escaping(self, call: g.Call, value: Value, before: State, state: State) -> Outcome:
        """A callable that may release is handed on: whoever has it now releases."""
        if before.status is Status.RELEASED:
            return [state], [state]
        if isinstance(value, Closure):
            effect = self.callees.closure_effect(value.define, self.resource, before)
            if not effect.releases:
                return [state], [state]
        self._event(EventKind.TRANSFER, call)
        return [state.with_status(Status.MOVED)], []

    def _pending_given(self, call: g.Call, state: State) -> Outcome:
        known = self.callees.known_call(call)
        match known.kind if known is not None else None:
            case CallKind.PASSES | CallKind.SPAWNS:
                return [state.bind({call.target: Hold.PENDING})], [state]
            case CallKind.RUNS:
                return [state.with_status(Status.HELD).bind({call.target: self._fresh()})], []
            case CallKind.ENTERS:
                return [state.with_status(Status.MOVED)], []
            case _:
                return [], []

    def _known(self, known: CallEffect, call: g.Call, value: Value, state: State) -> Outcome:
        """Calls of Python's own library that pass on, manage, register or spawn."""
        match known.kind:
            case CallKind.MANAGES:
                operation = self.resource.methods.get(known.releases) if known.releases else None
                if operation is not None and operation.releases != "receiver":
                    return [_missed(state, 2)], [state]
                return [state.bind({call.target: Hold.MANAGER})], []
            case CallKind.ENTERS if value is Hold.OWN and self.resource.with_effect is not WithEffect.RELEASES:
                return [state.bind({call.target: Hold.OWN})], [state]
            case CallKind.ENTERS | CallKind.REGISTERS:
                self._event(EventKind.TRANSFER, call)
                return [state.with_status(Status.MOVED).bind({call.target: Hold.OWN})], []
            case CallKind.SPAWNS:
                effect = self.callees.spawned_effect(call, self.resource)
                if isinstance(value, Deferred):
                    effect = value.effect
                if effect.releases:
                    self._event(EventKind.TRANSFER, call)
                    return [state.with_status(Status.MOVED)], []
                return [state], [state]
            case CallKind.PASSES | CallKind.RUNS:
                if isinstance(value, Deferred) and known.kind is CallKind.RUNS:
                    return self._affected(value.effect, state, call, call.target)
                return [state.bind({call.target: value})], [state]
            case _:
                return [state], [state]

    def _affected(self, effect: Effect, state: State, call: g.Instruction, target: str) -> Outcome:
        """The states that a known effect leads to, one per way it may end."""
        normal = [
            self._ended(end, effect, state if end in effect.quiet else replace(state, raised=True), call, target)
            for end in sorted(effect.normal, key=lambda e: e.value)
        ]
        raised = [self._ended(end, effect, state, call, target) for end in sorted(effect.raised, key=lambda e: e.value)]
        return normal, raised

    def _ended(self, end: End, effect: Effect, state: State, call: g.Instruction, target: str) -> State:
        match end:
            case End.RELEASED:
                return self._released(call, state)
            case End.TAKEN | End.STORED if state.status is Status.HELD:
                self._event(EventKind.TRANSFER, call)
                return state.with_status(Status.MOVED, effect.attribute)
            case End.RETURNED:
                return state.bind({target: Hold.OWN})
            case _:
                self._event(EventKind.BORROW, call)
                return state

    # Releases and uses

    def _released(self, instruction: g.Instruction, state: State, *, by_with: bool = False) -> State:
        if state.status is Status.RELEASED:
            if not by_with and self.resource.release_twice is not ReleaseTwice.HARMLESS:
                self._event(EventKind.RELEASED_TWICE, instruction, self.resource.release_twice.value)
            return state
        if state.status is Status.MOVED:
            return state
        self._event(EventKind.RELEASE, instruction)
        return state.with_status(Status.RELEASED)

    def _used(self, instruction: g.Instruction, state: State, *, borrowed: bool = False) -> Outcome:
        if state.status is Status.RELEASED and not borrowed:
            if self.resource.use_after_release is not UseAfterRelease.HARMLESS:
                self._event(EventKind.USED_AFTER, instruction, self.resource.use_after_release.value)
        used = replace(state, paused=False) if state.paused else state
        return [used], [used]

    def _check_nested(self, call: g.Call, state: State) -> None:
        given = (call.receiver, *(a.operand for a in call.arguments))
        if any(state.get(o) in (Hold.OWN, Hold.DERIVED) for o in given if o is not None):
            return  # it is handed the connection that is held
        if state.status is Status.HELD and call.node is not self.site and self.pool and not self.resource.shared:
            note = self.callees.checks_out_from(call, self.pool, self.resource)
            if note is not None:
                self._event(EventKind.NESTED, call, note)

    def _event(self, kind: EventKind, instruction: g.Instruction, note: str = "") -> None:
        self.events.append(Event(kind, instruction, note))

    def _fresh(self) -> Value:
        """The value that the acquire gives: the resource, or a box around it."""
        if self.position is None:
            return Hold.OWN
        return Box(((self.position, Hold.OWN), *((key, Hold.DERIVED) for key in self.companions)))

    def taken(self, call: g.Call, protocol: Protocol, state: State) -> State:
        """The state after the acquiring call itself."""
        if self.takes_receiver and call.receiver is not None:
            self.bound_to = call.receiver
            return state.bind({**self._operands(call), call.receiver: Hold.OWN}).with_status(Status.HELD)
        value = self._fresh() if protocol is Protocol.VALUE else Hold.PENDING
        status = Status.HELD if protocol is Protocol.VALUE else Status.WAITING
        return state.bind({**self._operands(call), call.target: value}).with_status(status)


def _consumed(operand: str) -> dict[str, Value | None]:
    """A temporary is gone once it is read."""
    return {operand: None} if operand.startswith("%") and operand[1:].isdigit() else {}


def _item(box: Value | None, key: str | int | None) -> Value | None:
    """What element ``key`` of a box holds; an unknown key may be any."""
    if not isinstance(box, Box):
        return None
    for known, value in box.items:
        if key is None or known is None or known == key:
            return value
    return None


def _missed(state: State, kind: int) -> State:
    return replace(state, near_miss=max(state.near_miss, kind))


def _path_subject(instruction: g.StoreAttribute) -> str | None:
    if instruction.path is None:
        return None
    expression: ex.Expression = ex.Name(instruction.path.split(".")[0])
    for part in instruction.path.split(".")[1:]:
        expression = ex.Attribute(expression, part)
    return f"?{ex.Attribute(expression, instruction.name)!r}"


_HANDLERS: dict[type[g.Instruction], Callable[..., Outcome]] = {
    g.Move: Effects._move,
    g.NullTest: Effects._null_test,
    g.LoadAttribute: Effects._load_attribute,
    g.LoadItem: Effects._load_item,
    g.Iterate: Effects._iterate,
    g.Build: Effects._build,
    g.Forget: Effects._forget,
    g.Define: Effects._define,
    g.Point: Effects._point,
    g.StoreAttribute: Effects._store_attribute,
    g.StoreItem: Effects._store_item,
    g.StoreGlobal: Effects._store_global,
    g.Await: Effects._await,
    g.Enter: Effects._enter,
    g.Exit: Effects._exit,
    g.Yield: Effects._yield,
    g.Call: Effects._call,
}
