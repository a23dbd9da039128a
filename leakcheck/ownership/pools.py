"""Pools across functions: how one is built, and whether two functions take from the same one.

    pool_place(program, scope, db.pool)     →   ("app/db.py", "pool"), from wherever it is imported
    pool_place(program, scope, get_pool())  →   ("app/db.py", "_pool"), which the function returns each time
    constructors(program, "db.pool", scope) →   the call of create_pool() in app/db.py

A function that holds a connection and calls one that takes another from the same pool can wait for itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.driver import ClassKind
from leakcheck.project.facts import SELF, is_cached, is_static
from leakcheck.project.names import Function, Scope
from leakcheck.project.nesting import CALLS, borrows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

Place = tuple[str, str]
"""Where a pool lives: a file, class or module, and the name that it has there."""
_CLOSERS = frozenset({"aclose", "close", "closeall", "dispose", "terminate", "wait_closed"})
_NAMES = 4
"""How many names and functions are followed to where a pool lives."""


def pool_place(program: Program, scope: Scope, pool: ex.Expression, names: int = _NAMES) -> Place | None:
    """Where a pool lives, so that two functions can be seen to use the same; None where that is not certain."""
    dotted = ex.dotted(pool)
    if dotted is None:
        called = _made(pool)
        return _returned_place(program, scope, called, names) if isinstance(called, ex.Call) and names else None
    root, _, rest = dotted.partition(".")
    if root in SELF:
        return (f"{scope.module.path}:{scope.owner}", dotted) if scope.owner is not None else None
    binding = next((f for f in reversed(scope.functions) if f.binds(root)), None)
    imports = scope.module.scope.imports
    if binding is not None and not _is_global(program, scope.module, binding, root):
        imports = binding.scope.imports
        if root not in imports:
            values = binding.scope.assignments.get(root, [])
            follows = len(values) == 1 and not rest and names and all(p.name != root for p in binding.parameters)
            return pool_place(program, scope, values[0], names - 1) if follows else None
    for target in imports.get(root, ()):
        member = program.modules.member(target, scope.module.path)
        return (member[0], dotted.replace(root, member[1] or root, 1)) if member is not None else (target, dotted)
    return scope.module.path, dotted


def _is_global(program: Program, module: ModuleFacts, function: FunctionFacts, name: str) -> bool:
    """Whether the name that a function binds is declared to be its module's."""
    if name not in module.scope.assignments:
        return False
    declaration = re.compile(rb"\bglobal\b[^\n]*\b" + re.escape(name.encode()) + rb"\b")
    return declaration.search(program.rows(module.path, function.first_row, function.last_row)) is not None


def _returned_place(program: Program, scope: Scope, call: ex.Call, names: int) -> Place | None:
    """Where the pool lives that a project function returns each time: a variable that outlives it, or its cache."""
    places: set[Place | None] = set()
    for symbol in program.resolver.resolve(call.func, scope):
        facts, inside = program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
        if not isinstance(symbol, Function) or facts is None or inside is None:
            return None
        if is_cached(facts):
            places.add((symbol.path, f"{symbol.qualname}()") if not (call.args or call.keywords) else None)
            continue
        for returned in facts.returned:
            text = ex.dotted(returned)
            as_called = pool_as_called(text, facts, call, bound=symbol.bound and not is_static(facts))
            if text != as_called:
                places.add(pool_place(program, scope, ex.of_names(as_called), names - 1) if as_called else None)
            elif returned != ex.Constant(None):
                places.add(pool_place(program, inside, returned, names - 1))
    return places.pop() if len(places) == 1 else None


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
    if head in SELF and scope.owner is not None:
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


def ends_here(program: Program, pool: str, scope: Scope) -> bool:
    """Whether a pool, or what it was made of, is built in a function and closed in it: nobody else borrows from it."""
    for facts in reversed(scope.functions):
        values = facts.scope.assignments.get(pool, ())
        if values and not _is_global(program, scope.module, facts, pool):
            made = [v for v in map(_made, values) if isinstance(v, ex.Call)]
            given = (v for call in made for v in (*call.args, *(v for _, v in call.keywords)))
            local = {pool, *(v.id for v in given if isinstance(v, ex.Name) and facts.scope.assignments.get(v.id))}
            closed = (c for name in _CLOSERS for c in facts.calls.get(name, ()) if isinstance(c, ex.Attribute))
            return len(made) == len(values) and any(ex.dotted(c.base) in local for c in closed)
    return False


def runs_statement(
    program: Program, func: ex.Expression, scope: Scope, resource: DriverClass, *, pool: str | None, place: Place | None
) -> bool:
    """Whether it is a method by which the pool takes a connection for one statement: ``pool.fetch``."""
    if not isinstance(func, ex.Attribute) or func.name not in _methods(program, resource, taking=False):
        return False
    if pool is not None and ex.dotted(func.base) == pool:
        return True
    return place is not None and pool_place(program, scope, func.base) == place


def checkout_from_argument(
    program: Program, call: ex.Call, scope: Scope, pool: str, resource: DriverClass
) -> str | None:
    """The name of a called project function that takes a connection from the pool that the call passes to it."""
    if pool not in {ex.dotted(given) for given in (*call.args, *(value for _, value in call.keywords))}:
        return None
    for symbol in program.resolver.resolve(call.func, scope):
        facts = program.resolver.function(symbol)[0] if isinstance(symbol, Function) else None
        if facts is None or not isinstance(symbol, Function):
            continue
        parameters = {p.name for p in facts.parameters} - facts.scope.assignments.keys()
        for name in _methods(program, resource, taking=True):
            for func in facts.calls.get(name, ()):
                of = ex.dotted(func.base) if isinstance(func, ex.Attribute) else None
                bound = symbol.bound and not is_static(facts)
                if of in parameters and pool_as_called(of, facts, call, bound=bound) == pool:
                    return symbol.qualname
    return None


def _methods(program: Program, resource: DriverClass, *, taking: bool) -> Iterator[str]:
    """The methods by which its pools run statements themselves; ``taking``: and those by which they hand it out."""
    driver = resource.id.partition(".")[0]
    for known in program.drivers.classes.values():
        pools = known.kind is ClassKind.POOL and known.id.partition(".")[0] == driver
        if pools and any(operation.acquires == resource.id for operation in known.methods.values()):
            for name, operation in known.methods.items():
                if operation.executes is not None or (taking and operation.acquires == resource.id):
                    yield name


def nested_checkout(
    program: Program, callee: ex.Expression, scope: Scope, place: Place, resource: DriverClass, *, depth: int = CALLS
) -> str | None:
    """The name of a called project function that takes a connection from the pool at ``place`` while it runs."""
    of_self = place[1].partition(".")[0] in SELF
    if of_self and isinstance(callee, ex.Attribute) and ex.dotted(callee.base) not in SELF:
        return None  # another object of the class has another pool
    for symbol in program.resolver.resolve(callee, scope):
        facts, inside = program.resolver.function(symbol) if isinstance(symbol, Function) else (None, None)
        if not isinstance(symbol, Function) or facts is None or inside is None:
            continue
        takes = borrows(facts) or not program.acquiring_names.isdisjoint(facts.calls)
        summary = program.summary(symbol) if takes else None
        if summary is not None:
            for owned in summary.checks_out:
                if owned.place == place and owned.resource == resource.id:
                    return symbol.qualname
        statements = (e for name in _methods(program, resource, taking=False) for e in facts.calls.get(name, ()))
        if any(
            runs_statement(program, expression, inside, resource, pool=None, place=place) for expression in statements
        ):
            return symbol.qualname
        for expressions in facts.calls.values() if depth else ():
            for expression in expressions:
                if nested_checkout(program, expression, inside, place, resource, depth=depth - 1) is not None:
                    return symbol.qualname
    return None
