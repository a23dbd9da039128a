"""What an editor may do about findings: apply a fix, fix all that is safe, or say why a finding is ignored.

actions(text, findings)    →   for each finding its fix in every shape, and a comment that silences it
fix_all(findings)          →   the safe fixes as one action
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lsprotocol import types
from msgspec import Struct

from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Span
from leakcheck.fixes.apply import chosen
from leakcheck.ignoring import comments

FIX_ALL = "source.fixAll.leakcheck"
KINDS = (types.CodeActionKind.QuickFix, FIX_ALL)
_APPLICABILITY = {
    Applicability.SAFE: "safe",
    Applicability.UNSAFE: "unsafe: check the result",
    Applicability.DISPLAY_ONLY: "a sketch: not ready",
}
_REASON = "reason"


class Action(Struct, frozen=True):
    """One thing to do. ``findings`` are what it is about, ``preferred`` whether it may be done without a look."""

    title: str
    kind: str
    edits: tuple[Edit, ...]
    findings: tuple[Diagnostic, ...]
    preferred: bool = False

    @property
    def key(self) -> str:
        """What tells it from the other actions of the same version of the buffer."""
        places = ",".join(f"{each.code}@{each.span.start.row}:{each.span.start.column}" for each in self.findings)
        return f"{self.title}|{places}"


def actions(text: str, findings: Sequence[Diagnostic]) -> Iterator[Action]:
    """Everything that may be done about these findings of a buffer with this text."""
    quick = types.CodeActionKind.QuickFix
    for finding in findings:
        for fix in (finding.fix, *finding.other_fixes):
            if fix is None:
                continue
            title = f"{fix.message[:1].upper()}{fix.message[1:]} ({_APPLICABILITY[fix.applicability]})"
            preferred = fix is finding.fix and fix.applicability is Applicability.SAFE
            yield Action(title, quick, fix.edits, (finding,), preferred=preferred)
        silenced = comments(text, (finding,), _REASON).edits
        if silenced:
            yield Action(f"Ignore {finding.code} here, with a reason", quick, silenced, (finding,))


def fix_all(findings: Sequence[Diagnostic]) -> Action | None:
    """The safe fixes that can be applied at once as one action, None where there is none."""
    picked = chosen(findings, Applicability.SAFE)
    if not picked:
        return None
    edits = tuple(edit for _, fix in picked for edit in fix.edits)
    return Action("Apply all safe fixes of leakcheck", FIX_ALL, edits, tuple(finding for finding, _ in picked))


def matching(kind: str, only: Sequence[str] | None) -> bool:
    """Whether an editor that asks for some kinds only wants this one."""
    return only is None or any(kind == each or kind.startswith(f"{each}.") for each in only)


def meets(one: Span, other: Span) -> bool:
    """Whether two spans have a place in common, if only an end."""
    return one.start <= other.end and other.start <= one.end
