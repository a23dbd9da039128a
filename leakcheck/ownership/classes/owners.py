"""Project classes as owners: what they keep, and whether a method of theirs gives it back.

    class Store:
        def __init__(self): self.conn = connect()
        def close(self): self.conn.close()          →   constructing a Store takes a resource, close() releases it

A class that keeps a resource and has a way to give it back is a resource itself; one that has none is a fault.
"""

from __future__ import annotations

import re
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import DriverClass, Operation, Protocol
from leakcheck.framework import load_frameworks
from leakcheck.ownership.acquire import Acquisition
from leakcheck.ownership.assigned import kept_beside
from leakcheck.ownership.classes.described import EXITS, described, speaking
from leakcheck.ownership.classes.ending import Endings
from leakcheck.ownership.classes.reopening import Reopening
from leakcheck.ownership.conditional import condition_of
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.summary import BORROWS, TAKES, Effect, End
from leakcheck.project.facts import is_property, is_self
from leakcheck.project.hierarchy import INITIALISERS
from leakcheck.project.names import Class, Function, Instance, Scope, original, qualified
from leakcheck.source import Failure

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from leakcheck.ownership.given import Given
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import ClassFacts, FunctionFacts

_RECORDS = frozenset({"dataclass", "NamedTuple", "define", "frozen", "mutable", "attrs", "BaseModel"})
_SENDING = frozenset({"reset", "execute", "cursor", "commit"})
"""Methods by which a connection is made ready for others before it goes back."""
_USUAL_RELEASES = ("close", "aclose", "release", "disconnect", "stop", "shutdown", "finish", "quit", "end")
"""Names that say so, the likeliest first; ``Calls.says_release`` knows more."""


class Owners:
    """Answers about project classes; ``given`` says what their methods do."""

    def __init__(self, program: Program, given: Given) -> None:
        self._program = program
        self._given = given
        self._resources: dict[str, DriverClass] = {}
        self._keepers: dict[tuple[Class, str], bool] = {}
        self.endings = Endings(program, self.may_inherit_anything)
        """Which objects end by what others than their users do."""

    # Construction

    def constructor_effect(self, cls: Class, place: int | str, resource: DriverClass) -> Effect:
        """What constructing a project class does with an argument: takes it if the class gives it back later."""
        for owner, facts, _ in self._program.resolver.hierarchy.lineage(cls):
            if "__init__" in facts.methods:
                init = Function(owner.path, facts.methods["__init__"], bound=True)
                effect = self._given.argument(init, place, resource)
                if End.STORED in effect.normal and effect.attribute is not None:
                    return TAKES if self.releases(cls, effect.attribute, resource) else BORROWS
                return effect
            name = self.field_at(cls, place)
            if name is not None:
                return TAKES if self.releases(cls, name, resource) else BORROWS
        return TAKES if self.may_inherit_anything(cls) else BORROWS

    def kept_in(self, cls: Class, place: int | str, resource: DriverClass) -> str | None:
        """The attribute in which constructing a project class keeps an argument."""
        for owner, facts, _ in self._program.resolver.hierarchy.lineage(cls):
            if "__init__" in facts.methods:
                init = Function(owner.path, facts.methods["__init__"], bound=True)
                effect = self._given.argument(init, place, resource)
                return effect.attribute if End.STORED in effect.normal else None
        return self.field_at(cls, place)

    def key_of(self, cls: Class, field: str) -> str:
        """The key by which an object that holds something in a field is a box of it: see ``Box``."""
        module = self._program.facts(cls.path)
        facts = module.classes.get(cls.qualname) if module is not None else None
        bases = [original(base, Scope(module)) for base in facts.bases] if module is not None and facts else []
        if facts is not None and field in facts.keys and "NamedTuple" in bases:
            return f"{facts.keys.index(field)}.{field}"
        return f".{field}"

    def field_at(self, cls: Class, place: int | str) -> str | None:
        """The field that an argument of the constructor becomes, for dataclasses and named tuples."""
        module = self._program.facts(cls.path)
        facts = module.classes.get(cls.qualname) if module is not None else None
        if facts is None or not self.is_record(cls):
            return None
        if isinstance(place, str):
            return place if place in facts.keys else None
        return facts.keys[place] if place < len(facts.keys) else None

    def is_record(self, cls: Class) -> bool:
        """Whether a project class is a dataclass or named tuple: its constructor only stores."""
        module = self._program.facts(cls.path)
        facts = module.classes.get(cls.qualname) if module is not None else None
        if module is None or facts is None or "__init__" in facts.methods:
            return False
        return any(_makes_record(qualified(each, Scope(module))) for each in (*facts.decorators, *facts.bases))

    # Releases

    def releases(self, cls: Class, attribute: str, resource: DriverClass) -> bool:
        """Whether some method of the class or its bases gives ``self.attribute`` back, or hands it on."""
        key = (cls, attribute)
        if key not in self._keepers:
            self._keepers[key] = False
            self._keepers[key] = (
                bool(self.releasing_methods(cls, attribute, resource))
                or self._passes_on(cls, attribute)
                or self.may_inherit_anything(cls)
            )
        return self._keepers[key]

    def released_as(self, cls: Class, attribute: str, method: FunctionFacts, resource: DriverClass) -> str | None:
        """The attribute by which what a method keeps in one is given back: that, or another that gets it, too."""
        module = self._program.facts(cls.path)
        facts = module.classes.get(cls.qualname) if module is not None else None
        names = (attribute, *(kept_beside(attribute, facts, method) if facts is not None else ()))
        return next((name for name in names if self.releases(cls, name, resource)), None)

    def releasing_methods(self, cls: Class, attribute: str, resource: DriverClass) -> dict[str, bool]:
        """Methods that give ``self.attribute`` back, and whether each is a coroutine function."""
        methods = list(self._methods(cls))
        getters = [m for _, m in methods if _reads(m, attribute)]
        names = {attribute: attribute, **{m.name: m.name if is_property(m) else attribute for m in getters}}
        found: dict[str, bool] = {}
        former = -1
        while len(found) != former:  # `__exit__` calls `close`, which mentions the attribute
            former = len(found)
            for function, method in methods:
                if method.name in found:
                    continue
                calls_one = not found.keys().isdisjoint(method.calls)
                concerned = (
                    n for w, n in names.items() if calls_one or self._may_end(function.path, method, w, resource)
                )
                inherited = (function.path, method.owner) != (cls.path, cls.qualname)
                by_another = inherited and _calls_on_self(method, found)
                if by_another or any(self._given.gives_back(function, method, name, resource) for name in concerned):
                    found[method.name] = method.is_async
        return found

    def left_held(self, cls: Class, attribute: str, resource: DriverClass) -> tuple[Function, LeakKind] | None:
        """The exit method that gives ``self.attribute`` back after quiet blocks only, or only after others."""
        for owner, facts, module in self._program.resolver.hierarchy.lineage(cls):
            for name in EXITS & facts.methods.keys():
                method = module.functions[facts.methods[name]]
                exit_method = Function(owner.path, method.qualname)
                quiet, raised = self._given.left(exit_method, method, attribute, resource)
                if quiet.releases is not raised.releases:
                    return exit_method, LeakKind.ON_EXCEPTION if quiet.releases else LeakKind.ON_PATH
                return None
        return None

    def _passes_on(self, cls: Class, attribute: str) -> bool:
        """Whether asking for a method of the object gives the attribute's: ``return getattr(self.conn, name)``."""
        for _, facts, module in self._program.resolver.hierarchy.lineage(cls):
            if "__getattr__" in facts.methods:
                method = module.functions[facts.methods["__getattr__"]]
                kept = ex.Attribute(ex.Name(method.parameters[0].name), attribute) if method.parameters else None
                return any(
                    isinstance(value, ex.Call) and ex.dotted(value.func) == "getattr" and value.args[:1] == (kept,)
                    for value in method.returned
                )
        return False

    def may_inherit_anything(self, cls: Class) -> bool:
        """Whether the class derives from one that may give back what is kept, as those of Python do not."""
        return self._program.resolver.hierarchy.has_unknown_base(cls, _leaves_alone)

    def _may_end(self, path: str, method: FunctionFacts, attribute: str, resource: DriverClass) -> bool:
        """Whether a method's text does more with an attribute than call what only uses it: hands it on, closes it."""
        source = self._program.source(path)
        text = "" if isinstance(source, Failure) else source.rows(method.first_row, method.last_row)
        called = re.findall(rf"\b{re.escape(attribute)}\b(?:\s*\.\s*(\w+))?", text)
        return any(not name or self._is_end(name, resource) for name in called)

    def _is_end(self, name: str, resource: DriverClass) -> bool:
        """Whether a method or attribute of a resource by this name may lead to its end."""
        operation = resource.methods.get(name)
        if operation is not None and (operation.releases is not None or operation.near_miss):
            return True
        return name in resource.attributes or name.startswith("__") or self._program.calls.says_release(name)

    def takes_back(self, cls: Class, resource: DriverClass) -> bool:
        """Whether some method of the class or its bases gives back what it is handed: what the object keeps, too.

        One that only keeps it must say so by its name: `add(item)` is no way to give a connection back.
        """
        return any(
            End.RELEASED in effect.normal or (effect.releases and self._says_release(method.name))
            for function, method in self._methods(cls)
            if len(method.parameters) > 1 and not method.is_generator
            for effect in self._given.parameters(function, resource).values()
        )

    def _methods(self, cls: Class) -> Iterator[tuple[Function, FunctionFacts]]:
        """The methods of a class and its bases that are called on an object that is ready."""
        methods = self._program.resolver.hierarchy.methods(cls)
        return ((function, method) for function, method in methods if method.name not in INITIALISERS)

    def released_elsewhere(self, cls: Class, attribute: str, resource: DriverClass) -> bool:
        """Whether code of the same file that holds the object, itself or a subclass, releases ``x.attribute``."""
        for function, name, holder in self._releases_of(cls.path, attribute):
            if not is_self(holder):
                if self._may_hold(holder, function, cls):
                    return True
                continue
            operation = resource.methods.get(name)
            if operation is not None and operation.near_miss:
                continue
            if operation is not None and operation.awaited and self._is_dropped(function, cls.path, attribute, name):
                continue
            owner = Class(cls.path, function.owner or "")
            if any(c == cls for c, _, _ in self._program.resolver.hierarchy.lineage(owner)):
                return True
        return False

    def _may_hold(self, holder: ex.Expression, function: FunctionFacts, cls: Class) -> bool:
        """Whether an expression of a function in the file of the class may be an object of it, and none of another."""
        module, resolver = self._program.facts(cls.path), self._program.resolver
        symbols = resolver.resolve(holder, Scope.of(module, function)) if module is not None else ()
        classes = [s.of for s in symbols if isinstance(s, Instance) and isinstance(s.of, Class)]
        return not classes or any(c == cls for each in classes for c, _, _ in resolver.hierarchy.lineage(each))

    def _is_dropped(self, function: FunctionFacts, path: str, attribute: str, name: str) -> bool:
        """Whether a function does nothing with the coroutine that ``self.attribute.close()`` gives it."""
        source = self._program.source(path)
        text = "" if isinstance(source, Failure) else source.rows(function.first_row, function.last_row)
        called = rf"\b{re.escape(attribute)}\.{re.escape(name)}\("
        statements = re.findall(rf"^[ \t]*(?:\w+\.)*{called}.*\)[ \t]*(?:#.*)?$", text, re.MULTILINE)
        return len(statements) == len(re.findall(called, text))

    def _releases_of(self, path: str, attribute: str) -> Iterator[tuple[FunctionFacts, str, ex.Expression]]:
        """Calls like ``x.attribute.close()`` in a file: the function around, the method's name, and ``x``."""
        module = self._program.facts(path)
        for function in module.functions.values() if module is not None else ():
            for name, callees in function.calls.items():
                if not self._program.calls.says_release(name):
                    continue
                for callee in callees:
                    held = callee.base if isinstance(callee, ex.Attribute) else None
                    if isinstance(held, ex.Attribute) and held.name == attribute:
                        yield function, name, held.base

    # Owners as resources

    def construction(self, cls: Class, owner: Class, init: FunctionFacts, *, inherited: bool) -> Acquisition | None:
        """The resource that a class is that keeps one when it is made, if it has a way to give it back.

        ``init`` makes it ready: a method of its base ``owner``, which its own calls with arguments that nobody looks at
        where it is ``inherited``.
        """
        module = self._program.facts(owner.path)
        if module is None:
            return None
        facts = module.classes[owner.qualname]
        summary = self._program.summary(Function(owner.path, init.qualname))
        for attribute, owned in summary.stores if summary is not None else ():
            if _is_kept_elsewhere(facts, init, attribute) or (inherited and owned.unless is not None):
                continue
            if (
                init.name != "__init__"
                and attribute in facts.keys
                and not is_no_argument(facts, attribute, Scope(module))
            ):
                continue  # it may be given one
            wrapped = self.closable(cls, attribute, self.resource(owned.resource))
            if wrapped is not None:
                condition = condition_of(init, owned.unless, bound=True)
                return Acquisition(wrapped, Protocol.VALUE, None, steps=owned.steps, condition=condition)
        return None

    def closable(self, cls: Class, attribute: str, resource: DriverClass) -> DriverClass | None:
        """The class as a resource, if its users have a way to give back what it keeps, and it does not see to that."""
        methods = self.releasing_methods(cls, attribute, resource)
        again = Reopening(self._program, cls, attribute, methods).methods()
        methods = offered(methods, again)
        if not methods or self.endings.ends_itself(cls, attribute, resource, methods):
            return None
        return self.register(cls, attribute, resource, methods)

    def register(
        self,
        cls: Class,
        attribute: str,
        resource: DriverClass,
        releases: Mapping[str, bool],
        openings: Mapping[str, Operation] = MappingProxyType({}),
    ) -> DriverClass:
        """The class as a resource, by its methods that give ``self.attribute`` back and those that open it."""
        named = sorted(filter(self._says_release, releases), key=lambda n: (n not in _USUAL_RELEASES, n))
        wrapped = described(cls, releases, openings, attribute, resource, release=next(iter(named), None))
        if resource.session is not None and self._passes_on(cls, attribute) and not self._clears(cls, releases):
            wrapped = speaking(wrapped, resource)
        self._resources[wrapped.id] = wrapped
        return wrapped

    def _clears(self, cls: Class, releases: Iterable[str]) -> bool:
        """Whether what gives back what an object keeps sends something before: what it then leaves is not known."""
        methods = (method for _, method in self._methods(cls) if method.name in releases or method.name in EXITS)
        return any(not _SENDING.isdisjoint(method.calls) for method in methods)

    def are_told(self, releases: Iterable[str]) -> bool:
        """Whether one of these methods is there to give back: it is called so, or leaves a ``with``."""
        return any(name in EXITS or self._says_release(name) for name in releases)

    def _says_release(self, method: str) -> bool:
        """Whether a method's name says that it gives back: others do on their way."""
        return method in _USUAL_RELEASES or self._program.calls.says_release(method)

    def resource(self, resource_id: str) -> DriverClass:
        """A resource by id: a driver's class, or a project class that owns one."""
        return self._program.drivers.classes.get(resource_id) or self._resources[resource_id]


def offered(methods: Mapping[str, bool], again: Container[str]) -> dict[str, bool]:
    """Those of the methods by which users of an object may give back: not what only its class can call, or opens it.

    ``again`` are the methods that open it anew.
    """
    private = {name for name in methods if name.startswith("__") and not name.endswith("__")}
    return {name: is_async for name, is_async in methods.items() if name not in again and name not in private}


def _calls_on_self(method: FunctionFacts, names: Iterable[str]) -> bool:
    """Whether a method calls one of these of its object: that of its class runs, whatever a base has by that name."""
    callees = (callee for name in names for callee in method.calls.get(name, ()))
    return any(isinstance(callee, ex.Attribute) and is_self(callee.base) for callee in callees)


def _is_kept_elsewhere(cls: ClassFacts, init: FunctionFacts, attribute: str) -> bool:
    """Whether making an object puts it, or what it keeps, where others find it, too: ``Store.instance = self``."""
    made = [value for value, method in cls.attributes.get(attribute, ()) if method == init.qualname]
    kept: list[ex.Expression] = [ex.Name(p.name) for p in init.parameters[:1]]
    kept += [value for value in made if isinstance(value, (ex.Name, ex.Call))]
    elsewhere = [value for name, values in init.scope.assignments.items() if "." in name for value in values]
    return any(value in kept for value in elsewhere)


def is_no_argument(cls: ClassFacts, name: str, scope: Scope) -> bool:
    """Whether the constructor of a record is not given a field: ``conn: Connection = field(init=False)``."""
    calls = [v for v, method in cls.attributes.get(name, ()) if method is None and isinstance(v, ex.Call)]
    return any(original(c, scope) == "PrivateAttr" or ("init", ex.Constant(value=False)) in c.keywords for c in calls)


def _reads(method: FunctionFacts, attribute: str) -> bool:
    """Whether a method, or property, gives ``self.attribute`` by another name."""
    kept = [r for r in method.returned if isinstance(r, ex.Attribute) and is_self(r.base) and r.name == attribute]
    return bool(kept) and len(kept) == len(method.returned)


def _leaves_alone(base: str) -> bool:
    """Whether a library's class is known not to touch what its subclasses keep."""
    standard = base.partition(".")[0] in sys.stdlib_module_names and not base.endswith("ExitStack")
    return standard or load_frameworks().is_made_each_time(base)


def _makes_record(name: str) -> bool:
    """Whether a decorator or base makes a class a record; attrs has a decorator of one letter."""
    return name.rpartition(".")[2] in _RECORDS or name == "attr.s"
