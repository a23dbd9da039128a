"""A seeded share of the programs about transactions and roles: analysis and execution must agree on every row.

The long form is ``python -m tests.differential.sessions 5000``.
"""

from __future__ import annotations

from .sessions import disagreement

PROGRAMS = 60


def test_analysis_agrees_with_execution() -> None:
    found = [text for text in map(disagreement, range(PROGRAMS)) if text is not None]
    assert not found, f"{len(found)} programs of {PROGRAMS} disagree, for example:\n{found[0]}"
