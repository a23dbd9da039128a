"""Whether resolution says what a callee is, so that neither its name nor what is done with the result is evidence."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.facts import is_self
from leakcheck.project.names import Class, External, Function, Instance, Method

if TYPE_CHECKING:
    from leakcheck.driver import Drivers
    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Scope, Symbol, Symbols

_ASKED = frozenset({"__getattr__", "__getattribute__"})
_DEEP = 2
"""So many functions of the project may stand between a call and the callee of which nothing is known."""


def is_settled(symbols: Symbols, drivers: Drivers) -> bool:
    """Whether the symbols say what it is, so that its name is no evidence.

    A name from a third-party or unfound module says nothing; one from the standard library or a driver does.
    """
    for symbol in symbols:
        match symbol:
            case External(name=name) | Instance(of=External(name=name)):
                root = name.partition(".")[0]
                if root in sys.stdlib_module_names or root in drivers.packages:
                    return True
            case Instance(of=str()) | Method() | Function():
                return True
            case _:
                pass
    return False


def is_of_known(program: Program, method: ex.Attribute, scope: Scope) -> bool:
    """Whether resolution says what a method is called on, or that it is an object of a class that has none of it."""
    owners = program.resolver.resolve(method.base, scope)
    if is_settled(owners, program.drivers):
        return True
    return not is_self(method.base) and any(_lacks(program, owner, method.name) for owner in owners)


def _lacks(program: Program, owner: Symbol, name: str) -> bool:
    """Whether it is an object of a project class all of whose bases are known, and none has an attribute of a name."""
    if not isinstance(owner, Instance) or not isinstance(owner.of, Class):
        return False
    hierarchy = program.resolver.hierarchy
    for _, facts, _ in hierarchy.lineage(owner.of):
        had = (facts.methods, facts.attributes, facts.annotations)
        if any(name in names for names in had) or not _ASKED.isdisjoint(facts.methods) or facts.decorators:
            return False
    return not hierarchy.has_unknown_base(owner.of, lambda _: False)


def is_unseen(program: Program, func: ex.Expression, scope: Scope, depth: int = _DEEP) -> bool:
    """Whether nothing is known of a callee, or only that it gives what such a one gives."""
    symbols = program.resolver.resolve(func, scope)
    functions = [symbol for symbol in symbols if isinstance(symbol, Function)]
    if functions:
        return len(functions) == len(symbols) and all(_gives_unseen(program, f, depth) for f in functions)
    of_known = isinstance(func, ex.Attribute) and is_of_known(program, func, scope)
    return not of_known and not is_settled(symbols, program.drivers)


def _gives_unseen(program: Program, function: Function, depth: int) -> bool:
    """Whether all that a function of the project returns comes from callees of which nothing is known."""
    facts, inside = program.resolver.function(function)
    given = [value for value in facts.returned if not isinstance(value, ex.Constant)] if facts is not None else []
    if inside is None or not given or not depth:
        return False
    made = (program.only_assignment(v.id, inside) if isinstance(v, ex.Name) else v for v in given)
    return all(isinstance(m, ex.Call) and is_unseen(program, m.func, inside, depth - 1) for m in made)
