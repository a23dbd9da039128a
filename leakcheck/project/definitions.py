"""Where the value of a name is written: expressions, each with the scope that it stands in.

    LOCK = "…"  in queries.py, ``queries.LOCK`` elsewhere   →   [(Constant("…"), the scope of queries.py)]

Unlike the resolver's symbols these are exact: a local name that is assigned more than once has no definition, for
which of them counts depends on the path; a constant of a module or a class may have several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from leakcheck import expression as ex
from leakcheck.project.facts import FunctionFacts
from leakcheck.project.names import Class, Instance, ProjectModule, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.project.facts import ModuleFacts
    from leakcheck.project.modules import Modules
    from leakcheck.project.names import Function, Symbol
    from leakcheck.project.resolver import Resolver

Definition = tuple[ex.Expression, Scope]

_IMPORTS = 8
"""Modules that a name may be handed on by."""


class DefinitionSource(Protocol):
    """What is needed of the program."""

    modules: Modules
    resolver: Resolver

    def facts(self, path: str) -> ModuleFacts | None:
        """The facts of a project file, None where it cannot be read or parsed."""


class Definitions:
    """Looks names up in the facts of their modules."""

    def __init__(self, program: DefinitionSource) -> None:
        self._program = program

    def of(self, expression: ex.Expression, scope: Scope) -> list[Definition]:
        """The definitions of a name or attribute; empty where they are not known."""
        match expression:
            case ex.Name(id=name):
                return self._name(name, scope, _IMPORTS)
            case ex.Attribute(base=base, name=name):
                owners = self._program.resolver.resolve(base, scope)
                found = [d for owner in owners for d in self._member(owner, name)]
                return self._given(base, name, owners, found, scope)
            case _:
                return []

    def returned(self, function: Function) -> list[Definition]:
        """What a project function returns; empty where it may hand out something else as well."""
        facts, inner = self._program.resolver.function(function)
        if facts is None or inner is None or facts.is_generator:
            return []
        return [(value, inner) for value in facts.returned]

    def _name(self, name: str, scope: Scope, imports: int) -> list[Definition]:
        for depth in range(len(scope.functions) - 1, -1, -1):
            function = scope.functions[depth]
            if not function.binds(name):
                continue
            found = function.scope.assignments.get(name, [])
            if any(p.name == name for p in function.parameters):
                return []
            if name in function.scope.imports:
                return self._imported(function.scope.imports[name], scope, imports)
            inner = Scope(scope.module, scope.functions[: depth + 1], scope.owner)
            return [(found[0], inner)] if len(found) == 1 else []
        module = Scope(scope.module)
        owner = scope.module.classes.get(scope.owner) if scope.owner is not None and not scope.functions else None
        if owner is not None and name in owner.attributes:
            return [(value, scope) for value, method in owner.attributes[name] if method is None]
        facts = scope.module.scope
        if name in facts.assignments:
            return [(value, module) for value in facts.assignments[name]]
        stars = [f"{star}.{name}" if star.strip(".") else star + name for star in facts.star_imports]
        return self._imported(facts.imports.get(name) or stars, module, imports)

    def _imported(self, targets: list[str], scope: Scope, imports: int) -> list[Definition]:
        found: list[Definition] = []
        for target in targets if imports else ():
            member = self._program.modules.member(target, scope.module.path)
            facts = self._program.facts(member[0]) if member is not None else None
            if member is None or facts is None:
                continue
            owner, _, name = member[1].rpartition(".")
            if owner:
                found.extend(self._member(Class(facts.path, owner), name))
            elif name:
                found.extend(self._name(name, Scope(facts), imports - 1))
        return found

    def _member(self, owner: Symbol, name: str) -> list[Definition]:
        match owner:
            case ProjectModule(path=path):
                facts = self._program.facts(path)
                return self._name(name, Scope(facts), _IMPORTS) if facts is not None else []
            case Class() | Instance(of=Class()):
                return self._attribute(owner.of if isinstance(owner, Instance) else owner, name)
            case _:
                return []

    def _attribute(self, of: object, name: str) -> list[Definition]:
        """An attribute of a class: constants of its body, or what one method assigns to it once."""
        assert isinstance(of, Class)
        for cls, facts, module in self._program.resolver.hierarchy.lineage(of):
            if name in facts.methods:
                return []
            values = facts.attributes.get(name)
            if not values:
                continue
            if len(values) > 1 and any(method is not None for _, method in values):
                return []
            body = Scope(module, (), cls.qualname)
            return [(value, Scope.of(module, module.functions[m]) if m else body) for value, m in values]
        return []

    # What an object was given when it was built

    def _given(
        self, base: ex.Expression, name: str, owners: Sequence[Symbol], found: list[Definition], scope: Scope
    ) -> list[Definition]:
        """The arguments for an attribute that the constructor only keeps, where it is seen what built the object."""
        built = [(base, scope)] if isinstance(base, ex.Call) else self.of(base, scope) if owners else []
        for call, where in built if len(built) == 1 else ():
            for owner in owners if isinstance(call, ex.Call) else ():
                of = owner.of if isinstance(owner, Instance) else None
                parameter = self._kept_parameter(of, name, found) if isinstance(of, Class) else None
                if parameter is not None and isinstance(call, ex.Call):
                    place, keyword = parameter
                    given = [v for k, v in call.keywords if k == keyword] or [*call.args[place : place + 1]]
                    return [(value, where) for value in given]
        return found

    def _kept_parameter(self, of: Class, name: str, found: list[Definition]) -> tuple[int, str] | None:
        """The position and name of the constructor's parameter that an attribute keeps."""
        match found:
            case [(ex.Name(id=given), Scope(functions=(*_, FunctionFacts(name="__init__") as constructor)))]:
                names = [p.name for p in constructor.parameters if p.kind == "positional"][1:]
                return (names.index(given), given) if given in names else None
        facts = next((f for _, f, _ in self._program.resolver.hierarchy.lineage(of)), None)
        generated = facts is not None and "__init__" not in facts.methods and name in facts.keys
        return (facts.keys.index(name), name) if facts is not None and generated else None
