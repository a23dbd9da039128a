"""Output formats: a ``Report`` in, the text of one format out. Each format is one module with a ``render``.

    render("concise", report, Context())  # "app/db.py:12:12: LC102 …" and a line of counts

To add a format, write the module and give it its line in ``render`` and its name in ``FORMATS``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leakcheck.diagnostic import Diagnostic, Severity
from leakcheck.report import Report

FORMATS = ("full", "concise", "json", "json-lines", "github")
TEXTS = frozenset({"full", "concise"})  # the formats for people: colour, summary, relative paths

# Where the page of a rule is; the fragment is the rule's code.
PAGES = "README.md"


def _no_lines(_path: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a format may use besides the report: colours, the lines of a source file, whether to sum up."""

    colour: bool = False
    lines: Callable[[str], Sequence[str]] = _no_lines
    summary: bool = True


def render(name: str, report: Report, context: Context) -> str:
    """The report in the format of this name, ending in a newline unless there is nothing to say."""
    if name in TEXTS and not report.diagnostics:
        return f"{summary(report)}\n" if context.summary else ""
    match name:
        case "full":
            from leakcheck.output import full

            return full.render(report, context)
        case "concise":
            from leakcheck.output import concise

            return concise.render(report, context)
        case "json":
            from leakcheck.output import json

            return json.render(report, context)
        case "json-lines":
            from leakcheck.output import json

            return json.render_lines(report, context)
        case "github":
            from leakcheck.output import github

            return github.render(report, context)
        case _:
            raise ValueError(name)


def summary(report: Report) -> str:
    """One line of counts: what was found, how bad it is, and in how many files."""
    found = report.diagnostics
    if not found:
        return "All checks passed!" if not report.breakdowns else "No findings, but not everything was checked."
    kinds = [(severity, sum(one.severity is severity for one in found)) for severity in Severity]
    severities = ", ".join(counted(number, severity.value) for severity, number in kinds if number)
    files = counted(len({one.path for one in found}), "file")
    return f"Found {counted(len(found), 'finding')} in {files}: {severities}."


def counted(number: int, noun: str) -> str:
    """A number and its noun: ``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def page(diagnostic: Diagnostic) -> str:
    """The address of the page of a diagnostic's rule."""
    return f"{PAGES}#{diagnostic.code.lower()}"


def one_line(text: str) -> str:
    """Text that stays on its line and cannot steer a terminal, whatever the source it quotes holds."""
    return "".join(character if character.isprintable() else " " for character in text)


def absolute(path: str) -> str:
    """A path for machines; ``-`` stays what it is, standard input."""
    return path if path == "-" else os.path.abspath(path)
