"""Whether a function may return None: whether a None of its own reaches its end.

    conn = None
    if ready: conn = connect()
    return conn                   →   may return None

Only what the function itself puts there counts: a parameter is taken to hold something.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from leakcheck.cfg import graph as g
from leakcheck.ownership.constants import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakcheck.ownership.constants import Constants


def may_return_none(graph: g.ControlFlowGraph, constants: Constants, gives_none: Callable[[g.Call], bool]) -> bool:
    """Whether None reaches the exit; ``gives_none``: whether a call may give it."""
    start: dict[int, set[str]] = {graph.entry.index: {g.RETURN}}
    queue = deque([graph.entry])
    while queue:
        block = queue.popleft()
        names = before_last = set(start[block.index])
        for instruction in block.instructions:
            before_last = set(names)
            _step(names, instruction, gives_none)
        for edge in constants.taken(block):
            reaching = before_last if edge.raised is not None else names - _ruled_out(edge.test)
            known = start.get(edge.target.index)
            if known is None or not reaching <= known:
                start[edge.target.index] = reaching | (known or set())
                queue.append(edge.target)
    return g.RETURN in start.get(graph.exit.index, ())


def _step(names: set[str], instruction: g.Instruction, gives_none: Callable[[g.Call], bool]) -> None:
    """Apply one instruction to the names that may hold None."""
    match instruction:
        case g.Move(target=target, value=value) | g.Await(target=target, value=value):
            holds = value == g.NONE or value in names
        case g.Call(target=target):
            holds = gives_none(instruction)
        case _:
            names.difference_update(written(instruction))
            return
    names.discard(target)
    if holds:
        names.add(target)


def _ruled_out(test: g.Test | None) -> set[str]:
    """The name that is not None behind an edge with this test."""
    if test is None:
        return set()
    something = (test.kind is g.TestKind.TRUTH and test.outcome) or (
        test.kind is g.TestKind.IS_NONE and not test.outcome
    )
    return {test.subject} if something else set()
