"""A seeded share of the comparison: about these programs leakcheck and the server must agree.

The long form is ``python -m tests.sessions --driver all --programs 300``.
"""

from __future__ import annotations

import pytest

from .comparison import compare
from .pools import opened
from .spelling import SPELLINGS

PROGRAMS = 6


@pytest.mark.parametrize("driver", SPELLINGS)
def test_leakcheck_agrees_with_the_server(postgres: str, driver: str) -> None:
    with opened(driver, postgres) as pools:
        rows = 0
        for seed in range(PROGRAMS):
            one = compare(seed, SPELLINGS[driver], pools)
            rows += one.rows
            if one.differences:
                pytest.fail(f"seed {seed}: {one.differences[0]}")
    assert rows >= PROGRAMS
