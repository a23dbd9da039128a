"""What an item of a collection is that is written down in the code: a dict by the key that is asked for, or a tuple.

FACTORIES = {"pg": connect_pg, "lite": connect_lite}
FACTORIES["pg"]      →   connect_pg
FACTORIES[kind]      →   either of them
FACTORIES.get(kind)  →   the same

A dict that is filled item by item, ``POOLS[name] = create_pool()``, holds what any function puts into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.names import NOTHING, Class, Function, Instance, ProjectModule, Scope, bound_by_functions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.project.facts import ModuleFacts
    from leakcheck.project.names import Symbol, Symbols
    from leakcheck.project.resolver import FactsSource, Resolver

_DEEP = 3
"""So many names may stand between an item and the dict that holds it."""
_READING = frozenset({"get", "pop", "setdefault"})
_Placed = tuple[ex.Expression, Scope]
"""An expression, and the scope in which it is written."""


def asked_for(expression: ex.Expression) -> tuple[ex.Expression, ex.Expression] | None:
    """What an expression reads an item of, and the key."""
    match expression:
        case ex.Item(base=base, index=index):
            return base, index
        case ex.Call(func=ex.Attribute(base=base, name=name), args=(index, *_)) if name in _READING:
            return base, index
        case _:
            return None


class Items:
    """Answers about the items of collections."""

    def __init__(self, source: FactsSource, resolver: Resolver) -> None:
        self._source = source
        self._resolver = resolver

    def at(self, base: ex.Expression, index: ex.Expression, scope: Scope) -> Symbols | list[Symbol]:
        """What ``base[index]`` may be."""
        key = index.value if isinstance(index, ex.Constant) else ...
        if isinstance(base, (ex.Await, ex.Call, ex.Sequence)) and isinstance(key, int):
            return self._position(base, key, scope)
        held = (
            found
            for display, inside in self._displays(base, scope, _DEEP)
            for at, value in (zip(display.keys, display.items, strict=True) if display.keys else ())
            if key in (..., at) or at is ...
            for found in self._resolver.resolve(value, inside)
        )
        return list(held)

    def _position(self, base: ex.Expression, index: int, scope: Scope) -> Symbols | list[Symbol]:
        """Element ``index`` of what a project function returns as a tuple."""
        call = base.value if isinstance(base, ex.Await) else base
        if isinstance(call, ex.Sequence) and index < len(call.items):
            return self._resolver.resolve(call.items[index], scope)
        if not isinstance(call, ex.Call):
            return NOTHING
        found: list[Symbol] = []
        for symbol in self._resolver.resolve(call.func, scope):
            if isinstance(symbol, Function):
                facts, inner = self._resolver.function(symbol)
                for returned in facts.returned if facts and inner else ():
                    if inner is not None and isinstance(returned, ex.Sequence) and index < len(returned.items):
                        found.extend(self._resolver.resolve(returned.items[index], inner))
        return found

    def _displays(self, base: ex.Expression, scope: Scope, depth: int) -> Iterator[tuple[ex.Sequence, Scope]]:
        """The dicts that an expression may be."""
        match base:
            case ex.Sequence():
                yield base, scope
            case ex.Call(func=ex.Name(id="dict"), args=(), keywords=keywords):
                yield ex.Sequence(tuple(value for _, value in keywords), tuple(name for name, _ in keywords)), scope
            case ex.Name() | ex.Attribute() if depth:
                for value, inside in self._assigned(base, scope):
                    yield from self._displays(value, inside, depth - 1)
            case _:
                pass

    def _assigned(self, base: ex.Name | ex.Attribute, scope: Scope) -> Iterator[_Placed]:
        """What is assigned to a name of the scopes around, of another file, or to an attribute of a project class."""
        if isinstance(base, ex.Name):
            yield from self._assigned_to_name(base.id, scope)
            return
        for owner in self._resolver.resolve(base.base, scope):
            if isinstance(owner, ProjectModule):
                yield from self._assigned_in(owner.path, base.name)
            of = owner.of if isinstance(owner, Instance) else owner
            for cls, facts, module in self._resolver.hierarchy.lineage(of) if isinstance(of, Class) else ():
                for value, method in facts.attributes.get(base.name, ()):
                    inside = Scope.of(module, module.functions[method]) if method else Scope(module, (), cls.qualname)
                    yield value, inside
                for item, method in facts.filled.get(base.name, ()):
                    yield item, Scope.of(module, module.functions[method])

    def _assigned_to_name(self, name: str, scope: Scope) -> Iterator[_Placed]:
        for depth in range(len(scope.functions), -1, -1):
            if depth and name in scope.functions[depth - 1].globals:
                continue  # the name of the module
            facts = scope.functions[depth - 1].scope if depth else scope.module.scope
            inside = Scope(scope.module, scope.functions[:depth], scope.owner)
            values, targets = facts.assignments.get(name, ()), facts.imports.get(name, ())
            if depth:
                yield from ((each, inside) for each in (*values, *facts.filled.get(name, ())))
            else:
                yield from self._kept_by(scope.module, name)
            for target in targets:
                member = self._source.modules.member(target, scope.module.path)
                yield from self._assigned_in(*member) if member is not None else ()
            if values or targets:
                return

    def _assigned_in(self, path: str, name: str) -> Iterator[_Placed]:
        """What a project file keeps by a name."""
        facts = self._source.facts(path)
        if facts is not None:
            yield from self._kept_by(facts, name)

    def _kept_by(self, module: ModuleFacts, name: str) -> Iterator[_Placed]:
        """What a file, or a function of it, binds to a name of the file, and puts into a dict of that name."""
        own = (*module.scope.assignments.get(name, ()), *module.scope.filled.get(name, ()))
        yield from ((each, Scope(module)) for each in own)
        yield from bound_by_functions(name, module)
        for function in module.functions.values():
            if name in function.scope.filled and (name in function.globals or not function.binds(name)):
                inside = Scope.of(module, function)
                yield from ((item, inside) for item in function.scope.filled[name])
