"""Classes whose objects last as long as the process: a connection that one of those keeps is no leak.

    store = Store("shop.db")                    →   `Store` lasts

    def get_store():
        global _store
        if _store is None:
            _store = Store("shop.db")           →   so does this one
        return _store

It lasts where every construction that the project shows does: one that is made in a function and kept nowhere does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.framework import load_frameworks
from leakcheck.ownership.pools import is_global
from leakcheck.project.facts import is_cached
from leakcheck.project.names import Class, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts


def lasts(program: Program, cls: Class) -> bool:
    """Whether all objects of a class that the project is seen to make last as long as the process does."""
    if program.resolver.hierarchy.is_shared(cls, load_frameworks().memoisers):
        return True
    name = cls.qualname.rpartition(".")[2]
    made: list[bool] = []
    for path in program.modules.around(cls.path):
        module = program.facts(path) if name.encode() in program.data(path) else None
        if module is not None:
            made += _constructions(program, module, cls, name)
    return bool(made) and all(made)


def _constructions(program: Program, module: ModuleFacts, cls: Class, name: str) -> Iterator[bool]:
    """Whether each object lasts that a file makes of the class."""
    for statement in module.statements:
        called = (ex.Call(callee) for callee in statement.calls.get(name, ()))
        yield from (not statement.is_loop for call in called if _makes(program, call, cls, Scope(module)))
    for function in module.functions.values():
        scope = Scope.of(module, function)
        asked = (*function.calls.get(name, ()), *function.calls.get("cls", ()))
        made = [callee for callee in asked if _makes(program, ex.Call(callee), cls, scope)]
        if made:
            kept = sum(_keeps(program, module, function, key) for key in _assigned(program, function, cls, scope))
            yield is_cached(function) or kept >= len(made)


def _assigned(program: Program, function: FunctionFacts, cls: Class, scope: Scope) -> Iterator[str]:
    """The names to which a function assigns objects of the class that it makes."""
    for key, values in function.scope.assignments.items():
        yield from (key for value in values if _makes(program, value, cls, scope))
    owner = scope.module.classes.get(scope.owner or "")
    for attribute, found in owner.attributes.items() if owner is not None else ():
        of_class = [value for value, method in found if method == function.qualname and function.binds("cls")]
        yield from (f"cls.{attribute}" for value in of_class if _makes(program, value, cls, scope))


def _makes(program: Program, value: ex.Expression, cls: Class, scope: Scope) -> bool:
    """Whether an expression makes an object of the class."""
    if not isinstance(value, ex.Call):
        return False
    if value.func == ex.Name("cls"):
        return scope.owner == cls.qualname and scope.module.path == cls.path
    return cls in program.resolver.resolve(value.func, scope)


def _keeps(program: Program, module: ModuleFacts, function: FunctionFacts, key: str) -> bool:
    """Whether what a function assigns to a name lasts: that is its module's, or belongs to a class."""
    root, dot, _ = key.partition(".")
    if not dot:
        return is_global(program, module, function, root)
    return root == "cls" or root in module.scope.classes
