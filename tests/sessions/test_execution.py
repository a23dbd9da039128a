"""The bench itself: what the server says of programs whose outcome is known."""

from __future__ import annotations

import pytest

from .execution import Truth, truth
from .pools import opened
from .program import Attempt, Body, Branch, Driver, Kind, Leave, Python, Say
from .spelling import SPELLINGS, written

BEGIN, COMMIT = Say("BEGIN", opens=Kind.TRANSACTION), Say("COMMIT", ends=True)
ROLE, RESET = Say("SET ROLE tenant", opens=Kind.ROLE), Say("RESET ROLE", ends=True)
LOCK, UNLOCK = Say("SELECT pg_advisory_lock(7)", opens=Kind.LOCK), Say("SELECT pg_advisory_unlock(7)", ends=True)
SETTING = Say("SET statement_timeout = '9s'", opens=Kind.SETTING)
WORK, INSERT = Say("SELECT 1"), Say("INSERT INTO public.journal VALUES (1)")

CLEAN, ALWAYS = Truth(), Truth(plainly=True, after_error=True)
PLAINLY, AFTER_ERROR = Truth(plainly=True), Truth(after_error=True)
CASES: list[tuple[str, Body, Truth]] = [
    # the pool of psycopg2 does not know of a BEGIN in autocommit, that of psycopg rolls it back
    ("psycopg2-autocommit", (BEGIN, WORK), ALWAYS),
    ("psycopg-autocommit", (BEGIN, WORK), PLAINLY),
    ("asyncpg", (BEGIN, WORK), PLAINLY),
    ("sqlalchemy-autocommit", (BEGIN, WORK), ALWAYS),
    ("psycopg2-autocommit", (BEGIN, WORK, COMMIT), AFTER_ERROR),
    ("psycopg2-autocommit", (BEGIN, Attempt((WORK,), final=(COMMIT,))), CLEAN),
    ("psycopg-autocommit", (BEGIN, INSERT, Branch("a", (Leave(),)), COMMIT), PLAINLY),
    # where nothing was written nothing is lost
    ("psycopg-autocommit", (BEGIN, WORK, Branch("a", (Leave(),)), COMMIT), CLEAN),
    ("asyncpg", (BEGIN, Branch("a", (Leave(),)), COMMIT), CLEAN),
    ("psycopg2-autocommit", (BEGIN, Branch("a", (Leave(),)), COMMIT), PLAINLY),
    # no pool resets a role that was not rolled back
    ("psycopg2", (ROLE, WORK), CLEAN),
    ("psycopg2", (ROLE, Driver("commit"), WORK), ALWAYS),
    ("psycopg2-autocommit", (ROLE, WORK, RESET), AFTER_ERROR),
    ("psycopg", (ROLE, Driver("commit"), Python(), RESET, Driver("commit")), AFTER_ERROR),
    ("asyncpg", (ROLE, WORK), ALWAYS),
    ("asyncpg", (ROLE, Attempt((WORK,), handler=(RESET,), passes_on=True), RESET), AFTER_ERROR),  # cancelled
    ("psycopg", (ROLE, Driver("commit"), Attempt((Python(),), final=(RESET,))), ALWAYS),  # the reset is rolled back
    # asyncpg's pool resets the rest
    ("asyncpg", (LOCK, WORK), CLEAN),
    ("asyncpg", (SETTING, WORK), CLEAN),
    ("sqlalchemy", (LOCK, WORK), ALWAYS),
    ("psycopg-autocommit", (SETTING, WORK), ALWAYS),
    # after an error the server refuses the unlock
    ("psycopg2", (LOCK, Attempt((WORK,), final=(UNLOCK,))), AFTER_ERROR),
    ("psycopg2-autocommit", (LOCK, Attempt((WORK,), final=(UNLOCK,))), CLEAN),
    # and answers ROLLBACK to COMMIT, which undoes what was set
    ("psycopg2", (ROLE, Attempt((WORK, RESET), handler=()), Driver("commit")), CLEAN),
]


@pytest.mark.parametrize(("driver", "body", "expected"), CASES)
def test_the_server_is_asked(postgres: str, driver: str, body: Body, expected: Truth) -> None:
    spelling = SPELLINGS[driver]
    program = written(body, spelling)
    with opened(driver, postgres) as pools:
        rows = truth(program, spelling, pools).rows
    assert [seen for row, seen in rows.items() if program.rows[row] is not Kind.COMMIT] == [expected]
