"""Depth-first enumeration of decisions: one oracle, asked again and again, walks every path of a program.

Input: the number of options at each decision of a run. Output: one option per decision, a new combination
per run until all are used. ``choose(2)`` twice gives the runs 00, 01, 10, 11.
"""

from __future__ import annotations


class Oracle:
    """Answers decisions; ``advance`` moves on to the next combination."""

    __slots__ = ("_position", "_sizes", "_trail")

    def __init__(self) -> None:
        """Start before the first run."""
        self._trail: list[int] = []
        self._sizes: list[int] = []
        self._position = 0

    def choose(self, count: int) -> int:
        """One of ``range(count)``; 0 whenever this decision is met for the first time."""
        position = self._position
        self._position = position + 1
        try:
            return self._trail[position]
        except IndexError:
            self._trail.append(0)
            self._sizes.append(count)
            return 0

    def advance(self) -> bool:
        """Prepare the next run; False when every combination has been used."""
        trail, sizes = self._trail, self._sizes
        while trail and trail[-1] + 1 == sizes[-1]:
            trail.pop()
            sizes.pop()
        self._position = 0
        if not trail:
            return False
        trail[-1] += 1
        return True
