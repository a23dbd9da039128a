"""Workflow commands of GitHub Actions, which become annotations on the lines of a pull request."""

from __future__ import annotations

from leakcheck.diagnostic import Diagnostic, Severity
from leakcheck.output import Context, absolute, one_line
from leakcheck.report import Report

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render(report: Report, _context: Context) -> str:
    """A command for each diagnostic."""
    return "".join(f"{_command(diagnostic)}\n" for diagnostic in report.diagnostics)


def _command(diagnostic: Diagnostic) -> str:
    start, end = diagnostic.span.start, diagnostic.span.end
    properties = {
        "title": f"leakcheck ({diagnostic.code} {diagnostic.name})",
        "file": absolute(diagnostic.path),
        "line": str(start.row),
        "col": str(start.column),
        "endLine": str(end.row),
        "endColumn": str(end.column),
    }
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    head = f"{diagnostic.path}:{start.row}:{start.column}: {diagnostic.code} {diagnostic.message}"
    steps = [f"{step.path}:{step.span.start.row}: {step.message}" for step in diagnostic.steps]
    text = "\n".join(map(one_line, (head, *steps)))
    return f"::{_COMMANDS[diagnostic.severity]} {listed}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
