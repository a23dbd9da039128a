"""Rules, pages, README and fixtures say the same: nothing is listed in one place only."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixture_file import read_fixture

from leakcheck.diagnostic import LeakcheckError
from leakcheck.ownership.leak import LeakKind
from leakcheck.rule import Rule
from leakcheck.rules import ALL_RULES, DEFAULT_CODES, find, select

if TYPE_CHECKING:
    from conftest import Diagnose

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
DRIVERS = sorted((ROOT / "leakcheck" / "drivers").glob("*.toml"))
HEADINGS = ["What it does", "Why is this bad?", "Example", "Use instead", "Fix safety", "Limits"]
FOLDERS_THAT_ARE_NO_RULE = {"fixes", "clean", "drivers", "cfg", "summaries", "demo"}
MEASURED = ("PostgreSQL", "MariaDB", "psycopg2?", "psycopg_pool", "asyncpg", "SQLAlchemy", "Django", "Flask", "Python")
DOCUMENTATION = (
    "www.postgresql.org/docs", "dev.mysql.com/doc", "www.psycopg.org", "magicstack.github.io", "docs.sqlalchemy.org",
    "docs.djangoproject.com", "docs.python.org",
)  # fmt: skip
ABOUT_PYTHON = [rule for rule in ALL_RULES if rule.kind is not None]


def code_of(rule: Rule) -> str:
    """The name of a rule's test."""
    return rule.code


def folder_of(rule: Rule) -> str:
    """The fixture folder of a rule, which is also the name of its module."""
    return f"{rule.code.lower()}_{rule.name.replace('-', '_')}"


def rule_table() -> str:
    """The table of the README, between its markers `<!-- rules -->` and `<!-- /rules -->`."""
    rows = ["| code | name | reports |", "|---|---|---|"]
    for rule in ALL_RULES:
        summary = rule.summary.rstrip(".").replace("|", "\\|")
        rows.append(f"| {rule.code} | `{rule.name}`{'' if rule.default else ' (opt-in)'} | {summary} |")
    return "\n".join(rows)


def blocks(rule: Rule, heading: str) -> list[str]:
    """The Python blocks of a rule's page under ``heading``."""
    section = rule.page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_codes_and_names_are_unique_and_in_order() -> None:
    assert [rule.code for rule in ALL_RULES] == sorted({rule.code for rule in ALL_RULES})
    assert len({rule.name for rule in ALL_RULES}) == len(ALL_RULES)


def test_every_kind_of_leak_has_its_rule() -> None:
    assert {rule.kind for rule in ABOUT_PYTHON} == set(LeakKind)
    assert all(rule.kind is not None and rule.kind.value == rule.code for rule in ABOUT_PYTHON)
    assert all(rule.say is not None for rule in ABOUT_PYTHON)


@pytest.mark.parametrize("rule", ALL_RULES, ids=code_of)
def test_rule_has_its_own_module(rule: Rule) -> None:
    assert (ROOT / "leakcheck" / "rules" / f"{folder_of(rule)}.py").is_file()


@pytest.mark.parametrize("rule", ALL_RULES, ids=code_of)
def test_page_has_all_headings_in_order(rule: Rule) -> None:
    assert re.findall(r"^## (.+)$", rule.page, re.MULTILINE) == HEADINGS
    assert rule.summary.endswith(".")
    for section in re.split(r"^## .+$", rule.page, flags=re.MULTILINE):
        assert section.strip()


@pytest.mark.parametrize("rule", [r for r in ALL_RULES if r.code[:3] in ("LC2", "LC3", "LC4")], ids=code_of)
def test_page_says_what_was_measured_on_which_versions_and_links_the_documentation(rule: Rule) -> None:
    why = rule.page.split("\n## Why is this bad?\n", 1)[1].split("\n## ", 1)[0]
    assert re.search(r"\b([Mm]easured|Counted)\b", why)
    assert re.search(rf"({'|'.join(MEASURED)})(?:'s pool)? \(?\d", why), "a version of what it was measured with"
    assert re.search(rf"<?https://(?:{'|'.join(DOCUMENTATION)})/", why), "the documentation of a server or driver"


@pytest.mark.parametrize("rule", ALL_RULES, ids=code_of)
def test_page_code_parses(rule: Rule) -> None:
    assert blocks(rule, "Example")
    assert blocks(rule, "Use instead")
    for block in blocks(rule, "Use instead"):
        ast.parse(block)
    for block in blocks(rule, "Example"):
        if rule.code != "LC900":
            ast.parse(block)


@pytest.mark.parametrize("rule", ABOUT_PYTHON, ids=code_of)
def test_example_is_reported_and_its_remedy_is_not(rule: Rule, diagnose: Diagnose) -> None:
    in_force = DEFAULT_CODES | {rule.code}
    for block in blocks(rule, "Example"):
        assert [one.code for one in diagnose({"example.py": block}) if one.code in in_force] == [rule.code]
    for block in blocks(rule, "Use instead"):
        assert [one for one in diagnose({"instead.py": block}) if one.code in in_force] == []


def test_readme_table_is_generated_from_the_rules() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- rules -->\n(.*?)\n<!-- /rules -->", text, re.DOTALL)
    assert table is not None, "README.md needs the markers <!-- rules --> and <!-- /rules -->"
    assert table[1].strip() == rule_table(), f"replace the table by:\n{rule_table()}"


def test_fixture_folders_are_the_rules() -> None:
    folders = {path.name for path in FIXTURES.iterdir() if path.is_dir()}
    assert folders - FOLDERS_THAT_ARE_NO_RULE == {folder_of(rule) for rule in ALL_RULES}


@pytest.mark.parametrize("rule", ALL_RULES, ids=code_of)
def test_fixtures_of_a_rule_expect_it(rule: Rule) -> None:
    fixtures = [read_fixture(path) for path in sorted((FIXTURES / folder_of(rule)).glob("*.py"))]
    assert any(rule.code in fixture.codes for fixture in fixtures)


def test_clean_fixtures_expect_nothing() -> None:
    for path in sorted((FIXTURES / "clean").glob("*.py")):
        assert not read_fixture(path).codes, path.name


@pytest.mark.parametrize("location", DRIVERS, ids=lambda path: path.stem)
def test_each_driver_has_a_leak_and_a_clean_fixture(location: Path) -> None:
    tomllib.loads(location.read_text(encoding="utf-8"))
    assert read_fixture(FIXTURES / "drivers" / f"{location.stem}_leak.py").codes
    assert not read_fixture(FIXTURES / "drivers" / f"{location.stem}_clean.py").codes


def test_select_takes_codes_prefixes_and_names() -> None:
    assert select(["LC102"]) == {"LC102"}
    assert select(["leaks-on-exception", "lc101"]) == {"LC101", "LC102"}
    assert select(["LC9"]) == {"LC900", "LC901", "LC902"}
    assert select(["ALL"]) == {rule.code for rule in ALL_RULES}
    assert select([]) == frozenset()


def test_find_knows_code_and_name() -> None:
    assert find("LC102") is find("leaks-on-exception") is not None
    assert find("LC1") is None


@pytest.mark.parametrize(
    ("selector", "nearest"), [("LC1o2", "LC102"), ("leak-on-exception", "leaks-on-exception"), ("", "explain")]
)
def test_an_unknown_selector_names_the_nearest(selector: str, nearest: str) -> None:
    with pytest.raises(LeakcheckError, match=nearest):
        select([selector])
