"""Which calls of a file build a pool, an engine or a pooled client.

engine = create_engine(url)                        a construction of sqlalchemy.Engine
engine = create_engine(url, poolclass=NullPool)    none: it pools nothing
client = Redis(connection_pool=pool)               none: the pool is another's
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.driver import Protocol
from leakcheck.project.facts import is_cached
from leakcheck.project.names import Class, External, Function, original

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.handlers.syntax import Tree
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import ModuleFacts
    from leakcheck.project.names import Symbol


_CLASSES = ("Pool", "Engine", "Client", "Database")
"""How project classes that derive from a pool are named."""
_HOPS = 3
"""How many project functions hand on what one of them has built."""


class Construction(Struct, frozen=True, eq=False):
    """One call that builds something that connects; ``made`` is what it builds."""

    tree: Tree
    call: ast.Call
    made: DriverClass
    protocol: Protocol = Protocol.VALUE


class Constructions:
    """Finds constructions."""

    def __init__(self, program: Program) -> None:
        self._program = program
        drivers = program.drivers
        every = {name: op.returns or op.acquires or "" for name, op in drivers.calls.items()}
        self._pools = {
            name: known for name, i in every.items() if (known := drivers.classes.get(i)) and _pools(known, name)
        }
        self._words = frozenset(name.rpartition(".")[2] for name in self._pools)
        self._openers = frozenset(name.rpartition(".")[2] for name, op in drivers.calls.items() if op.acquires)

    def may_hold(self, module: ModuleFacts, *, connections: bool) -> bool:
        """Whether a file calls or imports anything by the name of a constructor of a pool, or of a connection."""
        cached = "functools" in module.packages and any(f.is_async and f.decorators for f in module.functions.values())
        if cached or (connections and not self._openers.isdisjoint(_called(module))):
            return True
        imported = {target.rpartition(".")[2] for targets in module.scope.imports.values() for target in targets}
        return not self._words.isdisjoint(imported) or not self._words.isdisjoint(_called(module))

    def pools_in(self, tree: Tree) -> Iterator[Construction]:
        """The calls of a file that build a pool, in source order."""
        for call in self._calls(tree, self._words):
            made = self._made(tree, call)
            if made is not None and not given(tree, call, made.pool.not_with if made.pool is not None else ()):
                operation = self._program.drivers.calls.get(self._name(tree, call))
                yield Construction(tree, call, made, operation.protocol if operation is not None else Protocol.VALUE)

    def connections_in(self, tree: Tree) -> Iterator[Construction]:
        """The calls of a file's functions that open a connection of no pool, in source order."""
        drivers = self._program.drivers
        for call in self._calls(tree, self._openers):
            if tree.within(call) is None or given(tree, call, ("pool_name", "pool_size")):
                continue
            for symbol in self._program.resolver.resolve(ex.from_ast(call.func), tree.scope(call)):
                operation = drivers.calls.get(symbol.name) if isinstance(symbol, External) else None
                made = drivers.classes[operation.acquires] if operation is not None and operation.acquires else None
                if made is not None and made.pool is None and made.noun == "connection":
                    yield Construction(tree, call, made)
                    break

    def by_functions_in(self, tree: Tree) -> Iterator[Construction]:
        """The calls in decorated coroutines of project functions that give a pool, or a connection, they have built."""
        for call in tree.calls(lambda _: True):
            facts = tree.function(call)
            if facts is None or not facts.is_async or not facts.decorators:
                continue
            for symbol in self._program.resolver.resolve(ex.from_ast(call.func), tree.scope(call)):
                made = self._given_by(symbol) if isinstance(symbol, Function) else None
                if made is not None:
                    yield Construction(tree, call, made)
                    break

    def _given_by(self, function: Function, hops: int = _HOPS) -> DriverClass | None:
        """What a project function builds and returns, itself or by way of others; nothing where it keeps that."""
        facts, scope = self._program.resolver.function(function)
        if facts is None or scope is None or facts.is_generator or is_cached(facts):
            return None
        for returned in facts.returned:
            bound = facts.scope.assignments.get(returned.id, ()) if isinstance(returned, ex.Name) else (returned,)
            value = bound[0] if len(bound) == 1 else None
            built = value.value if isinstance(value, ex.Await) else value
            for symbol in self._program.resolver.resolve(built.func, scope) if isinstance(built, ex.Call) else ():
                if isinstance(symbol, Function) and hops:
                    made = self._given_by(symbol, hops - 1)
                else:
                    made = self._driver_class(symbol) if isinstance(symbol, External) else None
                if made is not None:
                    return made
        return None

    def _driver_class(self, constructor: External) -> DriverClass | None:
        """The pool or connection that a call of this builds."""
        drivers = self._program.drivers
        operation = drivers.calls.get(constructor.name)
        opened = drivers.classes.get(operation.acquires or "") if operation is not None else None
        return self._pools.get(constructor.name) or opened

    def _calls(self, tree: Tree, words: frozenset[str]) -> list[ast.Call]:
        """The calls of one of these names, of what is imported under another, and of classes named like a pool."""
        imported = tree.facts.scope.imports.items()
        aliases = {local for local, targets in imported if any(t.rpartition(".")[2] in words for t in targets)}
        return tree.calls(lambda name: name in words or name in aliases or name.endswith(_CLASSES))

    def _made(self, tree: Tree, call: ast.Call) -> DriverClass | None:
        callee = ex.from_ast(call.func)
        scope = tree.scope(call)
        for symbol in self._program.resolver.resolve(callee, scope):
            for name in self._names_of(symbol):
                if name in self._pools:
                    return self._pools[name]
        return None

    def _name(self, tree: Tree, call: ast.Call) -> str:
        symbols = self._program.resolver.resolve(ex.from_ast(call.func), tree.scope(call))
        return next((s.name for s in symbols if isinstance(s, External)), "")

    def _names_of(self, symbol: Symbol) -> list[str]:
        match symbol:
            case External(name=name):
                return [name]
            case Class():
                return self._program.resolver.hierarchy.external_bases(symbol)
            case _:
                return []


def _called(module: ModuleFacts) -> set[str]:
    functions = {name for function in module.functions.values() for name in function.calls}
    return functions.union(*(statement.calls for statement in module.statements))


def _pools(known: DriverClass, name: str) -> bool:
    """Whether what is built by this name keeps connections."""
    return known.pool is not None and (not known.pool.names or any(word in name for word in known.pool.names))


def given(tree: Tree, call: ast.Call, words: Iterable[str]) -> str | None:
    """The first of these keywords that a call has, perhaps with this value: "poolclass=NullPool"."""
    for word in words:
        name, equals, value = word.partition("=")
        for keyword in call.keywords:
            if keyword.arg == name and (not equals or _said(tree, call, keyword.value) == value):
                return word
    return None


def _said(tree: Tree, call: ast.Call, value: ast.expr) -> str:
    """An argument as the driver's file says it: a literal, or the last name of what it is."""
    reduced = ex.from_ast(value)
    return repr(reduced.value) if isinstance(reduced, ex.Constant) else original(reduced, tree.scope(call))
