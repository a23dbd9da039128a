"""A seeded share of the campaign: on these programs analysis and execution must agree.

The long form is ``python -m tests.differential --flavour all --programs 5000``.
"""

from __future__ import annotations

import pytest

from .adapter import available, verdicts
from .campaign import minimal, run_campaign
from .generator import flavours

PROGRAMS = 120
MAX_RUNS = 500


@pytest.mark.skipif(not available(), reason="there is no analysis yet")
@pytest.mark.parametrize("flavour", list(flavours()))
def test_analysis_agrees_with_execution(flavour: str) -> None:
    tally = run_campaign(flavour, range(PROGRAMS), verdicts, MAX_RUNS)
    assert tally.sites > PROGRAMS
    if tally.findings:
        smallest = minimal(tally.findings[0], verdicts, MAX_RUNS)
        pytest.fail(f"{len(tally.findings)} programs of {PROGRAMS} disagree, for example:\n{smallest}")
