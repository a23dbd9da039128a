"""Pools that are told to clear what is set on a connection whenever that goes back, or is taken; or that lend one once.

pool = ConnectionPool(dsn, reset=clean)        →   what `clean` does not reset is not looked for

@event.listens_for(engine, "checkin")          →   in any file of the project, what it resets, or sets
def clean(connection, record): …

engine = create_engine(url)                    →   what is set on the only connection that its function takes of it,
with engine.connect() as conn: …                   nobody gets
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import walk
from leakcheck.driver import ClassKind
from leakcheck.ownership.pools import is_global
from leakcheck.ownership.sessions.session import HeldKind
from leakcheck.project.names import External, Symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.found import SessionFound
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.session import Held
    from leakcheck.ownership.unit import Unit

_IN_TRANSACTION = (HeldKind.TRANSACTION, HeldKind.SAVEPOINT)
_SETTINGS = (HeldKind.ROLE, HeldKind.AUTHORIZATION, HeldKind.SETTING)
"""What harms nobody but the next borrower; a lock that is kept bars others meanwhile."""
_LENDS_NOTHING = frozenset({"close", "dialect", "dispose", "driver", "echo", "name", "url"})
"""What else may be asked of an engine or a pool."""
_LOOPS = (cst.For, cst.While, cst.CompFor)
_LISTENING = ("listens_for", "listen")
_EVERYTHING = r"DISCARD\s+ALL|(?:reset|clear|clean)\w*\(|execute\w*\(\s*(?:text\(\s*)?[A-Za-z_]\w*\s*[,)]"
"""What clears all that is set; or a helper that is called so, or a statement that stands elsewhere, and may."""
_ROLES = r"\bROLE\b|AUTHORIZATION|set_config\s*\(\s*'role'"
_SETTING = r"RESET\s+ALL|[\"';]\s*(?:RESET|SET)\s+(?:SESSION\s+)?[{%:]|set_config\s*\(\s*[^'\s]"
"""What clears all settings, or one of which only a variable says the name."""
_CLEARS = {
    HeldKind.ROLE: _ROLES,
    HeldKind.AUTHORIZATION: _ROLES,
    HeldKind.SETTING: _SETTING,
    HeldKind.LOCK: r"advisory_unlock|RELEASE_(?:ALL_)?LOCK|UNLOCK\s+TABLES",
    HeldKind.LISTEN: r"UNLISTEN",
}
"""What a function says that clears things of a kind."""


class Cleared:
    """Answers about what is held on connections; the files of a project are looked through once."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._listening: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...]] = {}

    def is_cleared(self, found: SessionFound) -> bool:
        """Whether the project sees to it that nobody finds what is held on a connection from the pool."""
        driver, pool = found.connection.driver, found.connection.acquisition.pool
        if found.held.kind in _IN_TRANSACTION or not driver.pooled:
            return False
        if found.held.kind in _SETTINGS and pool is not None and self._lends_once(found, pool):
            return True
        keywords = driver.cleared_by if pool is not None else ()
        if any(self._program.constructor_keyword(pool or "", keyword, found.unit.scope) for keyword in keywords):
            return True
        clears = _clearing(found.held)
        listening = self._listeners(found.unit.path, driver.cleared_on) if driver.cleared_on else ()
        return any(clears.search(text) is not None for text in listening)

    def _lends_once(self, found: SessionFound, pool: str) -> bool:
        """Whether a pool is built in the function that takes this one connection of it, and nobody else sees it."""
        unit, facts = found.unit, found.unit.facts
        values = facts.scope.assignments.get(pool, ()) if facts is not None else ()
        if facts is None or len(values) != 1 or is_global(self._program, unit.scope.module, facts, pool):
            return False
        made = values[0].value if isinstance(values[0], ex.Await) else values[0]
        symbols = self._program.resolver.resolve(made.func, unit.scope) if isinstance(made, ex.Call) else ()
        taken = found.connection.found
        if taken is None or not symbols or not all(self._builds_pool(s) for s in symbols):
            return False
        named = _uses(unit, pool)
        (built, *_), calls = named, {id(n) for n in walk(taken.call.node)}
        again = any(
            not calls.isdisjoint(inside) and id(built) not in inside
            for loop in walk(unit.node)
            if isinstance(loop, _LOOPS)
            for inside in [{id(n) for n in walk(loop)}]
        )
        return not again and len(named) == 2 and id(named[1]) in calls

    def _builds_pool(self, symbol: Symbol) -> bool:
        drivers = self._program.drivers
        made = drivers.calls.get(symbol.name) if isinstance(symbol, External) else None
        known = drivers.classes.get(made.returns or "") if made is not None else None
        return known is not None and known.kind is ClassKind.POOL

    def _listeners(self, path: str, events: tuple[str, ...]) -> tuple[str, ...]:
        """The texts of the functions of the project that are called on such events of a pool."""
        paths = self._program.modules.project_of(path) or (path,)
        key = (paths, events)
        if key not in self._listening:
            named = [f'"{event}"'.encode() for event in events] + [f"'{event}'".encode() for event in events]
            asked = (each for each in paths if self._names(each, named))
            self._listening[key] = tuple(text for each in asked for text in self._called_on(each, events))
        return self._listening[key]

    def _names(self, path: str, events: Iterable[bytes]) -> bool:
        data = self._program.data(path)
        return b"listen" in data and any(event in data for event in events)

    def _called_on(self, path: str, events: tuple[str, ...]) -> Iterator[str]:
        module = self._program.facts(path)
        for facts in module.functions.values() if module is not None else ():
            asked = (d.args[1:2] for d in facts.decorators if isinstance(d, ex.Call) and ex.last_name(d) in _LISTENING)
            decorated = any(isinstance(e, ex.Constant) and e.value in events for args in asked for e in args)
            listens = re.compile(rb"\blisten\([^()]*\b" + re.escape(facts.name).encode() + rb"\b")
            if decorated or listens.search(self._program.data(path)) is not None:
                text = self._program.rows(path, facts.first_row, facts.last_row).decode("utf-8", "replace")
                yield text.replace(f"def {facts.name}(", "(")  # its name does not say what it clears


def _clearing(held: Held) -> re.Pattern[str]:
    """What a function says that clears this."""
    named = held.kind is HeldKind.SETTING and held.name is not None
    own = (re.escape(held.name or "").replace("timezone", r"time\s*zone"),) if named else ()
    return re.compile("|".join((_EVERYTHING, _CLEARS[held.kind], *own)), re.IGNORECASE)


def _uses(unit: Unit, pool: str) -> list[cst.Name]:
    """Where a function has this name, but for what lends nothing."""
    asked = {id(n.value) for n in walk(unit.node) if isinstance(n, cst.Attribute) and n.attr.value in _LENDS_NOTHING}
    return [n for n in walk(unit.node) if isinstance(n, cst.Name) and n.value == pool and id(n) not in asked]
