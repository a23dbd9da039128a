"""Which functions may take a second connection while a context manager of the project lends them one, by their facts.

    with database.connection() as conn:      holds one of `database._pool`
        log_action("cancelled")              may take another one from there

Nothing is owed in such a block: only functions in which something may take a second connection are worth an analysis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import ClassKind
from leakcheck.project.facts import ENTERING, makes_manager
from leakcheck.project.names import Class, Function, Instance, Method, Scope

if TYPE_CHECKING:
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts
    from leakcheck.project.names import Symbol

CALLS = 3
"""How many calls deep something is looked for that takes a connection."""


def may_nest(program: Program, module: ModuleFacts, function: FunctionFacts) -> bool:
    """Whether a function is lent a connection for a block and calls something that may take another one.

    Told by names and facts, before any LibCST.
    """
    scope = Scope.of(module, function)
    lenders = [
        callee
        for callee in borrows(function)
        if any(lends(program, s) for s in program.resolver.resolve(callee, scope))
    ]
    injected = is_lent_for_a_request(program, module, function)
    if not lenders and not injected:
        return False
    text = program.rows(module.path, function.first_row, function.last_row)
    if lenders and (injected or len(lenders) > 1 or text.count((ex.last_name(lenders[0]) or "").encode()) > 1):
        return True
    others = (callee for found in function.calls.values() for callee in found if callee not in lenders)
    return any(
        _runs_itself(program, callee, scope)
        or any(_takes(program, s, CALLS) for s in program.resolver.resolve(callee, scope))
        for callee in others
    )


def is_lent_for_a_request(program: Program, module: ModuleFacts, function: FunctionFacts) -> bool:
    """Whether a framework lends a handler what a generator of the project may take: ``db=Depends(get_db)``."""
    injected = program.resolver.annotations.injections(function, module) if function.decorators else ()
    symbols = (s for each in injected for s in program.resolver.resolve(each.function, each.scope))
    return any(_yields(program, symbol) and _takes(program, symbol, CALLS) for symbol in symbols)


def _yields(program: Program, symbol: Symbol) -> bool:
    facts, _ = program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
    return facts is not None and facts.is_generator and not makes_manager(facts)  # nobody enters a manager there


def _runs_itself(program: Program, callee: ex.Expression, scope: Scope) -> bool:
    """Whether it is a pool's method that takes a connection, runs a statement on it and gives it back."""
    if not isinstance(callee, ex.Attribute) or callee.name not in program.vocabulary.executing:
        return False
    found = (s for s in program.resolver.resolve(callee, scope) if isinstance(s, Method))
    runs = (s for s in found if s.operation.executes is not None)
    return any(program.drivers.classes[s.of].kind is ClassKind.POOL for s in runs)


def may_take(program: Program, function: FunctionFacts, scope: Scope) -> bool:
    """Whether a function calls something by the name of an acquire or of a session's class, or a factory."""
    sessions = program.vocabulary.sessions
    if any(n in program.acquiring_names or n in sessions or program.factories_named(n) for n in function.calls):
        return True
    called = (callee for found in function.calls.values() for callee in found)
    return any(_makes(program, symbol) for callee in called for symbol in program.resolver.resolve(callee, scope))


def _makes(program: Program, symbol: Symbol) -> bool:
    """Whether calling an object takes something: a factory of sessions, whatever it is called."""
    return (
        isinstance(symbol, Instance)
        and isinstance(symbol.of, str)
        and program.drivers.classes[symbol.of].kind is ClassKind.FACTORY
    )


def borrows(function: FunctionFacts) -> frozenset[ex.Expression]:
    """The callees whose results a function enters by ``with … as``."""
    bound = (value for values in function.scope.assignments.values() for value in values)
    entered = (value.value for value in bound if isinstance(value, ex.Entered))
    return frozenset(value.func for value in entered if isinstance(value, ex.Call))


def lends(program: Program, symbol: Symbol) -> bool:
    """Whether a context manager of the project may take what it lends."""
    entered = lender(program, symbol)
    return entered is not None and _takes(program, entered, CALLS)


def lender(program: Program, symbol: Symbol) -> Function | None:
    """What runs where a ``with`` enters what a call of this gives: a context manager, or ``__enter__`` of a class."""
    if isinstance(symbol, Function):
        return symbol if program.is_manager(symbol) else None
    for cls, facts, _ in program.resolver.hierarchy.lineage(symbol) if isinstance(symbol, Class) else ():
        for name in ENTERING & facts.methods.keys():
            return Function(cls.path, facts.methods[name], bound=True)
    return None


def _takes(program: Program, symbol: Symbol, depth: int) -> bool:
    """Whether a project function calls something by the name of an acquire, or a function that does."""
    if not isinstance(symbol, Function):
        return False
    key = ("calls what takes", symbol.path, symbol.qualname, depth)
    found: bool = program.answers.answer(key, lambda: _finds_taking(program, symbol, depth), first=False)
    return found


def _finds_taking(program: Program, function: Function, depth: int) -> bool:
    facts, scope = program.resolver.function(function)
    if facts is None or scope is None:
        return False
    if may_take(program, facts, scope):
        return True
    moments = (callee for name in program.vocabulary.executing & facts.calls.keys() for callee in facts.calls[name])
    if any(_runs_itself(program, callee, scope) for callee in moments):
        return True
    called = (callee for found in facts.calls.values() for callee in found) if depth else ()
    return any(_takes(program, s, depth - 1) for callee in called for s in program.resolver.resolve(callee, scope))
