"""Markdown, for a comment on a pull request or the summary of a job: the findings by file, with their paths."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from leakcheck.diagnostic import Applicability, Diagnostic
from leakcheck.output import Context, one_line, summary
from leakcheck.report import Report

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\*_{}[]<>#|~"})


def render(report: Report, context: Context) -> str:
    """A section for each file."""
    lines = ["## leakcheck", "", summary(report)]
    for path, group in groupby(report.diagnostics, key=lambda one: one.path):
        lines += ["", f"### {_code(path)}", ""]
        for diagnostic in group:
            lines += _item(diagnostic, context)
    return "\n".join(lines) + "\n"


def _item(diagnostic: Diagnostic, context: Context) -> Iterator[str]:
    row = diagnostic.span.start.row
    yield f"- **{diagnostic.code}** {diagnostic.severity.value}, line {row}: {_text(diagnostic.message)}"
    for number, step in enumerate(diagnostic.steps, start=1):
        place = f"{step.path}:{step.span.start.row}" if step.path != diagnostic.path else f"line {step.span.start.row}"
        source = context.lines(step.path)
        text = source[step.span.start.row - 1].strip() if step.span.start.row <= len(source) else ""
        yield f"  {number}. {_text(place)}: {f'{_code(text)} ' if text else ''}{_text(step.message)}"
    if diagnostic.fix is not None:
        word = "Fix" if diagnostic.fix.applicability is Applicability.SAFE else "Possible fix"
        yield f"  - {word}: {_text(diagnostic.fix.message)}"
    elif diagnostic.fix_refused is not None:
        yield f"  - No fix: {_text(diagnostic.fix_refused)}"


def _code(text: str) -> str:
    """Text as code, whatever backticks it holds."""
    text = one_line(text)
    fence = "`"
    while fence in text:
        fence += "`"
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def _text(text: str) -> str:
    """Text with what Markdown would read as its own escaped, but for the code between backticks."""
    parts = one_line(text).split("`")
    if len(parts) % 2 == 0:
        return one_line(text).replace("`", "'").translate(_SPECIAL)
    return "`".join(part if number % 2 else part.translate(_SPECIAL) for number, part in enumerate(parts))
