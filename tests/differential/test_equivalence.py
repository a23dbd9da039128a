"""A seeded share of the programs: fixed, they do what they did, and lose nothing that a safe fix covers."""

from __future__ import annotations

import pytest

from .equivalence import difference, fix
from .executor import TooManyPathsError
from .generator import flavours, generate

PROGRAMS = 30
MAX_RUNS = 400


@pytest.mark.parametrize("flavour", list(flavours()))
def test_fixed_programs_do_the_same(flavour: str) -> None:
    for seed in range(PROGRAMS):
        files = generate(seed, flavour)
        fixed = fix(files)
        if fixed.applied:
            try:
                found = difference(files, fixed.files, MAX_RUNS)
            except TooManyPathsError:
                continue
            assert found is None, f"{flavour}, seed {seed}: {found}\n" + "\n".join(fixed.files.values())
