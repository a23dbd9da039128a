"""Functions that give their connection in a context manager, at least at times: leaving that gives it back.

def take(closing=True):                 with take() as conn: …   →   nothing is left to give back
    conn = connect()
    return contextlib.closing(conn) if closing else conn
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.calls import CallKind
from leakcheck.project.names import External, Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.cfg import graph as g
    from leakcheck.ownership.callees import Callees
    from leakcheck.ownership.program import Program


def is_managed(program: Program, callees: Callees, call: g.Call) -> bool:
    """Whether a ``with`` enters the result of a function that returns a manager of what it takes."""
    if not callees.is_entered(call):
        return False
    return any(isinstance(s, Function) and _returns_manager(program, s) for s in callees.symbols(call))


def _returns_manager(program: Program, function: Function) -> bool:
    facts, _ = program.resolver.function(function)
    module = program.facts(function.path)
    if facts is None or module is None:
        return False
    scope = Scope.of(module, facts)
    calls = (value for returned in facts.returned for value in _given(returned) if isinstance(value, ex.Call))
    for symbol in (s for call in calls for s in program.resolver.resolve(call.func, scope)):
        effect = program.calls.effect(symbol.name) if isinstance(symbol, External) else None
        if effect is not None and effect.kind is CallKind.MANAGES:
            return True
    return False


def _given(returned: ex.Expression) -> Iterator[ex.Expression]:
    """What a returned expression may be."""
    match returned:
        case ex.Choice(options=options):
            for option in options:
                yield from _given(option)
        case _:
            yield returned
