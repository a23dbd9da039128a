"""JSON with the shape of ruff's, so that what reads ruff's reads this: one array, or one object per line.

Beyond ruff's keys there are ``name``, ``severity``, ``steps`` (the path to the fault) and ``fix_refused``.
Rows and columns are 1-based code points, paths are absolute.
"""

from __future__ import annotations

import json

from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Fix, Position, Step
from leakcheck.output import Context, absolute, page
from leakcheck.report import Report

_APPLICABILITY = {Applicability.SAFE: "safe", Applicability.UNSAFE: "unsafe", Applicability.DISPLAY_ONLY: "display"}


def render(report: Report, _context: Context) -> str:
    """All diagnostics as one array."""
    return json.dumps([as_object(diagnostic) for diagnostic in report.diagnostics], indent=2) + "\n"


def render_lines(report: Report, _context: Context) -> str:
    """Each diagnostic as an object on a line of its own."""
    return "".join(json.dumps(as_object(diagnostic)) + "\n" for diagnostic in report.diagnostics)


def as_object(diagnostic: Diagnostic) -> dict[str, object]:
    """One diagnostic as JSON's types."""
    return {
        "code": diagnostic.code,
        "name": diagnostic.name,
        "message": diagnostic.message,
        "severity": diagnostic.severity.value,
        "filename": absolute(diagnostic.path),
        "location": _position(diagnostic.span.start),
        "end_location": _position(diagnostic.span.end),
        "noqa_row": diagnostic.span.start.row,
        "url": page(diagnostic),
        "fix": None if diagnostic.fix is None else _fix(diagnostic.fix),
        "fix_refused": diagnostic.fix_refused,
        "steps": [_step(step) for step in diagnostic.steps],
    }


def _position(position: Position) -> dict[str, int]:
    return {"row": position.row, "column": position.column}


def _fix(fix: Fix) -> dict[str, object]:
    return {
        "applicability": _APPLICABILITY[fix.applicability],
        "message": fix.message,
        "edits": [_edit(edit) for edit in fix.edits],
    }


def _edit(edit: Edit) -> dict[str, object]:
    return {
        "content": edit.content,
        "location": _position(edit.span.start),
        "end_location": _position(edit.span.end),
    }


def _step(step: Step) -> dict[str, object]:
    return {
        "kind": step.kind.value,
        "filename": absolute(step.path),
        "location": _position(step.span.start),
        "end_location": _position(step.span.end),
        "message": step.message,
    }
