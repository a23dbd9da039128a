"""What a class or a scope assigns to a variable or an attribute that is read somewhere, and what beside it.

self.pool = ThreadedConnectionPool(1, 10)      `self.pool` is only of drivers, and `self.opened`
self.opened = True                             is a flag that says that it is there
self.connections = self.pool                   is another attribute that keeps it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.facts import ENTERING
from leakcheck.project.names import Instance, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.project.facts import ClassFacts, FunctionFacts
    from leakcheck.project.names import Symbol
    from leakcheck.project.resolver import Resolver

_NONE, _TRUE = ex.Constant(None), ex.Constant(value=True)
_FLAGS = (_NONE, _TRUE, ex.Constant(value=False))


def is_only_of_drivers(value: ex.Expression, resolver: Resolver, scope: Scope) -> bool:
    """Whether all that is assigned to a variable, or to an attribute of self, is None or an object of a driver."""
    assigned: Iterable[tuple[ex.Expression, Scope]] = ()
    owner = _class_around(scope)
    match value:
        case ex.Attribute(base=ex.Name(id="self" | "cls"), name=name) if owner is not None:
            module = scope.module
            made = owner.attributes.get(name, ())
            assigned = [(v, Scope.of(module, module.functions[m]) if m else scope) for v, m in made]
        case ex.Name(id=name):
            scopes = (*(function.scope for function in scope.functions), scope.module.scope)
            assigned = [(v, scope) for facts in scopes for v in facts.assignments.get(name, ())]
        case _:
            pass
    return all(value == _NONE or any(map(_of_driver, resolver.resolve(value, at))) for value, at in assigned)


def flags_beside(kept: ex.Expression, scope: Scope) -> Iterator[ex.Expression]:
    """The flags that are raised only where self gets what it keeps in an attribute."""
    owner = _class_around(scope)
    if owner is None or not isinstance(kept, ex.Attribute) or kept.base != ex.Name("self"):
        return
    makers = {method for value, method in owner.attributes.get(kept.name, ()) if value != _NONE}
    for name, values in owner.attributes.items():
        raising = {method for value, method in values if value == _TRUE}
        if raising and raising <= makers and all(value in _FLAGS for value, _ in values):
            yield ex.Attribute(kept.base, name)


def kept_beside(attribute: str, owner: ClassFacts, method: FunctionFacts) -> Iterator[str]:
    """The other attributes of self in which a method keeps the very object that it keeps in this one."""
    here = {name: [value for value, at in values if at == method.qualname] for name, values in owner.attributes.items()}
    own = [_original(value) for value in here.get(attribute, ())]
    if len(own) != 1:
        return
    kept = _self(attribute)
    single = isinstance(own[0], ex.Name) and len(method.scope.assignments.get(own[0].id, ())) == 1
    for name, values in here.items():
        same = [v for v in map(_original, values) if v == kept or own[0] == _self(name) or (single and v == own[0])]
        if same and len(values) == 1 and name != attribute:
            yield name


def _original(value: ex.Expression) -> ex.Expression:
    """What entering by hand gives is taken to be what is entered: ``await self.session.__aenter__()``."""
    call = value.value if isinstance(value, ex.Await) else value
    entered = call.func if isinstance(call, ex.Call) else None
    return entered.base if isinstance(entered, ex.Attribute) and entered.name in ENTERING else value


def _self(attribute: str) -> ex.Expression:
    return ex.Attribute(ex.Name("self"), attribute)


def _of_driver(symbol: Symbol) -> bool:
    return isinstance(symbol, Instance) and isinstance(symbol.of, str)


def _class_around(scope: Scope) -> ClassFacts | None:
    return scope.module.classes.get(scope.owner) if scope.owner is not None else None
