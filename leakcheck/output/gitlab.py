"""GitLab's code quality report (https://docs.gitlab.com/ci/testing/code_quality/): one object for each finding.

GitLab compares the fingerprints of two pipelines, so they do not change when lines move.
"""

from __future__ import annotations

import json

from leakcheck.diagnostic import Diagnostic, Severity
from leakcheck.fingerprint import fingerprints
from leakcheck.output import Context, one_line
from leakcheck.report import Report

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.NOTE: "minor"}


def render(report: Report, _context: Context) -> str:
    """All findings as one array."""
    marks = fingerprints(report.diagnostics)
    issues = [_issue(one, mark) for one, mark in zip(report.diagnostics, marks, strict=True)]
    return json.dumps(issues, indent=2) + "\n"


def _issue(diagnostic: Diagnostic, mark: str) -> dict[str, object]:
    return {
        "type": "issue",
        "check_name": diagnostic.code,
        "description": one_line(f"{diagnostic.code}: {diagnostic.message}"),
        "categories": ["Bug Risk"],
        "severity": _SEVERITIES[diagnostic.severity],
        "fingerprint": mark,
        "location": {
            "path": diagnostic.path,
            "lines": {"begin": diagnostic.span.start.row, "end": diagnostic.span.end.row},
        },
        "other_locations": [
            {"path": step.path, "lines": {"begin": step.span.start.row, "end": step.span.end.row}}
            for step in diagnostic.steps
        ],
    }
