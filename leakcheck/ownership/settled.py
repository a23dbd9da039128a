"""Whether resolution says what a callee is, so that neither its name nor what is done with the result is evidence."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.names import External, Function, Instance, Method

if TYPE_CHECKING:
    from leakcheck.driver import Drivers
    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Scope, Symbols

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


def is_unseen(program: Program, func: ex.Expression, scope: Scope, depth: int = _DEEP) -> bool:
    """Whether nothing is known of a callee, or only that it gives what such a one gives."""
    symbols = program.resolver.resolve(func, scope)
    functions = [symbol for symbol in symbols if isinstance(symbol, Function)]
    if functions:
        return len(functions) == len(symbols) and all(_gives_unseen(program, f, depth) for f in functions)
    called = (func, func.base) if isinstance(func, ex.Attribute) else (func,)
    return not any(is_settled(program.resolver.resolve(each, scope), program.drivers) for each in called)


def _gives_unseen(program: Program, function: Function, depth: int) -> bool:
    """Whether all that a function of the project returns comes from callees of which nothing is known."""
    facts, inside = program.resolver.function(function)
    given = [value for value in facts.returned if not isinstance(value, ex.Constant)] if facts is not None else []
    if inside is None or not given or not depth:
        return False
    made = (program.only_assignment(v.id, inside) if isinstance(v, ex.Name) else v for v in given)
    return all(isinstance(m, ex.Call) and is_unseen(program, m.func, inside, depth - 1) for m in made)
