"""Random programs: what is said to the server, and the branches and handlers around it.

A program opens a transaction, takes a role, changes a setting, locks or listens (each at most once), and ends it in one
of the ways people do: at once, in ``finally``, in a handler, on some branch only, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """What may be left on a connection; the last two are statements that may have had no effect."""

    TRANSACTION = "transaction"
    ROLE = "role"
    SETTING = "setting"
    LOCK = "lock"
    LISTEN = "listen"
    LOCAL = "local"
    COMMIT = "commit"


OPENING = {
    Kind.TRANSACTION: ("BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION"),
    Kind.ROLE: ("SET ROLE tenant", "SELECT set_config('role', 'tenant', false)", "SET SESSION ROLE tenant"),
    Kind.SETTING: ("SET statement_timeout = '9s'", "SET search_path TO tenant, public"),
    Kind.LOCK: ("SELECT pg_advisory_lock(7)", "SELECT pg_try_advisory_lock(7)"),
    Kind.LISTEN: ("LISTEN jobs",),
}
ENDING = {
    Kind.TRANSACTION: ("COMMIT", "COMMIT", "ROLLBACK", "END"),
    Kind.ROLE: ("RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION"),
    Kind.SETTING: ("RESET ALL", "RESET statement_timeout; RESET search_path"),
    Kind.LOCK: ("SELECT pg_advisory_unlock(7)", "SELECT pg_advisory_unlock_all()"),
    Kind.LISTEN: ("UNLISTEN *", "UNLISTEN jobs"),
}
NOISE = (
    "SET LOCAL statement_timeout = '8s'",
    "SELECT pg_advisory_xact_lock(9)",
    "SET LOCAL ROLE tenant",
)
WORK = "INSERT INTO public.journal VALUES (1)"
"""Work that a rollback loses; the table is made by the set-up in ``pools``."""


@dataclass(frozen=True, slots=True)
class Say:
    """One SQL text; ``opens`` or ``ends`` something."""

    text: str
    opens: Kind | None = None
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Driver:
    """A call of the driver: ``commit`` or ``rollback``."""

    method: str


@dataclass(frozen=True, slots=True)
class Python:
    """A call that says nothing to the server, and may raise."""


@dataclass(frozen=True, slots=True)
class Leave:
    """``return``."""


@dataclass(frozen=True, slots=True)
class Branch:
    """``if flags.name: body else: orelse``."""

    flag: str
    body: Body
    orelse: Body = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """``try``; with ``handler`` an ``except Exception:``, which raises again where ``passes_on``."""

    body: Body
    handler: Body | None = None
    passes_on: bool = False
    final: Body = ()


Node = Say | Driver | Python | Leave | Branch | Attempt
Body = tuple[Node, ...]
FLAGS = ("a", "b")


class Generator:
    """Writes the body of one program. ``methods``: the driver's ways to end a transaction without SQL."""

    def __init__(self, seed: int, *, autocommit: bool, methods: Sequence[str]) -> None:
        self._random = Random(seed)
        self._autocommit = autocommit
        self._methods = methods

    def body(self) -> Body:
        """Up to three kinds, one inside another or one after another."""
        kinds = [kind for kind in OPENING if self._autocommit or kind is not Kind.TRANSACTION]
        weights = [3 if kind in (Kind.TRANSACTION, Kind.ROLE) else 1 for kind in kinds]
        chosen = list(dict.fromkeys(self._random.choices(kinds, weights, k=self._random.choice((1, 1, 2, 3)))))
        self._random.shuffle(chosen)
        if len(chosen) > 1 and self._random.random() < 0.3:
            return (*self._around(chosen[:1]), *self._around(chosen[1:]))
        return self._around(chosen)

    def _around(self, kinds: Sequence[Kind]) -> Body:
        """The first kind around the others."""
        if not kinds:
            return self._work()
        opening = Say(self._random.choice(OPENING[kinds[0]]), opens=kinds[0])
        inner = self._around(kinds[1:])
        end = self._end(kinds[0])
        shapes = (
            lambda: (opening, *inner, *end),
            lambda: (opening, Attempt(inner, final=end)),
            lambda: (Attempt((opening, *inner), final=end),),
            lambda: (opening, Attempt(inner, handler=end, passes_on=True), *end),
            lambda: (opening, Attempt((*inner, *end), handler=self._end(kinds[0]), passes_on=True)),
            lambda: (opening, Attempt(inner, handler=(), passes_on=False), *end),
            lambda: (opening, Attempt((*inner, *end), handler=(), passes_on=False)),
            lambda: (opening, *inner, Branch(self._flag(), end, self._maybe(end))),
            lambda: (opening, Branch(self._flag(), (*end, Leave())), *inner, *self._maybe(end)),
            lambda: (Branch(self._flag(), (opening,)), Attempt(inner, final=end)),
            lambda: (opening, *inner),
            lambda: (opening, Attempt(inner, handler=self._maybe(end), passes_on=self._chance(0.5)), *self._maybe(end)),
        )
        return tuple(self._random.choice(shapes)())

    def _end(self, kind: Kind) -> Body:
        if kind is Kind.TRANSACTION and self._methods and self._chance(0.25):
            return (Driver(self._random.choice(self._methods)),)
        said: Body = (Say(self._random.choice(ENDING[kind]), ends=True),)
        if not self._autocommit and self._chance(0.5):
            return (*said, *self._commit())
        if not self._autocommit and self._chance(0.3):
            return (Driver("rollback"), *said, *self._commit())
        return said

    def _commit(self) -> Body:
        return (Driver("commit"),)

    def _work(self) -> Body:
        pieces: list[Node] = [self._random.choice((Say(WORK), Say(WORK), Python()))]
        if self._chance(0.2):
            pieces.insert(0, Say(self._random.choice(NOISE)))
        if not self._autocommit and self._chance(0.5):
            pieces.append(Driver(self._random.choice(("commit", "commit", "rollback"))))
        if self._chance(0.15):
            pieces.append(Branch(self._flag(), (Leave(),)))
        if self._chance(0.2):
            pieces.append(Say(WORK))
        return tuple(pieces)

    def _maybe(self, body: Body) -> Body:
        return body if self._chance(0.5) else ()

    def _flag(self) -> str:
        return self._random.choice(FLAGS)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability
