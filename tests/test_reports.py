"""The formats that other programs read: each is read back here by what was made for reading it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import junitparser
import pytest
from msgspec.structs import replace
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from leakcheck import output
from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Fix, Position, Severity, Span, Step, StepKind
from leakcheck.output import Context
from leakcheck.report import Breakdown, NotAnalysed, Report


def span(row: int, start: int, end: int) -> Span:
    return Span(Position(row, start), Position(row, end))


STEPS = (
    Step(StepKind.ACQUIRE, "app/pool.py", span(2, 8, 22), "taken here"),
    Step(StepKind.RAISE, "app/a b.py", span(9, 5, 21), "`execute()` may raise"),
)
LEAK = Diagnostic(
    code="LC102",
    name="leaks-on-exception",
    message="`conn` is lost when `f('<&>')` raises",
    severity=Severity.WARNING,
    path="app/a b.py",
    span=span(6, 12, 26),
    statement=span(6, 5, 26),
    steps=STEPS,
    function="save",
    subject="pool.getconn()",
)
FIX = Fix("Release in `finally`", (Edit(span(6, 1, 5), "    try:\n"),), Applicability.SAFE)
SOURCE = {"app/a b.py": ["line"] * 5 + ["    conn = pool.getconn()  # `|`"] + ["line"] * 5}


def rendered(form: str, *diagnostics: Diagnostic, **more: tuple[object, ...]) -> str:
    context = Context(colour=True, lines=lambda path: SOURCE.get(path, ()))
    report = Report(diagnostics, files_checked=1, **more)  # type: ignore[arg-type]
    return output.render(form, report, context)


def sarif(*diagnostics: Diagnostic, **more: tuple[object, ...]) -> dict[str, Any]:
    text = rendered("sarif", *diagnostics, **more)
    Sarif.model_validate_json(text)
    run: dict[str, Any] = json.loads(text)["runs"][0]
    return run


def test_sarif_result() -> None:
    run = sarif(LEAK)
    (result,) = run["results"]
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "LC102"
    assert (result["level"], result["message"]["text"]) == ("warning", LEAK.message)
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "app/a%20b.py", "uriBaseId": "SRCROOT"},
        "region": {"startLine": 6, "startColumn": 12, "endLine": 6, "endColumn": 26},
    }
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "save"
    (flow,) = result["codeFlows"]
    steps = flow["threadFlows"][0]["locations"]
    assert [step["location"]["message"]["text"] for step in steps] == ["taken here", "`execute()` may raise"]
    assert steps[0]["location"]["physicalLocation"]["artifactLocation"]["uri"] == "app/pool.py"
    assert len(result["relatedLocations"]) == 2


def test_sarif_without_steps_or_function() -> None:
    (result,) = sarif(replace(LEAK, steps=(), function="", path="/elsewhere/é.py"))["results"]
    assert "codeFlows" not in result
    assert "logicalLocations" not in result["locations"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///elsewhere/%C3%A9.py"}


def test_sarif_fixes_and_refusals() -> None:
    fixed, refused = sarif(replace(LEAK, fix=FIX), replace(LEAK, fix_refused="two commits"))["results"]
    (fix,) = fixed["fixes"]
    assert fix["description"]["text"] == "Release in `finally` (safe)"
    (change,) = fix["artifactChanges"]
    assert change["replacements"][0]["insertedContent"]["text"] == "    try:\n"
    assert refused["properties"] == {"fixRefused": "two commits"}


def test_sarif_says_what_was_not_analysed() -> None:
    run = sarif(
        not_analysed=(NotAnalysed("app/a.py", "too many paths", span(1, 1, 2)), NotAnalysed("b", "a FIFO")),
        breakdowns=(Breakdown("app/c.py", None, "KeyError: 1"),),
    )
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    texts = [each["message"]["text"] for each in invocation["toolExecutionNotifications"]]
    assert texts == ["not analysed: too many paths", "not analysed: a FIFO", "app/c.py: KeyError: 1"]
    assert sarif()["invocations"][0]["executionSuccessful"] is True


def moved(diagnostic: Diagnostic, rows: int) -> Diagnostic:
    start, end = diagnostic.span.start, diagnostic.span.end
    return replace(diagnostic, span=Span(Position(start.row + rows, 1), Position(end.row + rows, 9)), steps=())


def test_fingerprints_stay_when_lines_move_and_differ_otherwise() -> None:
    def marks(form: str, *found: Diagnostic) -> list[str]:
        if form == "sarif":
            return [one["partialFingerprints"]["leakcheck/v1"] for one in sarif(*found)["results"]]
        return [one["fingerprint"] for one in json.loads(rendered("gitlab", *found))]

    for form in ("sarif", "gitlab"):
        twice = marks(form, LEAK, moved(LEAK, 3))
        assert len(set(twice)) == 2
        assert marks(form, moved(LEAK, 40)) == twice[:1]
        assert marks(form, replace(LEAK, subject="pool.getconn( )")) == twice[:1]
        others = [replace(LEAK, code="LC101"), replace(LEAK, function="load"), replace(LEAK, path="app/b.py")]
        assert not set(marks(form, *others)) & set(twice)


def test_gitlab() -> None:
    found = json.loads(rendered("gitlab", LEAK, replace(LEAK, severity=Severity.ERROR, path="app/b.py")))
    for issue in found:
        # What https://docs.gitlab.com/ci/testing/code_quality/ requires.
        assert {"description", "check_name", "fingerprint", "severity", "location"} <= issue.keys()
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert isinstance(issue["location"]["lines"]["begin"], int)
        assert not issue["location"]["path"].startswith(("/", "./"))
    assert [issue["severity"] for issue in found] == ["major", "critical"]
    assert rendered("gitlab") == "[]\n"


def read_junit(text: str) -> list[junitparser.TestSuite]:
    return list(junitparser.JUnitXml.fromroot(ET.fromstring(text)))


def test_junit() -> None:
    first, second = read_junit(rendered("junit", LEAK, LEAK, replace(LEAK, path="app/\x1bb.py")))
    assert (first.name, first.tests, first.failures, second.tests) == ("app/a b.py", 2, 2, 1)
    (failure,) = next(iter(first)).result
    assert failure.message == LEAK.message
    assert failure.text.splitlines()[1] == "app/pool.py:2:8: taken here"


def test_junit_without_findings_is_a_test_that_passed() -> None:
    (suite,) = read_junit(rendered("junit"))
    assert (suite.tests, suite.failures) == (1, 0)
    (case,) = suite
    assert case.is_passed


def test_markdown() -> None:
    text = rendered("markdown", replace(LEAK, fix=FIX), replace(LEAK, fix_refused="*two* commits", message="a_b `c_d`"))
    assert "### `app/a b.py`" in text
    assert "- **LC102** warning, line 6: a\\_b `c_d`" in text
    assert "  1. app/pool.py:2: taken here" in text
    assert "  - Fix: Release in `finally`" in text
    assert "  - No fix: \\*two\\* commits" in text
    assert "\x1b" not in text


def test_markdown_quotes_source_that_holds_backticks() -> None:
    step = replace(STEPS[0], path="app/a b.py", span=span(6, 1, 2))
    assert "line 6: `` conn = pool.getconn()  # `|` `` taken here" in rendered("markdown", replace(LEAK, steps=(step,)))


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.shown = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "!doctype"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown += data


def test_html_is_balanced_and_quotes_the_source() -> None:
    page = Page()
    text = rendered("html", LEAK)
    page.feed(text)
    assert page.open == []
    assert LEAK.message in page.shown
    assert "1. taken here" in page.shown
    assert "\x1b" not in text


@pytest.mark.parametrize("form", output.FORMATS)
def test_every_format_tells_of_every_finding(form: str) -> None:
    codes = ("LC101", "LC102", "LC110")
    text = rendered(form, *(replace(LEAK, code=code, path=f"{code}.py") for code in codes))
    for code in codes:
        assert code in text
        assert f"{code}.py" in text
