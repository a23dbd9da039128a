"""What a driver's connections do about transactions and session state: the ``[class.X.session]`` tables.

``driver.py`` gives each connection class its ``Session``: that of the class it extends, with its own changes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Begins(StrEnum):
    """What opens a transaction on a connection that is not in autocommit."""

    FIRST_STATEMENT = "first-statement"
    FIRST_WRITE = "first-write"
    NEVER = "never"  # each statement is its own transaction until somebody says BEGIN
    UNKNOWN = "unknown"


class OpenAtRelease(StrEnum):
    """What giving a connection back does with the transaction that is open on it."""

    ROLLED_BACK = "rolled-back"
    CLOSED = "closed"  # the connection itself ends, and all its state with it
    PASSED_ON = "passed-on"  # the next borrower goes on in it


class AfterRelease(StrEnum):
    """What a release makes of an open transaction and of the session's state."""

    CLOSED = "closed"  # the connection ends, and everything with it
    ROLLED_BACK = "rolled-back"  # the transaction is rolled back, the session's state goes to the next user
    KEPT = "kept"  # not known to be rolled back


class Session(Struct, frozen=True):
    """What a connection does about transactions and session state, as measured."""

    dialect: str = ""  # "postgresql", "mysql", "sqlite"; empty where it depends on the driver underneath
    begins: Begins = Begins.UNKNOWN
    commits: bool = False  # leaving `with connection` normally commits; else it rolls back or does nothing
    ends: bool = True  # leaving `with connection` ends the open transaction in some way
    open: OpenAtRelease = OpenAtRelease.CLOSED
    begun: OpenAtRelease = OpenAtRelease.ROLLED_BACK  # the same for SQL BEGIN sent in autocommit
    pooled: bool = False  # giving it back keeps the connection alive, and what is set on it
    clears: tuple[str, ...] = ()  # the session state that giving it back clears: "setting", "lock", "listen", "role"
    cleared_by: tuple[str, ...] = ()  # arguments of its pool by which that is told how to clear it all
    cleared_on: tuple[str, ...] = ()  # events of its pool on which the project may clear it all
    autocommit: tuple[str, ...] = ()  # attributes, keywords and methods that switch autocommit
    made_autocommit: tuple[str, ...] = ()  # arguments of the constructors that may switch it, too
    deaf: bool = False  # in autocommit, commit() and rollback() do nothing after SQL BEGIN
    blind: bool = False  # after SQL COMMIT the driver believes that its transaction goes on, and sends no BEGIN
    nests: bool = False  # a block inside the driver's own transaction is a savepoint, and commits nothing
    caches: bool = False  # DISCARD ALL breaks its statement cache for good
    outside: tuple[str, ...] = ()  # methods of the framework's classes that run where no transaction is open
    block: str = ""  # what `with` takes to begin and end a transaction on the connection {name}
    discard: str = ""  # what has its pool drop the connection {name}, with all that is set on it

    @property
    def commits_itself(self) -> frozenset[str]:
        """The arguments that may have each of its statements committed by itself."""
        return frozenset((*self.autocommit, *self.made_autocommit))

    @property
    def after_release(self) -> AfterRelease:
        """What giving it back makes of the open transaction and of what is set, unless its class says otherwise."""
        if not self.pooled:
            return AfterRelease.CLOSED
        return AfterRelease.KEPT if self.open is OpenAtRelease.PASSED_ON else AfterRelease.ROLLED_BACK

    @property
    def without_pool(self) -> Session:
        """The same where no pool keeps the connection: giving it back closes it, and nobody gets it next."""
        return replace(self, pooled=False, open=OpenAtRelease.CLOSED, begun=OpenAtRelease.CLOSED)


SESSION_KEYS: dict[str, tuple[type, ...]] = {
    "dialect": (str,),
    "begins": (Begins,),
    "commits": (bool,),
    "ends": (bool,),
    "open": (OpenAtRelease,),
    "begun": (OpenAtRelease,),
    "pooled": (bool,),
    "clears": (list,),
    "cleared-by": (list,),
    "cleared-on": (list,),
    "autocommit": (list,),
    "made-autocommit": (list,),
    "deaf": (bool,),
    "blind": (bool,),
    "nests": (bool,),
    "caches": (bool,),
    "outside": (list,),
    "block": (str,),
    "discard": (str,),
}
"""The keys of such a table, with the types of their values."""


def session_of(fields: Mapping[str, Any], start: Session | None = None) -> Session:
    """The session that these fields, with their plain values, describe on top of ``start``."""
    values = {name.replace("-", "_"): value for name, value in fields.items()}
    for name, restore in _SESSION_RESTORED:
        if name in values:
            values[name] = restore(values[name])
    return replace(start or Session(), **values)


_SESSION_RESTORED: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("begins", Begins),
    ("open", OpenAtRelease),
    ("begun", OpenAtRelease),
    ("clears", tuple),
    ("autocommit", tuple),
    ("made_autocommit", tuple),
    ("cleared_by", tuple),
    ("cleared_on", tuple),
    ("outside", tuple),
)
