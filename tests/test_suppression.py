"""Suppressions: which comments silence what, and which comments are themselves at fault."""

from __future__ import annotations

import pytest

from leakcheck import rules
from leakcheck.diagnostic import Diagnostic, Position, Severity, Span
from leakcheck.suppression import Catalogue, Verb, apply, may_contain, suppressions

EVERY = frozenset(rule.code for rule in rules.ALL_RULES)


def code(written: str) -> str | None:
    rule = rules.find(written)
    return rule.code if rule is not None else None


def diagnostic(row: int, code: str = "LC102", last: int | None = None) -> Diagnostic:
    rule = rules.find(code)
    assert rule is not None
    span = Span(Position(row, 8), Position(row, 22))
    statement = Span(Position(row, 1), Position(last or row, 30))
    return Diagnostic(rule.code, rule.name, "m", Severity.WARNING, "a.py", span, statement)


def left(text: str, *diagnostics: Diagnostic, active: frozenset[str] = EVERY) -> list[tuple[str, int]]:
    kept = apply(diagnostics, "a.py", text, Catalogue(code, rules.nearest, active))
    return sorted((each.code, each.span.start.row) for each in kept)


def messages(text: str, *diagnostics: Diagnostic) -> list[str]:
    return [each.message for each in apply(diagnostics, "a.py", text, Catalogue(code, rules.nearest, EVERY))]


@pytest.mark.parametrize(
    "comment",
    [
        "# leakcheck: ignore[LC102]",
        "#leakcheck:ignore[lc102]",
        "# leakcheck: ignore[leaks-on-exception]",
        "# leakcheck: ignore[LC101, LC102]",
        "# leakcheck: ignore[LC102] -- the watchdog closes it",
        "# type: ignore[attr-defined]  # leakcheck: ignore[LC102]",
        "# why  # leakcheck: ignore [ LC102 ]",
        "# noqa: LC102",
        "# noqa:LC102",
        "# NOQA: E501, LC102",
        "# noqa: E501 LC102 because",
        "# noqa : LC102",
        "# noqa",
        "#noqa",
        "# NoQA",
        "# type: ignore # noqa",
        "# noqa because of a reason",
    ],
)
def test_what_silences(comment: str) -> None:
    text = f"conn = pool.getconn()  {comment}\n"
    assert "LC102" not in {code for code, _ in left(text, diagnostic(1))}


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: E501",
        "# noqa:",
        "# noqa: ",
        "# noqa: see below",
        "# nonoqa",
        "# noqa-ish",
        "# leakcheck: ignored[LC102]",
        "# leakcheck: see the handbook",
        "# leakcheck: ignore[LC101]",
        "# leakcheck: ignore",
        "# leakcheck: ignore[]",
        "# leakcheck: ignore[LC1]",
        "# leakcheck ignore[LC102]",
    ],
)
def test_what_does_not(comment: str) -> None:
    text = f"conn = pool.getconn()  {comment}\n"
    assert ("LC102", 1) in left(text, diagnostic(1))


def test_any_line_of_the_statement_counts_and_no_other() -> None:
    text = (
        "# leakcheck: ignore[LC102]\n"
        "conn = pool.getconn(\n"
        "    # leakcheck: ignore[LC102]\n"
        ")\n"
        "use(conn)  # leakcheck: ignore[LC102]\n"
    )
    assert left(text, diagnostic(2, last=4)) == [("LC901", 1), ("LC901", 5)]


def test_strings_fake_nothing() -> None:
    text = 'conn = pool.getconn("# leakcheck: ignore[LC102]")\nx = """\n# noqa\n"""\n'
    assert left(text, diagnostic(1), diagnostic(3)) == [("LC102", 1), ("LC102", 3)]


@pytest.mark.parametrize(
    "text", ["x = (  # noqa\n", "if x:\n\ty  # noqa\n  z\n", 'x = """  # noqa\n', "# noqa\n$ ?\n)(\n"]
)
def test_texts_that_do_not_tokenise(text: str) -> None:
    left(text, diagnostic(1))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_rows_are_counted_as_python_counts(newline: str) -> None:
    text = newline.join(["x = '\x0b \x0c \x1c \x85 \u2028'", "\x0c", "conn = pool.getconn()  # noqa: LC102", ""])
    assert left(text, diagnostic(3)) == []


class TestWholeFile:
    @pytest.mark.parametrize(
        "heading",
        [
            "# leakcheck: ignore-file[LC102]",
            "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\n# leakcheck: ignore-file[leaks-on-exception] -- why",
            "# Licence.\n#\n# leakcheck: ignore-file[LC102, LC103]",
        ],
    )
    def test_in_the_first_comments(self, heading: str) -> None:
        text = f'{heading}\n"""Docs."""\nconn = pool.getconn()\n'
        assert "LC102" not in {code for code, _ in left(text, diagnostic(5), diagnostic(6))}

    def test_later_it_counts_for_nothing(self) -> None:
        text = '"""Docs."""\n# leakcheck: ignore-file[LC102]\nconn = pool.getconn()\n'
        assert left(text, diagnostic(3)) == [("LC102", 3), ("LC901", 2)]
        assert "before the first statement" in messages(text)[0]

    def test_unused(self) -> None:
        assert messages("# leakcheck: ignore-file[LC102]\n") == ["unused suppression: nothing in this file is LC102"]


class TestUnused:
    def test_only_the_part_that_is_unused_is_named(self) -> None:
        text = "conn = pool.getconn()  # leakcheck: ignore[LC101, LC102, released-twice]\n"
        assert messages(text, diagnostic(1)) == ["unused suppression: nothing here is LC101 or released-twice"]

    def test_a_rule_that_does_not_run_is_not_unused(self) -> None:
        text = "x = 1  # leakcheck: ignore[LC102]\n"
        assert left(text, active=EVERY - {"LC102"}) == []
        assert left(text, active=EVERY - {"LC901"}) == []

    def test_noqa(self) -> None:
        assert left("x = 1  # noqa: LC102\n") == [("LC901", 1)]
        assert left("x = 1  # noqa\ny = 2  # noqa: E501\nz = 3  # noqa: LC777\n") == []

    def test_span(self) -> None:
        (fault,) = apply(
            [], "a.py", "x = 1  # a  # leakcheck: ignore[LC102] -- b\n", Catalogue(code, rules.nearest, EVERY)
        )
        assert fault.span == Span(Position(1, 13), Position(1, 39))
        assert (fault.name, fault.severity, fault.path) == ("unused-suppression", Severity.WARNING, "a.py")

    def test_a_comment_may_silence_what_is_said_of_comments(self) -> None:
        assert left("x = 1  # leakcheck: ignore[LC102, LC901]\n") == []
        assert left("# leakcheck: ignore-file[LC901]\nx = 1  # leakcheck: ignore[LC102]\n") == []
        assert left("# leakcheck: ignore-file[LC902]\nx = 1  # leakcheck: ignore[LC999]\n") == []
        assert left("x = 1  # leakcheck: ignore[LC102]  # noqa\n") == [("LC901", 1)]


class TestUnknown:
    def test_unknown_rules_are_named_with_the_nearest(self) -> None:
        text = "conn = pool.getconn()  # leakcheck: ignore[LC1O2, leaks-on-exeption]\n"
        assert left(text) == [("LC902", 1), ("LC902", 1)]
        assert "there is no rule `LC1O2`; did you mean `LC102`?" in messages(text)
        assert "there is no rule `leaks-on-exeption`; did you mean `leaks-on-exception`?" in messages(text)

    @pytest.mark.parametrize("verb", ["ignore", "ignore-file"])
    @pytest.mark.parametrize("brackets", ["", "[]", "[ , ]", " LC102"])
    def test_a_suppression_must_name_rules(self, verb: str, brackets: str) -> None:
        assert messages(f"# leakcheck: {verb}{brackets}\n") == [f"`{verb}` names no rule: write `{verb}[LC102]`"]


def test_reading() -> None:
    text = "# leakcheck: ignore-file[LC101]\nx = 1  # noqa: LC102,E501\n# leakcheck: ignore[a, b]\n"
    assert [(each.verb, each.rules, each.counts) for each in suppressions(text)] == [
        (Verb.IGNORE_FILE, ("LC101",), True),
        (Verb.NOQA, ("LC102", "E501"), True),
        (Verb.IGNORE, ("a", "b"), True),
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"x  # leakcheck: ignore[LC102]", True),
        (b"x  # NoQA : E501, LC102", True),
        (b"x  # noqa: E501\nLC102", False),
        (b"CALC  # noqa", False),
        (b"x = 1", False),
    ],
)
def test_the_cheap_test_on_bytes(data: bytes, *, expected: bool) -> None:
    assert may_contain(data) is expected
