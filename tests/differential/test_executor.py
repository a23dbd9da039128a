"""The executor against programs whose truth was worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from .dialect import ASYNC_POOL, DIALECTS, SYNC_POOL, Dialect
from .executor import TooManyPathsError, execute
from .oracle import Oracle
from .truth import Site

CASES = Path(__file__).with_name("cases.txt")


def module(dialect: Dialect, body: str) -> str:
    """A module with one function."""
    prefix = "async " if dialect.is_async else ""
    lines = [f"{prefix}def scenario():", *("    " + line for line in body.splitlines())]
    return "\n".join([*dialect.preamble(), *lines, ""])


def cases() -> dict[str, dict[str, str]]:
    """The programs of ``cases.txt`` by name."""
    found = {}
    dialects = {dialect.name: dialect for dialect in DIALECTS}
    for section in CASES.read_text().split("\n=== ")[1:]:
        title, _, text = section.partition("\n")
        kind, _, name = title.partition(": ")
        if kind in dialects:
            found[name] = {"scenario.py": module(dialects[kind], text)}
            continue
        preamble = "\n".join((ASYNC_POOL if kind == "async" else SYNC_POOL).preamble())
        parts = [part.partition("\n") for part in text.removeprefix("--- ").split("\n--- ")]
        found[name] = {path: f"{preamble}\n{content}\n" for path, _, content in parts}
    return found


def expectations(files: dict[str, str]) -> dict[Site, str]:
    """What the comments say."""
    found = {}
    for path, text in files.items():
        for line, content in enumerate(text.splitlines(), 1):
            code, mark, comment = content.partition("  # ")
            if mark and code:
                found[Site(path, line)] = comment
    return found


def verdicts(files: dict[str, str]) -> dict[Site, str]:
    """What the runs say, in the words of the comments."""
    said = {site: "never" for site, comment in expectations(files).items() if comment == "never"}
    for site, truth in execute(files).truths.items():
        said[site] = " ".join(sorted(truth.allowed())) or "ok"
    return said


@pytest.mark.parametrize("name", cases())
def test_case(name: str) -> None:
    """Each program leaks where its comments say so, and nowhere else."""
    files = cases()[name]
    assert verdicts(files) == expectations(files)


def test_there_are_enough_cases() -> None:
    """None got lost in reading."""
    assert len(cases()) >= 100


def test_oracle_enumerates_every_combination() -> None:
    """Two decisions, the second of which depends on the first."""
    oracle = Oracle()
    seen = []
    while True:
        first = oracle.choose(2)
        seen.append((first, oracle.choose(3) if first else None))
        if not oracle.advance():
            break
    assert seen == [(0, None), (1, 0), (1, 1), (1, 2)]


def test_too_many_paths() -> None:
    """The bound on runs holds."""
    body = "\n".join("if cond(1):\n    pass" for _ in range(20))
    with pytest.raises(TooManyPathsError):
        execute({"scenario.py": module(SYNC_POOL, body)}, max_runs=100)
