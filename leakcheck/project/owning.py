"""Connections that a function treats as its own, whatever opened them: nothing else is known of the callee.

    from company.db import open_connection     # in no file that is analysed

    conn = open_connection()                   →   called like what opens one,
    conn.cursor().execute(query)                   used like one
    conn.close()                                   and closed here: so it is owed on every way out of here

A function that does not close it says nothing of whose it is.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import RECEIVER, endings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts

CONNECTION = "generic.Connection"
"""What it is taken for."""


def may_own(program: Program, function: FunctionFacts) -> bool:
    """Whether a function calls what is called like an opening, and methods by which a connection is used and closed."""
    calls = function.calls
    using = program.calls.connection_methods | program.calls.connection_functions
    if using.isdisjoint(calls) or not any(_closing(program, calls)):
        return False
    return any(opens(program, callee) for found in calls.values() for callee in found)


def is_owned(program: Program, func: ex.Expression, function: FunctionFacts) -> bool:
    """Whether the function treats what calling ``func`` gives as a connection that it must close."""
    bound = [name for name, values in function.scope.assignments.items() if any(_is_call(v, func) for v in values)]
    lender = func.base if isinstance(func, ex.Attribute) else None
    return any(_is_treated(program, function, ex.Name(name), lender) for name in bound)


def opens(program: Program, func: ex.Expression) -> bool:
    """Whether a callee is called like what opens a connection: a class is made, and opens what it likes."""
    calls = program.calls
    return _says_connection(ex.last_name(func) or "", calls.connection_words, calls.session_words)


@cache
def _says_connection(name: str, words: frozenset[str], made: frozenset[str]) -> bool:
    found = endings(name)
    if name[:1].isupper() and made.isdisjoint(found):
        return False
    return any(ending.partition("_")[0] in words for ending in found)


def _is_call(value: ex.Expression, func: ex.Expression) -> bool:
    value = value.value if isinstance(value, ex.Await) else value
    return isinstance(value, ex.Call) and value.func == func


def _is_treated(program: Program, function: FunctionFacts, holder: ex.Name, lender: ex.Expression | None) -> bool:
    """Whether the name is used like a connection, and closed or given to something that gives back: its lender may."""
    methods = program.calls.connection_methods
    used = any(ex.Attribute(holder, name) in function.calls.get(name, ()) for name in methods)
    if not used and not any(_is_given(program, value, holder) for value in _values(function)):
        return False
    return any(base in (None, holder, lender) for base in _closing(program, function.calls))


def _values(function: FunctionFacts) -> Iterator[ex.Expression]:
    for values in function.scope.assignments.values():
        yield from values
    yield from function.returned


def _is_given(program: Program, value: ex.Expression, holder: ex.Name) -> bool:
    """Whether a value is made by what uses a connection, and of this one: ``pd.read_sql(query, conn).to_dict()``."""
    while not isinstance(value, ex.Call) or ex.last_name(value.func) not in program.calls.connection_functions:
        match value:
            case ex.Call(func=inner) | ex.Attribute(base=inner) | ex.Item(base=inner):
                value = inner
            case ex.Await(value=inner) | ex.Element(value=inner) | ex.Entered(value=inner):
                value = inner
            case _:
                return False
    return holder in value.args or holder in dict(value.keywords).values()


def _closing(program: Program, calls: dict[str, list[ex.Expression]]) -> Iterator[ex.Expression | None]:
    """What methods close that are called there; None where it is the argument of something that gives back."""
    methods = program.drivers.classes[CONNECTION].methods
    for name, callees in calls.items():
        operation = methods.get(name)
        if operation is not None and operation.releases == RECEIVER:
            yield from (callee.base for callee in callees if isinstance(callee, ex.Attribute))
        elif program.calls.says_release(name):
            yield None
