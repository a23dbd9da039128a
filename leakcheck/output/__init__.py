"""Output formats: a ``Report`` in, the text of one format out. Each format is one module with a ``render``.

    render("concise", report, Context())  # "app/db.py:12:12: LC102 …" and a line of counts

To add a format, write the module and give it its line in ``_RENDERERS``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence

from msgspec import Struct

from leakcheck.diagnostic import Diagnostic, Severity
from leakcheck.report import Report

# The module of each format, imported when it is asked for, and its function.
_RENDERERS = {
    "full": ("full", "render"),
    "concise": ("concise", "render"),
    "json": ("json", "render"),
    "json-lines": ("json", "render_lines"),
    "github": ("github", "render"),
    "gitlab": ("gitlab", "render"),
    "junit": ("junit", "render"),
    "sarif": ("sarif", "render"),
    "html": ("html", "render"),
    "markdown": ("markdown", "render"),
}
FORMATS = tuple(_RENDERERS)
TEXTS = frozenset({"full", "concise"})  # the formats for people: colour, summary, relative paths
FIXLESS = frozenset({"concise", "github", "gitlab", "junit"})  # the formats that say nothing of fixes

# Where the page of a rule is; the fragment is the rule's code.
PAGES = "README.md"


def _no_lines(_path: str) -> Sequence[str]:
    return ()


class Context(Struct, frozen=True):
    """What a format may use besides the report: colours, the lines of a source file, whether to sum up."""

    colour: bool = False
    lines: Callable[[str], Sequence[str]] = _no_lines
    summary: bool = True


Renderer = Callable[[Report, Context], str]


def render(name: str, report: Report, context: Context) -> str:
    """The report in the format of this name, ending in a newline unless there is nothing to say."""
    if name in TEXTS and not report.diagnostics:
        return f"{summary(report)}\n" if context.summary else ""
    if name not in _RENDERERS:
        raise ValueError(name)
    module, function = _RENDERERS[name]
    chosen: Renderer = getattr(importlib.import_module(f"leakcheck.output.{module}"), function)
    return chosen(report, context)


def summary(report: Report) -> str:
    """One line of counts: what was found, how bad it is, and in how many files."""
    found = report.diagnostics
    if not found:
        clean = "No new findings." if report.known else "All checks passed!"
        text = clean if not report.breakdowns else "No findings, but not everything was checked."
        return f"{text}{_baselined(report)}"
    kinds = [(severity, sum(one.severity is severity for one in found)) for severity in Severity]
    severities = ", ".join(counted(number, severity.value) for severity, number in kinds if number)
    files = counted(len({one.path for one in found}), "file")
    return f"Found {counted(len(found), 'finding')} in {files}: {severities}.{_baselined(report)}"


def _baselined(report: Report) -> str:
    """What a baseline has to do with it, as further sentences."""
    known = f" The baseline holds back {counted(report.known, 'finding')}." if report.known else ""
    if not report.stale:
        return known
    gone = "1 entry of it is" if report.stale == 1 else f"{report.stale} entries of it are"
    return f"{known or ' There is a baseline:'} {gone} no longer found: `leakcheck baseline` removes them."


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
