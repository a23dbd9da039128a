"""Drivers: what leakcheck knows of each database library, read from data.

``Drivers`` answers the questions that the analysis asks; ``driver_data`` reads it::

    pool = drivers.classes[drivers.class_names["psycopg2.pool.SimpleConnectionPool"]]
    pool.methods["getconn"].acquires  # "psycopg2.PooledConnection"
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from leakcheck.driver_session import AfterRelease, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHORT = 3  # a receiver word of so few letters ("db") must stand alone
RECEIVER: Literal["receiver"] = "receiver"
ALWAYS: Literal["always"] = "always"


class Protocol(StrEnum):
    """How the result of an acquiring call becomes the resource."""

    VALUE = "value"  # the result is the resource
    COROUTINE = "coroutine"  # `await call` is the resource; not awaited, nothing was taken
    AWAITABLE_CONTEXT = "awaitable-context"  # `await call`, or `async with call as x`, which releases at its end
    CONTEXT = "context"  # only `with call as x`, which releases at its end
    ASYNC_CONTEXT = "async-context"  # only `async with call as x`, which releases at its end

    @property
    def is_async(self) -> bool:
        """Whether the call is written with `await` or `async with`; it tells the readings of one name apart."""
        return self not in {Protocol.VALUE, Protocol.CONTEXT}


class WithEffect(StrEnum):
    """What leaving `with resource:` does to the obligation."""

    RELEASES = "releases"
    KEEPS = "keeps"  # commits or rolls back, the resource stays taken
    BREAKS = "breaks"  # closes the connection, the pool's slot stays taken
    ERROR = "error"  # not a context manager: entering raises


class ReleaseTwice(StrEnum):
    """What a second release of the same checkout does."""

    HARMLESS = "harmless"
    RAISES = "raises"
    CORRUPTS = "corrupts"


class UseAfterRelease(StrEnum):
    """What a call on the resource after its release does."""

    RAISES = "raises"
    SHARED = "shared"  # works silently, on a connection that somebody else may hold
    REOPENS = "reopens"  # checks out again silently
    HARMLESS = "harmless"


class Dropped(StrEnum):
    """What becomes of a pool's connections when nothing refers to the pool any more."""

    KEPT = "kept"  # they stay open, for minutes or for good
    COLLECTED = "collected"  # they wait for the cyclic collector
    CLOSED = "closed"  # they are closed at once: a new connection for each pool, and no more


class ClassKind(StrEnum):
    """What the instances of a class are to the analysis."""

    POOL = "pool"  # hands out resources: pool, engine, client
    CONNECTION = "connection"  # must be given back
    FACTORY = "factory"  # calling an instance acquires: sessionmaker
    TRANSACTION = "transaction"  # begins and ends one, by its methods or as a context manager
    OTHER = "other"  # cursors, whatever methods return


class Operation(Struct, frozen=True):
    """What calling a function or method does. Class names are full ids ("psycopg2.Connection").

    The four fields from ``distinctive`` on say when the name alone is evidence: a receiver of no known type is
    believed only if the call looks like this operation.
    """

    name: str
    acquires: str | None = None  # creates an obligation; the value is of this class
    returns: str | None = None  # a value of this class, no obligation
    derives: str | None = None  # a value of this class that lives by the receiver (a cursor)
    protocol: Protocol = Protocol.VALUE
    releases: str | int | None = None  # "receiver", or the argument (index or keyword) given back
    keyword: str = ""  # the name of the argument that `releases` counts
    closed_by: str = ""  # a release: the keyword argument with which it closes for good
    awaited: bool = False  # a release or close that does nothing unless awaited
    pauses: bool = False  # gives the connection back until the next statement: `commit()`, the block of `begin()`
    completes: bool = False  # a release that says besides that all went well: none for where something raised
    near_miss: str = ""  # looks like a release, and why it is not (a sentence)
    near_miss_unless: str = ""  # keyword of the pool's constructor that makes it a release
    acquires_receiver: bool = False  # the receiver itself becomes held (`db.connect()`)
    opens_first: bool = False  # acquires_receiver: it goes on to use what it opened, and may raise then
    reopens: str = ""  # opens again what was closed: "always", or only where this argument is True
    tells: bool = False  # acquires_receiver: what it gives is true where it opened, and false or None where it did not
    gives_itself: bool = False  # acquires_receiver: what it gives is the receiver, or what that keeps, where it opened
    idle: bool = False  # works after the release, too, and says nothing to the server then: it looks, or ends nothing
    closes: bool = False  # ends a pool
    distinctive: bool = False  # the name alone is evidence, on any unresolved receiver
    bound: bool = False  # unresolved: evidence only if the value is bound, entered, returned or passed on
    most_arguments: int | None = None  # unresolved: a call with more positional arguments is something else
    token: str = ""  # a word of every file that calls this, where the name itself is too common a word
    executes: int | None = None  # the argument that is SQL
    connects: bool = False  # runs a statement of its own, so that a session has its connection from here on
    sends: str = ""  # the SQL that calling it amounts to
    sends_if_false: str = ""  # the same where it is given False; one that is given no constant then sends nothing
    does_nothing: str = ""  # looks as if it sent that, and why it does not (a sentence)
    commits: bool = False  # leaving `with` of what this hands out commits, whatever its class says


class Pooling(Struct, frozen=True):
    """What building an instance means, for a class whose instances keep connections; keywords are its constructor's.

    A word of the lists is a keyword, or with ``=`` one that is given this value.
    """

    dropped: Dropped = Dropped.CLOSED
    names: tuple[str, ...] = ()  # only by a name with one of these words in it; by default by all
    not_with: tuple[str, ...] = ()  # it pools nothing, or uses another's pool
    closes_with: tuple[str, ...] = ()  # giving a connection back closes it
    waits_forever: bool = False  # taking a connection has no timeout unless the call gives one
    bounded_by: tuple[str, ...] = ()  # ends that wait
    forever_with: tuple[str, ...] = ()  # makes taking a connection wait for ever
    expires_by: tuple[str, ...] = ()  # limits the age of a connection, which nothing does by default


class DriverClass(Struct, frozen=True):
    """A class of a driver. ``release`` is the text shown to users, with {name} and {pool} in it."""

    id: str
    kind: ClassKind
    noun: str = "connection"
    names: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    methods: Mapping[str, Operation] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    with_effect: WithEffect = WithEffect.RELEASES
    release: str = "{name}.close()"
    release_twice: ReleaseTwice = ReleaseTwice.HARMLESS
    use_after_release: UseAfterRelease = UseAfterRelease.RAISES
    after_release: AfterRelease = AfterRelease.KEPT
    context: str = ""  # what `with` takes to take and release: {acquire} is the acquiring call, {pool} its pool
    context_commits: bool = False  # leaving that `with` commits
    docs: str = ""
    bind: str = ""  # the constructor's argument that it takes from: without one, or with a connection, it takes nothing
    deferred_by: str = ""  # the constructor's argument with which it takes nothing: it is opened by a method, later
    shared: bool = False  # nested checkouts in one task are the same one
    pool: Pooling | None = None
    embedded: bool = False  # there is no server: opening a connection opens a file
    constructs: bool = True  # calling the class builds an instance; else `names` serve annotations only
    session: Session | None = None  # None: nothing is known of its transactions

    @property
    def driver(self) -> str:
        """The driver's name: the part of the id before its dot."""
        return self.id.partition(".")[0]

    @property
    def is_lazy(self) -> bool:
        """Whether what it is made on gives it a connection at the first statement only, as to a session."""
        return bool(self.bind)

    def shares_pool(self, other: DriverClass) -> bool:
        """Whether both may come from one pool: they are alike, or transactions run in either, as in an engine's."""
        return self.id == other.id or (
            self.driver == other.driver and self.session is not None and other.session is not None
        )

    @property
    def is_owner(self) -> bool:
        """Whether it is a class of the project that keeps a resource of a driver: its id names its file."""
        return ":" in self.id


_MAKING = frozenset({"build", "configure", "create", "get", "init", "load", "make", "new", "open", "provide", "setup"})
"""The first words of functions that give what the others name."""


class Drivers(Struct, frozen=True):
    """All drivers in force. ``methods`` and ``words`` are indexes of ``classes``; see ``assemble``."""

    classes: Mapping[str, DriverClass]
    calls: Mapping[str, Operation]
    class_names: Mapping[str, str]
    driver_packages: Mapping[str, tuple[str, ...]]
    roots: tuple[str, ...]
    packages: frozenset[str]
    tokens: frozenset[bytes]
    methods: Mapping[str, tuple[tuple[str, Operation], ...]]
    words: Mapping[str, tuple[str, ...]]

    def methods_named(self, name: str) -> tuple[tuple[str, Operation], ...]:
        """Every class with a method of this name, and what it does there."""
        return self.methods.get(name, ())

    def receiver_classes(self, identifier: str) -> tuple[str, ...]:
        """The classes an unresolved receiver of this name may be: self._read_pool and dbpool may both be a pool."""
        found = next((self.words[ending] for ending in endings(identifier) if ending in self.words), ())
        glued = identifier.lower()
        return found or next(
            (self.words[word] for word in self.words if glued.endswith(word) and len(word) > _SHORT), ()
        )

    def factories_named(self, identifier: str) -> tuple[DriverClass, ...]:
        """The factories that a callee of this name may be, or that it may give: see ``gives_what_it_names``."""
        classes = (self.classes[class_id] for class_id in self.receiver_classes(identifier))
        return tuple(c for c in classes if "__call__" in c.methods)

    def packages_of(self, class_id: str) -> tuple[str, ...]:
        """The packages whose import is evidence for this class; none for the generic driver."""
        return self.driver_packages[class_id.partition(".")[0]]


@cache
def endings(identifier: str) -> tuple[str, ...]:
    """The last words of a name in lower case, longest first: AsyncPool → ("async_pool", "pool")."""
    spaced = ""
    for before, letter, after in zip("_" + identifier, identifier, identifier[1:] + "_", strict=False):
        starts = letter.isupper() and (before.islower() or after.islower())
        spaced += f"_{letter}" if starts else letter
    words = [word for word in spaced.lower().split("_") if word]
    return tuple("_".join(words[start:]) for start in range(len(words)))


def gives_what_it_names(identifier: str) -> bool:
    """Whether a function of this name gives what it is named after, and is none: ``get_sessionmaker``."""
    return next(iter(endings(identifier)), "").partition("_")[0] in _MAKING


def assemble(
    classes: Mapping[str, DriverClass],
    calls: Mapping[str, Operation],
    driver_packages: Mapping[str, tuple[str, ...]],
    roots: Iterable[str],
    tokens: Iterable[str] = (),
) -> Drivers:
    """Index the classes; ``calls`` are the plain functions, constructors and missing ``tokens`` are added here."""
    methods: dict[str, list[tuple[str, Operation]]] = {}
    words: dict[str, list[str]] = {}
    class_names: dict[str, str] = {}
    constructors: dict[str, Operation] = {}
    for class_id, known in classes.items():
        for name, operation in known.methods.items():
            methods.setdefault(name, []).append((class_id, operation))
        for word in known.receivers:
            words.setdefault(word, []).append(class_id)
        for name in known.names:
            class_names[name] = class_id
        if known.constructs and known.names:
            acquires, returns = construction(known)
            constructors.update({name: Operation(name, acquires, returns) for name in known.names})
    everything = {**constructors, **calls}
    return Drivers(
        classes=classes,
        calls=everything,
        class_names=class_names,
        driver_packages=driver_packages,
        roots=tuple(roots),
        packages=frozenset(package for packages in driver_packages.values() for package in packages),
        tokens=frozenset(token.encode() for token in tokens or _tokens(classes, everything, tuple(roots))),
        methods={name: tuple(found) for name, found in methods.items()},
        words={word: tuple(found) for word, found in words.items()},
    )


def construction(known: DriverClass) -> tuple[str | None, str | None]:
    """What calling the class acquires or returns: peewee's databases are held from their connect() on, not before."""
    held = known.kind is ClassKind.CONNECTION and not any(op.acquires_receiver for op in known.methods.values())
    return (known.id, None) if held else (None, known.id)


def _tokens(classes: Mapping[str, DriverClass], calls: Mapping[str, Operation], roots: tuple[str, ...]) -> list[str]:
    """The fewest words one of which is in every acquire: a root where one fits, else the name itself."""
    makers = (ClassKind.POOL, ClassKind.FACTORY)
    operations = [op for op in calls.values() if op.acquires or (op.returns and classes[op.returns].kind in makers)]
    for known in classes.values():
        for name, op in known.methods.items():  # `factory()` is found by the name of the factory's class
            if (op.acquires or op.acquires_receiver) and name != "__call__":
                operations.append(op)
    words: set[str] = set()
    for operation in operations:
        word = operation.token or operation.name.rpartition(".")[2]
        words.add(next((root for root in roots if root in word), word))
    return sorted(word for word in words if not any(other != word and other in word for other in words))


def pooling(fields: Mapping[str, Any]) -> Pooling:
    """What building an instance means, from plain data."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    if "dropped" in values:
        values["dropped"] = Dropped(values["dropped"])
    return Pooling(**values)
