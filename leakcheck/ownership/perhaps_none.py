"""Whether a function may return None, or None as a part: whether a None of its own reaches its end.

    conn = None
    if ready: conn = connect()
    return conn                   →   may return None
    return conn, cur              →   the first part may be None

Only what the function itself puts there counts: a parameter is taken to hold something.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck.cfg import graph as g
from leakcheck.ownership.constants import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakcheck.ownership.constants import Constants
    from leakcheck.ownership.summary import Owned


Part = str | int | None
"""A key or index of what is returned, None for the whole."""


def perhaps_none(
    graph: g.ControlFlowGraph, constants: Constants, gives_none: Callable[[g.Call], bool]
) -> frozenset[Part]:
    """The parts of what is returned as which None reaches the exit; ``gives_none``: whether a call may give it."""

    def gives(instruction: g.Instruction) -> bool:
        return isinstance(instruction, g.Call) and gives_none(instruction)

    return returned(graph, constants, g.NONE.__eq__, gives, ruled_out=_ruled_out, always=True)


def returned(
    graph: g.ControlFlowGraph,
    constants: Constants,
    is_one: Callable[[str], bool],
    gives: Callable[[g.Instruction], bool],
    *,
    ruled_out: Callable[[g.Test | None], set[Place]] = lambda _: set(),
    always: bool = False,
) -> frozenset[Part]:
    """The parts of what is returned as which something reaches the exit.

    ``is_one``: whether a name is one; ``gives``: whether the target of an instruction is one behind it; ``ruled_out``:
    what is none behind an edge with a test; ``always``: whether what returns nothing returns one.
    """
    start: dict[int, set[Place]] = {graph.entry.index: {(g.RETURN, None)} if always else set()}
    queue = deque([graph.entry])
    while queue:
        block = queue.popleft()
        places = before_last = set(start[block.index])
        for instruction in block.instructions:
            before_last = set(places)
            _step(places, instruction, is_one, gives)
        for edge in constants.taken(block):
            reaching = before_last if edge.raised is not None else places - ruled_out(edge.test)
            known = start.get(edge.target.index)
            if known is None or not reaching <= known:
                start[edge.target.index] = reaching | (known or set())
                queue.append(edge.target)
    return frozenset(part for name, part in start.get(graph.exit.index, ()) if name == g.RETURN)


Place = tuple[str, Part]
"""A variable that may hold one, or a part of what it holds."""


def _step(
    places: set[Place],
    instruction: g.Instruction,
    is_one: Callable[[str], bool],
    gives: Callable[[g.Instruction], bool],
) -> None:
    """Apply one instruction to the places that may hold one."""
    now: set[Place] = set()
    match instruction:
        case g.Move(target=target, value=value) | g.Await(target=target, value=value):
            now = {(target, part) for name, part in places if name == value}
            if is_one(value):
                now.add((target, None))
        case g.Call(target=target) | g.LoadItem(target=target) | g.LoadAttribute(target=target):
            now = {(target, None)} if gives(instruction) else set()
        case g.Build(target=target, items=items):
            now = {(target, key) for key, operand in items if is_one(operand) or (operand, None) in places}
            now.discard((target, None))  # of an item whose key is not known, nothing is said
        case _:
            pass
    names = written(instruction)
    places.difference_update({place for place in places if place[0] in names})
    places |= now


def _ruled_out(test: g.Test | None) -> set[Place]:
    """The variable that is not None behind an edge with this test."""
    if test is None:
        return set()
    something = (test.kind is g.TestKind.TRUTH and test.outcome) or (
        test.kind is g.TestKind.IS_NONE and not test.outcome
    )
    return {(test.subject, None)} if something else set()


def completed(returns: tuple[Owned, ...], perhaps_none: frozenset[Part]) -> tuple[Owned, ...]:
    """What is returned, with what is known of the whole and of its parts: which of them may be None."""
    items = (owned.position for owned in returns if isinstance(owned.position, int))  # not those of objects
    certain = tuple(index for index in items if index not in perhaps_none)
    optional = None in perhaps_none
    return tuple(replace(o, optional=optional, certain=certain if o.position is not None else ()) for o in returns)
