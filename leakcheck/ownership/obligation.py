"""One resource that is followed through one function: what it is, and what may become of it.

    obligation.released(call, state)   →   the state after its release, and a RELEASE event

The vocabulary of ``movement``, ``entering`` and ``calling``, which say what each instruction does.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce
from leakcheck.driver import RECEIVER, Protocol, ReleaseTwice, UseAfterRelease, WithEffect
from leakcheck.ownership.constants import LITERALS, written
from leakcheck.ownership.state import ALIASES, Box, Closure, Deferred, Fact, Hold, Opening, State, Status, Value, refers
from leakcheck.ownership.summary import Effect, End

if TYPE_CHECKING:
    from leakcheck.diagnostic import Step
    from leakcheck.driver import DriverClass, Operation
    from leakcheck.ownership.callees import Callees
    from leakcheck.ownership.pools import Place


class EventKind(Enum):
    """What the explorer wants to know besides the states."""

    RELEASE = "release"
    NEAR_MISS = "near-miss"
    RELEASED_TWICE = "released-twice"
    USED_AFTER = "used-after"
    NESTED = "nested"
    TRANSFER = "transfer"
    BORROW = "borrow"
    OPENED = "opened"
    LOCAL_OUTSIDE = "local-outside"
    COMMIT_AFTER_ERROR = "commit-after-error"
    SLOW_CALL = "slow-call"
    USELESS_END = "useless-end"
    BROKEN_CACHE = "broken-cache"
    KEPT_BY_POOL = "kept-by-pool"


_MANAGER = "%with"
"""What the variables begin with that hold what a ``with`` has entered."""
SESSION_FAULTS = frozenset({
    EventKind.LOCAL_OUTSIDE, EventKind.COMMIT_AFTER_ERROR, EventKind.SLOW_CALL, EventKind.USELESS_END,
    EventKind.BROKEN_CACHE, EventKind.KEPT_BY_POOL,
})  # fmt: skip
"""Faults of what is said to the server."""
FAULTS = SESSION_FAULTS | {EventKind.RELEASED_TWICE, EventKind.USED_AFTER, EventKind.NESTED}
"""Faults of their own, wherever the path ends."""


class Event(Struct, frozen=True):
    """Something that happened at an instruction; ``note`` is the driver's reason or the callee's name.

    ``because`` is an earlier instruction that makes it a fault; ``steps`` say what the callee does.
    """

    kind: EventKind
    instruction: g.Instruction
    note: str = ""
    because: g.Instruction | None = None
    steps: tuple[Step, ...] = ()


Outcome = tuple[list[State], list[State]]
"""The states after an instruction, and those on its exception edges."""


class Obligation(Struct):
    """One resource in one function. ``events`` are those of the instruction at hand.

    ``site`` is the syntax of its acquire (None when a parameter or attribute is followed), ``pool`` the text of the
    pool it came from.
    """

    resource: DriverClass
    pool: str | None
    site: object
    callees: Callees
    position: str | int | None = None
    companions: tuple[str | int | None, ...] = ()
    """Items beside it that live by it: the cursor of ``conn, cur = take()``."""
    takes_receiver: bool = False
    unopened: bool = False
    """The object is there, and takes something only when a method of it is called."""
    advances: bool = False
    """It comes out of a generator that was advanced by hand, and goes back when that is closed."""
    entering: bool = False
    """In ``__enter__`` what is kept on self stays owed until the method returns."""
    events: list[Event] = field(default_factory=list)
    bound_to: str | None = None
    """The first source name that held the resource."""
    kept_at: str | None = None
    """The first expression of a source name that reads it from a container."""
    yielded: bool = False
    """A generator lends it to whoever advances the generator."""
    held_over_yield: bool = False
    """A generator holds it while whoever advances the generator goes on, whatever that is given: a cursor, too."""
    certain: tuple[str | int | None, ...] = ()
    """Items that are never None: it, and others beside it."""
    known: tuple[tuple[str | int | None, Fact], ...] = ()
    """What is known of other items beside it."""
    place: Place | None = None
    """Where the pool lives that it came from."""

    @property
    def name(self) -> str | None:
        """How the function calls the resource."""
        return self.bound_to or self.kept_at

    def is_foreign_to(self, name: str) -> bool:
        """Whether a variable that leads to something else cannot be it under another name.

        No variable held what this function took itself; whoever handed it over may have handed it over twice.
        """
        return not self.takes_receiver and (self.site is not None or not self.callees.is_parameter(name))

    def loses(self, instruction: g.Instruction, before: State, after: State, *, recoverable: bool) -> bool:
        """Whether what is held gets out of reach: its last name is gone, and no ``with`` that has it gives it back.

        ``recoverable``: a cursor still leads back to it.
        """
        if before.status is not Status.HELD or after.status is not Status.HELD:
            return False
        holders = [(name, value) for name, value in after.holders() if recoverable or value is not Hold.DERIVED]
        blocks = {name for name, value in holders if name.startswith(_MANAGER) and value in ALIASES}
        if self.resource.with_effect is WithEffect.RELEASES or len(blocks) < len(holders):
            return not holders
        return not blocks or any(n.isidentifier() and before.get(n) in ALIASES for n in written(instruction))

    def value_of(self, operand: str, state: State) -> Value | None:
        """What an operand holds: a literal or a variable."""
        return LITERALS.get(operand) or state.get(operand)

    def keeps(self, value: Value | None, state: State) -> bool:
        """Whether whoever gets this value owes the release."""
        if state.status is Status.RELEASED or value is None:
            return False
        if isinstance(value, Closure):
            return self.callees.closure_effect(value.define, self.resource, state).hands_on
        if isinstance(value, Deferred):
            return value.effect.releases
        return value is not Hold.DERIVED and refers(value)

    def is_managed(self, state: State) -> bool:
        """Whether a ``with`` around this place releases it, whoever else refers to it."""
        releases = self.resource.with_effect is WithEffect.RELEASES
        return any(
            n.startswith(_MANAGER) and (v is Hold.MANAGER or (v is Hold.OWN and releases)) for n, v in state.variables
        )

    def released(self, instruction: g.Instruction, state: State, *, by_with: bool = False) -> State:
        """The state after a release; a second one is a fault, unless leaving a ``with`` makes it."""
        if state.status is Status.RELEASED:
            if not by_with and not state.release_raised and self.resource.release_twice is not ReleaseTwice.HARMLESS:
                self.event(EventKind.RELEASED_TWICE, instruction, self.resource.release_twice.value)
            return state
        if state.status is Status.MOVED:
            return state
        self.event(EventKind.RELEASE, instruction)
        return state.with_status(Status.RELEASED)

    def releasing(self, instruction: g.Instruction, state: State) -> Outcome:
        """The outcome of the release itself, which counts as done where it raises."""
        released = self.released(instruction, state)
        return [released], [replace(released, release_raised=True) if state.status is not Status.MOVED else released]

    def closed(self, state: State) -> State:
        """The state where it turns out to be closed: given back, unless only its pool can give it back.

        The pool goes on counting a connection that was closed, or that the server left: something failed then.
        """
        if any(self.is_own_release(o) for o in self.resource.methods.values()):
            return replace(state, status=Status.RELEASED, release_raised=True)
        return replace(state, raised=True)

    def is_own_release(self, method: Operation) -> bool:
        """Whether a method of the resource gives it back, perhaps because its pool was built so."""
        if method.near_miss:
            return self.callees.option_set(method.near_miss_unless, self.pool, self.place)
        return method.releases == RECEIVER

    def opened(self, call: g.Call, state: State, operation: Operation) -> Outcome:
        """The outcome of a method that opens the resource; where a test expects it to raise, it opens nothing."""
        if id(call.node) in self.callees.expected_to_raise:
            return [state], [state]
        if operation.protocol is Protocol.COROUTINE and self.callees.is_awaited(call):
            return [state.bind({call.target: Opening(operation)})], []
        normal = self.opening(call, call.target, state, operation)
        return normal, [normal[0] if operation.opens_first else state]

    def opening(self, instruction: g.Instruction, target: str, state: State, operation: Operation) -> list[State]:
        """The states after a method that opens it; where its result tells, one in which it did not open."""
        held = self.taken_now(instruction, state)
        if operation.gives_itself:
            held = held.bind({target: Hold.OWN})
        elif operation.tells:
            held = held.bind({target: Fact.TRUE})
        return [held, state.bind({target: Fact.FALSY})] if operation.tells else [held]

    def taken_now(self, instruction: g.Instruction, state: State) -> State:
        """The state after something that opens it, unless it was open."""
        if state.status is Status.HELD:
            return state
        self.event(EventKind.OPENED, instruction)
        return replace(state, status=Status.HELD, used_late=False)

    def commits_with_block(self, instruction: g.Enter | g.Exit, state: State) -> bool:
        """Whether leaving a block gives the connection back until the next statement: ``with session.begin():``."""
        begun = reduce(instruction.node.item) if isinstance(instruction.node, cst.WithItem) else None
        if not isinstance(begun, ex.Call) or not isinstance(begun.func, ex.Attribute):
            return False
        operation = self.resource.methods.get(begun.func.name)
        if operation is None or not operation.pauses:
            return False
        return state.get(ex.dotted(begun.func.base) or "") is Hold.OWN

    def used(self, instruction: g.Instruction, state: State, *, borrowed: bool = False) -> Outcome:
        """The outcome of using it; ``borrowed``: somebody else does, who may only look at it."""
        harm = self.resource.use_after_release
        after = state.status is Status.RELEASED and not state.release_raised
        late = after and not borrowed and harm is not UseAfterRelease.HARMLESS
        if late and not state.used_late:
            self.event(EventKind.USED_AFTER, instruction, harm.value)
        reckoned = id(instruction.node) in self.callees.tried | self.callees.expected_to_raise
        told = state.used_late or (late and not reckoned)
        used = replace(state, paused=False, used_late=told) if state.paused or late else state
        asks = after and harm is UseAfterRelease.RAISES and id(instruction.node) in self.callees.tried
        return [] if asks else [used], [used]

    def affected(self, effect: Effect, state: State, call: g.Instruction, target: str) -> Outcome:
        """The states that a known effect leads to, one per way it may end."""
        normal = [
            answered
            for end in sorted(effect.normal, key=lambda e: e.value)
            for answered in self._answered(
                end,
                effect,
                self._ended(end, effect, state if end in effect.quiet else replace(state, raised=True), call, target),
                target,
            )
        ]
        raised = [self._ended(end, effect, state, call, target) for end in sorted(effect.raised, key=lambda e: e.value)]
        if effect.presumed:
            raised = [replace(s, release_raised=True) if s.status is Status.RELEASED else s for s in raised]
        return normal, raised

    @staticmethod
    def _answered(end: End, effect: Effect, state: State, target: str) -> list[State]:
        """The states after a function that tells by what it returns whether it has ended like this."""
        answers = [answer for told, answer in effect.told if told is end]
        if not answers or not target or state.get(target) is not None:
            return [state]
        return [state.bind({target: answer}) for answer in answers]

    def _ended(self, end: End, effect: Effect, state: State, call: g.Instruction, target: str) -> State:
        match end:
            case End.RELEASED:
                return self.released(call, state)
            case End.TAKEN | End.STORED if state.status in (Status.HELD, Status.WAITING):
                self.event(EventKind.TRANSFER, call)
                return state.with_status(Status.MOVED, effect.attribute)
            case End.RETURNED:
                return state.bind({target: Hold.OWN})
            case _:
                self.event(EventKind.BORROW, call)
                return state

    def branched(self, test: g.Test, state: State) -> State:  # noqa: ARG002 - for others
        """What else a branch teaches about the resource."""
        return state

    def ends_by_cursor(self, call: g.Call) -> bool:  # noqa: ARG002 - for others
        """Whether a call that is given a cursor may end what is owed."""
        return False

    @property
    def ends_with_program(self) -> bool:
        """Whether nothing is owed where the program is left."""
        return False

    def goes_on(self, test: g.Test, state: State) -> bool:  # noqa: ARG002 - for others
        """Whether a branch may be taken at all."""
        return True

    def follows(self, edge: g.Edge) -> bool:  # noqa: ARG002 - for others
        """Whether an exception of this class is followed."""
        return True

    def event(
        self,
        kind: EventKind,
        instruction: g.Instruction,
        note: str = "",
        because: g.Instruction | None = None,
        *,
        steps: tuple[Step, ...] = (),
    ) -> None:
        """Tell the explorer what happened."""
        self.events.append(Event(kind, instruction, note, because, steps))

    def fresh(self) -> Value:
        """The value that the acquire gives: the resource, or a box around it."""
        if self.position is None:
            return Hold.OWN
        beside: dict[str | int | None, Value] = dict.fromkeys(self.certain, Fact.TRUE)
        beside |= dict(self.known) | dict.fromkeys(self.companions, Hold.DERIVED) | {self.position: Hold.OWN}
        return Box(tuple(beside.items()))


def consumed(operand: str) -> dict[str, Value | None]:
    """A temporary is gone once it is read."""
    return {operand: None} if operand.startswith("%") and operand[1:].isdigit() else {}


def missed(state: State, kind: int) -> State:
    """The state after a near miss; see ``State.near_miss`` for its kinds."""
    return replace(state, near_miss=max(state.near_miss, kind))
