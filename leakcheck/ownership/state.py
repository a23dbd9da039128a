"""What is known on one path about one resource: its status and what each variable holds.

States are disjunctive: two paths that differ in status or variables stay apart (see ``explore`` for the bound).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from leakcheck.ownership.sessions.session import UNFOLLOWED, Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from leakcheck.cfg.graph import Call, Define
    from leakcheck.driver import Operation
    from leakcheck.ownership.sessions.statements import Action
    from leakcheck.ownership.summary import Effect


class Status(Enum):
    """Who owes the release."""

    __hash__ = object.__hash__  # Enum has a slow one, in Python

    WAITING = "waiting"  # the call was made, nothing is taken until it is awaited or entered
    HELD = "held"
    RELEASED = "released"
    MOVED = "moved"  # somebody else owns it now


class Fact(Enum):
    """What is known of a variable that has nothing to do with the resource."""

    __hash__ = object.__hash__  # Enum has a slow one, in Python

    NONE = "none"
    FALSE = "false"  # false and not None
    FALSY = "falsy"  # None or false
    TRUE = "true"  # true, so not None
    NOT_NULL = "not-null"
    OPTIONAL = "optional"  # None, or true
    UNBOUND = "unbound"  # reading it raises
    ANSWER = "answer"  # the row by which the server says that it took what is followed: true, and all in it
    LAST = "last"  # a collection whose last element is taken: the one that holds the resource
    SPENT = "spent"  # a collection of which no element is left


class Hold(Enum):
    """How a variable holds the resource."""

    __hash__ = object.__hash__  # Enum has a slow one, in Python

    OWN = "own"  # it is the resource
    MAYBE = "maybe"  # what an unknown function made from the resource: itself, where it is bound to the same name
    DERIVED = "derived"  # lives by the resource, cannot release it: a cursor
    PENDING = "pending"  # the call that takes it, not yet awaited or entered
    MANAGER = "manager"  # a context manager that releases it when left
    RELEASING = "releasing"  # a coroutine that releases it once awaited
    RELEASER = "releaser"  # a callable that releases it
    GIVER = "giver"  # a callable that gives it: its `__enter__`


class Box(Struct, frozen=True):
    """A tuple, list, dict or object that holds the resource among its items; those are kept that say something.

    The key of an attribute is ``.name``, that of a named tuple's field ``0.name``, and None is one that is not known.
    ``size``: how many items a tuple or list has, where that is known.
    """

    items: tuple[tuple[str | int | None, Value], ...]
    size: int | None = None

    @property
    def element(self) -> tuple[int | None, Value] | None:
        """The first element that holds the resource, with its index, if iterating over it gives one."""
        elements = [(k, v) for k, v in self.items if not isinstance(k, str) and not isinstance(v, Fact)]
        return next((e for e in elements if e[1] in ALIASES), elements[0] if elements else None)

    @property
    def values(self) -> Box:
        """What ``values()`` of a dict gives."""
        return Box(tuple((None, value) for _, value in self.items))

    @property
    def pairs(self) -> Box:
        """What ``items()`` of a dict gives: each value behind its key."""
        return Box(tuple((None, Box(((1, value),), 2)) for _, value in self.items))

    def at(self, key: str | int | None) -> Value | None:
        """What an item holds; an unknown key may be any, so that of the resource before its cursor's."""
        found = [value for known, value in self.items if key is None or known is None or _is_same(known, key)]
        holding = [value for value in found if not isinstance(value, Fact)]
        if not holding:
            return found[0] if found and key is not None else None
        return next((value for value in holding if value in ALIASES), holding[0])


def _is_same(known: str | int, key: str | int) -> bool:
    """Whether an item with the first key is what is read by the second."""
    index, dot, name = known.partition(".") if isinstance(known, str) else ("", "", "")
    return known == key or (bool(dot) and index.isdigit() and key in (int(index), f".{name}"))


class Deferred(Struct, frozen=True):
    """A coroutine of a project function: its effect on the resource comes when it is awaited."""

    effect: Effect


class Opening(Struct, frozen=True):
    """A coroutine of the resource that takes it once awaited, by this operation."""

    operation: Operation


class Closure(Struct, frozen=True):
    """A nested function or lambda; what it does with the resource is asked when it is called or escapes."""

    define: Define


class Link(Struct, frozen=True):
    """A flag: true exactly where ``subject`` is None (is not None when ``negated``)."""

    subject: str
    negated: bool


class Scope(Struct, frozen=True):
    """A transaction object of the resource. ``begun``: it has begun; one that has not begins when it is entered."""

    class_id: str
    begun: bool = False


class Said(Struct, frozen=True):
    """A coroutine that sends statements over the resource once it is awaited; ``value`` is what it gives then."""

    call: Call
    actions: tuple[Action, ...]
    value: Hold | Scope | None


Value = Fact | Hold | Box | Deferred | Opening | Closure | Link | Scope | Said
ALIASES = (Hold.OWN,)
ABSENT = (Fact.NONE, Fact.FALSY)
_REFERENCES = frozenset(Hold) - {Hold.MAYBE}


def refers(value: Value) -> bool:
    """Whether a variable with this value keeps the resource within reach."""
    if isinstance(value, Box):
        return not all(isinstance(item, Fact) for _, item in value.items)
    return value in _REFERENCES or isinstance(value, (Deferred, Scope))


class State(Struct, frozen=True):
    """One path's knowledge. ``raised``: something raised since the acquire.

    ``near_miss``: 1 a ``with`` that does not release was left, 2 a call that looks like a release was made.
    ``paused``: it holds no connection until it is used again (a session after ``commit()``); ``connected``: a session
    holds one since a statement of it. ``session``: what is known of its transaction, where that is followed.
    ``release_raised``: its release counts as done and has raised, or a test found it closed, so that doing it once
    more is no fault;
    ``used_late``: it was used after its release, which is told once. ``closed``: it was closed for good, and no test
    finds it open. ``untouched``: it connects when it is first used, which it has not been.
    """

    status: Status
    variables: tuple[tuple[str, Value], ...]
    raised: bool = False
    near_miss: int = 0
    paused: bool = False
    connected: bool = False
    moved_to: str | None = None  # the attribute of self that took it
    session: Session = UNFOLLOWED
    release_raised: bool = False
    used_late: bool = False
    closed: bool = False
    untouched: bool = False

    def get(self, name: str) -> Value | None:
        """What a variable holds, None where nothing is known of it."""
        for key, value in self.variables:
            if key == name:
                return value
        return None

    def bind(self, changes: Mapping[str, Value | None]) -> State:
        """The state with these variables changed; None forgets."""
        kept = dict(self.variables)
        for name, value in changes.items():
            if value is None or name.startswith("#"):
                kept.pop(name, None)
            else:
                kept[name] = value
        return replace(self, variables=tuple(sorted(kept.items())))

    def with_status(self, status: Status, moved_to: str | None = None) -> State:
        """The state with another status; ``moved_to`` is the attribute that took the resource."""
        return replace(self, status=status, moved_to=moved_to)

    def holders(self) -> Iterator[tuple[str, Value]]:
        """Variables that keep the resource within reach."""
        return ((name, value) for name, value in self.variables if refers(value))

    @property
    def owed(self) -> bool:
        """Whether leaving the function now would leak."""
        return self.status is Status.HELD and not self.paused and not self.untouched


def truth(value: Value | None) -> bool | None:
    """Whether the value is true, where known."""
    if value is None or isinstance(value, Link) or value in (Fact.NOT_NULL, Fact.OPTIONAL, Fact.UNBOUND):
        return None
    return value not in (Fact.NONE, Fact.FALSE, Fact.FALSY)


def is_null(value: Value | None) -> bool | None:
    """Whether the value is None, where known."""
    if value is None or value in (Fact.FALSY, Fact.OPTIONAL, Fact.UNBOUND):
        return None
    return value is Fact.NONE
