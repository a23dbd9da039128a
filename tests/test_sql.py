"""SQL: what statements of three dialects do, from the table in ``sql_events.txt``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leakcheck.sql.events import HOLE, SqlEvent, events

TABLE = Path(__file__).with_name("sql_events.txt")


def cases() -> list[tuple[str, str]]:
    """The rows of the table: SQL text and the events expected of it, as ``shown`` writes them."""
    found: list[tuple[str, str]] = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("##"):
            text, _, expected = line.rpartition("→")
            found.append((text.strip().replace("…", HOLE).replace("⏎", "\n"), expected.strip()))
    return found


def shown(found: tuple[SqlEvent, ...]) -> str:
    """Events as the table writes them: ``set search_path, begin``."""
    return "; ".join(
        event.kind + (f" {event.name}" if event.name is not None else "") + (" (local)" if event.local else "")
        for event in found
    )


@pytest.mark.parametrize(("text", "expected"), cases())
def test_events(text: str, expected: str) -> None:
    assert shown(events(text)) == expected
    assert shown(events(f"  {text} ;\n")) == expected


def test_the_table_is_large_and_has_no_row_twice() -> None:
    texts = [text for text, _ in cases()]
    assert len(texts) >= 300
    assert len(set(texts)) == len(texts)


WORDS = st.sampled_from(
    """BEGIN COMMIT END ROLLBACK SET LOCAL SESSION ROLE TO = DEFAULT SELECT set_config ( ) , ; ' '' " ` $$ /* */ --
    CASE CREATE FUNCTION TRIGGER DO DECLARE CURSOR IF LOOP WITH a b.c @x @@session . 1 %s :n $1 {} pg_advisory_lock LOCK
    TABLES RELEASE SAVEPOINT PREPARE RESET ALL XA START DISCARD PRAGMA EXPLAIN ANALYZE USE
    \ufffc""".split()
)


@given(st.one_of(st.text(max_size=60), st.lists(st.tuples(WORDS, st.sampled_from(["", " "])), max_size=24)))
@example("'")
@example("(" * 400)
@example("/*" * 400)
def test_no_text_is_too_much(text: str | list[tuple[str, str]]) -> None:
    written = text if isinstance(text, str) else "".join(word + space for word, space in text)
    assert isinstance(events(written), tuple)
