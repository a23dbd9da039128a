"""Each condition of a rewrite has a case that is rewritten, and a near one that is not: `fix_rows.txt` names them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from fixture_file import Fixture, MarkKind, read_fixture

TESTS = Path(__file__).parent
FIXTURES = TESTS.parent / "fixtures" / "fixes"
ROWS = [line for line in (TESTS / "fix_rows.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
NAMES = [row.partition(" | ")[0] for row in ROWS]
LEFT = -1
"""Below every tier: no fix is offered."""
TIERS = {"display": 0, "unsafe": 1, "safe": 2}


def test_each_condition_is_named_once() -> None:
    assert sorted(set(NAMES)) == sorted(NAMES)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_condition_has_its_cases(row: str) -> None:
    _, words, pair, committing = (part.strip() for part in f"{row} ".split("|"))
    assert words
    rewritten, relation, near = re.split(r" ([→+~]) ", pair)
    first, second = tier(rewritten), tier(near)
    assert first is None or first > LEFT, f"`{rewritten}` is not rewritten"
    if first is not None and second is not None:
        assert second < first if relation == "→" else second == first, f"`{near}` is offered otherwise"
    if relation == "~":
        assert "finally:" in after(near), f"`{near}` needs no `finally`"
        assert "finally:" not in after(rewritten), f"`{rewritten}` needs a `finally`"
    if committing:
        commits, stays = committing.split(" → ")
        assert drops_a_commit(commits) is not False, f"`{commits}` keeps its commits"
        assert drops_a_commit(stays) is not True, f"`{stays}` loses a commit"


def tier(case: str) -> int | None:
    """How far a rewrite of a case is offered; None for a test, which asks that itself."""
    found = parts(case)
    if found is None:
        return None
    fixture, path, function = found
    rows = span(fixture.files[path], function)
    marks = [m for m in fixture.marks if m.path == path and m.row in rows]
    offered = [TIERS[m.severity] for m in marks if m.kind is MarkKind.OFFERED and not m.code]
    refused = [LEFT for m in marks if m.kind is MarkKind.REFUSED]
    best = min(offered + refused, default=LEFT)
    if best >= TIERS["unsafe" if fixture.unsafe else "safe"]:
        assert after(case) != text(fixture.files[path], function), f"`{case}` stays as it is"
    return best


def after(case: str) -> str:
    """The text of a case when it is fixed."""
    found = parts(case)
    assert found is not None, f"`{case}` is no fixture"
    fixture, path, function = found
    return text((fixture.fixed or {}).get(path, fixture.files[path]), function)


def drops_a_commit(case: str) -> bool | None:
    """Whether a case is rewritten without one of its commits; None for a test, which asks that itself."""
    found = parts(case)
    if found is None:
        return None
    fixture, path, function = found
    return after(case).count("commit()") < text(fixture.files[path], function).count("commit()")


@cache
def parts(case: str) -> tuple[Fixture, str, str] | None:
    """The fixture of a case, its file and its function; None for a test that is there."""
    place, _, function = case.partition(" ")
    if place.startswith("test_"):
        assert span((TESTS / f"{place}.py").read_text(encoding="utf-8"), function)
        return None
    name, _, path = place.partition("/")
    fixture = read_fixture(FIXTURES / f"{name}.py")
    return fixture, path or next(iter(fixture.files)), function


def span(source: str, function: str) -> range:
    """The rows of a function of this name, for `-` of what is in none."""
    if function == "-":
        return range(max(f.stop for _, f in functions(source)), source.count("\n") + 2)
    (rows,) = [rows for name, rows in functions(source) if name == function]
    return rows


def text(source: str, function: str) -> str:
    """The text of a function."""
    rows = span(source, function)
    return "\n".join(source.splitlines()[rows.start - 1 : rows.stop - 1])


@cache
def functions(source: str) -> list[tuple[str, range]]:
    """The functions of a module and of its classes, with their rows."""
    found: list[tuple[str, range]] = []
    for top in ast.parse(source).body:
        inner = [(f"{top.name}.", top.body)] if isinstance(top, ast.ClassDef) else [("", [top])]
        for prefix, body in inner:
            found += [
                (f"{prefix}{node.name}", range(node.lineno, (node.end_lineno or node.lineno) + 1))
                for node in body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            ]
    return found
