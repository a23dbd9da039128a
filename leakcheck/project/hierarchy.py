"""The classes of the project and what they derive from.

    class Base: ...                           lineage(Pooled)         →   Pooled, Base
    class Pooled(Base, sqlalchemy.Pool): ...  external_bases(Pooled)  →   sqlalchemy.Pool

Bases are expressions: what they stand for is the resolver's answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.facts import is_property, is_static
from leakcheck.project.names import Class, External, Function, Scope, original

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from leakcheck.project.facts import ClassFacts, FunctionFacts, ModuleFacts
    from leakcheck.project.names import Symbols

INITIALISERS = ("__init__", "__post_init__", "__attrs_post_init__", "model_post_init")
"""Methods that make an object ready: one's own constructor, and what those of dataclasses, attrs and pydantic call."""
_LONGEST = 32
"""Classes of one lineage: a bound on absurd hierarchies."""
_HARMLESS = ("object", "ABC", "Protocol", "Generic", "NamedTuple", "Enum")
"""Bases outside the project that bring no method of interest."""


def initialiser_in(cls: ClassFacts) -> str | None:
    """The name of the method in which a class itself makes its objects ready."""
    return next((name for name in INITIALISERS if name in cls.methods), None)


class Hierarchy:
    """Follows bases; ``facts`` gives the facts of a file, ``resolve`` answers for the names of bases."""

    def __init__(
        self, facts: Callable[[str], ModuleFacts | None], resolve: Callable[[ex.Expression, Scope], Symbols]
    ) -> None:
        self._facts = facts
        self._resolve = resolve

    def lineage(self, of: Class) -> Iterator[tuple[Class, ClassFacts, ModuleFacts]]:
        """The class and its bases within the project, nearest first.

        Who finds what it looks for in the first class needs no other file.
        """
        found = 0
        queue, seen = [of], {of}
        while queue and found < _LONGEST:
            cls = queue.pop(0)
            module = self._facts(cls.path)
            facts = module.classes.get(cls.qualname) if module is not None else None
            if module is None or facts is None:
                continue
            found += 1
            yield cls, facts, module
            for base in facts.bases:
                for symbol in self._resolve(plain_base(base), Scope(module)):
                    if isinstance(symbol, Class) and symbol not in seen:
                        seen.add(symbol)
                        queue.append(symbol)

    def getter(self, of: Class, name: str) -> Function | None:
        """The property that reading an attribute of its objects runs."""
        for cls, facts, module in self.lineage(of):
            if name in facts.methods:
                method = module.functions[facts.methods[name]]
                return Function(cls.path, method.qualname, bound=True) if is_property(method) else None
            if name in facts.attributes or name in facts.annotations:
                return None
        return None

    def methods(self, of: Class) -> Iterator[tuple[Function, FunctionFacts]]:
        """The methods of the class and its bases that have an object, or class: a property's setter is one of them."""
        for cls, facts, module in self.lineage(of):
            for method in module.functions.values():
                if method.owner == facts.qualname and method.parameters:
                    yield Function(cls.path, method.qualname), method

    def initialisers(self, of: Class) -> Iterator[tuple[Class, FunctionFacts, ModuleFacts]]:
        """The methods that make its objects ready, of the class and of its bases, nearest first."""
        for cls, facts, module in self.lineage(of):
            name = initialiser_in(facts)
            if name is not None:
                yield cls, module.functions[facts.methods[name]], module

    def methods_of_objects(self, of: Class) -> Iterator[tuple[ModuleFacts, FunctionFacts]]:
        """The methods that its objects are called by, those of its bases after its own."""
        seen: set[str] = set()
        for _, facts, module in self.lineage(of):
            for name, qualname in facts.methods.items():
                method = module.functions[qualname]
                on_class = is_static(method) or "classmethod" in method.decorator_names
                if name not in seen and not on_class:
                    yield module, method
            seen.update(facts.methods)

    def external_bases(self, of: Class) -> list[str]:
        """Qualified names of the library classes that a project class derives from."""
        found: list[str] = []
        for _, facts, module in self.lineage(of):
            for base in facts.bases:
                found.extend(s.name for s in self._resolve(plain_base(base), Scope(module)) if isinstance(s, External))
        return found

    def is_shared(self, of: Class, decorators: Container[str | None]) -> bool:
        """Whether calling the class may give an object that others have, too, or one that shares what it keeps.

        These ``decorators`` see to that, and so may one of the project, unless it gives back the class itself.
        """
        return any(
            "__new__" in facts.methods
            or "__dict__" in facts.attributes
            or facts.has_special_metaclass
            or any(original(d, Scope(module)) in decorators or self._replaces(d, module) for d in facts.decorators)
            for _, facts, module in self.lineage(of)
        )

    def _replaces(self, decorator: ex.Expression, module: ModuleFacts) -> bool:
        """Whether a decorator of the project gives something else than the class that it is given."""
        for symbol in self._resolve(decorator, Scope(module)):
            if isinstance(symbol, Class):
                return True
            if not isinstance(symbol, Function):
                continue
            facts = self._facts(symbol.path)
            function = facts.functions.get(symbol.qualname) if facts is not None else None
            if function is not None and function.parameters:
                given = ex.Name(function.parameters[0].name)
                return any(value != given for value in function.returned)
        return False

    def has_unknown_base(self, of: Class, is_known: Callable[[str], bool]) -> bool:
        """Whether some base is neither a project class nor ``object`` and friends: it may define anything.

        ``is_known`` tells by its qualified name whether a library's class leaves alone what its subclasses keep.
        """
        for _, facts, module in self.lineage(of):
            for base in facts.bases:
                plain = plain_base(base)
                if original(plain, Scope(module)) in _HARMLESS:
                    continue
                symbols = self._resolve(plain, Scope(module))
                known = (isinstance(s, Class) or (isinstance(s, External) and is_known(s.name)) for s in symbols)
                if not any(known):
                    return True
        return False


def plain_base(base: ex.Expression) -> ex.Expression:
    """A base without its type arguments: ``Repository[User]`` is ``Repository``."""
    return base.base if isinstance(base, ex.Item) else base
