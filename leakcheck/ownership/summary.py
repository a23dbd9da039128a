"""What a function's callers may assume: plain data, no syntax.

A missing summary is an ordinary case: an unresolved function borrows what it is given.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from leakcheck.ownership.state import Fact

if TYPE_CHECKING:
    from leakcheck.diagnostic import Step
    from leakcheck.ownership.correlated import Asked
    from leakcheck.ownership.pools import Place


class End(Enum):
    """What has become of a parameter when the function is left."""

    BORROWED = "borrows"
    RELEASED = "releases"
    TAKEN = "takes"  # stored somewhere, or registered to be released later
    STORED = "stores"  # stored on self
    RETURNED = "returns"
    GIVEN_BACK = "gives back"  # with what was held on it: who called knows what becomes of that
    COMMITTED = "commits"  # what was set on it in the transaction, and was not undone
    SAVED = "commits and gives back"
    UNDONE = "rolls back"


class Effect(Struct, frozen=True):
    """What a call does to one argument, by way of leaving it. Empty ``normal``: it never returns.

    ``attribute`` names the attribute of self that keeps it, for STORED. ``quiet`` are the ends of which some path is
    free of exceptions; the others mean that the function swallowed one. ``told``: the ends of which the function tells
    by what it returns: true, false, None or not. ``presumed``: where it raises it only
    counts as given back, as after any release.
    """

    normal: frozenset[End] = frozenset({End.BORROWED})
    raised: frozenset[End] = frozenset({End.BORROWED})
    attribute: str | None = None
    quiet: frozenset[End] = frozenset(End)
    told: frozenset[tuple[End, Fact]] = frozenset()
    presumed: bool = False

    @property
    def releases(self) -> bool:
        """Whether some normal way out gives it back or takes it over, or every way out where it never returns."""
        return bool((self.normal or self.raised) & {End.RELEASED, End.TAKEN, End.GIVEN_BACK, End.SAVED})

    @property
    def hands_on(self) -> bool:
        """Whether whoever gets the function gets the resource with it: calling it releases it, or returns it."""
        return self.releases or End.RETURNED in self.normal

    def as_release(self) -> Effect:
        """The same of a function that is there to give back: that it does, if it does whenever nothing raises."""
        given_back = {End.RELEASED, End.TAKEN}
        if not self.quiet or not self.quiet <= given_back:
            return self
        presumed = self.presumed or self.raised.isdisjoint(given_back)
        return replace(self, normal=self.quiet, raised=self.quiet, presumed=presumed)

    def __str__(self) -> str:
        """As ``# summary:`` fixtures show it."""
        normal = "|".join(sorted(e.value for e in self.normal)) or "never returns"
        raised = "|".join(sorted(e.value for e in self.raised - self.normal))
        return f"{normal}, on exception {raised}" if raised else normal


BORROWS = Effect()
TAKES = Effect(frozenset({End.TAKEN}), frozenset())
"""It is taken over, and nothing is said of exceptions: whoever takes it has it then."""


class Owned(Struct, frozen=True):
    """A resource that the function's caller receives and owes.

    ``position`` is the index, key or ``.attribute`` of the returned value that holds it (None: it is the value itself);
    ``companions`` are the positions of what lives by it; ``optional``: the function may return None instead.
    ``steps`` say where it was taken, for the caller's diagnostic.
    """

    resource: str
    position: str | int | None
    pool: str | None
    steps: tuple[Step, ...] = ()
    companions: tuple[str | int | None, ...] = ()
    optional: bool = False
    certain: tuple[str | int | None, ...] = ()
    """The positions of the resources in the returned value, this one's among them, that never hold None."""
    known: tuple[tuple[str | int | None, Fact], ...] = ()
    """What the other positions hold wherever this one holds the resource: ``None`` of ``return conn, None``."""
    place: Place | None = None
    """Where the pool lives that it was taken from."""
    unless: str | None = None
    """The parameter in which a caller can give one instead: then nothing is taken."""
    asked: Asked = ()
    """What the function asked before it took it, and its callers may ask again."""

    def __str__(self) -> str:
        """As ``# summary:`` fixtures show it."""
        place = f" at {self.position!r}" if self.position is not None else ""
        return self.resource + place + (f" unless given {self.unless}" if self.unless is not None else "")


class FunctionSummary(Struct, frozen=True):
    """The facts about one function. ``stores`` maps attributes of self to the resources put there.

    ``yields``: what a generator holds and lends to whoever advances it. ``manages``: a ``@contextmanager`` function.
    ``checks_out``: what it takes from pools for itself. The rest only serves to show what the analysis asks for one
    by one: the effects on parameters (for one resource at a time), whether an exception can leave the function, and
    which pools it builds.
    """

    returns: tuple[Owned, ...] = ()
    yields: tuple[Owned, ...] = ()
    stores: tuple[tuple[str, Owned], ...] = ()
    manages: bool = False
    is_async: bool = False
    checks_out: tuple[Owned, ...] = ()
    parameters: tuple[tuple[str, Effect], ...] = ()
    may_raise: bool = True
    builds: tuple[str, ...] = ()

    @property
    def handed_out(self) -> tuple[Owned, ...]:
        """Of what is returned, what callers have to follow: the first, others at other positions, what comes instead.

        One call gives only one of those at the same position. The first stands for all of them, unless the function
        has asked something before it gives that one: then the others come where the answer is another.
        """
        followed = [self.returns[0]]
        for owned in self.returns[1:]:
            former = (e for e in followed if None in (e.position, owned.position) or e.position == owned.position)
            instead = next(former, None)
            if instead is None or instead.asked:
                followed.append(owned)
        return tuple(followed)

    def __str__(self) -> str:
        """As ``# summary:`` fixtures and ``--debug summaries`` show it."""
        parts = [f"returns owned {owned}" for owned in self.returns]
        parts += [f"yields {owned}" for owned in self.yields]
        parts += [f"self.{name} keeps owned {owned.resource}" for name, owned in self.stores]
        if self.manages:
            parts.append("context manager")
        parts += [f"{effect} {name}" for name, effect in self.parameters]
        parts += [f"builds {pool}" for pool in self.builds]
        return ("; ".join(parts) or "nothing") + ("" if self.may_raise else "; cannot raise")
