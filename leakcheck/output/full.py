"""The format for reading: the finding, then the source with one caret line per step of the path.

    LC102 `conn` is not given back when `cur.execute(sql)` raises; …
      --> app/db.py:8:12
       |
     8 |     conn = pool.getconn()
       |            ^^^^^^^^^^^^^^ 1. checked out here
     9 |     cur = conn.cursor()
    10 |     cur.execute(sql)
       |     ^^^^^^^^^^^^^^^^ 2. execute() may raise
       |     ^^^^^^^^^^^^^^^^ 3. leaves without putconn(conn)
       |
       = fix: Release in `finally` (safe)

Steps keep the order in which they happen. The source between two steps is shown where it is short and
elided where it is not; a step that goes back, or into another file, opens a new piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leakcheck.diagnostic import Applicability, Diagnostic, Fix, Step, StepKind
from leakcheck.output import Context, one_line, remedies, summary
from leakcheck.output.colour import Paint
from leakcheck.output.columns import Shown, shown
from leakcheck.report import Report

_GAP = 3  # a longer stretch between two steps is elided
APPLICABILITY = {
    Applicability.SAFE: "safe",
    Applicability.UNSAFE: "unsafe",
    Applicability.DISPLAY_ONLY: "a suggestion only",
}


def render(report: Report, context: Context) -> str:
    """A block for each diagnostic, then the summary and where to read more."""
    out = ["".join(f"{line}\n" for line in (*block(one, context), "")) for one in report.diagnostics]
    if context.summary:
        out += [f"{line}\n" for line in (summary(report), *remedies.lines(report))]
        if report.diagnostics:
            out.append(f"`leakcheck explain {report.diagnostics[0].code}` says why, and what to write instead.\n")
    return "".join(out)


def block(diagnostic: Diagnostic, context: Context) -> Iterator[str]:
    """The lines about one finding."""
    paint = Paint(on=context.colour)
    steps = diagnostic.steps or (Step(StepKind.ACQUIRE, diagnostic.path, diagnostic.span, ""),)
    margin = max(len(str(step.span.start.row)) for step in steps)
    start = diagnostic.span.start
    yield f"{paint.severity(diagnostic.code, diagnostic.severity)} {paint.bold(one_line(diagnostic.message))}"
    yield f"{' ' * margin}{paint.frame('-->')} {one_line(diagnostic.path)}:{start.row}:{start.column}"
    yield from _Frame(margin, context, paint).lines(diagnostic.path, steps)
    remedy = _remedy(diagnostic, paint)
    if remedy is not None:
        yield f"{' ' * margin} {paint.frame('=')} {remedy}"


def _remedy(diagnostic: Diagnostic, paint: Paint) -> str | None:
    match diagnostic:
        case Diagnostic(fix=Fix(message=message, applicability=applicability)):
            return f"{paint.help('fix')}: {one_line(message)} ({APPLICABILITY[applicability]})"
        case Diagnostic(fix_refused=str(reason)):
            return f"{paint.help('no fix')}: {one_line(reason)}"
        case _:
            return None


class _Frame:
    """Prints source lines and the caret lines under them, as wide as the terminal will show them."""

    def __init__(self, margin: int, context: Context, paint: Paint) -> None:
        self._margin = margin
        self._context = context
        self._paint = paint

    def lines(self, path: str, steps: Sequence[Step]) -> Iterator[str]:
        """The frame of the steps, which start in ``path``."""
        bar = f"{' ' * self._margin} {self._paint.frame('|')}"
        yield bar
        last: int | None = None
        for number, step in enumerate(steps, start=1):
            row = step.span.start.row
            source = self._context.lines(step.path)
            if step.path != path:
                path, last = step.path, None
                place = f"{one_line(path)}:{row}:{step.span.start.column}"
                yield f"{' ' * self._margin}{self._paint.frame(':::')} {place}"
            if last is not None and not last <= row <= last + _GAP:
                yield self._paint.frame("...".rjust(self._margin + 2))
                last = None
            for each in range(row if last is None else last + 1, row + 1):
                text = shown(source[each - 1]).text if each <= len(source) else ""
                yield f"{self._paint.frame(f'{each:>{self._margin}} |')} {text}".rstrip()
            last = row
            note = one_line(step.message)
            numbered = f"{number}. {note}" if len(steps) > 1 else note
            carets = self._carets(step, shown(source[row - 1]) if row <= len(source) else None)
            yield f"{bar} {carets} {self._paint.step(numbered, step.kind)}".rstrip()
        yield bar

    def _carets(self, step: Step, line: Shown | None) -> str:
        start, end = step.span.start, step.span.end
        if line is None:
            return self._paint.step("^", step.kind)
        left = line.offset(start.column)
        # A span of several lines is marked up to the end of its first.
        right = line.offset(end.column) if end.row == start.row else len(line)
        return " " * left + self._paint.step("^" * max(right - left, 1), step.kind)
