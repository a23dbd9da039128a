"""What leakcheck says: positions, steps, edits, fixes and diagnostics.

Everything here is frozen plain data, so that it crosses processes, caches and editors.
Rows and columns are 1-based; columns count code points. UTF-16 exists only in the language server.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct


class LeakcheckError(Exception):
    """A fault in what the user gave (arguments, configuration, a driver file): message with file and remedy."""


class Position(Struct, frozen=True, order=True):
    """A place in a file; ``row`` and ``column`` are 1-based, columns in code points."""

    row: int
    column: int


class Span(Struct, frozen=True, order=True):
    """A half-open range of a file: ``end`` is the position after the last character."""

    start: Position
    end: Position


class Severity(StrEnum):
    """How bad: lost where nothing failed, lost only when something raises, or only a gap."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    def lowered(self) -> Severity:
        """One step milder, as for the ``main()`` of a script."""
        return Severity.WARNING if self is Severity.ERROR else Severity.NOTE


class Applicability(IntEnum):
    """Who may apply a fix: nobody but a reader, a user who opted in, anybody."""

    DISPLAY_ONLY = 0
    UNSAFE = 1
    SAFE = 2


class Edit(Struct, frozen=True):
    """Replace the text of ``span`` by ``content``."""

    span: Span
    content: str


class Fix(Struct, frozen=True):
    """A rewrite: ``message`` is a verb phrase, ``edits`` do not overlap and are one unit."""

    message: str
    edits: tuple[Edit, ...]
    applicability: Applicability


class StepKind(StrEnum):
    """What happens at one step of the path from the acquire to the fault."""

    ACQUIRE = "acquire"
    CALL = "call"
    BRANCH = "branch"
    RAISE = "raise"
    YIELD = "yield"
    NEAR_MISS = "near-miss"
    OVERWRITE = "overwrite"
    RELEASE = "release"
    USE = "use"
    STORE = "store"
    EXIT = "exit"


class Step(Struct, frozen=True):
    """One step of a diagnostic's path; ``path`` may be another file than the diagnostic's."""

    kind: StepKind
    path: str
    span: Span
    message: str


class Diagnostic(Struct, frozen=True):
    """One fault about one resource.

    ``span`` is the acquire (for LC107 and LC108 the offending call); ``statement`` covers the whole
    statement around it, on any line of which a suppression counts. ``path`` is relative to the working
    directory where possible. At most one of ``fix`` and ``fix_refused`` is set; ``other_fixes`` are further shapes of
    the fix, known only where somebody is to choose. ``function`` is the qualified name of the function around it (""
    at module level), ``subject`` the text of what is at fault: neither changes when lines move.
    """

    code: str
    name: str
    message: str
    severity: Severity
    path: str
    span: Span
    statement: Span
    steps: tuple[Step, ...] = ()
    fix: Fix | None = None
    fix_refused: str | None = None
    other_fixes: tuple[Fix, ...] = ()
    function: str = ""
    subject: str = ""

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        """The order of output: file, row, column, code."""
        return (self.path, self.span.start.row, self.span.start.column, self.code, self.message)
