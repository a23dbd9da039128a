"""What an editor may do about findings: apply a fix, fix all that is safe, or say why a finding is ignored.

actions(text, findings)    →   for each finding its fix, if it has one, and a comment that silences it
fix_all(findings)          →   the safe fixes as one action
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsprotocol import types

from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Position, Span
from leakcheck.fixes.apply import chosen

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


def actions(text: str, findings: Sequence[Diagnostic]) -> Iterator[Action]:
    """Everything that may be done about these findings of a buffer with this text."""
    quick = types.CodeActionKind.QuickFix
    for finding in findings:
        fix = finding.fix
        if fix is not None:
            title = f"{fix.message[:1].upper()}{fix.message[1:]}{_WARNINGS.get(fix.applicability, '')}"
            safe = fix.applicability is Applicability.SAFE
            yield Action(title, quick, fix.edits, (finding,), preferred=safe)
        edit = ignoring(text, finding)
        if edit is not None:
            yield Action(f"Ignore {finding.code} here, with a reason", quick, (edit,), (finding,))


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


# Ignoring


def ignoring(text: str, finding: Diagnostic) -> Edit | None:
    """The edit that adds a suppression of the finding to its statement; None where no line can take one."""
    if finding.code.startswith("LC9"):
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
