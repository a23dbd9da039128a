"""Project functions that execute what they are given, so that whoever calls them says it.

    def run(self, sql):           →   executes `sql` on `self.conn`
        self.conn.execute(sql)

    self.run("BEGIN")             →   says BEGIN to `self.conn`
    Query("BEGIN").run(conn)      →   so does this to `conn`, where `run` executes the `self.sql` that `Query` was given

What they call in turn counts as theirs, so that the SQL may pass through several functions, and through ``*args``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct
from msgspec.structs import replace

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce, walk
from leakcheck.ownership.arguments import parameter_at, place_of
from leakcheck.ownership.sessions import connections
from leakcheck.ownership.sessions.statements import executed
from leakcheck.project.facts import is_self
from leakcheck.project.names import Function, Method
from leakcheck.project.speaking import may_execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Symbol

_ENDING = frozenset({"commit", "rollback"})


class Executed(Struct, frozen=True):
    """What a function executes: ``sql`` is a parameter of it, or an attribute of one, that holds the SQL.

    ``connection`` is what the function calls the connection. ``ends``: it also ends the transaction that is open then.
    """

    sql: str
    connection: str
    ends: bool = False


class Called(Struct, frozen=True):
    """A call of a project function, and what the caller has where the function has its parameters."""

    call: g.Call
    function: Function
    facts: FunctionFacts
    unit: Unit
    """The caller."""

    def given(self, name: str) -> ex.Expression | None:
        """What the caller gives as a dotted path that starts with a parameter, starred where it gives ``*args``."""
        root, *attributes = name.split(".")
        if any(p.name == root and p.kind == "**" for p in self.facts.parameters):
            return self._keyword(attributes)
        found = self._object() if self._is_object(root) else self._argument(root)
        for attribute in attributes:
            found = ex.Attribute(found, attribute) if found is not None else None
        return found

    def _keyword(self, names: list[str]) -> ex.Expression | None:
        """What the caller gives by a keyword that the function finds in its ``**kwargs``."""
        arguments = self.call.node.args if isinstance(self.call.node, cst.Call) else ()
        given = (a.value for a in arguments if a.keyword is not None and [a.keyword.value] == names)
        found = next(given, None)
        return reduce(found) if found is not None else None

    def argument(self, name: str) -> g.Argument | None:
        """The argument for a parameter."""
        for argument in self.call.arguments:
            place = place_of(self.call, argument) if argument.star != "**" else None
            if place is not None and parameter_at(self.facts, place, bound=self.function.bound) == name:
                return argument
            if argument.star:
                return None
        return None

    def connection(self, name: str) -> g.Argument | str | None:
        """Where the caller has the connection that the function calls ``name``: in an argument, or as another path."""
        root, _, rest = name.partition(".")
        if all(p.name != root for p in self.facts.parameters):
            return name  # a name of the module
        if self._is_object(root):
            base = self._object()
            path = ex.dotted(base) if base is not None else None
            return None if path is None else f"{path}.{rest}" if rest else path
        return self.argument(root) if not rest else None

    def _is_object(self, root: str) -> bool:
        return self.function.bound and bool(self.facts.parameters) and self.facts.parameters[0].name == root

    def _object(self) -> ex.Expression | None:
        """The object on which a method is called."""
        match self.call.func:
            case ex.Attribute(base=ex.Call(func=ex.Name(id="super"))):
                own = self.unit.facts.parameters if self.unit.facts is not None else []
                return ex.Name(own[0].name) if own else None
            case ex.Attribute(base=base):
                return base
            case _:
                return None

    def _argument(self, name: str) -> ex.Expression | None:
        found = self.argument(name)
        if found is None or not isinstance(self.call.node, cst.Call):
            return None
        return reduce(self.call.node.args[self.call.arguments.index(found)].value)


def _as_attribute(expression: ex.Expression) -> ex.Expression:
    """``kwargs["sql"]``, ``kwargs.get("sql")`` or ``kwargs.pop("sql")`` as ``kwargs.sql``."""
    match expression:
        case ex.Item(base=base, index=ex.Constant(value=str() as key)):
            return ex.Attribute(base, key)
        case ex.Call(func=ex.Attribute(base=base, name="get" | "pop"), args=(ex.Constant(value=str() as key), *_)):
            return ex.Attribute(base, key)
        case _:
            return expression


def _may_be_one(name: str, unit: Unit) -> bool:
    """Whether a variable may be a connection: its name says so, or callers do, who give it."""
    facts = unit.facts
    return connections.is_word(name) or (facts is not None and any(p.name == name for p in facts.parameters))


class Executing:
    """Answers about functions; each is read once."""

    def __init__(self, program: Program, units: Units) -> None:
        self._program = program
        self._units = units
        self._known: dict[Function, tuple[Executed, ...]] = {}
        self._applied: dict[Function, tuple[Executed, ...]] = {}

    def by(self, function: Function) -> tuple[Executed, ...]:
        """What a project function executes of what it is given, on a connection that is not its own."""
        key = replace(function, bound=False)
        if key not in self._known:
            self._known[key] = ()
            module = self._program.facts(key.path)
            facts = module.functions.get(key.qualname) if module is not None else None
            if facts is not None and facts.parameters and not facts.is_generator:
                unit = self._units.of(key) if may_execute(facts, self._program.vocabulary) else None
                self._known[key] = tuple(dict.fromkeys(self._read(unit, facts))) if unit is not None else ()
        return self._known[key]

    def applied_by(self, function: Function) -> tuple[Executed, ...]:
        """The parameters that a project function calls with a connection that is not its own: ``action(self.conn)``."""
        key = replace(function, bound=False)
        if key not in self._applied:
            self._applied[key] = ()
            facts, _ = self._program.resolver.function(key)
            names = {p.name for p in facts.parameters} if facts is not None and not facts.is_generator else set()
            unit = self._units.of(key) if facts is not None and not names.isdisjoint(facts.calls) else None
            if unit is not None and facts is not None:
                self._applied[key] = tuple(dict.fromkeys(self._applying(unit, facts, names)))
        return self._applied[key]

    def _applying(self, unit: Unit, facts: FunctionFacts, parameters: set[str]) -> Iterator[Executed]:
        for block in self._units.graph(unit).blocks:
            for position, call in enumerate(block.instructions):
                if isinstance(call, g.Call) and isinstance(call.node, cst.Call) and call.node.args:
                    name = ex.dotted(call.func)
                    given = connections.root_of(reduce(call.node.args[0].value), unit)
                    owner = given.partition(".")[0] if given is not None else ""
                    if name in parameters and given and (owner in parameters or not facts.binds(owner)):
                        yield Executed(name, given, self._ends(given, unit, block, position))

    def called(self, symbols: Iterable[Symbol], call: g.Call, unit: Unit) -> Iterator[Called]:
        """A call in a unit, once for each function of the project among what it may mean."""
        for symbol in symbols:
            facts = self._program.resolver.function(symbol)[0] if isinstance(symbol, Function) else None
            if isinstance(symbol, Function) and facts is not None:
                yield Called(call, symbol, facts, unit)

    def _read(self, unit: Unit, facts: FunctionFacts) -> Iterator[Executed]:
        graph = self._units.graph(unit)
        parameters = {p.name: p.kind for p in facts.parameters}
        for block in graph.blocks:
            for position, call in enumerate(block.instructions):
                if not isinstance(call, g.Call):
                    continue
                for given, connection, ends in self._sent(call, unit):
                    sql = ex.dotted(_as_attribute(given))
                    owner = connection.partition(".")[0]
                    known = sql is not None and sql.partition(".")[0] in parameters and sql != connection
                    if sql is not None and known and (owner in parameters or not facts.binds(owner)):
                        yield Executed(sql, connection, ends or self._ends(connection, unit, block, position))

    def _sent(self, call: g.Call, unit: Unit) -> Iterator[tuple[ex.Expression, str, bool]]:
        """What a call sends as SQL, on which connection, and whether the transaction has ended when it is done."""
        symbols = self._program.resolver.resolve(call.func, unit.scope)
        if call.method in self._program.vocabulary.executing:
            name, sql = self._shared(connections.root(call, unit), unit), executed(call)
            is_method = any(isinstance(s, Method) for s in symbols)
            if name is not None and sql is not None and (is_method or (not symbols and _may_be_one(name, unit))):
                yield sql, name, False
        for called in self.called(symbols, call, unit):
            for each in self.by(called.function):
                sql, place = called.given(each.sql), called.connection(each.connection)
                if isinstance(place, g.Argument):
                    given = called.given(each.connection)
                    place = connections.root_of(given, unit) if given is not None else None
                if sql is not None and place is not None:
                    yield sql, place, each.ends

    def _shared(self, name: str | None, unit: Unit) -> str | None:
        """The connection by a name that callers know as well: what a method of the same object gives to all who ask."""
        facts = unit.facts
        if name is None or facts is None or not facts.binds(name):
            return name
        made = facts.scope.assignments.get(name, [])
        inner = made[0] if len(made) == 1 else None
        inner = inner.value if isinstance(inner, ex.Await) else inner
        if not isinstance(inner, ex.Call) or inner.args or inner.keywords:
            return name
        for symbol in self._program.resolver.resolve(inner.func, unit.scope):
            kept = self._kept_by(symbol) if isinstance(symbol, Function) else None
            if kept is not None and isinstance(inner.func, ex.Attribute) and is_self(inner.func.base):
                return kept
        return name

    def _kept_by(self, function: Function) -> str | None:
        """The attribute of its object that a method returns, always the same."""
        facts, _ = self._program.resolver.function(function)
        returned = facts.returned if facts is not None else ()
        names = {ex.dotted(value) if isinstance(value, ex.Attribute) else None for value in returned}
        name = names.pop() if len(names) == 1 else None
        return name if name is not None and name.partition(".")[0] in ("self", "cls") else None

    def _ends(self, connection: str, unit: Unit, block: g.BasicBlock, position: int) -> bool:
        """Whether the transaction ends on some way from here on which nothing raises, or with a ``with`` around it."""
        for node in walk(unit.node):
            if isinstance(node, cst.With) and any(ex.dotted(reduce(i.item)) == connection for i in node.items):
                return True
        owner = connection.partition(".")[0]
        ahead, seen = [(block, position + 1)], {block.index}
        while ahead:
            at, start = ahead.pop()
            for call in at.instructions[start:]:
                if isinstance(call, g.Call) and call.method in _ENDING:
                    ended = connections.root(call, unit)
                    if ended is not None and ended.partition(".")[0] == owner:
                        return True
            for edge in at.successors:
                if edge.target.index not in seen:
                    seen.add(edge.target.index)
                    ahead.append((edge.target, 0))
        return False
