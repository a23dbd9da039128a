"""JUnit's XML, which every CI server shows: a suite for each file, a failed test for each finding.

A run without findings is one test that passed: servers take a report without tests for a run that broke.
"""

from __future__ import annotations

import os
from itertools import groupby
from xml.etree import ElementTree as ET

from leakcheck.diagnostic import Diagnostic
from leakcheck.output import Context, one_line
from leakcheck.report import Report


def render(report: Report, _context: Context) -> str:
    """The report as one XML document."""
    found = report.diagnostics
    root = ET.Element(
        "testsuites", name="leakcheck", tests=str(max(len(found), 1)), failures=str(len(found)), errors="0"
    )
    if not found:
        suite = _suite(root, "leakcheck", tests=1, failures=0)
        ET.SubElement(suite, "testcase", name="leakcheck", classname="leakcheck", time="0")
    for path, group in groupby(found, key=lambda one: one.path):
        findings = list(group)
        suite = _suite(root, path, tests=len(findings), failures=len(findings))
        for one in findings:
            _case(suite, one)
    ET.indent(root)
    return f"{ET.tostring(root, encoding='unicode', xml_declaration=True)}\n"


def _suite(root: ET.Element, name: str, *, tests: int, failures: int) -> ET.Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": "0", "skipped": "0", "time": "0"}
    return ET.SubElement(root, "testsuite", {"name": one_line(name), "package": "leakcheck", **counts})


def _case(suite: ET.Element, diagnostic: Diagnostic) -> None:
    start = diagnostic.span.start
    case = ET.SubElement(
        suite,
        "testcase",
        name=f"{diagnostic.code} {diagnostic.name} at {start.row}:{start.column}",
        classname=one_line(os.path.splitext(diagnostic.path)[0]),
        file=one_line(diagnostic.path),
        line=str(start.row),
        time="0",
    )
    failure = ET.SubElement(case, "failure", message=one_line(diagnostic.message), type=diagnostic.severity.value)
    steps = [f"{step.path}:{step.span.start.row}:{step.span.start.column}: {step.message}" for step in diagnostic.steps]
    head = f"{diagnostic.path}:{start.row}:{start.column}: {diagnostic.code} {diagnostic.message}"
    failure.text = "\n".join(map(one_line, (head, *steps)))
