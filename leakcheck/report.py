"""The outcome of a run: what the engine hands to the output formats, the editor and the tests."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from leakcheck.diagnostic import Diagnostic, Span


class NotAnalysed(Struct, frozen=True):
    """A path, or a construct in a file, that was left out, and why: shown under ``--verbose``.

    ``is_open``: nothing is known of it, so nobody can say whether it matters; ``--strict`` does not fail on it, since
    hardly any project is without such a call.
    """

    path: str
    reason: str
    span: Span | None = None
    is_open: bool = False


class Breakdown(Struct, frozen=True):
    """A bug of ours: what raised, on which file, and in which rule (None: in the analysis)."""

    path: str
    rule: str | None
    error: str
    trace: str = ""


class Report(Struct, frozen=True):
    """The outcome of a run; ``diagnostics`` are in the order of output.

    ``known`` counts the findings that a baseline held back, ``stale`` its entries that nothing matched any more.
    """

    diagnostics: tuple[Diagnostic, ...]
    not_analysed: tuple[NotAnalysed, ...] = ()
    files_checked: int = 0
    breakdowns: tuple[Breakdown, ...] = ()
    known: int = 0
    stale: int = 0


def merged(reports: Sequence[Report]) -> Report:
    """Several projects' reports as one."""
    return Report(
        diagnostics=tuple(sorted((one for each in reports for one in each.diagnostics), key=lambda one: one.sort_key)),
        not_analysed=tuple(one for each in reports for one in each.not_analysed),
        files_checked=sum(each.files_checked for each in reports),
        breakdowns=tuple(one for each in reports for one in each.breakdowns),
        known=sum(each.known for each in reports),
        stale=sum(each.stale for each in reports),
    )
