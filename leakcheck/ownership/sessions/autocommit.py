"""Whether a connection is in autocommit: as it was made, and as calls and assignments switch it.

    create_engine(url, isolation_level="AUTOCOMMIT")   →   True, for the connections of that engine
    conn.set_session(autocommit=False)                 →   False from here on

What is not written out is not known: None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce
from leakcheck.driver_session import Begins
from leakcheck.ownership.pools import closes_when_back, constructors, scope_of
from leakcheck.project.facts import SELF
from leakcheck.project.names import Class, External
from leakcheck.project.texts import sql_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.driver_session import Session as DriverSession
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.names import Scope

_HIDING = ("kwargs", "execution_options", "init", "configure")
"""Options of a pool that may switch it, and cannot be read."""
_DIALECTS = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "cockroachdb": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}


def initial(found: Found, driver: DriverSession, program: Program) -> bool | None:
    """Whether the connection is in autocommit when it is taken, as far as its constructor or its pool's says."""
    if driver.begins in (Begins.NEVER, Begins.UNKNOWN):
        return None
    named = [(n, v) for n, v in _keywords(found.call) if n in driver.autocommit]
    made = list(_builders(found, program))
    named += [(n, v) for call, _ in made for n, v in call.keywords if n in driver.autocommit]
    hiding = [_written_out(v, at, driver, program) for call, at in made for n, v in call.keywords if n in _HIDING]
    options = [o for o in hiding if o is not None]
    named += [(str(n), v) for o in options for n, v in zip(o.keys, o.items, strict=False) if n in driver.autocommit]
    if named:
        return _value(*named[0], driver)
    hidden = len(options) < len(hiding) or _is_perhaps_unpacked(found, driver, program)
    return None if hidden or found.acquisition.steps else False


def _written_out(options: ex.Expression, where: Scope, driver: DriverSession, program: Program) -> ex.Sequence | None:
    """The dict display that options are: ``kwargs={"autocommit": True}``, or the only value of a variable.

    Into that of a variable more may be put: where it does not switch it, the file must not speak of it at all.
    """
    known = options
    if isinstance(options, ex.Name):
        scopes = [*(function.scope for function in reversed(where.functions)), where.module.scope]
        values = [value for scope in scopes for value in scope.assignments.get(options.id, ())]
        known = values[0] if len(values) == 1 else options
    if not isinstance(known, ex.Sequence) or not known.keys or not all(isinstance(k, str) for k in known.keys):
        return None
    silent = known is not options and not any(key in driver.autocommit for key in known.keys)
    return None if silent and _speaks_of_it(where.module.path, driver, program) else known


def _speaks_of_it(path: str, driver: DriverSession, program: Program) -> bool:
    """Whether a file names something by which a connection is switched."""
    text = program.peek(path)
    return any(name.encode() in text for name in driver.autocommit)


def of_its_object(names: Iterable[str], unit: Unit, driver: DriverSession, program: Program) -> bool | None:
    """The same of a connection that an object keeps; False where its class makes it so, and nothing switches it."""
    attributes = {n.partition(".")[2] for n in names if n.partition(".")[0] in SELF}
    owner, path = unit.scope.owner, unit.path
    if owner is None or any(f".{name}".encode() in program.peek(path) for name in driver.autocommit):
        return None
    made: list[ex.Expression] = []
    for _, facts, _ in program.resolver.hierarchy.lineage(Class(path, owner)):
        kept = (value for name in sorted(attributes) for value, _ in facts.attributes.get(name, ()))
        made += [v.value if isinstance(v, ex.Await) else v for v in kept if v != ex.Constant(None)]
    for value in (v for v in made if isinstance(v, ex.Call)):
        taken = program.acquisitions.at(value, unit.scope, awaited=lambda: True)
        if taken is None or taken.pool is not None or taken.resource.session != driver:
            continue
        hidden = not value.args and not value.keywords  # `connect(**options)`
        switched = any(name in driver.autocommit for name, _ in value.keywords)
        return None if len(made) > 1 or hidden or switched else False
    return None


def _is_perhaps_unpacked(found: Found, driver: DriverSession, program: Program) -> bool:
    """Whether the call is given ``**options`` in a file that speaks of autocommit."""
    node = found.call.node
    assert isinstance(node, cst.Call)
    if all(argument.star != "**" for argument in node.args):
        return False
    return _speaks_of_it(found.unit.path, driver, program)


def underneath(found: Found, driver: DriverSession, program: Program) -> DriverSession:
    """What a library that works over others is known to do over the one that its URL names, or that it is given."""
    classes = program.drivers.classes
    for call, where in _builders(found, program) if not driver.dialect else ():
        if closes_when_back(call, where, program):
            return driver.without_pool
        for dialect, library in (*_by_url(call, where, program), *_by_module(call, where, program)):
            below = classes.get(f"{library}.PooledConnection") or classes.get(f"{library}.Connection")
            known = below.session if below is not None else None
            driver = replace(driver, dialect=dialect or (known.dialect if known is not None else ""))
            return driver if known is None else replace(driver, begun=known.begun, deaf=known.deaf, blind=known.blind)
    return driver


def _builders(found: Found, program: Program) -> Iterator[tuple[ex.Call, Scope]]:
    """The calls that build the pool it is taken from; for a session, the engine on which its factory makes it."""
    taken, scope = found.acquisition, found.unit.scope
    if not taken.resource.bind:
        if taken.pool is not None:
            yield from constructors(program, taken.pool, scope)
        elif taken.place is not None:  # `pool().connection()`
            where = scope_of(program, taken.place)
            yield from constructors(program, taken.place[1], where) if where is not None else ()
        return
    made = reduce(found.call.node) if isinstance(found.call.node, cst.Call) and not taken.steps else None
    if not isinstance(made, ex.Call):
        return
    factory = taken.pool or ex.dotted(made.func)
    for call, where in ((made, scope), *(constructors(program, factory, scope) if factory is not None else ())):
        named = [v for name, v in call.keywords if name == taken.resource.bind] or call.args[:1]
        engine = ex.dotted(named[0]) if named else None
        yield from constructors(program, engine, where) if engine is not None else ()


def _by_url(call: ex.Call, scope: Scope, program: Program) -> Iterator[tuple[str, str]]:
    """The dialect and the library that the URL of an engine names."""
    for text in sql_texts(call.args[0], scope, program) or () if call.args else ():
        name, _, library = text.partition("://")[0].partition("+")
        yield _DIALECTS.get(name, ""), library


def _by_module(call: ex.Call, scope: Scope, program: Program) -> Iterator[tuple[str, str]]:
    """The library whose module a pool is given to connect with; what it speaks is in the file of that."""
    for given in (*call.args[:1], *(value for _, value in call.keywords)):
        for symbol in program.resolver.resolve(given, scope) if isinstance(given, ex.Name) else ():
            if isinstance(symbol, External) and f"{symbol.name}.connect" in program.drivers.calls:
                operation = program.drivers.calls[f"{symbol.name}.connect"]
                yield "", (operation.acquires or "").rpartition(".")[0]


def assigned(name: str, value: str) -> bool | None:
    """Whether it is on after an assignment to an attribute: ``isolation_level = None`` turns it on."""
    if name == "isolation_level":
        return True if value == g.NONE else None
    return {g.TRUE: True, g.FALSE: False}.get(value)


def switches(call: g.Call, driver: DriverSession) -> bool:
    """Whether a method call on the connection may switch it."""
    if call.method not in driver.autocommit:
        return False
    return call.method not in _BY_KEYWORD or any(n in driver.autocommit for n, _ in _keywords(call))


def switched(call: g.Call, driver: DriverSession) -> bool | None:
    """Whether it is on after a call that switches it."""
    named = [(n, v) for n, v in _keywords(call) if n in driver.autocommit]
    if named:
        return _value(*named[0], driver)
    reduced = reduce(call.node) if isinstance(call.node, cst.Call) else None
    given = reduced.args if isinstance(reduced, ex.Call) else ()
    return _value(call.method or "", given[0], driver) if given else None


_BY_KEYWORD = frozenset({"execution_options", "set_session"})
"""Methods that switch other things as well."""


def _value(name: str, value: ex.Expression, driver: DriverSession) -> bool | None:
    """Whether an option with this value turns it on."""
    levels = "isolation" in name
    match value:
        case ex.Constant(value=bool() as known):
            return known
        case ex.Constant(value=int() as number):
            return number == 0 if levels else number != 0
        case ex.Constant(value=str() as level) if levels:
            return level.upper() == "AUTOCOMMIT"
        case ex.Constant(value=None) if driver.dialect == "sqlite":
            return True
        case ex.Name() | ex.Attribute() if (ex.last_name(value) or "").startswith("ISOLATION_LEVEL_"):
            return ex.last_name(value) == "ISOLATION_LEVEL_AUTOCOMMIT"
        case _:
            return None


def _keywords(call: g.Call) -> tuple[tuple[str, ex.Expression], ...]:
    reduced = reduce(call.node) if isinstance(call.node, cst.Call) else None
    return reduced.keywords if isinstance(reduced, ex.Call) else ()
