"""Connections that a context manager of the project lends to a block, and what the end of the block does to them.

    @contextmanager
    def connection():
        conn = pool.getconn()
        try:
            yield conn            →   lent: it is the pool's, and no transaction is open on it
            conn.commit()         →   what a block began that did not raise ends here
        finally:
            pool.putconn(conn)    →   after any block it goes back, with all that is still set on it

What a block leaves on the connection goes on behind the ``yield``, and is followed there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from leakcheck.cfg import graph as g
from leakcheck.ownership.entering import yield_
from leakcheck.ownership.explore import BoundReachedError, Explorer
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.session import HeldKind, Open
from leakcheck.ownership.state import Hold, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakcheck.ownership.constants import Constants
    from leakcheck.ownership.explore import Exploration
    from leakcheck.ownership.following import Following
    from leakcheck.ownership.session import Held, Session
    from leakcheck.ownership.state import State


@dataclass(frozen=True, slots=True)
class Left:
    """What the end of a block did to what was held: ``gone`` says how the connection went with it still held.

    ``ended``: some statement behind the ``yield`` ends it. ``faults`` are those of a commit there.
    """

    gone: str = ""
    ended: bool = False
    faults: frozenset[EventKind] = frozenset()


@dataclass(slots=True, eq=False)
class Lent:
    """A connection as its generator has it at its ``yield``: the graph, and the states in which it gets there.

    ``value`` is what the block gets: the connection, or a cursor of it.
    """

    graph: g.ControlFlowGraph
    constants: Constants
    follow: Callable[[Held | None], Following]
    value: Hold
    places: Sequence[tuple[g.Yield, State]]
    _known: dict[tuple[Held | None, Session, bool, bool], Left] = field(default_factory=dict)

    @property
    def session(self) -> Session:
        """What the block finds; what is not the same on all ways to the ``yield`` is not known."""
        found = [replace(state.session, scopes=()) for _, state in self.places]
        opened, autocommit = {s.open for s in found}, {s.autocommit for s in found}
        return replace(
            found[0],
            open=found[0].open if len(opened) == 1 else Open.MAYBE,
            autocommit=found[0].autocommit if len(autocommit) == 1 else None,
        )

    def left(self, held: Held | None, state: State, *, exceptional: bool) -> Left:
        """What becomes of what a block leaves in this state; ``exceptional``: it raises."""
        key = (held, replace(state.session, scopes=()), state.raised, exceptional)
        if key not in self._known:
            self._known[key] = Left()  # a generator that lends to itself
            try:
                self._known[key] = self._left(held, state, exceptional=exceptional)
            except BoundReachedError:
                self._known[key] = Left()
        return self._known[key]

    def _left(self, held: Held | None, state: State, *, exceptional: bool) -> Left:
        effects = self.follow(held)
        explorer = Explorer(self.graph, self.constants, effects)
        positions = {id(i): (block, n) for block in self.graph.blocks for n, i in enumerate(block.instructions)}
        for instruction, before in self.places:
            block, position = positions[id(instruction)]
            session = replace(state.session, scopes=before.session.scopes)
            inside = replace(before, session=session, raised=state.raised)
            if exceptional:
                explorer.run_raising(block, position, inside)
            else:
                (after,), _ = yield_(effects, instruction, inside)
                explorer.run(block, position + 1, after)
        return _summed_up(explorer.result, held, effects, raised=state.raised or exceptional)


def _summed_up(result: Exploration, held: Held | None, effects: Following, *, raised: bool) -> Left:
    """One answer for all ways to the generator's end, and where they differ, that it has ended."""
    if held is None:
        return Left(faults=frozenset(event.kind for _, event, _ in result.faults))
    ends = [e.state for e in result.endings if e.state.raised is raised]
    gone = [s.session.gone if s.status is Status.HELD else "" for s in ends]
    if held.kind in (HeldKind.TRANSACTION, HeldKind.SAVEPOINT):
        certain = bool(gone) and all(gone)
    else:
        certain = any(gone) and not effects.ended
    return Left(next(filter(None, gone)) if certain else "", effects.ended)


def lending(yields: Sequence[tuple[g.Yield, State]]) -> Hold | None:
    """What a generator lends that yields in these states: always the same thing, at one place."""
    nodes = {id(instruction.node) for instruction, _ in yields}
    values = {state.get(instruction.value) for instruction, state in yields}
    value = values.pop() if len(nodes) == len(values) == 1 else None
    return value if value in (Hold.OWN, Hold.DERIVED) and isinstance(value, Hold) else None
