"""The loop of fixing: it goes on until a check finds nothing more, it ends, and it takes back what makes worse."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from leakcheck.diagnostic import Applicability, Diagnostic, Edit, Fix, Position, Severity, Span
from leakcheck.report import Report
from leakcheck.rewriting import rewritten

Rule = Callable[[Mapping[str, str]], list[tuple[str, int, str]]]
"""From the texts of all files to the findings: path, row, and what its fix makes of the first word there."""


def fixed(files: dict[str, str], rule: Rule, least: Applicability = Applicability.SAFE) -> dict[str, str]:
    """The texts after all fixes of findings that follow from the texts alone."""

    def report(read: Callable[[str], bytes], only: frozenset[str] | None) -> Report:
        texts = {path: read(path).decode() for path in files}
        found = [
            found_at(path, row, word, texts[path]) for path, row, word in rule(texts) if only is None or path in only
        ]
        return Report(tuple(sorted(found, key=lambda one: one.sort_key)))

    def read(path: str) -> bytes:
        return files[path].encode()

    outcome = rewritten(report(read, None), report, read, least)
    assert {path: change.before for path, change in outcome.files.items()}.items() <= {
        path: text.encode() for path, text in files.items()
    }.items()
    after = {path: change.after.decode() for path, change in outcome.files.items()}
    left = rule({**files, **after})
    assert len(outcome.report.diagnostics) == len(left)
    return after


def found_at(path: str, row: int, word: str, text: str) -> Diagnostic:
    first = re.match(r"\w+", text.splitlines()[row - 1])
    assert first is not None
    span = Span(Position(row, 1), Position(row, first.end() + 1))
    fix = Fix(f"make it {word}", (Edit(span, word),), Applicability.SAFE)
    return Diagnostic("LC101", "never-released", f"row {row}", Severity.ERROR, path, span, span, fix=fix)


def leaks(texts: Mapping[str, str]) -> list[tuple[str, int, str]]:
    """A row `leak` is a finding."""
    rows = ((path, text.splitlines()) for path, text in sorted(texts.items()))
    return [(path, i, "fixed") for path, lines in rows for i, line in enumerate(lines, 1) if line == "leak"]


def test_all_of_a_file_in_one_round() -> None:
    assert fixed({"a": "leak\nleak\nwell\n", "b": "well\n"}, leaks) == {"a": "fixed\nfixed\nwell\n"}


def test_what_a_fix_uncovers_in_another_file_is_fixed_too() -> None:
    def chained(texts: Mapping[str, str]) -> list[tuple[str, int, str]]:
        waiting = [path for path in sorted(texts) if "leak" in texts[path]]
        return [one for one in leaks(texts) if one[0] == waiting[-1]]  # one is only seen when those behind it are gone

    files = dict.fromkeys("abcde", "leak\n")
    assert fixed(files, chained) == dict.fromkeys("abcde", "fixed\n")


def test_a_fix_that_makes_a_new_finding_is_taken_back_and_the_others_stay() -> None:
    def worse(texts: Mapping[str, str]) -> list[tuple[str, int, str]]:
        found = leaks(texts)
        lines = texts["a"].splitlines()
        return [(p, i, "worse" if i == 2 else "fixed") for p, i, _ in found] + [
            ("a", i, "worse") for i, line in enumerate(lines, 1) if line == "worse" for _ in range(2)
        ]

    assert fixed({"a": "leak\nleak\nleak\n"}, worse) == {"a": "fixed\nleak\nfixed\n"}


def test_a_fix_that_changes_nothing_for_the_better_ends_the_loop() -> None:
    def stubborn(texts: Mapping[str, str]) -> list[tuple[str, int, str]]:
        return [("a", 1, f"{texts['a'].split()[0]}x")]

    assert fixed({"a": "leak\n"}, stubborn) == {}


def test_fixes_that_undo_each_other_end_some_time() -> None:
    def in_turns(texts: Mapping[str, str]) -> list[tuple[str, int, str]]:
        turn = "a" if texts["a"] == texts["b"] else "b"
        return [(turn, 1, "this" if texts[turn] == "that\n" else "that")]

    assert set(fixed({"a": "this\n", "b": "this\n"}, in_turns)) == {"a", "b"}


def test_what_may_not_be_applied_is_left() -> None:
    assert fixed({"a": "leak\n"}, leaks, Applicability.UNSAFE) == {"a": "fixed\n"}
