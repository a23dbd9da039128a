"""Comments that silence findings: a text and what was found in it in, the edits that write them out.

    comments("conn = pool.getconn()", [finding], "the watchdog closes it")
        →   Comments(edits: "  # leakcheck: ignore[LC102] -- the watchdog closes it" at the end of the line)

A comment stands at the end of a line of the statement that is at fault, where ``suppression`` looks for it; a line
that ends inside a string, or goes on behind a backslash, takes none. A rule joins the comment that a statement has.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from leakcheck.diagnostic import Diagnostic, Edit, LeakcheckError, Position, Span
from leakcheck.suppression import Suppression, Verb, suppressions

_ABOUT_FILES_AND_COMMENTS = "LC9"


class Comments(Struct, frozen=True):
    """The edits that silence findings of one text, which findings these are, and those that no line can silence."""

    edits: tuple[Edit, ...]
    silenced: tuple[Diagnostic, ...]
    left: tuple[Diagnostic, ...]


def comments(text: str, found: Iterable[Diagnostic], reason: str) -> Comments:
    """Comments for what was found in ``text``; what is wrong with files and comments is corrected, not silenced."""
    lines = re.split(r"\r\n?|\n", text.removeprefix("\ufeff"))
    written = {each.span.start.row: each for each in suppressions("\n".join(lines)) if each.verb is Verb.IGNORE}
    ends = _ends("\n".join(lines))
    by_row: dict[int, list[Diagnostic]] = {}
    left: list[Diagnostic] = []
    for finding in found:
        if finding.code.startswith(_ABOUT_FILES_AND_COMMENTS):
            continue
        row = _row(finding, written, ends)
        if row is None:
            left.append(finding)
        else:
            by_row.setdefault(row, []).append(finding)
    edits: list[Edit] = []
    for row, findings in by_row.items():
        codes = ", ".join(dict.fromkeys(each.code for each in findings))
        line = lines[row - 1]
        edits.append(_joined(written[row], line, codes) if row in written else _added(row, line, codes, reason))
    return Comments(tuple(edits), tuple(each for findings in by_row.values() for each in findings), tuple(left))


def checked(reason: str) -> str:
    """The reason as it can be written. Raises LeakcheckError where a comment cannot hold it."""
    reason = reason.strip()
    if not reason:
        raise LeakcheckError("a comment that silences a finding needs a reason: --add-ignore 'the watchdog closes it'")
    if not reason.isprintable():
        raise LeakcheckError("the reason for --add-ignore must be one line of printable characters")
    if len(suppressions(f"# leakcheck: ignore[LC102] -- {reason}\n")) != 1:
        raise LeakcheckError(f"the reason for --add-ignore would itself silence something: {reason}")
    return reason


def _row(finding: Diagnostic, written: Mapping[int, Suppression], ends: frozenset[int]) -> int | None:
    """The row for a finding's comment: one that has a comment, else where the call ends, else any."""
    rows = range(finding.statement.start.row, finding.statement.end.row + 1)
    likely: Sequence[int] = (finding.span.end.row, finding.span.start.row, *rows)
    return next((row for row in rows if row in written), next((row for row in likely if row in ends), None))


def _added(row: int, line: str, codes: str, reason: str) -> Edit:
    span = Span(Position(row, len(line.rstrip()) + 1), Position(row, len(line) + 1))
    return Edit(span, f"  # leakcheck: ignore[{codes}] -- {reason}")


def _joined(comment: Suppression, line: str, codes: str) -> Edit:
    """The rules added to those of a comment, whose reason stays."""
    row, end = comment.span.end.row, comment.span.end.column - 1
    if not line[:end].endswith("]"):
        return Edit(Span(comment.span.end, comment.span.end), f"[{codes}]")
    at = Position(row, len(line[: end - 1].rstrip()) + 1)
    return Edit(Span(at, at), f", {codes}" if comment.rules else codes)


def _ends(text: str) -> frozenset[int]:
    """The rows at whose end a comment may stand; none in a text that does not tokenise."""
    ends: set[int] = set()
    inside = 0  # a comment inside a formatted string is a syntax error before Python 3.12
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="\n").readline):
            kind = tokenize.tok_name[token.type]
            inside += kind.endswith("STRING_START") - kind.endswith("STRING_END")
            if token.type in (tokenize.NEWLINE, tokenize.NL) and not inside:
                ends.add(token.start[0])
    except (tokenize.TokenError, SyntaxError):
        return frozenset()
    return frozenset(ends)
