"""What ``await``, ``with`` and ``yield`` do to one path.

    async with pool.acquire() as conn:   →   HELD by a manager, released when the block is left
    with conn:                           →   a near miss, where the driver only ends a transaction
    with session.begin():                →   paused when the block is left, as by ``session.commit()``

Each function takes an obligation, an instruction and a state, and returns the states after it and when it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck.cfg import graph as g
from leakcheck.driver import WithEffect
from leakcheck.ownership.obligation import EventKind, consumed, missed
from leakcheck.ownership.state import Box, Deferred, Fact, Hold, Opening, Status

if TYPE_CHECKING:
    from leakcheck.ownership.obligation import Obligation, Outcome
    from leakcheck.ownership.state import State


def await_(obligation: Obligation, instruction: g.Await, state: State) -> Outcome:
    """``target = await value``: what was pending is taken, what a coroutine does happens now."""
    value = state.get(instruction.value)
    failed = state.bind(consumed(instruction.value))
    if value is Hold.PENDING:
        return [failed.bind({instruction.target: obligation.fresh()}).with_status(Status.HELD)], []
    if isinstance(value, Opening):
        return obligation.opening(instruction, instruction.target, failed, value.operation), [failed]
    if value is Hold.RELEASING:
        return obligation.releasing(instruction, failed)
    quiet = obligation.callees.is_quiet_await(instruction)
    if isinstance(value, Deferred):
        normal, raised = obligation.affected(value.effect, failed, instruction, instruction.target)
        return normal, [] if quiet else raised
    passes = isinstance(value, Box) or value in (Fact.TRUE, Fact.ANSWER, Hold.MAYBE, Hold.DERIVED, Hold.OWN)
    kept = value if passes else None
    quiet = quiet or (value is Hold.OWN and obligation.resource.with_effect is WithEffect.RELEASES)  # entered by hand
    return [failed.bind({instruction.target: kept})], [] if quiet else [failed]


def enter(obligation: Obligation, instruction: g.Enter, state: State) -> Outcome:
    """``with manager as target``."""
    value = state.get(instruction.manager)
    if value is Hold.PENDING:
        entered = state.with_status(Status.HELD).bind({instruction.manager: Hold.MANAGER, instruction.target: Hold.OWN})
        return [entered], []
    if value is Hold.OWN:
        if obligation.resource.with_effect is WithEffect.ERROR:
            return [], [state]
        raised = [] if obligation.resource.with_effect is WithEffect.RELEASES else [state]
        return [state.bind({instruction.target: Hold.OWN})], raised
    if value is Hold.MANAGER:
        return [state.bind({instruction.target: Hold.OWN})], []
    if value is Fact.NONE:
        return [], [state]
    if obligation.commits_with_block(instruction, state):
        return [state.bind({instruction.manager: Hold.DERIVED, instruction.target: None})], []
    raised = [] if obligation.callees.is_quiet_enter(instruction) else [state]
    return [state.bind({instruction.target: Hold.DERIVED if value is Hold.DERIVED else None})], raised


def exit_(obligation: Obligation, instruction: g.Exit, state: State) -> Outcome:
    """Leaving the block of a ``with``."""
    value = state.get(instruction.manager)
    after = state.bind({instruction.manager: None})
    if value is Hold.MANAGER:
        return [obligation.released(instruction, after, by_with=True)], []
    if value is Hold.OWN:
        if obligation.resource.with_effect is WithEffect.RELEASES:
            return [obligation.released(instruction, after, by_with=True)], []
        if after.status is Status.HELD:
            obligation.event(EventKind.NEAR_MISS, instruction)
            after = missed(after, 1)
    if value is Hold.DERIVED and obligation.commits_with_block(instruction, state):
        after = replace(after, paused=True, connected=False)
    return [after], []


def yield_(obligation: Obligation, instruction: g.Yield, state: State) -> Outcome:
    """``target = yield value``: the consumer may raise into it, unless it is pytest."""
    if state.status is Status.HELD and not state.paused and not instruction.delegates:
        obligation.held_over_yield = True
        obligation.yielded = obligation.yielded or state.get(instruction.value) is Hold.OWN
    after = state.bind({**consumed(instruction.value), instruction.target: None})
    return [after], [] if obligation.callees.is_quiet_instruction(instruction) else [after]
