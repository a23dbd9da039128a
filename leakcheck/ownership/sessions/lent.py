"""Connections that a context manager of the project lends to a block, and what the end of the block does to them.

    @contextmanager
    def connection():
        conn = pool.getconn()
        try:
            yield conn            →   lent: it is the pool's, and no transaction is open on it
            conn.commit()         →   what a block began that did not raise ends here
        finally:
            pool.putconn(conn)    →   after any block it goes back, with all that is still set on it

What a block leaves on the connection goes on behind the ``yield``, and is followed there; of an object whose
``__enter__`` takes the connection, in its ``__exit__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck.cfg import graph as g
from leakcheck.ownership.entering import yield_
from leakcheck.ownership.explore import BoundReachedError
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.sessions.following import Following
from leakcheck.ownership.sessions.session import HeldKind, Open
from leakcheck.ownership.state import Fact, Hold, State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leakcheck.ownership.explore import Explorer
    from leakcheck.ownership.sessions.session import Held, Session


class Left(Struct, frozen=True):
    """What the end of a block did to what was held: ``gone`` says how the connection went with it still held.

    ``ended``: some statement behind the ``yield`` ends it. ``faults`` are those of a commit there.
    """

    gone: str = ""
    ended: bool = False
    faults: frozenset[EventKind] = frozenset()


class Ended(Struct, frozen=True):
    """How a block ends; ``raised``: something has raised before, ``exceptional``: it raises itself."""

    session: Session
    raised: bool
    exceptional: bool


class Lent(Struct, eq=False):
    """A connection as its lender has it where the block begins: ``session`` is what the block finds.

    ``value`` is what the block gets: the connection, or a cursor of it. ``goes_on`` explores what the lender does when
    the block has ended.
    """

    value: Hold
    session: Session
    explorer: Callable[[Held | None], Explorer]
    goes_on: Callable[[Explorer, Ended], None]
    _known: dict[tuple[Held | None, Ended], Left] = field(default_factory=dict)

    def left(self, held: Held | None, state: State, *, exceptional: bool) -> Left:
        """What becomes of what a block leaves in this state; ``exceptional``: it raises."""
        block = Ended(replace(state.session, scopes=()), state.raised, exceptional)
        key = (held, block)
        if key not in self._known:
            self._known[key] = Left()  # a generator that lends to itself
            explorer = self.explorer(held)
            try:
                self.goes_on(explorer, block)
                self._known[key] = _summed_up(explorer, held, raised=state.raised or exceptional)
            except BoundReachedError:
                self._known[key] = Left()
        return self._known[key]


def behind_yield(places: Sequence[tuple[g.Yield, State]], explorer: Explorer, ended: Ended) -> None:
    """Go on in a generator, from the states in which it got to its ``yield``. Raises BoundReachedError."""
    positions = {id(i): (block, n) for block in explorer.graph.blocks for n, i in enumerate(block.instructions)}
    for instruction, before in places:
        block, position = positions[id(instruction)]
        session = replace(ended.session, scopes=before.session.scopes)
        inside = replace(before, session=session, raised=ended.raised)
        if ended.exceptional:
            explorer.run_raising(block, position, inside)
        else:
            (after,), _ = yield_(explorer.effects, instruction, inside)
            explorer.run(block, position + 1, after)


def in_exit(holder: str, told: Sequence[str], explorer: Explorer, ended: Ended) -> None:
    """Go on in ``__exit__``, whose object keeps the connection as ``holder``. Raises BoundReachedError.

    ``told`` are the parameters that say what was raised.
    """
    graph = explorer.graph
    facts = dict(explorer.constants.start[graph.entry.index])
    facts.update(dict.fromkeys(told, Fact.TRUE if ended.exceptional else Fact.NONE))
    facts[holder] = Hold.OWN
    raised = ended.raised or ended.exceptional
    state = State(Status.HELD, tuple(sorted(facts.items())), raised=raised, session=ended.session)
    explorer.run(graph.entry, 0, state)


def agreed(sessions: Sequence[Session]) -> Session:
    """One session for all ways to a place; what is not the same on all of them is not known."""
    found = [replace(session, scopes=()) for session in sessions]
    opened, autocommit = {s.open for s in found}, {s.autocommit for s in found}
    return replace(
        found[0],
        open=found[0].open if len(opened) == 1 else Open.MAYBE,
        autocommit=found[0].autocommit if len(autocommit) == 1 else None,
    )


def _summed_up(explorer: Explorer, held: Held | None, *, raised: bool) -> Left:
    """One answer for all ways to the lender's end, and where they differ, that it has ended."""
    result, effects = explorer.result, explorer.effects
    if held is None:
        return Left(faults=frozenset(event.kind for _, event, _ in result.faults))
    ended = isinstance(effects, Following) and effects.ended
    ends = [e.state for e in result.endings if e.state.raised is raised]
    gone = [s.session.gone if s.status is Status.HELD else "" for s in ends]
    if held.kind in (HeldKind.TRANSACTION, HeldKind.SAVEPOINT):
        certain = bool(gone) and all(gone)
    else:
        certain = any(gone) and not ended
    return Left(next(filter(None, gone)) if certain else "", ended)


def lending(yields: Sequence[tuple[g.Yield, State]]) -> Hold | None:
    """What a generator lends that yields in these states: always the same thing, at one place."""
    nodes = {id(instruction.node) for instruction, _ in yields}
    values = {state.get(instruction.value) for instruction, state in yields}
    value = values.pop() if len(nodes) == len(values) == 1 else None
    return value if value in (Hold.OWN, Hold.DERIVED) and isinstance(value, Hold) else None
