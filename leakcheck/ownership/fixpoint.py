"""Answers that depend on each other: asked for again and again until they stay the same.

    fixpoint.answer(key, lambda: follow(function), first=nothing)

An answer that is asked for while it is being found is taken from the round before (``first`` at first). Whatever was
found by way of such an assumption is found again in the next round, and remembered only once a round of the whole
cycle has changed nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_ROUNDS = 6
"""Rounds of a cycle before it is given up."""
_NO_CYCLE = 1_000_000
_Answer = TypeVar("_Answer")


class Fixpoint(Generic[_Answer]):
    """Remembers answers by key. A cycle is known by its head: the key that was asked for first.

    ``given_up``: what is answered about a cycle that does not settle; by default its last answer.
    """

    def __init__(self, *, given_up: Callable[[_Answer], _Answer] = lambda last: last) -> None:
        self._given_up = given_up
        self._known: dict[Hashable, _Answer] = {}
        self._former: dict[Hashable, _Answer] = {}
        """What the members of unfinished cycles were found to be last."""
        self._assumed: dict[Hashable, int] = {}
        """Keys being found, and those found in this round of a cycle, each with the depth of its cycle's head."""
        self._heads: list[int] = []
        """For each key being found, outermost first, the depth of the outermost key that it depends on."""
        self._changed = False

    def is_known(self, key: Hashable) -> bool:
        """Whether the answer will not change any more."""
        return key in self._known

    def answer(self, key: Hashable, find: Callable[[], _Answer], first: _Answer) -> _Answer:
        """The answer of ``key``; ``find`` may ask for others, and for itself."""
        if key in self._known:
            return self._known[key]
        if key in self._assumed:
            self._heads[-1] = min(self._heads[-1], self._assumed[key])
            return self._former[key]
        depth = len(self._heads)
        found = first
        for _ in range(_ROUNDS):
            former = self._former.setdefault(key, first)
            outer_changed, self._changed = self._changed, False
            self._assumed[key] = depth
            self._heads.append(_NO_CYCLE)
            try:
                found = self._former[key] = find()
            except BaseException:
                self._heads.pop()
                del self._assumed[key]
                raise
            head = self._heads.pop()
            changed, self._changed = self._changed or found != former, outer_changed
            if head < depth:  # a member of a cycle around it: its head asks for it again
                self._assumed[key] = head
                self._heads[-1] = min(self._heads[-1], head)
                self._changed |= changed
                return found
            members = [k for k, h in self._assumed.items() if h >= depth]
            for member in members:
                del self._assumed[member]
            if head == _NO_CYCLE or not changed:
                for member in members:
                    self._known[member] = self._former.pop(member)
                return found
        self._known[key] = found = self._given_up(found)
        return found
