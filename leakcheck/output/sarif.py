"""SARIF 2.1.0, for GitHub code scanning and every other viewer of it: one run, one result for each finding.

The path to the fault is the result's code flow, so that a viewer can walk it; the same steps are related locations
for those that show no flows. The page of a rule is its help. Paths are relative to the working directory, the fixes
are replacements, and what was not analysed is a notification of the invocation.
"""

from __future__ import annotations

import json
import os
from urllib.parse import quote

from leakcheck import __version__, rules
from leakcheck.diagnostic import Applicability, Diagnostic, Fix, Severity, Span, Step
from leakcheck.fingerprint import fingerprints
from leakcheck.output import Context, one_line
from leakcheck.report import NotAnalysed, Report
from leakcheck.rule import Rule

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "SRCROOT"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_APPLICABILITY = {Applicability.SAFE: "safe", Applicability.UNSAFE: "unsafe", Applicability.DISPLAY_ONLY: "display"}


def render(report: Report, _context: Context) -> str:
    """The log as JSON."""
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(report)]}
    return json.dumps(log, indent=2) + "\n"


def _run(report: Report) -> dict[str, object]:
    index = {rule.code: number for number, rule in enumerate(rules.ALL_RULES)}
    marks = fingerprints(report.diagnostics)
    return {
        "tool": {
            "driver": {
                "name": "leakcheck",
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in rules.ALL_RULES],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The directory in which leakcheck was run."}}},
        "invocations": [
            {
                "executionSuccessful": not report.breakdowns,
                "toolExecutionNotifications": [
                    *(_notification(each) for each in report.not_analysed),
                    *(
                        {"level": "error", "message": {"text": one_line(f"{broken.path}: {broken.error}")}}
                        for broken in report.breakdowns
                    ),
                ],
            }
        ],
        "results": [
            _result(diagnostic, index[diagnostic.code], mark)
            for diagnostic, mark in zip(report.diagnostics, marks, strict=True)
        ],
    }


def _rule(rule: Rule) -> dict[str, object]:
    page = rule.page.strip()
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.summary},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"enabled": rule.default},
        "properties": {"tags": ["database", "resource-leak"]},
    }


def _result(diagnostic: Diagnostic, index: int, mark: str) -> dict[str, object]:
    result: dict[str, object] = {
        "ruleId": diagnostic.code,
        "ruleIndex": index,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": one_line(diagnostic.message)},
        "locations": [_location(diagnostic.path, diagnostic.span, function=diagnostic.function)],
        "partialFingerprints": {"leakcheck/v1": mark},
    }
    if diagnostic.steps:
        steps = [_step(step) for step in diagnostic.steps]
        result["codeFlows"] = [
            {
                "threadFlows": [
                    {
                        "locations": [
                            {"location": location, "kinds": [step.kind.value], "executionOrder": number}
                            for number, (step, location) in enumerate(
                                zip(diagnostic.steps, steps, strict=True), start=1
                            )
                        ]
                    }
                ]
            }
        ]
        result["relatedLocations"] = [{"id": number, **location} for number, location in enumerate(steps, start=1)]
    if diagnostic.fix is not None:
        result["fixes"] = [_fix(diagnostic.fix, diagnostic.path)]
    elif diagnostic.fix_refused is not None:
        result["properties"] = {"fixRefused": diagnostic.fix_refused}
    return result


def _step(step: Step) -> dict[str, object]:
    return {**_location(step.path, step.span), "message": {"text": one_line(step.message)}}


def _location(path: str, span: Span, function: str = "") -> dict[str, object]:
    location: dict[str, object] = {"physicalLocation": {"artifactLocation": _artifact(path), "region": _region(span)}}
    if function:
        location["logicalLocations"] = [{"fullyQualifiedName": function, "kind": "function"}]
    return location


def _artifact(path: str) -> dict[str, object]:
    """A path as a URI: relative to the working directory where it lies inside, as code scanning wants it."""
    if os.path.isabs(path):
        return {"uri": f"file://{_quoted(path)}"}
    return {"uri": _quoted(path), "uriBaseId": _ROOT}


def _quoted(path: str) -> str:
    return quote(os.fsencode(path.replace(os.sep, "/")))


def _region(span: Span) -> dict[str, int]:
    return {
        "startLine": span.start.row,
        "startColumn": span.start.column,
        "endLine": span.end.row,
        "endColumn": span.end.column,
    }


def _fix(fix: Fix, path: str) -> dict[str, object]:
    replacements = [
        {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.content}} for edit in fix.edits
    ]
    return {
        "description": {"text": f"{one_line(fix.message)} ({_APPLICABILITY[fix.applicability]})"},
        "artifactChanges": [{"artifactLocation": _artifact(path), "replacements": replacements}],
    }


def _notification(each: NotAnalysed) -> dict[str, object]:
    place: dict[str, object] = {"artifactLocation": _artifact(each.path)}
    if each.span is not None:
        place["region"] = _region(each.span)
    return {
        "level": "note",
        "message": {"text": one_line(f"not analysed: {each.reason}")},
        "locations": [{"physicalLocation": place}],
    }
