"""Pools that are told to clear what is set on a connection whenever that goes back, or is taken.

pool = ConnectionPool(dsn, reset=clean)        →   what `clean` does not reset is not looked for

@event.listens_for(engine, "checkin")          →   in any file of the project that resets, or sets, something
def clean(connection, record): …
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.ownership.sessions.session import HeldKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.ownership.found import SessionFound
    from leakcheck.ownership.program import Program

_IN_TRANSACTION = (HeldKind.TRANSACTION, HeldKind.SAVEPOINT)
_LISTENING = ("listens_for", "listen")
_RESETS = re.compile(rb"(?i)[\"';]\s*(?:RESET|DISCARD|SET)\s|set_config|advisory_unlock|(?:reset|clear|clean)\w*\(")
"""What a function says that resets something, or has a helper that is called so."""


class Cleared:
    """Answers about what is held on connections; the files of a project are looked through once."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._listening: dict[tuple[tuple[str, ...], tuple[str, ...]], bool] = {}

    def is_cleared(self, found: SessionFound) -> bool:
        """Whether the project sees to it that nobody finds what is held on a connection from the pool."""
        driver, pool = found.connection.driver, found.connection.acquisition.pool
        if found.held.kind in _IN_TRANSACTION or not driver.pooled:
            return False
        keywords = driver.cleared_by if pool is not None else ()
        if any(self._program.constructor_keyword(pool or "", keyword, found.unit.scope) for keyword in keywords):
            return True
        return bool(driver.cleared_on) and self._listens(found.unit.path, driver.cleared_on)

    def _listens(self, path: str, events: tuple[str, ...]) -> bool:
        """Whether a function of the project that is called on such events of a pool resets, or sets, something."""
        paths = self._program.modules.project_of(path) or (path,)
        key = (paths, events)
        if key not in self._listening:
            named = [f'"{event}"'.encode() for event in events] + [f"'{event}'".encode() for event in events]
            self._listening[key] = any(self._resets(each, events) for each in paths if self._names(each, named))
        return self._listening[key]

    def _names(self, path: str, events: Iterable[bytes]) -> bool:
        data = self._program.data(path)
        return b"listen" in data and any(event in data for event in events)

    def _resets(self, path: str, events: tuple[str, ...]) -> bool:
        module = self._program.facts(path)
        for facts in module.functions.values() if module is not None else ():
            asked = (d.args[1:2] for d in facts.decorators if isinstance(d, ex.Call) and ex.last_name(d) in _LISTENING)
            decorated = any(isinstance(e, ex.Constant) and e.value in events for args in asked for e in args)
            listens = re.compile(rb"\blisten\([^()]*\b" + re.escape(facts.name).encode() + rb"\b")
            if decorated or listens.search(self._program.data(path)) is not None:
                text = self._program.rows(path, facts.first_row, facts.last_row)
                if _RESETS.search(text) is not None:
                    return True
        return False
