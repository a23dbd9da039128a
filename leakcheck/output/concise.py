"""One line per finding: ``app/db.py:12:12: LC102 message``."""

from __future__ import annotations

from leakcheck.diagnostic import Diagnostic
from leakcheck.output import Context, one_line, summary
from leakcheck.output.colour import Paint
from leakcheck.report import Report


def render(report: Report, context: Context) -> str:
    """A line for each diagnostic, then the summary."""
    paint = Paint(on=context.colour)
    lines = [line(diagnostic, paint) for diagnostic in report.diagnostics]
    if context.summary:
        lines.append(summary(report))
    return "".join(f"{each}\n" for each in lines)


def line(diagnostic: Diagnostic, paint: Paint) -> str:
    """The finding on one line."""
    start = diagnostic.span.start
    place = f"{paint.bold(one_line(diagnostic.path))}:{start.row}:{start.column}:"
    code = paint.severity(diagnostic.code, diagnostic.severity)
    return f"{place} {code} {one_line(diagnostic.message)}"
