"""Names to what they mean: an expression in a scope → the symbols it may stand for.

    resolver.resolve(Call(Name("create_pool")), scope) → {Instance("asyncpg.Pool")}

Flow-insensitive: a name stands for everything assigned to it in its scope, since imports and assignments may be
conditional. An unresolved expression has no symbols; that is an ordinary case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from leakcheck import expression as ex
from leakcheck.project.aliases import Aliases
from leakcheck.project.annotations import Annotations
from leakcheck.project.facts import is_property, is_static
from leakcheck.project.hierarchy import Hierarchy, plain_base
from leakcheck.project.items import Items, asked_for
from leakcheck.project.names import (
    NOTHING,
    Class,
    External,
    Function,
    Instance,
    Method,
    ProjectModule,
    Scope,
    bound_by_functions,
    narrowed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.driver import Drivers, Operation
    from leakcheck.project.facts import ClassFacts, FunctionFacts, ModuleFacts, ScopeFacts
    from leakcheck.project.modules import Modules
    from leakcheck.project.names import Symbol, Symbols

_DEPTH = 14
_STEPS = 2_000
"""Questions that one question may lead to; chains of calls that return calls multiply."""
_PASSING = frozenset({
    "functools.partial", "functools.partialmethod", "asyncio.run", "asyncio.wait_for", "asyncio.shield",
    "asyncio.create_task",
})  # fmt: skip
"""Calls whose result stands for their first argument."""
_PROXIES = frozenset({
    "werkzeug.local.LocalProxy", "wrapt.ObjectProxy", "lazy_object_proxy.Proxy",
    "django.utils.functional.SimpleLazyObject", "celery.local.Proxy",
})  # fmt: skip
"""Classes whose objects stand for what their first argument returns."""


class FactsSource(Protocol):
    """What the resolver needs of the program."""

    drivers: Drivers
    modules: Modules

    def facts(self, path: str) -> ModuleFacts | None:
        """The facts of a project file, None where it cannot be read or parsed."""


class Resolver:
    """Resolves expressions against module facts and drivers; caches by expression and scope."""

    def __init__(self, source: FactsSource) -> None:
        self._source = source
        self._drivers = source.drivers
        self.hierarchy = Hierarchy(source.facts, self.resolve)
        self.annotations = Annotations(source.drivers, Aliases(source.modules, source.facts), self.resolve)
        self._items = Items(source, self)
        self._cache: dict[tuple[object, ...], Symbols] = {}
        self._active: set[tuple[object, ...]] = set()
        self._steps = 0
        self._cuts = 0
        self._importing: set[tuple[str, str]] = set()
        self._delegating: set[tuple[Class, str]] = set()

    def resolve(self, expression: ex.Expression, scope: Scope) -> Symbols:
        """What ``expression`` may stand for."""
        scope = narrowed(expression, scope)
        key = (expression, id(scope.module), scope.functions[-1].qualname if scope.functions else "", scope.owner)
        found = self._cache.get(key)
        if found is not None:
            return found
        if key in self._active or len(self._active) > _DEPTH or self._steps > _STEPS:
            self._cuts += 1
            return NOTHING
        self._active.add(key)
        self._steps += 1
        cuts = self._cuts
        try:
            found = tuple(dict.fromkeys(self._resolve(expression, scope)))
        finally:
            self._active.discard(key)
        if not self._active:
            self._steps = 0
        if not self._active or cuts == self._cuts:  # an answer that a cycle cut short is not the whole one
            self._cache[key] = found
        return found

    def _resolve(self, expression: ex.Expression, scope: Scope) -> Iterable[Symbol]:
        match expression:
            case ex.Name(id=name):
                return self.name(name, scope)
            case ex.Getter():
                return self._getters(expression, scope)
            case ex.Attribute(base=base, name=name):
                whole = self._imported_whole(expression, scope)
                if whole:
                    return whole
                owners = self._speaking(self.resolve(base, scope), name)
                found = [s for owner in owners for s in self.attribute(owner, name)]
                if not found and isinstance(base, ex.Name):
                    found = self._assigned_path(f"{base.id}.{name}", scope)
                return found
            case ex.Call(func=ex.Name(id="super")):
                return self._bases(scope)
            case ex.Call(func=func):
                return self._called(expression, self.resolve(func, scope), scope)
            case ex.Await(value=value) | ex.Entered(value=value):
                return self.resolve(value, scope)
            case ex.Choice(options=options):
                return [s for option in options for s in self.resolve(option, scope)]
            case ex.Item(base=base, index=index):
                return self._items.at(base, index, scope)
            case _:
                return NOTHING

    def _imported_whole(self, expression: ex.Expression, scope: Scope) -> list[Symbol]:
        """``app.db.get`` after ``import app.db``: the longest imported module's member, if it is a project file."""
        text = ex.dotted(expression)
        scopes = (*(f.scope for f in scope.functions), scope.module.scope)
        modules = [m for facts in scopes for m in facts.modules]
        if text is None or not any(text == m or text.startswith(m + ".") for m in modules):
            return []
        if self._source.modules.member(text, scope.module.path) is None:
            return []
        return list(self.imported(text, scope.module.path))

    def _bases(self, scope: Scope) -> list[Symbol]:
        """What ``super()`` stands for: the bases of the class around."""
        facts = scope.module.classes.get(scope.owner) if scope.owner is not None else None
        found: list[Symbol] = []
        for base in facts.bases if facts is not None else ():
            found.extend(
                self.annotations.instance(s)
                for s in self.resolve(plain_base(base), Scope(scope.module))
                if isinstance(s, (External, Class))
            )
        return found

    # Names

    def name(self, name: str, scope: Scope) -> Iterable[Symbol]:
        """What a bare name stands for, innermost scope first."""
        for depth in range(len(scope.functions) - 1, -1, -1):
            function = scope.functions[depth]
            inner = Scope(scope.module, scope.functions[: depth + 1], scope.owner)
            if depth == 0 and function.owner and function.parameters and function.parameters[0].name == name:
                kind = Class(scope.module.path, function.owner)
                return [kind] if name == "cls" else [Instance(kind)]
            parameter = next((p for p in function.parameters if p.name == name), None)
            bound = list(self._bound(name, function.scope, inner))
            if parameter is not None:
                if parameter.annotation is not None:
                    bound.extend(self.annotations.annotated(parameter.annotation, inner))
                if parameter.default is not None:
                    bound.extend(self.annotations.dependency(parameter.default, Scope(scope.module)))
                elif parameter.annotation is None and not bound:
                    bound.extend(self._namesake(name, scope))
                return bound
            if bound or name in function.scope.assignments:
                return bound
        module = Scope(scope.module)
        found = list(self._bound(name, scope.module.scope, module))
        for value, inside in bound_by_functions(name, scope.module):
            found.extend(self.resolve(value, inside))
        if not found and name not in scope.module.scope.assignments:
            for star in scope.module.scope.star_imports:
                found.extend(self.imported(f"{star}.{name}" if star.strip(".") else star + name, scope.module.path))
        return found

    def _namesake(self, name: str, scope: Scope) -> Iterable[Symbol]:
        """What a parameter is that nothing is said of: an object like the one that its module keeps by that name."""
        if name in scope.module.scope.assignments:
            yield from (
                s for s in self._bound(name, scope.module.scope, Scope(scope.module)) if isinstance(s, Instance)
            )

    def _bound(self, name: str, facts: ScopeFacts, scope: Scope) -> Iterable[Symbol]:
        imported = [s for target in facts.imports.get(name, ()) for s in self.imported(target, scope.module.path)]
        yield from imported
        if name in facts.fallbacks and any(not isinstance(symbol, External) for symbol in imported):
            return  # the import does not fail: it brings something of the project
        if name in facts.functions:
            yield Function(scope.module.path, facts.functions[name])
        if name in facts.classes:
            yield Class(scope.module.path, facts.classes[name])
        if name in facts.annotations:
            yield from self.annotations.annotated(facts.annotations[name], scope)
        for value in facts.assignments.get(name, ()):
            yield from self.resolve(value, scope)

    def _assigned_path(self, path: str, scope: Scope) -> list[Symbol]:
        """What is assigned to ``app.db`` or ``g.conn`` in the scopes around."""
        found: list[Symbol] = []
        for facts in (*(f.scope for f in reversed(scope.functions)), scope.module.scope):
            for value in facts.assignments.get(path, ()):
                found.extend(self.resolve(value, scope))
        return found

    def imported(self, target: str, importer: str) -> Iterable[Symbol]:
        """What an imported qualified name stands for: a project file's member, else a library's name."""
        key = (target, importer)
        if key in self._importing:
            return []
        self._importing.add(key)
        try:
            return self._imported(target, importer)
        finally:
            self._importing.discard(key)

    def _imported(self, target: str, importer: str) -> list[Symbol]:
        is_driver = target.partition(".")[0] in self._drivers.packages
        member = None if is_driver else self._source.modules.member(target, importer)
        if member is None:
            return [External(target)] if not target.startswith(".") else []
        path, rest = member
        if path == importer and rest:
            facts = self._source.facts(path)
            own = facts is not None and rest.partition(".")[0] in facts.scope.imports
            if own:
                return [External(target)]
        found: list[Symbol] = [ProjectModule(path)]
        for part in filter(None, rest.split(".")):
            found = [s for owner in found for s in self.attribute(owner, part)]
        return found

    # Members

    def attribute(self, owner: Symbol, name: str) -> Iterable[Symbol]:
        """What ``owner.name`` may be."""
        match owner:
            case External(name=base):
                return [External(f"{base}.{name}")]
            case ProjectModule(path=path):
                facts = self._source.facts(path)
                found = [] if facts is None else list(self.name(name, Scope(facts)))
                submodule = self._source.modules.find(f".{name}", path) if not found else None
                return [ProjectModule(submodule)] if submodule is not None else found
            case Instance(of=str() as class_id):
                return self._driver_attribute(class_id, name)
            case Instance(of=Class() as of):
                return self.member(of, name, bound=True)
            case Class():
                return self.member(owner, name, bound=False)
            case _:
                return []

    def _speaking(self, owners: Symbols, name: str) -> list[Symbol]:
        """The owners that say what ``owner.name`` is: where a project class defines it, not its base of a driver."""
        derived: set[str | None] = set()
        for owner in owners if len(owners) > 1 else ():
            if isinstance(owner, Instance) and isinstance(owner.of, Class):
                lineage = list(self.hierarchy.lineage(owner.of))
                if any(name in facts.methods for _, facts, _ in lineage):
                    derived.update(map(self._drivers.class_names.get, self.hierarchy.external_bases(owner.of)))
        return [o for o in owners if not (derived and isinstance(o, Instance) and o.of in derived)]

    def _driver_attribute(self, class_id: str, name: str) -> Iterable[Symbol]:
        known = self._drivers.classes[class_id]
        if name in known.methods:
            return [Method(class_id, known.methods[name])]
        if name in known.attributes:
            return [Instance(known.attributes[name])]
        return []

    def member(self, of: Class, name: str, *, bound: bool) -> Iterable[Symbol]:
        """A member of a project class: its own, else its bases'."""
        found: list[Symbol] = []
        for cls, facts, module in self.hierarchy.lineage(of):
            scope = Scope(module, (), cls.qualname)
            if name in facts.methods:
                method = module.functions[facts.methods[name]]
                if is_property(method):
                    return self._returned(method, Scope.of(module, method))
                given = (bound and not is_static(method)) or "classmethod" in method.decorator_names
                return [Function(cls.path, method.qualname, bound=given)]
            if name in facts.annotations:
                found.extend(self.annotations.annotated(facts.annotations[name], scope))
            for value, method_name in facts.attributes.get(name, ()):
                inside = Scope.of(module, module.functions[method_name]) if method_name else scope
                found.extend(self.resolve(value, inside))
            if found or name in facts.attributes:
                return found
        for base in self.hierarchy.external_bases(of):
            class_id = self._drivers.class_names.get(base)
            if class_id is not None:
                found.extend(self._driver_attribute(class_id, name))
        return found or self._delegated(of, name)

    def _getters(self, read: ex.Getter, scope: Scope) -> Iterable[Function]:
        """The properties of project classes that reading an attribute runs."""
        owners = self._speaking(self.resolve(read.base, scope), read.name)
        classes = (owner.of for owner in owners if isinstance(owner, Instance) and isinstance(owner.of, Class))
        return filter(None, (self.hierarchy.getter(cls, read.name) for cls in classes))

    def _delegated(self, of: Class, name: str) -> list[Symbol]:
        """A member that ``__getattr__`` fetches from another object: ``return getattr(self._pool, name)``."""
        if (of, name) in self._delegating:
            self._cuts += 1
            return []  # from itself, once it is there: what it is then is not seen
        self._delegating.add((of, name))
        try:
            lineage = self.hierarchy.lineage(of)
            return next((self._fetched(f, m, name) for _, f, m in lineage if "__getattr__" in f.methods), [])
        finally:
            self._delegating.discard((of, name))

    def _fetched(self, facts: ClassFacts, module: ModuleFacts, name: str) -> list[Symbol]:
        """What the ``__getattr__`` of a class gives for a name."""
        method = module.functions[facts.methods["__getattr__"]]
        scope = Scope.of(module, method)
        asked = ex.Name(method.parameters[-1].name) if method.parameters else ex.OPAQUE
        return [
            symbol
            for value in method.returned
            if isinstance(value, ex.Call) and ex.dotted(value.func) == "getattr" and value.args[1:2] == (asked,)
            for owner in self.resolve(value.args[0], scope)
            for symbol in self.attribute(owner, name)
        ]

    def function(self, symbol: Function) -> tuple[FunctionFacts | None, Scope | None]:
        """The facts of a project function and the scope inside it."""
        module = self._source.facts(symbol.path)
        facts = module.functions.get(symbol.qualname) if module is not None else None
        if module is None or facts is None:
            return None, None
        return facts, Scope.of(module, facts)

    # Calls

    def _called(self, call: ex.Call, functions: Symbols, scope: Scope) -> list[Symbol]:
        found = [result for symbol in functions for result in self._results(symbol, call, scope)]
        method = call.func
        if not found and isinstance(method, ex.Attribute) and method.name == "run_until_complete" and call.args:
            found.extend(self.resolve(call.args[0], scope))
        asked = asked_for(call) if not found else None
        return list(self._items.at(*asked, scope)) if asked is not None else found

    def _results(self, symbol: Symbol, call: ex.Call, scope: Scope) -> Iterable[Symbol]:
        """What calling ``symbol`` gives."""
        match symbol:
            case External(name=name) if name in _PASSING and call.args:
                return self.resolve(call.args[0], scope)
            case External(name=name) if name in _PROXIES and call.args:
                return self.resolve(ex.Call(call.args[0]), scope)
            case External(name=name):
                operation = self._drivers.calls.get(name)
                if operation is not None:
                    return _instances(operation)
                return [Instance(External(name))] if name.rpartition(".")[2][:1].isupper() else []
            case Method(operation=operation):
                return _instances(operation)
            case Class():
                bases = map(self._drivers.class_names.get, self.hierarchy.external_bases(symbol))
                driver = next((class_id for class_id in bases if class_id), None)
                return [Instance(symbol)] if driver is None else [Instance(symbol), Instance(driver)]
            case Function():
                return self._returned_by(symbol)
            case Instance(of=str() as class_id):
                operation = self._drivers.classes[class_id].methods.get("__call__")
                return [] if operation is None else _instances(operation)
            case Instance(of=Class() as of):
                members = self.member(of, "__call__", bound=True)
                return [r for member in members if isinstance(member, Function) for r in self._returned_by(member)]
            case _:
                return []

    def _returned_by(self, symbol: Function) -> list[Symbol]:
        facts, inner = self.function(symbol)
        return self._returned(facts, inner) if facts is not None and inner is not None else []

    def _returned(self, facts: FunctionFacts, scope: Scope) -> list[Symbol]:
        found: list[Symbol] = []
        if facts.returns is not None:
            found.extend(self.annotations.annotated(facts.returns, scope))
        for value in (*facts.returned, *facts.yielded):
            found.extend(self.resolve(value, scope))
        return found


def _instances(operation: Operation) -> list[Symbol]:
    return [Instance(c) for c in (operation.acquires, operation.returns, operation.derives) if c is not None]
