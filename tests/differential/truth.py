"""What execution found about each checkout line, and which codes the analysis may give it.

Input: events of single runs. Output: a ``Truth`` per checkout site, e.g. "lost on a run without an exception,
released on others" which allows LC103 only.
"""

from __future__ import annotations

from dataclasses import dataclass

CHECKOUT_CODES = frozenset({"LC101", "LC102", "LC103", "LC104", "LC105", "LC106"})


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """The line of a checkout; ``part``: which of the connections that one call gives."""

    path: str
    line: int
    part: int = 0

    def __str__(self) -> str:
        """The place as people write it."""
        return f"{self.path}:{self.line}"


@dataclass(slots=True)
class Truth:
    """What happened to the connections of one checkout line over all runs."""

    lost_normally: bool = False  # on a run in which nothing was ever raised
    lost_elsewhere: bool = False  # something raised, but before the checkout, or inside a callee that swallowed it
    lost_on_exception: bool = False  # something raised while it was held
    ended: bool = False  # some run released it or handed it on
    dropped: bool = False  # the last reference went away while it was held, before the exit
    entered: bool = False  # its own `with` was entered, which does not release

    @property
    def leaks(self) -> bool:
        """Whether some run loses it."""
        return self.lost_normally or self.lost_elsewhere or self.lost_on_exception

    def allowed(self) -> frozenset[str]:
        """The codes the analysis may give; empty where it must be silent.

        Approximations: dropping is judged over all runs, so LC104 and LC105 are accepted beside the kind of
        another path; a raise that the owner never saw leaves open whether the path counts as normal.
        """
        if not self.leaks:
            return frozenset()
        codes = set()
        if not self.ended:
            codes.add("LC101")
        elif self.lost_normally:
            codes.add("LC103")
        elif self.lost_elsewhere:
            codes |= {"LC102", "LC103"}
        else:
            codes.add("LC102")
        if self.dropped:
            codes |= {"LC104", "LC105"}
        if self.entered:
            codes.add("LC106")
        return frozenset(codes)
