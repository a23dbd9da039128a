"""What lies ahead of a block: the variables that still occur, and the way out.

    reach.mentions(block, "conn")   →   False where nothing from here on touches it

A resource that no variable ahead leads to stays as it is until the function is left, so ``explore`` stops there.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.ownership.state import Hold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from leakcheck.ownership.state import State


LEAVING = "SystemExit"
"""What leaves the program; it occurs where it is raised, as a variable does."""


EVERYTHING = "locals()"
"""What reads each variable of the function."""


class Reach:
    """The two backward analyses of one graph; ``taken`` are the identities of its edges that values do not rule out.

    ``returning`` has each block from which the function can return, with the next block on a shortest way there;
    ``returning_quietly`` the same of ways on which nothing raises. From a block that is not in ``leaving`` the function
    is not left at all: an endless loop that swallows every error.
    """

    def __init__(self, graph: g.ControlFlowGraph, taken: frozenset[int]) -> None:
        predecessors: dict[int, list[int]] = {}
        for block in graph.blocks:
            for edge in (*block.successors, *block.raises):
                predecessors.setdefault(edge.target.index, []).append(block.index)
        self._graph, self._predecessors = graph, predecessors
        self._bits: dict[str, int] = {}
        self._mentioned = self._occurring_ahead(graph, predecessors)
        self.returning = _ways_to(predecessors, graph.exit)
        quietly: dict[int, list[int]] = {}
        for block in graph.blocks:
            for edge in (e for e in block.successors if id(e) in taken):
                quietly.setdefault(edge.target.index, []).append(block.index)
        self.returning_quietly = _ways_to(quietly, graph.exit)
        for block in graph.blocks:
            for edge in block.raises:
                quietly.setdefault(edge.target.index, []).append(block.index)
        self.leaving = _ways_to(quietly, graph.exit, graph.failure).keys()

    def mentions(self, block: g.BasicBlock, name: str) -> bool:
        """Whether a variable occurs in ``block`` or after it; a temporary is taken to."""
        if name[0] == "%":
            return True
        bits = self._bits.get(name, 0) | self._bits.get(EVERYTHING, 0)
        return bool(self._mentioned[block.index] & bits)

    def left_over(self, state: State, block: g.BasicBlock) -> Collection[str]:
        """The results of parts of expressions that nobody asks for from ``block`` on: of `cursor.execute(…)` alone.

        Each statement leaves one, on the paths that came by it: kept, they would tell apart paths that are the same.
        """
        derived = [n for n, v in state.variables if v is Hold.DERIVED and n[0] == "%" and n[1:].isdigit()]
        if not derived or all(n[0] == "%" for n, _ in state.holders()):
            return ()  # what alone leads to it is not given up
        return [n for n in derived if n not in self._temporaries[block.index]]

    @cached_property
    def _temporaries(self) -> dict[int, frozenset[str]]:
        """For each block the temporaries of which the value is read in it or after it, before they get another."""
        read, written = {}, {}
        for block in self._graph.blocks:
            read[block.index], written[block.index] = _temporaries_of(block)
        blocks = {block.index: block for block in self._graph.blocks}
        live = {index: frozenset(names) for index, names in read.items()}
        queue = deque(index for index, names in live.items() if names)
        while queue:
            for before in self._predecessors.get(queue.popleft(), ()):
                edges = (*blocks[before].successors, *blocks[before].raises)
                ahead = frozenset[str]().union(*(live[edge.target.index] for edge in edges))
                merged = read[before] | (ahead - written[before])
                if merged != live[before]:
                    live[before] = merged
                    queue.append(before)
        return live

    def _occurring_ahead(self, graph: g.ControlFlowGraph, predecessors: dict[int, list[int]]) -> dict[int, int]:
        """For each block the variables that occur in it or after it, one bit each."""
        bits, masks = self._bits, {b.index: 0 for b in graph.blocks}
        for block in graph.blocks:
            names = [n for i in block.instructions for n in _occurring(i)]
            names += [e.test.subject for e in block.successors if e.test is not None]
            names += [LEAVING for e in block.raises if e.raised == LEAVING]
            for name in names:
                if name[0] not in "%#?":
                    masks[block.index] |= bits.setdefault(name, 1 << len(bits))
        queue = deque(masks)
        while queue:
            index = queue.popleft()
            for before in predecessors.get(index, ()):
                merged = masks[before] | masks[index]
                if merged != masks[before]:
                    masks[before] = merged
                    queue.append(before)
        return masks


def _temporaries_of(block: g.BasicBlock) -> tuple[frozenset[str], frozenset[str]]:
    """The temporaries that a block reads before it writes them, and those that it writes."""
    read: set[str] = set()
    written: set[str] = set()
    for instruction in block.instructions:
        target = getattr(instruction, "target", None)
        read.update(n for n in _occurring(instruction) if n[0] == "%" and n != target and n not in written)
        if target is not None:
            written.add(target)
    tests = [edge.test for edge in block.successors if edge.test is not None]
    read.update(n for test in tests for n in (test.subject, test.asked) if n and n not in written)
    return frozenset(read), frozenset(written)


def _ways_to(predecessors: dict[int, list[int]], *ends: g.BasicBlock) -> dict[int, int]:
    """The next block on a shortest way to one of ``ends``, for each block that has one; an end itself is its own."""
    following = {end.index: end.index for end in ends}
    queue = deque(following)
    while queue:
        after = queue.popleft()
        for before in predecessors.get(after, ()):
            if before not in following:
                following[before] = after
                queue.append(before)
    return following


def _occurring(instruction: g.Instruction) -> Iterable[str]:
    """Every variable that the instruction reads or writes.

    The name of an attribute counts as the variable of that name, which at worst keeps a path longer than needed.
    """
    match instruction:
        case g.Call(target=target, func=ex.Name("locals"), arguments=()):
            return (target, EVERYTHING)
        case g.Call(target=target, receiver=receiver, callee=callee, arguments=arguments):
            return (target, *(o for o in (receiver, callee, *(a.operand for a in arguments)) if o is not None))
        case g.Build(target=target, items=items):
            return (target, *(operand for _, operand in items))
        case g.Define(target=target, captured=captured):
            return (target, *captured)
        case g.Forget(names=names):
            return names
        case (
            g.Move(target=target, value=value)
            | g.Await(target=target, value=value)
            | g.Yield(target=target, value=value)
        ):
            return (target, value)
        case g.NullTest(target=target, subject=subject):
            return (target, subject)
        case g.LoadAttribute(target=target, base=base, name=name):
            return (target, base, name)
        case g.LoadItem(target=target, base=base):
            return (target, base)
        case g.StoreAttribute(base=base, name=name, value=value):
            return (base, name, value)
        case g.StoreItem(base=base, value=value):
            return (base, value)
        case g.StoreGlobal(name=name, value=value):
            return (name, value)
        case g.Enter(target=target, manager=manager):
            return (target, manager)
        case g.Exit(manager=manager):
            return (manager,)
        case g.Iterate(target=target, iterable=iterable):
            return (target, iterable)
        case g.Point(operand=str() as operand):
            return (operand,)
        case _:
            return ()
