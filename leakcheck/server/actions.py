"""What an editor may do about findings: apply a fix, fix all that is safe, or say why a finding is ignored.

    offered(document, findings, range, only)    →   actions without their edits
    edits_of(action data, document, findings)   →   the edits, when one was chosen

An action names its finding and the version of the buffer, so a choice that comes too late changes nothing.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsprotocol import types

from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Fix, Position, Span
from leakcheck.server.documents import Document

FIX_ALL = "source.fixAll.leakcheck"
KINDS = (types.CodeActionKind.QuickFix, FIX_ALL)
_WARNINGS = {Applicability.UNSAFE: " (unsafe: check the result)", Applicability.DISPLAY_ONLY: " (a sketch: not ready)"}
_IGNORE = re.compile(r"#\s*leakcheck:\s*ignore(?![\w-])\s*(?:\[(?P<rules>[^\]]*)\])?")
_REASON = "reason"


@dataclass(frozen=True, slots=True)
class Action:
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


def actions(document: Document, findings: Sequence[Diagnostic]) -> Iterator[Action]:
    """Everything that may be done about these findings of a buffer that parses."""
    for finding in findings:
        fix = finding.fix
        if fix is not None:
            yield Action(
                fix.message + _WARNINGS.get(fix.applicability, ""),
                types.CodeActionKind.QuickFix,
                fix.edits,
                (finding,),
                preferred=fix.applicability is Applicability.SAFE,
            )
        edit = ignoring(document.text.text, finding)
        if edit is not None:
            yield Action(
                f"Ignore {finding.code} here, with a reason", types.CodeActionKind.QuickFix, (edit,), (finding,)
            )


def fix_all(findings: Sequence[Diagnostic]) -> Action | None:
    """All safe fixes as one action, None where there is none."""
    fixed = [each for each in findings if each.fix is not None and each.fix.applicability is Applicability.SAFE]
    together = compatible([each.fix for each in fixed if each.fix is not None])
    edits = tuple(dict.fromkeys(edit for fix in together for edit in fix.edits))
    if not edits:
        return None
    return Action("Fix all connection leaks that have a safe fix", FIX_ALL, edits, tuple(fixed))


def compatible(fixes: Iterable[Fix]) -> list[Fix]:
    """Those of the fixes that can be applied at once: where two disagree about a place, the first stays."""
    taken: list[Edit] = []
    chosen: list[Fix] = []
    for fix in fixes:
        fresh = [edit for edit in fix.edits if edit not in taken]
        if not any(_collide(edit, other) for edit in fresh for other in taken):
            taken += fresh
            chosen.append(fix)
    return chosen


def _collide(one: Edit, other: Edit) -> bool:
    if one.span.start == other.span.start:
        return True
    return one.span.start < other.span.end and other.span.start < one.span.end


def matching(kind: str, only: Sequence[str] | None) -> bool:
    """Whether an editor that asks for some kinds only wants this one."""
    return only is None or any(kind == each or kind.startswith(f"{each}.") for each in only)


# Ignoring


def ignoring(text: str, finding: Diagnostic) -> Edit | None:
    """The edit that adds a suppression of the finding to its statement; None where no line can take one."""
    if not finding.code.startswith("LC1"):
        return None  # about files and comments: these are corrected, not ignored
    rows = range(finding.statement.start.row, finding.statement.end.row + 1)
    lines = re.split(r"\r\n?|\n", text.removeprefix("\ufeff"))
    comments, closed = _line_ends("\n".join(lines))
    for row in rows:
        position, comment = comments.get(row, (0, ""))
        written = _IGNORE.search(comment)
        if written is not None:
            return _added(row, position, written, finding.code)
    likely = [finding.span.end.row, finding.span.start.row, *rows]
    fitting = [row for row in likely if row in closed and row in rows]
    if not fitting:
        return None
    row, line = fitting[0], lines[fitting[0] - 1]
    span = Span(Position(row, len(line.rstrip()) + 1), Position(row, len(line) + 1))
    return Edit(span, f"  # leakcheck: ignore[{finding.code}] -- {_REASON}")


def _added(row: int, position: int, written: re.Match[str], code: str) -> Edit | None:
    """The rule added to those of a comment that stands there already."""
    if written["rules"] is None:
        at = position + written.end() + 1
        return Edit(Span(Position(row, at), Position(row, at)), f"[{code}]")
    at = position + written.end("rules") + 1
    separator = ", " if written["rules"].strip() else ""
    return Edit(Span(Position(row, at), Position(row, at)), f"{separator}{code}")


def _line_ends(text: str) -> tuple[Mapping[int, tuple[int, str]], frozenset[int]]:
    """The comments by row, each with its column from 0, and the rows at whose end a comment may stand."""
    comments: dict[int, tuple[int, str]] = {}
    ends: set[int] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="\n").readline):
            if token.type == tokenize.COMMENT:
                comments[token.start[0]] = (token.start[1], token.string)
            elif token.type in (tokenize.NEWLINE, tokenize.NL):
                ends.add(token.start[0])
    except (tokenize.TokenError, SyntaxError):
        return {}, frozenset()
    return comments, frozenset(ends)
