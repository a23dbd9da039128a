"""A seeded share: leaks planted into a few files of the standard library, fixed, and nothing else touched."""

from __future__ import annotations

from random import Random

import pytest

from leakcheck.diagnostic import Applicability

from .hosts import hosts
from .planting import complaint, planted

FILES = 12


@pytest.mark.parametrize("least", [Applicability.SAFE, Applicability.UNSAFE])
def test_nothing_but_the_planted_function_changes(least: Applicability) -> None:
    random = Random(least.name)
    chosen = random.sample(list(hosts("email")), FILES)
    fixes = 0
    for path, text in chosen:
        found, applied = complaint(planted(text, random), least)
        assert found is None, f"{path}: {found}"
        fixes += applied
    assert fixes
