"""A seeded share of the leaky functions: fixed, they do on a real server what they did, and lose nothing."""

from __future__ import annotations

import pytest

from .equivalence import FUNCTION, HELPERS, compare
from .leaky import DRIVERS
from .observed import TABLE, Observer
from .pools import opened, prepare

PROGRAMS = 3


@pytest.fixture(scope="module")
def table(postgres: str) -> str:
    """A server with the table that the functions write to."""
    prepare(postgres, TABLE)
    return postgres


@pytest.mark.parametrize("driver", DRIVERS)
def test_fixed_functions_do_the_same(table: str, driver: str) -> None:
    with opened(DRIVERS[driver].pools, table) as pools:
        observer = Observer(DRIVERS[driver], pools, table)
        found = [compare(seed, observer, driver) for seed in range(PROGRAMS)]
        observer.close()
    assert any(one.fixed is not None for one in found)
    for one in found:
        assert not one.differences, f"{one.original}\n---\n{one.fixed}"


@pytest.mark.parametrize("driver", HELPERS)
def test_so_they_do_with_a_helper(table: str, driver: str) -> None:
    with opened(DRIVERS[driver].pools, table) as pools:
        observer = Observer(DRIVERS[driver], pools, table)
        found = [compare(seed, observer, driver, helper=True) for seed in range(4 * PROGRAMS)]
        observer.close()
    assert any(FUNCTION in (one.fixed or "") for one in found) or driver == "sqlalchemy"
    for one in found:
        assert not one.differences, f"{one.original}\n---\n{one.fixed}"
