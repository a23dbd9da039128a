"""Places between our rows and columns and an editor's lines and code units; findings that move with the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from leakcheck.diagnostic import Diagnostic, Position, Severity, Span, Step, StepKind
from leakcheck.server.documents import Change, Documents
from leakcheck.server.positions import Positions
from leakcheck.server.shifting import shifted

UTF8, UTF16, UTF32 = types.PositionEncodingKind.Utf8, types.PositionEncodingKind.Utf16, types.PositionEncodingKind.Utf32
TEXTS = st.text(st.sampled_from("ab\t\r\n\x0c\x85\u2028\u00e9\u0301\u20ac\U0001f4a5\ufeff"), max_size=30)


@pytest.mark.parametrize(("encoding", "character"), [(UTF8, 12), (UTF16, 8), (UTF32, 7)])
def test_units(encoding: str, character: int) -> None:
    text = Positions("x\n\ty='\u00e9\u0301\U0001f4a5'", encoding)
    assert text.to_editor(Position(2, 8)) == types.Position(1, character)


@given(TEXTS, st.sampled_from([UTF8, UTF16, UTF32]))
def test_there_and_back(text: str, encoding: str) -> None:
    positions = Positions(text, encoding)
    inside = [at for at in range(len(text) + 1) if not (text[at - 1 : at] == "\r" and text[at : at + 1] == "\n")]
    for at in inside:
        if at == 0 and text.startswith("\ufeff"):
            continue  # in front of the mark is no place of ours
        ours = positions.at(at)
        theirs = positions.to_editor(ours)
        assert positions.offset(theirs) == at
        assert positions.from_editor(theirs) == ours


@given(TEXTS, TEXTS, st.integers(0, 30), st.integers(0, 30), st.sampled_from([UTF8, UTF16, UTF32]))
def test_a_change_of_a_range(text: str, content: str, one: int, other: int, encoding: str) -> None:
    documents = Documents()
    documents.encoding = encoding
    opened = documents.open("file:///a.py", "python", 1, text)
    assert opened is not None
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    positions = Positions(text, encoding)
    span = Span(positions.at(start), positions.at(end))
    start, end = (positions.offset(positions.to_editor(each)) for each in (span.start, span.end))
    change = types.TextDocumentContentChangePartial(range=positions.to_range(span), text=content)
    changed = documents.change("file:///a.py", 2, [change])
    assert changed is not None
    assert changed[0].text.text == text[:start] + content + text[end:]


@given(TEXTS, TEXTS)
def test_a_new_whole_text_changes_only_what_differs(text: str, new: str) -> None:
    documents = Documents()
    documents.open("file:///a.py", "python", 1, text)
    changed = documents.change("file:///a.py", 2, [types.TextDocumentContentChangeWholeDocument(text=new)])
    assert changed is not None
    assert changed[0].text.text == new


@pytest.mark.parametrize("cookie", ["utf-8", "latin-1", "cp1252", "no-such"])
def test_the_bytes_are_those_that_saving_writes(cookie: str) -> None:
    text = f"# coding: {cookie}\nname = '\u00e9'\n"
    document = Documents().open("file:///a.py", "python", 1, text)
    assert document is not None
    assert document.data == text.encode("utf-8" if cookie == "no-such" else cookie)


def finding(row: int, first: int, last: int, *, statement: tuple[int, int] | None = None) -> Diagnostic:
    span = Span(Position(row, first), Position(row, last))
    rows = statement or (row, row)
    around = Span(Position(rows[0], 1), Position(rows[1], 99))
    steps = (Step(StepKind.ACQUIRE, "a.py", span, "taken"), Step(StepKind.ACQUIRE, "b.py", span, "taken"))
    return Diagnostic("LC102", "leaks-on-exception", "lost", Severity.WARNING, "a.py", span, around, steps)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (Change(Span(Position(1, 1), Position(1, 1)), Position(3, 5)), (7, 5)),  # two lines more above
        (Change(Span(Position(1, 1), Position(3, 1)), Position(1, 1)), (3, 5)),  # two lines less
        (Change(Span(Position(5, 1), Position(5, 1)), Position(5, 3)), (5, 7)),  # two characters in front
        (Change(Span(Position(4, 3), Position(5, 2)), Position(4, 3)), (4, 6)),  # joined to the line above
        (Change(Span(Position(5, 9), Position(5, 9)), Position(6, 1)), (5, 5)),  # behind
        (Change(Span(Position(5, 5), Position(5, 5)), Position(5, 6)), (5, 6)),  # directly in front
        (Change(Span(Position(5, 6), Position(5, 7)), Position(5, 6)), None),  # inside
        (Change(Span(Position(4, 1), Position(6, 1)), Position(4, 1)), None),  # all of it
    ],
)
def test_findings_move(change: Change, moved: tuple[int, int] | None) -> None:
    before = finding(5, 5, 9)
    after = shifted(before, "a.py", change)
    if moved is None:
        assert after is None
        return
    assert after is not None
    assert after.span == after.steps[0].span == Span(Position(*moved), Position(moved[0], moved[1] + 4))
    assert after.steps[1] == before.steps[1]
