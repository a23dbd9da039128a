"""The order in which a dataflow analysis looks at blocks: each waits once, and along the flow where that is possible.

    waiting = Worklist([graph.entry])
    for block in waiting:
        waiting.add(successor)    # comes before the blocks behind it

Blocks are numbered much as they follow each other, so few are looked at before what flows into them is known.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.cfg.graph import BasicBlock


class Worklist:
    """Blocks that wait for a look, those with the lowest numbers first; ``backward``: those with the highest."""

    def __init__(self, blocks: Iterable[BasicBlock], *, backward: bool = False) -> None:
        self._sign = -1 if backward else 1
        self._waiting: dict[int, BasicBlock] = {}
        self._order: list[int] = []
        for block in blocks:
            self.add(block)

    def add(self, block: BasicBlock) -> None:
        """Let a block wait, if it does not yet."""
        if block.index not in self._waiting:
            self._waiting[block.index] = block
            heappush(self._order, self._sign * block.index)

    def __iter__(self) -> Iterator[BasicBlock]:
        """Take out block after block until none waits."""
        while self._order:
            yield self._waiting.pop(self._sign * heappop(self._order))
