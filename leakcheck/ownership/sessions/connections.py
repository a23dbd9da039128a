"""The connections of a function: those that it takes, and the one that it was given or finds somewhere.

    def move(conn):
        cur = conn.cursor()
        cur.execute("BEGIN")    →   the connection that is not taken here, known as `conn`

All that a function was given, or finds on ``self`` or in a module, is taken to be one connection: whoever ends a
transaction through any of these names has ended it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.driver import ClassKind, DriverClass, Protocol, endings
from leakcheck.driver_session import Session as DriverSession
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.movement import BACK_TO_OWNER
from leakcheck.ownership.pools import closes, ends_here
from leakcheck.ownership.sessions import autocommit
from leakcheck.project.facts import SELF
from leakcheck.project.names import Class, External, Function, Instance, Method

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from leakcheck.cfg import graph as g
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.sessions.lent import Lent
    from leakcheck.ownership.unit import Unit

UNKNOWN_DRIVER = DriverSession()
_WORDS = frozenset({
    "c", "con", "conn", "connection", "cnx", "cur", "cursor", "curs", "crsr", "database", "db", "dbh", "session",
    "tx", "txn", "trans", "transaction", "client",
})  # fmt: skip
"""What connections and cursors are called, where no driver is imported."""
_CONNECTION_WORDS = frozenset({"con", "conn", "connection", "cnx", "database", "db", "dbh", "session"})
"""Those that say that it is no cursor, and no transaction."""
_SEVERAL = 2
_KEPT = (Protocol.VALUE, Protocol.COROUTINE, Protocol.AWAITABLE_CONTEXT)
"""How what is kept by a name is taken: not by a ``with``."""
_DERIVING = frozenset({"cursor", "execute", "begin", "transaction", "connection", "execution_options"})
_FLEXIBLE = "generic.Connection"
_TEARING_DOWN = ("tearDown", "asyncTearDown", "teardown_method", "tearDownClass")


class Connection(Struct, frozen=True):
    """A connection in one function. ``names`` are what it is called where it was not taken here, ``lent`` who lends it.

    ``autocommit`` is None where it is not known; ``leaves_committed``: the ``with`` that hands it out commits;
    ``torn_down``: what runs after each test of its class closes it or rolls it back.
    """

    acquisition: Acquisition
    driver: DriverSession
    names: frozenset[str] = frozenset()
    found: Found | None = None
    autocommit: bool | None = None
    leaves_committed: bool = False
    lent: Lent | None = None
    torn_down: bool = False
    outside: bool = False
    """No transaction is open on it where the function starts."""
    kept_here: bool = False
    """The function takes it itself and keeps it in one of ``names``."""

    @property
    def resource(self) -> DriverClass:
        """Its class."""
        return self.acquisition.resource


def taken(found: Found, program: Program) -> Connection | None:
    """The connection of an acquire; None for what has no SQL session."""
    resource = found.acquisition.resource
    driver = resource.session
    is_call = isinstance(found.call.node, cst.Call)  # else a framework hands it over
    if (driver is None and resource.driver != "generic") or not is_call or found.acquisition.advances:
        return None
    driver = autocommit.underneath(found, driver or UNKNOWN_DRIVER, program)
    if driver.pooled and any(ends_here(program, name, found.unit.scope) for name in _sources(found)):
        driver = driver.without_pool
    symbols = program.resolver.resolve(found.call.func, found.unit.scope)
    operations = [s.operation for s in symbols if isinstance(s, Method)]
    if not operations:  # what it is was told by names: it is what a method of this name gives
        named = program.drivers.methods_named(found.call.method or "")
        operations = [operation for _, operation in named if operation.acquires == resource.id]
    commits = driver.commits or any(o.commits for o in operations)
    own_manager = found.acquisition.protocol is not Protocol.VALUE or driver.commits
    return Connection(
        found.acquisition,
        driver,
        found=found,
        autocommit=autocommit.initial(found, driver, program),
        leaves_committed=commits and own_manager,
    )


def _is_injected_without_pool(names: Collection[str], unit: Unit, program: Program) -> bool:
    """Whether a framework passes what a function makes of an engine that pools nothing."""
    made = program.resolver.annotations.injections(unit.facts, unit.scope.module) if unit.facts is not None else ()
    for injection in (i for i in made if i.parameter.name in names):
        for symbol in program.resolver.resolve(injection.function, injection.scope):
            facts, scope = program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
            if facts is not None and scope is not None:
                return any(closes(program, name, scope) for name in facts.calls)
    return False


def _sources(found: Found) -> Iterator[str]:
    """What it may come from: a pool, a factory of sessions, the engine that a session is given."""
    if found.acquisition.pool is not None:
        yield found.acquisition.pool
    made = reduce(found.call.node) if isinstance(found.call.node, cst.Call) else None
    if isinstance(made, ex.Call):
        values = (made.func, *made.args, *(value for _, value in made.keywords))
        yield from (value.id for value in values if isinstance(value, ex.Name))


def root(call: g.Call, unit: Unit) -> str | None:
    """What the connection is called on which a method is called."""
    return root_of(call.func.base, unit) if isinstance(call.func, ex.Attribute) else None


def is_of_a_module(call: g.Call, unit: Unit, program: Program) -> bool:
    """Whether a call is of a function of an imported library: ``import transaction``, ``transaction.begin()``."""
    if not isinstance(call.func, ex.Attribute) or not isinstance(call.func.base, ex.Name):
        return False
    symbols = program.resolver.resolve(call.func.base, unit.scope)
    return any(isinstance(s, External) and "." not in s.name for s in symbols)


def given(names: Iterable[str], unit: Unit, program: Program, *, certain: bool) -> Connection | None:
    """The connection that a function knows by these names and has not taken itself; ``certain``: it is one."""
    kept = _assigned_class(names, unit, program)
    resource = kept or _class_of(sorted(names), unit, program)
    if resource is None and not certain and not any(is_word(n) for n in names):
        return None
    resource = resource or program.drivers.classes[_FLEXIBLE]
    acquisition = Acquisition(resource, Protocol.VALUE, None)
    known = frozenset({*names, *_beside(names, unit, program)})
    driver = resource.session or UNKNOWN_DRIVER
    if driver.pooled and _is_injected_without_pool(known, unit, program):
        driver = driver.without_pool
    torn_down, outside = _is_torn_down(known, unit, program), _runs_outside(unit, driver, program)
    own = autocommit.of_its_object(known, unit, driver, program) if driver.nests else None
    own = False if own is None and resource.is_lazy else own  # an engine's connections are hardly ever in autocommit
    return Connection(
        acquisition, driver, known, autocommit=own, torn_down=torn_down, outside=outside, kept_here=kept is not None
    )


def are_given(names: Collection[str], unit: Unit) -> bool:
    """Whether all of these are parameters of the function."""
    return unit.facts is not None and set(names) <= {p.name for p in unit.facts.parameters}


def apart(names: frozenset[str], unit: Unit, program: Program) -> list[frozenset[str]]:
    """The names by which a function knows its connections, one set for each where it is given several."""
    given = {n for n in names if are_given((n,), unit)}
    several = {n for n in given if _is_typed(n, unit, program) or not _CONNECTION_WORDS.isdisjoint(endings(n))}
    rest = names - several
    if len(several) < _SEVERAL or any(is_word(n) for n in rest):
        return [names]  # a cursor may be of either
    return [frozenset({n}) for n in sorted(several)] + ([rest] if rest else [])


def _is_typed(name: str, unit: Unit, program: Program) -> bool:
    """Whether a parameter is annotated as a driver's connection."""
    symbols = program.resolver.resolve(ex.Name(name), unit.scope)
    classes = [s.of for s in symbols if isinstance(s, Instance) and isinstance(s.of, str)]
    return any(program.drivers.classes[c].kind is ClassKind.CONNECTION for c in classes)


def _runs_outside(unit: Unit, driver: DriverSession, program: Program) -> bool:
    """Whether a framework runs the method for each request where no transaction is open, and it opens none itself."""
    facts = unit.facts
    if facts is None or unit.scope.owner is None or facts.name not in driver.outside:
        return False
    opens = not program.vocabulary.blocks.isdisjoint(facts.calls)
    return not opens and any(p.name == "request" for p in facts.parameters)


def _is_torn_down(names: Collection[str], unit: Unit, program: Program) -> bool:
    """Whether the class has a method that runs after each test and ends what is open on the connection."""
    owner = unit.scope.owner
    for _, facts, module in program.resolver.hierarchy.lineage(Class(unit.path, owner)) if owner is not None else ():
        for function in (module.functions[facts.methods[n]] for n in _TEARING_DOWN if n in facts.methods):
            called = (c for n in ("close", "rollback") for c in function.calls.get(n, ()))
            if any(isinstance(c, ex.Attribute) and ex.dotted(c.base) in names for c in called):
                return True
    return False


def _beside(names: Iterable[str], unit: Unit, program: Program) -> Iterator[str]:
    """What else the object calls its connection: ``self.cursor = self.conn.cursor()``, wherever it is assigned."""
    holder = unit.facts.parameters[0].name if unit.facts is not None and unit.facts.parameters else ""
    owner = unit.scope.owner
    kept = {attribute for own, _, attribute in (n.partition(".") for n in names) if own == holder}
    if not kept or owner is None or holder not in SELF:
        return
    sources: dict[str, set[str]] = {}
    for _, facts, _ in program.resolver.hierarchy.lineage(Class(unit.path, owner)):
        for attribute, values in facts.attributes.items():
            found = sources.setdefault(attribute, {f"{holder}.{attribute}"})
            for value, method in values:
                source = _source(value) if method is not None else None
                if source is not None:
                    found.add(source if source.startswith(f"{holder}.") else f"{source} in {method}")
    wanted = {source for attribute in kept for source in sources.get(attribute, ())}
    for attribute, found in sources.items():
        if attribute not in kept and not found.isdisjoint(wanted):
            yield f"{holder}.{attribute}"


def _source(value: ex.Expression) -> str | None:
    """The variable or path of a connection of which an attribute keeps the cursor, or which it keeps itself."""
    match value:
        case ex.Await(value=inner) | ex.Entered(value=inner):
            return _source(inner)
        case ex.Call(func=ex.Attribute(base=base, name=name)) if name in _DERIVING:
            return ex.dotted(base)
        case ex.Name() | ex.Attribute():
            return ex.dotted(value)
        case _:
            return None


def handed_out_by(instruction: g.Enter) -> str | None:
    """What somebody's ``with`` calls the connection that it hands out: behind ``as``, unless that is a cursor."""
    item = instruction.node
    made = reduce(item.item) if isinstance(item, cst.WithItem) else None
    if isinstance(made, ex.Call) and ex.last_name(made.func) == "cursor":
        return None
    name = item.asname.name if isinstance(item, cst.WithItem) and item.asname is not None else None
    return ex.dotted(reduce(name)) if isinstance(name, (cst.Name, cst.Attribute)) else None


def is_word(name: str) -> bool:
    """Whether the name says that it is a connection or a cursor."""
    return any(ending in _WORDS for ending in endings(name.rpartition(".")[2]))


def root_of(expression: ex.Expression, unit: Unit, depth: int = 6) -> str | None:
    """The variable or dotted path that holds the connection on which ``expression`` works."""
    if depth == 0:
        return None
    match expression:
        case ex.Await(value=value) | ex.Entered(value=value):
            return root_of(value, unit, depth - 1)
        case ex.Call(func=ex.Attribute(base=base, name=name)) if name in _DERIVING:
            return root_of(base, unit, depth - 1)
        case ex.Attribute(base=base, name=name) if name in BACK_TO_OWNER and _is_cursor(base):
            return root_of(base, unit, depth - 1)
        case ex.Attribute():
            return ex.dotted(expression)
        case ex.Name(id=name):
            for facts in reversed(unit.scope.functions):
                for value in facts.scope.assignments.get(name, ()):
                    inner = value.value if isinstance(value, (ex.Await, ex.Entered)) else value
                    if (
                        isinstance(inner, ex.Call)
                        and isinstance(inner.func, ex.Attribute)
                        and inner.func.name in _DERIVING
                    ):
                        return root_of(inner.func.base, unit, depth - 1) or name
                    if isinstance(inner, (ex.Name, ex.Attribute)) and inner != expression:
                        return root_of(inner, unit, depth - 1) or name
                if name in facts.scope.assignments:
                    break
            return name
        case _:
            return None


def _is_cursor(expression: ex.Expression) -> bool:
    return any(e.startswith(("cur", "crsr")) for e in endings(ex.last_name(expression) or "")[-1:])


def _assigned_class(names: Iterable[str], unit: Unit, program: Program) -> DriverClass | None:
    """The class of what the function itself keeps by one of these names: ``g.db = Session()``."""
    kept = {name for name in names if "." in name}
    for node in walk(unit.node) if kept else ():
        if not isinstance(node, cst.Assign) or ex.dotted(reduce(node.targets[0].target)) not in kept:
            continue
        made = reduce(node.value)
        made = made.value if isinstance(made, ex.Await) else made
        taken = program.acquisitions.at(made, unit.scope, awaited=lambda: True) if isinstance(made, ex.Call) else None
        if taken is not None and taken.protocol in _KEPT and taken.resource.session is not None:
            return taken.resource
    return None


def _class_of(names: Sequence[str], unit: Unit, program: Program) -> DriverClass | None:
    """The class of the connection: as its names resolve, else that of the only driver the file imports."""
    drivers = program.drivers
    for name in names:
        expression: ex.Expression = ex.Name(name.partition(".")[0])
        for part in name.split(".")[1:]:
            expression = ex.Attribute(expression, part)
        for symbol in program.resolver.resolve(expression, unit.scope):
            class_id: str | None = None
            if isinstance(symbol, Instance) and isinstance(symbol.of, str):
                class_id = symbol.of
            elif isinstance(symbol, External):
                class_id = drivers.class_names.get(symbol.name)
            if class_id is not None and drivers.classes[class_id].session is not None:
                return drivers.classes[class_id]
    found = []
    for driver, packages in drivers.driver_packages.items():
        if any(p.partition(".")[0] in unit.scope.module.packages for p in packages):
            ids = [f"{driver}.AsyncConnection", f"{driver}.Connection"] if unit.is_async else [f"{driver}.Connection"]
            known = next((drivers.classes[i] for i in ids if i in drivers.classes and drivers.classes[i].session), None)
            if known is not None:
                found.append(known)
    if len(found) > 1:
        common = {m for m, operation in drivers.classes[_FLEXIBLE].methods.items() if operation.sends}
        own = program.vocabulary.sending.keys() - common
        begun = own.intersection(_called_on(names, unit))
        found = [known for known in found if begun and begun <= known.methods.keys()] or found
    return found[0] if len(found) == 1 else drivers.classes[_FLEXIBLE] if found else None


def _called_on(names: Sequence[str], unit: Unit) -> Iterator[str]:
    """The methods of a connection that the function calls by these names: they tell drivers apart."""
    for name, callees in unit.facts.calls.items() if unit.facts is not None else ():
        if any(isinstance(c, ex.Attribute) and ex.dotted(c.base) in names for c in callees):
            yield name
