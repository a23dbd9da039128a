"""Formats: what each of them prints for the same report."""

from __future__ import annotations

import json
import os
import re

import pytest
from msgspec.structs import replace

from leakcheck import output, rules
from leakcheck.config import Config
from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Fix, Position, Severity, Span, Step, StepKind
from leakcheck.output import Context, colour, explain, settings, statistics
from leakcheck.output.colour import Paint
from leakcheck.output.columns import shown
from leakcheck.report import Breakdown, Report

SOURCE = """\
import psycopg2
from app.pool import pool


def save(sql):
    conn = pool.getconn()
    cur = conn.cursor()
    cur.execute(sql)
    one = 1
    two = 2
    three = 3
    four = 4
    pool.putconn(conn)
""".splitlines()

FILES = {"app/db.py": SOURCE, "app/pool.py": ["pool = 1", "def get(): return 2"]}


def span(row: int, start: int, end: int, last: int | None = None) -> Span:
    return Span(Position(row, start), Position(last or row, end))


LEAK = Diagnostic(
    code="LC102",
    name="leaks-on-exception",
    message="`conn` is not given back when `cur.execute(sql)` raises",
    severity=Severity.WARNING,
    path="app/db.py",
    span=span(6, 12, 26),
    statement=span(6, 5, 26),
    steps=(
        Step(StepKind.ACQUIRE, "app/db.py", span(6, 12, 26), "checked out here"),
        Step(StepKind.RAISE, "app/db.py", span(8, 5, 21), "execute() may raise"),
        Step(StepKind.EXIT, "app/db.py", span(8, 5, 21), "leaves without putconn(conn)"),
    ),
)


def lines(path: str) -> list[str]:
    return FILES.get(path, [])


def rendered(form: str, *diagnostics: Diagnostic, colour: bool = False, summary: bool = True) -> str:
    report = Report(diagnostics, files_checked=3)
    return output.render(form, report, Context(colour=colour, lines=lines, summary=summary))


@pytest.mark.parametrize("form", output.FORMATS)
def test_the_formats_that_say_nothing_of_fixes_are_those_that_are_said_to(form: str) -> None:
    edits = (Edit(span(6, 5, 26), "with pool.connection() as conn:"),)
    fix = Fix("Take it by a `with`", edits, Applicability.SAFE)
    said = {rendered(form, each) for each in (LEAK, replace(LEAK, fix=fix), replace(LEAK, fix_refused="line 9 yields"))}
    assert len(said) == (1 if form in output.FIXLESS else 3)


def test_full() -> None:
    assert rendered("full", LEAK) == (
        "LC102 `conn` is not given back when `cur.execute(sql)` raises\n"
        " --> app/db.py:6:12\n"
        "  |\n"
        "6 |     conn = pool.getconn()\n"
        "  |            ^^^^^^^^^^^^^^ 1. checked out here\n"
        "7 |     cur = conn.cursor()\n"
        "8 |     cur.execute(sql)\n"
        "  |     ^^^^^^^^^^^^^^^^ 2. execute() may raise\n"
        "  |     ^^^^^^^^^^^^^^^^ 3. leaves without putconn(conn)\n"
        "  |\n"
        "\n"
        "Found 1 finding in 1 file: 1 warning.\n"
        "`leakcheck explain LC102` says why, and what to write instead.\n"
    )


def frame(*steps: Step) -> list[str]:
    text = rendered("full", replace(LEAK, steps=steps), summary=False)
    return text.splitlines()[3:-2]


def test_steps_far_apart_backwards_and_elsewhere() -> None:
    assert frame(
        Step(StepKind.ACQUIRE, "app/db.py", span(6, 12, 26), "taken"),
        Step(StepKind.CALL, "app/pool.py", span(2, 1, 4), "made here"),
        Step(StepKind.RAISE, "app/db.py", span(8, 5, 8), "raises"),
        Step(StepKind.RELEASE, "app/db.py", span(13, 5, 9), "too late"),
        Step(StepKind.EXIT, "app/db.py", span(7, 5, 8), "lost"),
    ) == [
        " 6 |     conn = pool.getconn()",
        "   |            ^^^^^^^^^^^^^^ 1. taken",
        "  ::: app/pool.py:2:1",
        " 2 | def get(): return 2",
        "   | ^^^ 2. made here",
        "  ::: app/db.py:8:5",
        " 8 |     cur.execute(sql)",
        "   |     ^^^ 3. raises",
        " ...",
        "13 |     pool.putconn(conn)",
        "   |     ^^^^ 4. too late",
        " ...",
        " 7 |     cur = conn.cursor()",
        "   |     ^^^ 5. lost",
    ]


def test_a_span_of_several_lines_is_marked_to_the_end_of_the_first() -> None:
    assert frame(Step(StepKind.ACQUIRE, "app/db.py", span(6, 12, 6, last=7), "taken")) == [
        "6 |     conn = pool.getconn()",
        "  |            ^^^^^^^^^^^^^^ taken",
    ]


def test_a_source_that_is_gone_or_shorter_than_it_was() -> None:
    assert frame(Step(StepKind.ACQUIRE, "gone.py", span(6, 12, 26), "taken"))[1:] == ["6 |", "  | ^ taken"]
    assert frame(Step(StepKind.ACQUIRE, "app/pool.py", span(99, 1, 2), "taken"))[1:] == ["99 |", "   | ^ taken"]


def test_a_finding_without_steps_shows_its_place() -> None:
    text = rendered("full", replace(LEAK, steps=()), summary=False)
    assert "6 |     conn = pool.getconn()\n  |            ^^^^^^^^^^^^^^\n" in text


FIX = Fix("Release in `finally`", (Edit(span(6, 1, 2), "x"),), Applicability.SAFE)


@pytest.mark.parametrize(
    ("diagnostic", "line"),
    [
        (replace(LEAK, fix=FIX), "  = fix: Release in `finally` (safe)"),
        (replace(LEAK, fix=replace(FIX, applicability=Applicability.UNSAFE)), "  = fix: Release in `finally` (unsafe)"),
        (replace(LEAK, fix_refused="line 9 yields `conn`"), "  = no fix: line 9 yields `conn`"),
    ],
)
def test_the_remedy(diagnostic: Diagnostic, line: str) -> None:
    assert line in rendered("full", diagnostic).splitlines()


UNSAFE = replace(FIX, applicability=Applicability.UNSAFE)
SKETCH = replace(FIX, applicability=Applicability.DISPLAY_ONLY)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([LEAK], []),
        ([replace(LEAK, fix=FIX)], ["`--fix` corrects it."]),
        ([replace(LEAK, fix=UNSAFE)], ["`--fix --unsafe-fixes` corrects it; look the result through."]),
        ([replace(LEAK, fix=FIX)] * 2, ["`--fix` corrects all of them."]),
        (
            [replace(LEAK, fix=FIX), replace(LEAK, fix=UNSAFE), LEAK],
            [
                "`--fix` corrects 1 of them, `--fix --unsafe-fixes` 1 more, which you should look through.",
                "No fix for 1:",
                "  1  LC102: this rule has no fixes",
            ],
        ),
        (
            [replace(LEAK, fix_refused=f"line {row} yields `c{row}`") for row in (9, 12)] + [replace(LEAK, fix=SKETCH)],
            ["No fix for 3:", "  2  line … yields `…`", "  1  only a sketch, shown above"],
        ),
        (
            [replace(LEAK, code=code) for code in ("LC201", "LC110", "LC201")],
            ["No fix for 3:", "  3  LC110, LC201: these rules have no fixes"],
        ),
        (
            [
                replace(LEAK, fix_refused=f"it is {word}")
                for word in "sent lent kept bound lost stored passed lent".split()
            ],
            [
                "No fix for 8:",
                "  2  it is lent",
                *(f"  1  it is {word}" for word in ("bound", "kept", "lost", "passed")),
                "  2  for other reasons",
            ],
        ),
    ],
)
def test_the_summary_says_what_can_be_done(found: list[Diagnostic], expected: list[str]) -> None:
    assert rendered("full", *found).splitlines()[-1 - len(expected) : -1] == expected
    assert "No fix" not in rendered("full", *found, summary=False).partition("Found")[0]


def test_concise() -> None:
    assert rendered("concise", LEAK) == (
        "app/db.py:6:12: LC102 `conn` is not given back when `cur.execute(sql)` raises\n"
        "Found 1 finding in 1 file: 1 warning.\n"
    )
    assert rendered("concise", LEAK, summary=False).count("\n") == 1


@pytest.mark.parametrize("form", sorted(output.TEXTS))
def test_nothing_found(form: str) -> None:
    assert rendered(form) == "All checks passed!\n"
    assert rendered(form, summary=False) == ""


def test_nothing_found_is_no_success_where_something_broke() -> None:
    report = Report((), breakdowns=(Breakdown("a.py", None, "KeyError"),))
    assert output.render("full", report, Context()) == "No findings, but not everything was checked.\n"


def test_counts() -> None:
    error = replace(LEAK, severity=Severity.ERROR, path="b.py")
    note = replace(LEAK, severity=Severity.NOTE)
    text = rendered("concise", LEAK, LEAK, error, note)
    assert text.splitlines()[-1] == "Found 4 findings in 2 files: 1 error, 2 warnings, 1 note."


def test_json() -> None:
    (found,) = json.loads(rendered("json", replace(LEAK, fix=FIX)))
    path = os.path.abspath("app/db.py")
    assert list(found) == [
        "code",
        "name",
        "message",
        "severity",
        "filename",
        "location",
        "end_location",
        "noqa_row",
        "url",
        "fix",
        "fix_refused",
        "steps",
    ]
    assert found["filename"] == path
    assert (found["location"], found["end_location"]) == ({"row": 6, "column": 12}, {"row": 6, "column": 26})
    assert (found["severity"], found["noqa_row"], found["fix_refused"]) == ("warning", 6, None)
    assert found["url"].endswith("#lc102")
    assert found["fix"] == {
        "applicability": "safe",
        "message": "Release in `finally`",
        "edits": [{"content": "x", "location": {"row": 6, "column": 1}, "end_location": {"row": 6, "column": 2}}],
    }
    assert found["steps"][1] == {
        "kind": "raise",
        "filename": path,
        "location": {"row": 8, "column": 5},
        "end_location": {"row": 8, "column": 21},
        "message": "execute() may raise",
    }


def test_json_without_findings_is_an_empty_array() -> None:
    assert json.loads(rendered("json")) == []
    assert rendered("json-lines") == ""


def test_json_lines() -> None:
    found = [json.loads(line) for line in rendered("json-lines", LEAK, replace(LEAK, path="-")).splitlines()]
    assert found[0] == json.loads(rendered("json", LEAK))[0]
    assert found[1]["filename"] == "-"


def test_github() -> None:
    odd = replace(LEAK, path="a,b:c.py", message="100% lost\nhere", steps=())
    text = rendered("github", odd)
    assert text == (
        f"::warning title=leakcheck (LC102 leaks-on-exception),file={os.path.abspath('a')}%2Cb%3Ac.py,"
        "line=6,col=12,endLine=6,endColumn=26::a,b:c.py:6:12: LC102 100%25 lost here\n"
    )
    severities = [rendered("github", replace(LEAK, severity=severity)).split(" ")[0] for severity in Severity]
    assert severities == ["::error", "::warning", "::notice"]


@pytest.mark.parametrize("form", output.FORMATS)
def test_every_format_renders_every_text(form: str) -> None:
    odd = replace(LEAK, message="\x1b[31mred\x1b[0m \ud800 \u202e", path="a\nb\udcff.py")
    text = rendered(form, odd)
    assert "\x1b" not in text
    assert len(text.splitlines()) == len(text.split("\n")) - 1
    text.encode("utf-8", "backslashreplace")


def test_colour_changes_nothing_but_colour() -> None:
    for form in output.TEXTS:
        painted = rendered(form, LEAK, colour=True)
        assert re.sub(r"\033\[[0-9;]*m", "", painted) == rendered(form, LEAK)
        assert painted != rendered(form, LEAK)


@pytest.mark.parametrize(
    ("choice", "environment", "terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0"}, False, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_when_to_colour(choice: str, environment: dict[str, str], *, terminal: bool, expected: bool) -> None:
    assert colour.wanted(choice, environment, terminal=terminal) is expected


@pytest.mark.parametrize(
    ("line", "text", "column", "offset"),
    [
        ("\tx = 1", "    x = 1", 2, 4),
        ("a\tb", "a   b", 3, 4),
        ("x = '漢字'; y", "x = '漢字'; y", 11, 12),
        ("e\u0301 = 1", "e\u0301 = 1", 3, 1),
        ("a\x1b[31mb", "a�[31mb", 7, 6),
        ("a\u202eb\r\n", "a�b", 3, 2),
        ("", "", 1, 0),
        ("abc", "abc", 99, 3),
    ],
)
def test_columns(line: str, text: str, column: int, offset: int) -> None:
    assert shown(line).text == text
    assert shown(line).offset(column) == offset


def test_an_endless_line_is_cut() -> None:
    assert len(shown("x" * 100_000).text) < 400
    FILES["long.py"] = ["x" * 100_000]
    text = rendered("full", replace(LEAK, steps=(Step(StepKind.EXIT, "long.py", span(1, 90_000, 90_010), "lost"),)))
    assert max(map(len, text.splitlines())) < 400


def test_statistics() -> None:
    report = Report((LEAK, LEAK, replace(LEAK, code="LC101", name="never-released")))
    assert statistics.render("full", report, Context()) == (
        "2\tLC102\tleaks-on-exception\n1\tLC101\tnever-released\nFound 3 findings in 1 file: 3 warnings.\n"
    )
    assert json.loads(statistics.render("json", report, Context()))[0] == {
        "code": "LC102",
        "name": "leaks-on-exception",
        "count": 2,
    }
    assert statistics.render("full", Report(()), Context(summary=False)) == ""


@pytest.mark.parametrize("rule", rules.ALL_RULES, ids=lambda rule: rule.code)
def test_explain(rule: rules.Rule) -> None:
    text = explain.page(rule, "text", Paint(on=False))
    assert text.startswith(f"{rule.code} {rule.name}\n")
    assert "```" not in text
    assert not re.search(r"^#", text, re.MULTILINE)
    assert explain.page(rule, "markdown", Paint(on=False)).startswith(f"# {rule.name} ({rule.code})\n")
    assert json.loads(explain.page(rule, "json", Paint(on=False)))["explanation"] == rule.page.strip()


@pytest.mark.parametrize("form", explain.FORMATS)
def test_the_list_names_every_rule(form: str) -> None:
    text = explain.listing(rules.ALL_RULES, form, Paint(on=False))
    assert all(rule.code in text and rule.name in text for rule in rules.ALL_RULES)


def test_settings() -> None:
    config = Config(ignore=("LC101",), per_file_ignores=(("a", ("LC102",)),), origins=(("ignore", "f.toml"),))
    text = settings.render(config, "text", Paint(on=False))
    assert 'ignore = ["LC101"]  # f.toml\n' in text
    assert 'per-file-ignores = { "a" = ["LC102"] }  # default\n' in text
    assert "respect-gitignore = true  # default\n" in text
    shown = json.loads(settings.render(config, "json", Paint(on=False)))
    assert shown["settings"]["ignore"] == {"value": ["LC101"], "origin": "f.toml"}
    assert shown["settings"]["select"] == {"value": None, "origin": "default"}


def test_an_unknown_format_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="yaml"):
        rendered("yaml")
