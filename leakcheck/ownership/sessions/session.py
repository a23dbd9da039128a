"""What may be held on a connection besides the connection itself, and what one path knows of its transaction.

BEGIN           →   Held(TRANSACTION), and Session(open=YES)
SET ROLE "a"    →   Held(ROLE, "a"), which a rollback of this transaction undoes: Session(fresh=True)
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from leakcheck.cfg import graph as g
    from leakcheck.cfg.graph import Call, Instruction
    from leakcheck.ownership.state import State


class HeldKind(Enum):
    """What is held; the values are the words by which drivers' files say what giving a connection back clears."""

    TRANSACTION = "transaction"
    SAVEPOINT = "savepoint"  # work in a savepoint of a transaction that somebody must still commit
    ROLE = "role"
    AUTHORIZATION = "authorization"
    SETTING = "setting"
    LOCK = "lock"
    LISTEN = "listen"


class Held(Struct, frozen=True):
    """An obligation on a connection: ``name`` is the role, setting, lock or channel, None where it is not known."""

    by: SqlKind
    name: str | None = None
    text: str = ""
    """The statement or call that took it, for messages."""
    tried: bool = False
    """Whether the statement says if it took it: a lock that is only tried."""

    @property
    def kind(self) -> HeldKind:
        """What it is."""
        return TAKES[self.by]


class Open(Enum):
    """Whether a transaction is open."""

    __hash__ = object.__hash__  # Enum has a slow one, in Python

    NO = "no"
    YES = "yes"
    MAYBE = "maybe"


class Session(Struct, frozen=True):
    """One path's knowledge of its connection's session.

    ``manual``: the open transaction was begun by SQL. ``autocommit`` is None where it is not known. ``scopes`` are the
    ``with`` blocks that began a transaction, with what was open before. ``fresh``: what is followed was set in the open
    transaction, so that a rollback undoes it; ``resetting``: it was reset there, so that a rollback undoes that.
    ``worked``: something was sent since what is followed was set, besides what sets something more; ``changed``:
    something that may write, by what has the connection, so that a rollback loses it.
    ``saved``: a commit made it last; ``undone``: in a function that is given the connection, a rollback ended it if
    the caller had set it in the open transaction.
    ``wrote``: something was perhaps written in the open transaction, so that its COMMIT may fail.
    ``aborted``: a statement failed in the open transaction, and the server refuses all others until it ends.
    ``decided``: the last test of what the object notes of its transaction, and its outcome.
    ``failed``, ``slow`` and ``unseen`` are the statement that raised in the open transaction, the slow call in it,
    and the SQL COMMIT that the driver has not seen; ``useless``: a call that should have ended it was told of.
    ``gone`` says how the connection went with what is held.
    """

    open: Open = Open.MAYBE
    manual: bool = False
    autocommit: bool | None = None
    scopes: tuple[tuple[str, Open], ...] = ()
    fresh: bool = False
    resetting: bool = False
    saved: bool = False
    undone: bool = False
    worked: bool = False
    wrote: bool = False
    aborted: bool = False
    changed: bool = False
    decided: tuple[str, bool] | None = None
    failed: Instruction | None = None
    slow: Call | None = None
    unseen: Instruction | None = None
    useless: bool = False
    gone: str = ""


UNFOLLOWED = Session()


class Taken(Struct, frozen=True):
    """Where something is taken on a connection: the instruction, what, and the state after it."""

    instruction: g.Instruction
    call: g.Call
    held: Held
    state: State


TAKES: dict[SqlKind, HeldKind] = {
    SqlKind.BEGIN: HeldKind.TRANSACTION,
    SqlKind.SET_ROLE: HeldKind.ROLE,
    SqlKind.SET_AUTHORIZATION: HeldKind.AUTHORIZATION,
    SqlKind.SET: HeldKind.SETTING,
    SqlKind.LOCK: HeldKind.LOCK,
    SqlKind.GET_LOCK: HeldKind.LOCK,
    SqlKind.LOCK_TABLES: HeldKind.LOCK,
    SqlKind.LISTEN: HeldKind.LISTEN,
    SqlKind.SAVEPOINT: HeldKind.SAVEPOINT,
}
"""What a statement takes that must end; none of them where it is local to the transaction."""

ENDS: dict[HeldKind, frozenset[SqlKind]] = {
    HeldKind.TRANSACTION: frozenset(),
    HeldKind.SAVEPOINT: frozenset(),
    HeldKind.ROLE: frozenset((SqlKind.RESET_ROLE, SqlKind.RESET_AUTHORIZATION, SqlKind.SET_ROLE)),
    HeldKind.AUTHORIZATION: frozenset((SqlKind.RESET_AUTHORIZATION, SqlKind.SET_AUTHORIZATION)),
    HeldKind.SETTING: frozenset((SqlKind.RESET, SqlKind.RESET_ALL, SqlKind.SET)),
    HeldKind.LOCK: frozenset(
        (SqlKind.UNLOCK, SqlKind.UNLOCK_ALL, SqlKind.RELEASE_LOCK, SqlKind.RELEASE_ALL_LOCKS, SqlKind.UNLOCK_TABLES)
    ),
    HeldKind.LISTEN: frozenset((SqlKind.UNLISTEN,)),
}
"""The statements that end it, besides those that end or reset everything."""

NAMED = frozenset((SqlKind.RESET, SqlKind.SET, SqlKind.UNLOCK, SqlKind.RELEASE_LOCK, SqlKind.UNLISTEN))
"""Of these, those that only end what has the same name."""
