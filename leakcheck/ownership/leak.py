"""What the ownership analysis found about one resource in one function: the input of the rules.

The analysis decides *what* is wrong and on which path; a rule decides how to say it.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from leakcheck.diagnostic import Fix, Severity, Span, Step


class LeakKind(Enum):
    """The kinds of fault, one rule each; of one resource's leaks the first of this order is reported."""

    RELEASE_DOES_NOT_RELEASE = "LC106"
    DISCARDED = "LC104"
    NEVER_RELEASED = "LC101"
    OVERWRITTEN = "LC105"
    ON_PATH = "LC103"
    ON_EXCEPTION = "LC102"
    ACROSS_YIELD = "LC111"
    OWNER_NEVER_RELEASES = "LC109"
    RELEASED_TWICE = "LC107"
    USED_AFTER_RELEASE = "LC108"
    NESTED_CHECKOUT = "LC110"
    POOL_IN_HANDLER = "LC201"
    POOL_PER_CALL = "LC202"
    POOL_WAITS = "LC203"
    POOL_NEVER_EXPIRES = "LC204"
    CONNECTION_PER_REQUEST = "LC205"
    ASYNC_FACTORY_CACHED = "LC206"
    TRANSACTION_NEVER_ENDED = "LC301"
    TRANSACTION_ON_EXCEPTION = "LC302"
    TRANSACTION_ON_PATH = "LC303"
    END_DOES_NOTHING = "LC304"
    COMMIT_AFTER_ERROR = "LC305"
    SLOW_CALL = "LC306"
    SAVEPOINT_ONLY = "LC307"
    ROLE_NEVER_RESET = "LC401"
    ROLE_ON_EXCEPTION = "LC402"
    ROLE_ON_PATH = "LC403"
    SETTING_KEPT = "LC404"
    LOCK_KEPT = "LC405"
    LISTENING_KEPT = "LC406"
    RESET_DOES_NOT_RESET = "LC407"
    LOCAL_OUTSIDE = "LC408"


class Start(Struct, frozen=True):
    """The function of the same file that runs from the start of the application to its end, up to its ``yield``.

    ``keeps`` is how something is kept on the application: "{app}.state.{name}".
    """

    hook: str
    keeps: str


class Leak(Struct, frozen=True):
    """A fault about one resource.

    Texts are source text, shortened: ``acquire`` "pool.getconn()", ``release`` what would give it back
    ("pool.putconn(conn)"), ``name`` the variable that holds it or None, ``cause`` the text of the
    call that raises, the near-miss release, the second release or the second checkout, ``reason`` a sentence
    of the driver's file that says why the near miss does not release (else ""). Of a pool, ``acquire`` is the call that
    builds it, ``cause`` what runs again and again, ``reason`` what for ("request").

    About what is held on a connection (LC3, LC4): ``acquire`` is the statement or call that took it ("SET ROLE app"),
    ``release`` what would end it, ``name`` the role, setting, lock or channel, ``noun`` what it is ("transaction"), and
    ``reason`` also how the connection went with it.
    """

    kind: LeakKind
    severity: Severity
    span: Span
    statement: Span
    steps: tuple[Step, ...]
    acquire: str
    release: str
    name: str | None
    cause: str
    reason: str
    noun: str  # "connection", "session", …: what the driver's file calls the resource
    gap: bool = False  # only what stands between taking it and the `try` that gives it back loses it
    paused_by: str = ""  # the commit by which a session gave its connection back with what is held
    may_be_local: bool = False  # a setting that may be set for the transaction only
    handed_on: bool = False  # other paths hand it to the caller, who must get it open
    undo: str = ""  # the method in which an object of this kind gives back what it keeps: `tearDown`
    function: str = ""  # the qualified name of the function around it; "" at module level
    resource: str = ""  # the class of the driver's file that it is of, for what is lost: "psycopg2.PooledConnection"
    start: Start | None = None  # of what a handler builds: where it may be built once
    fix: Fix | None = None
    fix_refused: str | None = None
    other_fixes: tuple[Fix, ...] = ()
