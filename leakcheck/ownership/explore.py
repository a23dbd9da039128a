"""All paths of one resource: from its acquire until it is released, handed on, or lost.

Paths are explored breadth first over pairs (block, state), so the path reported is a shortest one. States stay
apart until one block has STATE_LIMIT of them; from then on the facts about other variables are forgotten, which
only adds paths (towards false alarms on branches correlated by other variables); beyond VISIT_LIMIT the resource
is given up and said to be skipped.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck.cfg import graph as g
from leakcheck.ownership.constants import Constants, learn, refine, written
from leakcheck.ownership.effects import Effects
from leakcheck.ownership.lending import without_contents, without_lender, without_owner
from leakcheck.ownership.likelihood import likelihood
from leakcheck.ownership.movement import BACK_TO_OWNER, path_subject
from leakcheck.ownership.obligation import FAULTS, Event, EventKind
from leakcheck.ownership.reach import LEAVING
from leakcheck.ownership.state import ABSENT, ALIASES, Box, Fact, Hold, Link, State, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE_LIMIT = 48
VISIT_LIMIT = 12_000
_LASTING = (Fact.NONE, Fact.ANSWER)
"""Facts that matter where no branch asks for the variable: a method of None raises, an item of the answer is one."""


class BoundReachedError(Exception):
    """The resource has more paths than VISIT_LIMIT visits cover."""


class Node(Struct, frozen=True):
    """A block entered in a state. ``start`` is 0 but for the block of the acquire."""

    block: int
    start: int
    state: State


class Hop(Struct, frozen=True):
    """How a node was reached: from where, what happened there, and by which edge."""

    origin: Node
    events: tuple[Event, ...]
    edge: g.Edge
    source: g.BasicBlock


class Ending(Struct, frozen=True):
    """A path's end. ``lost`` is the instruction that dropped the last reference; else the function was left."""

    node: Node
    state: State
    events: tuple[Event, ...]
    returned: bool
    lost: g.Instruction | None = None


class Exploration(Struct):
    """Everything seen: ``endings`` of all kinds, ``faults`` (double release, use after release, nested).

    ``handed_on``: the instructions that put it where others see to it, unless they raise.
    """

    endings: list[Ending] = field(default_factory=list)
    faults: list[tuple[Node, Event, tuple[Event, ...]]] = field(default_factory=list)
    hops: dict[Node, Hop | None] = field(default_factory=dict)
    first_raises: dict[Node, dict[int, g.Instruction]] = field(default_factory=dict)
    releases: dict[int, g.Instruction] = field(default_factory=dict)
    handed_on: set[int] = field(default_factory=set)

    def path(self, node: Node) -> list[Hop]:
        """The hops from the acquire to ``node``."""
        found: list[Hop] = []
        hop = self.hops[node]
        while hop is not None:
            found.append(hop)
            hop = self.hops[hop.origin]
        found.reverse()
        return found


class Explorer:
    """Explores one resource in one graph."""

    def __init__(
        self,
        graph: g.ControlFlowGraph,
        constants: Constants,
        effects: Effects,
        *,
        every_way_out: bool = False,
        kept: frozenset[str] = frozenset(),
    ) -> None:
        """``every_way_out``: a path that is settled is followed on, to see how the function can be left.

        ``kept``: variables of which facts are kept although no branch asks for them.
        """
        self.graph = graph
        self._kept = kept | constants.captured
        self._every_way_out = every_way_out
        self.constants = constants
        self.effects = effects
        self.result = Exploration()
        self._queue: deque[Node] = deque()
        self._states: dict[int, set[State]] = {}
        self._blocks = {b.index: b for b in graph.blocks}
        self._recoverable = any(
            isinstance(i, g.LoadAttribute) and i.name in BACK_TO_OWNER for b in graph.blocks for i in b.instructions
        )
        self._lenderless = without_lender(constants, effects) | without_owner(constants, effects)
        self._coarse = False
        self._faulted: set[tuple[EventKind, int, int]] = set()
        self._later: frozenset[str] | None = None

    def run(self, block: g.BasicBlock, position: int, state: State) -> Exploration:
        """Explore from in front of instruction ``position`` of ``block``. Raises BoundReachedError."""
        first = Node(block.index, position, state)
        self.result.hops.setdefault(first, None)
        self._later = None
        self._queue.append(first)
        return self._run()

    def run_raising(self, block: g.BasicBlock, position: int, state: State) -> Exploration:
        """Explore from where instruction ``position`` of ``block`` raises. Raises BoundReachedError."""
        first = Node(block.index, position, state)
        self.result.hops.setdefault(first, None)
        self._raise(first, block, block.instructions[position], state, ())
        return self._run()

    def _run(self) -> Exploration:
        visits = 0
        while self._queue:
            visits += 1
            if visits > VISIT_LIMIT:
                raise BoundReachedError
            self._visit(self._queue.popleft())
        return self.result

    def _visit(self, node: Node) -> None:
        block = self._blocks[node.block]
        if block is self.graph.exit or block is self.graph.failure:
            self._leave(node, returned=block is self.graph.exit)
            return
        current: list[tuple[State, tuple[Event, ...]]] = [(node.state, ())]
        last = len(block.instructions) - 1
        for number in range(node.start, len(block.instructions)):
            instruction = block.instructions[number]
            following: list[tuple[State, tuple[Event, ...]]] = []
            for state, events in current:
                self.effects.events = []
                normal, raised = self.effects.apply(instruction, state)
                seen = self._note(node, events)
                if number == last and block.raises:
                    for failed in raised:
                        self._raise(node, block, instruction, failed, seen)
                for after in normal:
                    if self.effects.loses(instruction, state, after, recoverable=self._recoverable):
                        self.result.endings.append(Ending(node, after, seen, returned=False, lost=instruction))
                    elif after.status is not Status.MOVED:
                        following.append((self._refresh(after, instruction), seen))
                    else:
                        self.result.endings.append(Ending(node, after, seen, returned=True))
                        self.result.handed_on.add(id(instruction.node))
            current = following
        for state, events in current:
            for edge in block.successors:
                followed = self._follow(edge, state)
                if followed is not None:
                    self._push(node, block, edge, followed, events)

    def _note(self, node: Node, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Sort the events of one instruction into faults and the path's own."""
        kept = events
        for event in self.effects.events:
            if event.kind is EventKind.RELEASE:
                self.result.releases[id(event.instruction.node)] = event.instruction
            if event.kind in FAULTS:
                copies = {EventKind.COMMIT_AFTER_ERROR: node.block, EventKind.NESTED: node.state.raised}
                key = (event.kind, id(event.instruction.node), copies.get(event.kind, 0))  # of a `finally`, say
                if key not in self._faulted:
                    self._faulted.add(key)
                    self.result.faults.append((node, event, events))
            else:
                kept = (*kept, event)
        return kept

    def _refresh(self, state: State, instruction: g.Instruction) -> State:
        """Drop the facts that the instruction made stale; a variable of which it called a method is not None."""
        written_now = written(instruction)
        receiver = instruction.receiver if isinstance(instruction, g.Call) else None
        if receiver in self.constants.tested and receiver not in written_now and state.get(receiver) is None:
            state = state.bind({receiver: Fact.NOT_NULL})
        links = [n for n, v in state.variables if isinstance(v, Link) and v.subject in written_now]
        if links:
            state = state.bind(dict.fromkeys(links))
        if not self.constants.readers:
            return state
        stale = self.constants.killed(instruction)
        subjects = [n for n, v in state.variables if n[0] == "?" and n in stale]
        if isinstance(instruction, g.StoreAttribute):
            subjects = [s for s in subjects if s != path_subject(instruction)]  # that has its new value already
        return state.bind(dict.fromkeys(subjects)) if subjects else state

    def _follow(self, edge: g.Edge, state: State) -> State | None:
        """The state after taking an edge, None where its test says otherwise."""
        test = edge.test
        if test is None:
            return state
        if not self.effects.goes_on(test, state):
            return None
        state = self.effects.branched(test, state)
        value = state.get(test.subject)
        if state.status is Status.HELD and value not in ABSENT and self._says_nothing_is_held(test, state):
            return None
        if test.kind is g.TestKind.ITERATES:
            # A collection that holds the resource is not exhausted before the resource had its turn.
            holds = isinstance(value, Box) and value.element is not None
            if value is Fact.SPENT if test.outcome else holds or value in (Fact.NOT_NULL, Fact.LAST):
                return None
            after = {Fact.NOT_NULL: Fact.TRUE, Fact.LAST: Fact.SPENT}.get(value) if isinstance(value, Fact) else None
            return state.bind({test.subject: after}) if after is not None else state
        if test.kind is g.TestKind.OPEN and value in ALIASES and test.outcome and state.closed:
            return None
        if test.kind is g.TestKind.OPEN:
            if value in ALIASES and not test.outcome and state.status is Status.HELD:
                return self.effects.closed(state)
            return state
        if test.same is not None and self._is_another_object(test.same, state) and test.outcome:
            return None
        if test.asks is not None and state.get(test.asked) is Fact.ANSWER and not test.is_yes:
            return None
        taken, learnt = refine(test, value)
        if not taken:
            return None
        if self._coarse:
            return state
        if learnt is not None and (value is None or isinstance(value, (Fact, Link))):
            return state.bind(learn(state.variables, test, learnt))
        return state

    def _is_another_object(self, names: tuple[str, str], state: State) -> bool:
        """Whether one of two variables, or attributes, holds the resource, and the other what was there before."""
        others = [name for name in names if state.get(name) not in ALIASES]
        if len(others) != 1 or not self.effects.is_foreign_to(others[0]):
            return False
        root, dot, attribute = others[0].rpartition(".")
        changed = {others[0], root, dot + attribute} & self._written_later()
        return isinstance(state.get(others[0]), Fact | Link | None) and not changed

    def _written_later(self) -> frozenset[str]:
        """The variables that are given a value, perhaps made of the resource, once it was taken."""
        if self._later is not None:
            return self._later
        found: set[str] = set()
        seen: set[int] = set()
        pending = [(self._blocks[n.block], n.start) for n, hop in self.result.hops.items() if hop is None]
        for block, start in pending:
            found.update(name for i in block.instructions[start:] for name in written(i))
            following = [edge.target for edge in (*block.successors, *block.raises)]
            pending += [(each, 0) for each in following if each.index not in seen]
            seen.update(each.index for each in following)
        self._later = frozenset(found)
        return self._later

    def _says_nothing_is_held(self, test: g.Test, state: State) -> bool:
        if test in self._lenderless:
            return True
        of_an_attribute = test.subject[0] == "?" and self.effects.resource.attributes
        holders = (n for n, v in state.variables if v is Hold.OWN) if of_an_attribute else ()
        return any(test in without_contents(self.effects, holder) for holder in holders)

    def _raise(
        self, node: Node, block: g.BasicBlock, instruction: g.Instruction, state: State, events: tuple[Event, ...]
    ) -> None:
        if state.status is Status.MOVED:
            self.result.endings.append(Ending(node, state, events, returned=True))
            return
        if state.status is Status.WAITING:
            return  # nothing was taken
        failed = state if state.raised else replace(state, raised=True, near_miss=0)
        for edge in self.effects.callees.passed(instruction, filter(self.effects.follows, block.raises)):
            target = self._push(node, block, edge, failed, events)
            if target is not None and not state.raised:
                firsts = self.result.first_raises.setdefault(target, {})
                hop, known = Hop(node, events, edge, block), self.result.hops[target]
                if known is not None and self._is_likelier(hop, known):
                    self.result.hops[target] = hop  # of paths that meet, the likelier is told
                firsts[id(instruction.node)] = instruction

    def _is_likelier(self, hop: Hop, other: Hop) -> bool:
        """Whether one believes sooner that the first path raises: of paths that end as one, that is told."""
        statements = self.effects.callees.statements
        raising, others = self._raised_on(hop), self._raised_on(other)
        if raising is None or others is None:
            return False
        return likelihood(raising, statements) > likelihood(others, statements)

    def _raised_on(self, hop: Hop | None) -> g.Instruction | None:
        """What raised last on the way to a hop."""
        while hop is not None:
            if hop.edge.raised is not None and hop.source.instructions:
                return hop.source.instructions[-1]
            hop = self.result.hops[hop.origin]
        return None

    def _push(
        self, node: Node, block: g.BasicBlock, edge: g.Edge, state: State, events: tuple[Event, ...]
    ) -> Node | None:
        state = self._pruned(state, edge.target)
        if not self._every_way_out and not self._is_mentioned(state, edge.target):
            if state.status is Status.RELEASED:
                self.result.endings.append(Ending(node, state, events, returned=True))
                return None
            # Nothing from here on touches it: it stays held until the function is left, however that is.
            reach = self.constants.reach
            if edge.target.index not in reach.leaving:
                return None
            returned = edge.target.index in (reach.returning if state.raised else reach.returning_quietly)
            certain = state.raised or (returned and not self._is_decided(state, edge.target))
            if certain and state.status is not Status.WAITING:
                target, hop = Node(edge.target.index, 0, state), Hop(node, events, edge, block)
                known = self.result.hops.setdefault(target, hop)
                if known is not None and known is not hop and self._is_likelier(hop, known):
                    self.result.hops[target] = hop
                self.result.endings.append(Ending(target, state, (), returned=returned))
                return target
        seen = self._states.setdefault(edge.target.index, set())
        if len(seen) >= STATE_LIMIT and state not in seen:
            self._coarse = True
        if self._coarse:
            kept = tuple((n, v) for n, v in state.variables if not isinstance(v, (Fact, Link)))
            state = replace(state, variables=kept)
        target = Node(edge.target.index, 0, state)
        if state not in seen:
            seen.add(state)
            self.result.hops[target] = Hop(node, events, edge, block)
            self._queue.append(target)
        return target

    def _is_mentioned(self, state: State, block: g.BasicBlock) -> bool:
        """Whether some variable that leads to the resource occurs in ``block`` or after it; so does its pool."""
        pool = self.effects.pool
        if pool is not None and pool.isidentifier() and self.constants.reach.mentions(block, pool):
            return True  # closing it closes what it handed out
        if self.effects.ends_with_program and self.constants.reach.mentions(block, LEAVING):
            return True
        return any(
            "." in n or self.constants.reach.mentions(block, n)
            for n, v in state.variables
            if not isinstance(v, (Fact, Link))
        )

    def _is_decided(self, state: State, block: g.BasicBlock) -> bool:
        """Whether what is known of variables may close a way that the graph has: a branch, or a method of None."""
        live, reach = self.constants.live[block.index], self.constants.reach
        return any(
            n in live or (v is Fact.NONE and n[0] not in "%?" and reach.mentions(block, n))
            for n, v in state.variables
            if isinstance(v, (Fact, Link))
        )

    def _pruned(self, state: State, block: g.BasicBlock) -> State:
        live = self.constants.live[block.index]
        left_over = self.constants.reach.left_over(state, block)
        kept = tuple(
            (n, v)
            for n, v in state.variables
            if n not in left_over
            and (not isinstance(v, (Fact, Link)) or n in live or v in _LASTING or n[0] == "%" or n in self._kept)
        )
        return state if len(kept) == len(state.variables) else replace(state, variables=kept)

    def _leave(self, node: Node, *, returned: bool) -> None:
        state = node.state
        kept = next((n for n, v in state.variables if v in ALIASES and n.startswith("self.")), None)
        if returned and state.status is Status.HELD and kept is not None and self.effects.entering:
            moved = state.with_status(Status.MOVED, kept.removeprefix("self."))
            self.result.endings.append(Ending(node, moved, (), returned=True))
            return
        if returned and state.status is Status.HELD and self.effects.keeps(state.get(g.RETURN), state):
            self.result.endings.append(Ending(node, state.with_status(Status.MOVED), (), returned=True))
            return
        self.result.endings.append(Ending(node, state, (), returned=returned))


def seeds(graph: g.ControlFlowGraph, site: object) -> Iterator[tuple[g.BasicBlock, int, g.Call]]:
    """Every copy of the call ``site`` in the graph."""
    for block in graph.blocks:
        for position, instruction in enumerate(block.instructions):
            if instruction.node is site and isinstance(instruction, g.Call):
                yield block, position, instruction
