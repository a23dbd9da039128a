"""Pools across functions: how one is built, and whether two functions take from the same one.

    pool_place(program, scope, "db.pool")   →   ("app/db.py", "pool"), from wherever it is imported
    constructors(program, "db.pool", scope) →   the call of create_pool() in app/db.py

A function that holds a connection and calls one that takes another from the same pool can wait for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.names import Function, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts
    from leakcheck.project.names import Symbols

_CALLS = 3
"""How many calls deep a second checkout is looked for."""


def pool_place(program: Program, scope: Scope, pool: str) -> tuple[str, str] | None:
    """Where a pool lives, so that two functions can be seen to use the same; None where that is not certain."""
    root = pool.partition(".")[0]
    if root in ("self", "cls"):
        return (f"{scope.module.path}:{scope.owner}", pool) if scope.owner is not None else None
    if any(f.binds(root) for f in scope.functions):
        return None
    for target in scope.module.scope.imports.get(root, ()):
        found = program.modules.member(target, scope.module.path)
        return (found[0], pool.replace(root, found[1] or root, 1)) if found is not None else (target, pool)
    return scope.module.path, pool


def pool_as_called(pool: str | None, facts: FunctionFacts | None, call: ex.Call, *, bound: bool) -> str | None:
    """The pool of a called function as its caller writes it: of another object, or the one that the caller passes."""
    root, dot, rest = (pool or "").partition(".")
    names = [p.name for p in facts.parameters if p.kind == "positional"] if facts is not None else []
    if pool is None or root not in names:
        return pool
    of_class = facts is not None and any(ex.last_name(d) == "classmethod" for d in facts.decorators)
    if (bound or of_class) and root == names[0]:
        holder = ex.dotted(call.func.base) if isinstance(call.func, ex.Attribute) else None
        return f"{holder}{dot}{rest}" if holder is not None else pool
    position = names.index(root) - int(bound)
    given = dict(call.keywords).get(root) or (call.args[position] if position < len(call.args) else None)
    holder = ex.dotted(given) if given is not None else None
    return f"{holder}{dot}{rest}" if holder is not None else None


def constructors(program: Program, pool: str, scope: Scope) -> list[tuple[ex.Call, Scope]]:
    """The calls by which the pool called ``pool`` is built, as far as they can be seen, with where they stand."""
    head, _, attribute = pool.rpartition(".")
    found: list[ex.Expression] = []
    for facts in (*(f.scope for f in scope.functions), scope.module.scope):
        found.extend(facts.assignments.get(pool, ()))
    if head in ("self", "cls") and scope.owner is not None:
        cls = scope.module.classes.get(scope.owner)
        found.extend(v for v, _ in (cls.attributes.get(attribute, ()) if cls is not None else ()))
    made = [(_made(v), scope) for v in found] or list(_imported(program, pool, scope))
    return [(call, where) for call, where in made if isinstance(call, ex.Call)]


def _imported(program: Program, pool: str, scope: Scope) -> Iterator[tuple[ex.Expression, Scope]]:
    """What is assigned to the pool in the module that it is imported from."""
    root, _, rest = pool.partition(".")
    if any(f.binds(root) for f in scope.functions):
        return
    for target in scope.module.scope.imports.get(root, ()):
        path, name = program.modules.member(target, scope.module.path) or ("", "")
        module = program.facts(path) if path else None
        if module is not None:
            place = f"{name}.{rest}" if name and rest else name or rest
            yield from ((_made(v), Scope(module)) for v in module.scope.assignments.get(place, ()))


def _made(value: ex.Expression) -> ex.Expression:
    return value.value if isinstance(value, ex.Await) else value


def nested_checkout(
    program: Program, symbols: Symbols, place: tuple[str, str], resource: DriverClass, depth: int = _CALLS
) -> str | None:
    """The name of a called project function that takes a connection from the pool at ``place`` while it runs."""
    for symbol in symbols:
        if not isinstance(symbol, Function):
            continue
        facts, scope = program.resolver.function(symbol)
        takes = facts is not None and not program.acquiring_names.isdisjoint(facts.calls)
        summary = program.summary(symbol) if takes else None
        if summary is not None and scope is not None:
            for owned in summary.checks_out:
                same = owned.pool is not None and pool_place(program, scope, owned.pool) == place
                if same and owned.resource == resource.id:
                    return symbol.qualname
        for expressions in facts.calls.values() if facts is not None and depth else ():
            for expression in expressions:
                inner = program.resolver.resolve(expression, scope) if scope is not None else ()
                if nested_checkout(program, inner, place, resource, depth - 1) is not None:
                    return symbol.qualname
    return None
