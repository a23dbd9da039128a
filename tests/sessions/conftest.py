"""One server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .pools import prepare
from .server import running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The connection string of a server that has what the programs name."""
    with running() as dsn:
        prepare(dsn)
        yield dsn
