"""One acquire of a unit and all that was seen of it: the input of ``report`` and of summaries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.calls import load_calls
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce, walk
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.sessions.remedy import remedy
from leakcheck.ownership.state import Hold, Status
from leakcheck.ownership.steps import acquire_steps
from leakcheck.ownership.summary import Owned
from leakcheck.project.facts import is_self

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.correlated import Asked
    from leakcheck.ownership.effects import Effects
    from leakcheck.ownership.explore import Ending, Exploration
    from leakcheck.ownership.obligation import Event
    from leakcheck.ownership.program import Skip
    from leakcheck.ownership.sessions.connections import Connection
    from leakcheck.ownership.sessions.following import Following
    from leakcheck.ownership.sessions.session import Held
    from leakcheck.ownership.unit import Unit


_LONGEST = 60
"""A release that is longer to write is told in the words of the driver's file."""


class Found(Struct, eq=False):
    """One acquire of a unit and all that was seen of it."""

    unit: Unit
    call: g.Call
    acquisition: Acquisition
    exploration: Exploration
    effects: Effects
    unless: str | None = None
    """The parameter that is None wherever it is taken."""
    giver: Callable[[], str | None] = lambda: None
    """How the project itself gives it back, with ``{name}`` for the resource; see ``givers``."""
    asked: Asked = ()
    """What the function asked before, and its callers may ask again."""
    ended_instead: bool = False
    """Whether some path gives back, or hands on, what the same call may give instead of this."""

    @property
    def owned(self) -> Owned:
        """What whoever is given the resource owes."""
        taken = self.acquisition
        steps = acquire_steps(self)
        return Owned(
            taken.resource.id, None, taken.pool, steps, place=taken.place, unless=self.unless, asked=self.asked
        )

    @property
    def release_text(self) -> str:
        """The call that would give the resource back: as the function writes it, else as the driver's file does."""
        name = self.effects.name or self.kept_in or "conn"
        written = [self.unit.part.text(node) for node in self._releases() if self._is_plain(node)]
        words = rf"\b{re.escape(name)}\b" + (r"|^(await )?self\.\w+\(\)$" if name.startswith("self.") else "")
        telling = [text for text in written if len(text) <= _LONGEST and re.search(words, text)]
        if telling:
            return max(
                telling, key=lambda text: (load_calls().says_release(text.partition("(")[0]), telling.count(text))
            )
        template = self.giver() or self.acquisition.resource.release
        return template.format(name=name, pool=self.pool_text)

    @property
    def pool_text(self) -> str:
        """What the pool is called where the resource is taken: ``POOLS[name]`` where it has no name of its own."""
        taken, node = self.acquisition, self.call.node
        receiver = node.func.value if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) else None
        if taken.pool is None and not taken.steps and isinstance(receiver, cst.Subscript):
            text = self.unit.part.text(receiver)
            if len(text) <= _LONGEST and text.isprintable():
                return text
        return taken.pool or "pool"

    def _releases(self) -> Iterator[cst.BaseExpression]:
        """What gives the resource back, awaited ones first: with the ``await`` of what a queue's `put()` gives."""
        nodes = [i.node for i in self.exploration.releases.values() if isinstance(i.node, (cst.Await, cst.Call))]
        awaits = {id(n.expression): n for n in walk(self.unit.node) if isinstance(n, cst.Await)} if nodes else {}
        outermost = {id(node): node for node in (awaits.get(id(node), node) for node in nodes)}
        yield from sorted(outermost.values(), key=lambda node: not isinstance(node, cst.Await))

    def _is_plain(self, release: cst.BaseExpression) -> bool:
        """Whether a release is named like one, and not told how: ``close=True`` may not be right elsewhere."""
        call = release.expression if isinstance(release, cst.Await) else release
        if not isinstance(call, cst.Call) or any(argument.keyword is not None for argument in call.args):
            return False
        name = ex.last_name(reduce(call.func)) or ""
        resource = self.acquisition.resource
        own = resource.methods.get(name) if not resource.is_owner else None  # its methods do so by the way, too
        if own is not None and own.completes:
            return False
        return (own is not None and own.releases is not None) or load_calls().says_release(name)

    @property
    def kept_in(self) -> str | None:
        """The attribute of self that still keeps it where a path ends that loses it."""
        kept = (n for e in self.leaks for n, v in e.state.variables if v is Hold.OWN and n.startswith("self."))
        return next(kept, None)

    @property
    def leaks(self) -> list[Ending]:
        """Path ends at which the resource is held by nobody who will give it back."""
        return [e for e in self.exploration.endings if e.state.owed]

    @property
    def ended(self) -> bool:
        """Whether some path gives the resource back or hands it on, be it one that never ends."""
        by_itself = any(
            e.state.status in (Status.RELEASED, Status.MOVED) or e.state.paused for e in self.exploration.endings
        )
        return by_itself or self.ended_instead or bool(self.exploration.releases)

    @property
    def is_local_receiver(self) -> bool:
        """Whether what is opened was made in this function, and not asked of another one that may share it."""
        facts = self.unit.facts
        made = facts.scope.assignments.get(self.call.receiver or "", ()) if facts is not None else ()
        return any(isinstance(v, ex.Call) and (ex.last_name(v.func) or "a")[0].isupper() for v in made)

    def stores(self, *, elsewhere: bool = False, by_others: bool = True) -> Iterator[tuple[str, Ending]]:
        """Attributes of self that took the resource, or those of other objects, as ``g.db``.

        Of an object that was made unopened only where it is opened: here, or ``by_others`` of the file, too.
        """
        seen: set[str] = set()
        for ending in self.exploration.endings:
            attribute = ending.state.moved_to or self._kept_by_property(ending)
            if ending.state.status is not Status.MOVED or not attribute:
                continue
            if ("." in attribute) is elsewhere and attribute not in seen:
                seen.add(attribute)
                if not self.acquisition.unopened or self._is_opened(attribute, ending, by_others=by_others):
                    yield attribute, ending

    def _kept_by_property(self, ending: Ending) -> str | None:
        """The attribute in which self keeps what is returned: by the name of a ``cached_property``."""
        facts = self.unit.facts
        if facts is None or ending.state.get(g.RETURN) is not Hold.OWN:
            return None
        return facts.name if "cached_property" in facts.decorator_names else None

    def _is_opened(self, attribute: str, ending: Ending, *, by_others: bool) -> bool:
        """Whether an object that was made unopened was open when it was stored, or code of the file opens it there."""
        events = (*(e for hop in self.exploration.path(ending.node) for e in hop.events), *ending.events)
        if any(event.kind is EventKind.OPENED for event in events):
            return True
        name = attribute.rpartition(".")[2]
        openings = {n for n, o in self.acquisition.resource.methods.items() if o.acquires_receiver}
        facts, module = self.unit.facts, self.unit.scope.module
        for function in module.functions.values() if by_others else [facts] if facts is not None else []:
            for callee in (c for callees in function.calls.values() for c in callees):
                holder = opened_holder(callee, name, openings)
                if holder is not None and (not is_self(holder) or function.owner == self.unit.scope.owner):
                    return True
        return False


def alternatives(given: Sequence[Found]) -> Sequence[Found]:
    """What one call may give: a path that gives back one of those at the same position may be taken for the other."""
    ended = {each.acquisition.position for each in given if each.ended}
    for each in given:
        each.ended_instead = not each.ended and each.acquisition.position in ended
    return given


def opened_holder(callee: ex.Expression, attribute: str, openings: Container[str]) -> ex.Expression | None:
    """The ``x`` where calling ``callee`` opens the object in ``x.attribute``, or reads what a property of it opens."""
    while isinstance(callee, ex.Attribute):
        base = callee.base
        if callee.name in openings and isinstance(base, ex.Attribute) and base.name == attribute:
            return base.base
        callee = base
    return None


class AllFound(Struct, frozen=True, eq=False):
    """What was found in one unit: two are the same where the same calls take the same."""

    found: tuple[Found, ...] = ()
    skipped: tuple[Skip, ...] = ()
    taken: tuple[tuple[int, Acquisition, str | None], ...] = ()

    @classmethod
    def of(cls, found: Sequence[Found], skipped: Sequence[Skip]) -> AllFound:
        """All of these."""
        taken = tuple((id(each.call.node), each.acquisition, each.unless) for each in found)
        return cls(tuple(found), tuple(skipped), taken)

    def __eq__(self, other: object) -> bool:
        """Whether the same calls take the same."""
        return isinstance(other, AllFound) and self.taken == other.taken

    def __hash__(self) -> int:
        """That of what is compared."""
        return hash(self.taken)


class Fault(Struct, frozen=True):
    """A statement in the wrong place, wherever the path ends."""

    unit: Unit
    event: Event


class SessionFound(Found, eq=False, kw_only=True):
    """Something taken on a connection, as a transaction or a role, and all that was seen of it."""

    held: Held
    connection: Connection
    following: Following

    @property
    def by_project(self) -> bool:
        """Whether it is what a function of the project leaves open for its callers, and not said here."""
        return bool(self.following.speech.leaves(self.call))

    @property
    def release_text(self) -> str:
        """What would end it."""
        return remedy(self.held, self.connection.driver.dialect)
