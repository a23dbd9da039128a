"""Every file under ``fixtures/`` is a test: marked lines are reported, all others are silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixture_file import (
    Fixture,
    FixtureError,
    Mark,
    MarkKind,
    disagreements,
    parse_fixture,
    read_fixture,
    summary_disagreements,
    with_sections,
)

from leakcheck.diagnostic import Applicability, Diagnostic, Position, Severity, Span
from leakcheck.fixes.apply import chosen, edited
from leakcheck.rules import DEFAULT_CODES, select

if TYPE_CHECKING:
    from conftest import Diagnose, Inspect

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOCATIONS = sorted(path for path in FIXTURES.rglob("*.py") if "demo" not in path.relative_to(FIXTURES).parts)
PASSES = 10  # fixing again what a fix uncovered comes to an end sooner


def name_of(location: Path) -> str:
    """The name of a fixture's test."""
    return location.relative_to(FIXTURES).as_posix()


def shows_graphs(location: Path) -> bool:
    """Whether a fixture has, or is to have, a `cfg` section."""
    return location.parent.name == "cfg"


def shows_fixes(location: Path) -> bool:
    """Whether a fixture is about fixes: then one without a `fixed` section says that nothing is fixed."""
    return location.parent.name == "fixes"


def selected(fixture: Fixture, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The diagnostics of the rules that the fixture asks for; by default all that are on by default."""
    codes = select(fixture.select) if fixture.select else DEFAULT_CODES
    return [one for one in diagnostics if one.code in codes]


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
def test_marked_lines_and_no_others_are_reported(location: Path, diagnose: Diagnose) -> None:
    fixture = read_fixture(location)
    assert not disagreements(fixture, selected(fixture, diagnose(fixture.files)))


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
def test_fixed_text(location: Path, diagnose: Diagnose, inspect: Inspect, *, bless: bool) -> None:
    fixture = read_fixture(location)
    if fixture.fixed is None and not shows_fixes(location):
        if bless and shows_graphs(location):
            text = location.read_text(encoding="utf-8")
            location.write_text(with_sections(fixture, text, None, _graphs(fixture, inspect)), encoding="utf-8")
        return
    fixed = fix_all(fixture, diagnose)
    changed = {path: text for path, text in fixed.items() if text != fixture.files[path]}
    for path, text in changed.items():
        compile(text, path, "exec", dont_inherit=True)
    if bless:
        graphs = _graphs(fixture, inspect) if shows_graphs(location) else None
        text = location.read_text(encoding="utf-8")
        location.write_text(with_sections(fixture, text, changed or None, graphs), encoding="utf-8")
    else:
        assert changed == dict(fixture.fixed or {})


@pytest.mark.parametrize("location", [one for one in LOCATIONS if shows_graphs(one)], ids=name_of)
def test_graphs(location: Path, inspect: Inspect, *, bless: bool) -> None:
    fixture = read_fixture(location)
    if not bless:  # written by test_fixed_text, which knows all that a file is to hold
        assert _graphs(fixture, inspect) == fixture.cfg


@pytest.mark.parametrize("location", LOCATIONS, ids=name_of)
def test_summaries(location: Path, inspect: Inspect) -> None:
    fixture = read_fixture(location)
    marked = {mark.path for mark in fixture.marks if mark.kind is MarkKind.SUMMARY}
    if marked:
        assert not summary_disagreements(fixture, {path: inspect(fixture.files, "summaries", path) for path in marked})


def _graphs(fixture: Fixture, inspect: Inspect) -> str:
    return inspect(fixture.files, "cfg", next(iter(fixture.files)))


def fix_all(fixture: Fixture, diagnose: Diagnose) -> dict[str, str]:
    least = Applicability.UNSAFE if fixture.unsafe else Applicability.SAFE
    files = dict(fixture.files)
    for _ in range(PASSES):
        found = selected(fixture, diagnose(files))
        picked = {path: chosen((one for one in found if one.path == path), least) for path in files}
        if not any(picked.values()):
            return files
        for path, fixes in picked.items():
            files[path] = edited(files[path], [edit for _, fix in fixes for edit in fix.edits])
    raise AssertionError(f"{fixture.name}: the fixes come to no end")


# The reader itself.


def _diagnostic(code: str, row: int, message: str = "lost", path: str = "one.py") -> Diagnostic:
    span = Span(Position(row, 1), Position(row, 2))
    return Diagnostic(code, code.lower(), message, Severity.WARNING, path, span, span)


def test_marks_are_read_with_code_severity_and_text() -> None:
    text = '# why\na = f()  # error: LC102 [note] "f()" # missed: LC101\nb = 1  # note: "exit"\n'
    fixture = parse_fixture("one.py", text)
    assert fixture.marks == (
        Mark(MarkKind.ERROR, "one.py", 2, "LC102", "note", "f()"),
        Mark(MarkKind.MISSED, "one.py", 2, "LC101"),
        Mark(MarkKind.NOTE, "one.py", 3, text="exit"),
    )


def test_strings_cannot_fake_marks_or_sections() -> None:
    fixture = parse_fixture("one.py", 'a = """\n# --- file: b.py ---\n# error: LC101\n"""\n')
    assert list(fixture.files) == ["one.py"]
    assert fixture.marks == ()


def test_sections_make_files_and_rows_are_theirs() -> None:
    text = (
        "# why\n# select: LC101\n\n# --- file: app/db.py ---\na = 1\nb = 2  # error: LC101\n"
        "# --- fixed: app/db.py ---\na = 1\n"
    )
    fixture = parse_fixture("one.py", text)
    assert dict(fixture.files) == {"app/db.py": "a = 1\nb = 2  # error: LC101\n"}
    assert fixture.marks == (Mark(MarkKind.ERROR, "app/db.py", 2, "LC101"),)
    assert fixture.select == ("LC101",)
    assert fixture.fixed == {"app/db.py": "a = 1\n"}


def test_code_before_the_first_section_is_a_file() -> None:
    fixture = parse_fixture("one.py", "import a\n# --- file: a.py ---\nx = 1\n")
    assert dict(fixture.files) == {"one.py": "import a\n", "a.py": "x = 1\n"}


@pytest.mark.parametrize("comment", ["# error: lc101", "# Error: LC101", "# missed: all", "# note: x"])
def test_a_misspelt_mark_is_refused(comment: str) -> None:
    with pytest.raises(FixtureError, match="not a mark"):
        parse_fixture("one.py", f"a = 1  {comment}\n")


def test_a_broken_file_is_read_as_far_as_it_goes() -> None:
    fixture = parse_fixture("one.py", "def f(:  # error: LC900\n    return 1\n")
    assert [mark.code for mark in fixture.marks] == ["LC900"]


@pytest.mark.parametrize(
    ("comment", "found", "complaints"),
    [
        ("# error: LC101", [_diagnostic("LC101", 1)], 0),
        ("# error: LC101", [], 1),
        ("# error: LC101", [_diagnostic("LC102", 1)], 2),
        ('# error: LC101 "lost"', [_diagnostic("LC101", 1)], 0),
        ('# error: LC101 "kept"', [_diagnostic("LC101", 1)], 2),
        ("# error: LC101 [warning]", [_diagnostic("LC101", 1)], 0),
        ("# error: LC101 [error]", [_diagnostic("LC101", 1)], 2),
        ("# error: LC101", [_diagnostic("LC101", 1), _diagnostic("LC101", 1)], 1),
        ("# missed: LC101", [], 0),
        ("# missed: LC101", [_diagnostic("LC101", 1)], 1),
        ("# false-alarm: LC101", [_diagnostic("LC101", 1)], 0),
        ("# false-alarm: LC101", [], 1),
        ("", [_diagnostic("LC101", 1)], 1),
        ('# note: "exit"', [], 1),
    ],
)
def test_disagreements(comment: str, found: list[Diagnostic], complaints: int) -> None:
    assert len(disagreements(parse_fixture("one.py", f"a = 1  {comment}\n"), found)) == complaints


def test_summary_marks() -> None:
    text = 'def put(conn):  # summary: "releases conn"\n    conn.close()\n'
    fixture = parse_fixture("one.py", text)
    assert not summary_disagreements(fixture, {"one.py": "1: put: releases conn\n"})
    assert summary_disagreements(fixture, {"one.py": "1: put: nothing\n"}) == [
        'one.py:1: summary: "releases conn": it is put: nothing'
    ]
    assert summary_disagreements(fixture, {"one.py": "2: put: releases conn\n"})


def test_graphs_are_kept_as_comments() -> None:
    text = "a = 1\n# --- cfg ---\n# f:\n# 0: a = #none\n#    -> exit\n#\n# g:\n"
    fixture = parse_fixture("one.py", text)
    assert fixture.cfg == "f:\n0: a = #none\n   -> exit\n\ng:\n"
    again = parse_fixture("one.py", with_sections(fixture, text, None, fixture.cfg))
    assert again.cfg == fixture.cfg


def test_blessing_rewrites_results_only() -> None:
    text = "# why\na = 1  # error: LC101\n# --- file: b.py ---\nb = 1\n# --- fixed ---\nold = 1\n"
    fixture = parse_fixture("one.py", text)
    fixed: Mapping[str, str] = {"one.py": "a = 2\n", "b.py": "b = 2\n"}
    blessed = with_sections(fixture, text, fixed, None)
    again = parse_fixture("one.py", blessed)
    assert again.fixed == fixed
    assert again.files == fixture.files
    assert again.marks == fixture.marks
    assert with_sections(again, blessed, fixed, None) == blessed
