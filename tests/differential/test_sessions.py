"""A seeded share of the programs about transactions and roles: analysis and execution must agree on every row.

The long form is ``python -m tests.differential.sessions 5000``.
"""

from __future__ import annotations

import pytest

from .sessions import FLAVOURS, compare

PROGRAMS = 40


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_analysis_agrees_with_execution(flavour: str) -> None:
    found, _ = compare(flavour, PROGRAMS)
    assert not found, f"{len(found)} programs of {PROGRAMS} disagree, for example:\n{found[0]}"
