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
from leakcheck.project.names import External, Function, Scope, bound_by_functions, original

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

Place = tuple[str, str]
"""Where a pool lives: a file, class, module or function whose parameter it is, and the name that it has there."""
Known = tuple[str | None, Place | None]
"""What is known of a pool: how it is called in a function, and where it lives."""
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
    if binding is not None and not is_global(program, scope.module, binding, root):
        imports = binding.scope.imports
        if root not in imports:
            values = binding.scope.assignments.get(root, [])
            if any(p.name == root for p in binding.parameters):
                return (_inside(scope.module.path, binding.qualname), dotted) if not values else None
            follows = len(values) == 1 and not rest and names
            return pool_place(program, scope, values[0], names - 1) if follows else None
    for target in imports.get(root, ()):
        member = program.modules.member(target, scope.module.path)
        return (member[0], dotted.replace(root, member[1] or root, 1)) if member is not None else (target, dotted)
    return scope.module.path, dotted


def is_same(pool: Known, other: Known) -> bool:
    """Whether two are certainly one: called the same in one function, or in the same place."""
    return any(mine is not None and mine == theirs for mine, theirs in zip(pool, other, strict=True))


def _inside(path: str, function: str) -> str:
    """Where the parameters of a function live."""
    return f"{path}:{function}()"


def is_global(program: Program, module: ModuleFacts, function: FunctionFacts, name: str) -> bool:
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
            if returned != ex.Constant(None):
                here = pool_place(program, inside, returned, names - 1)
                places.add(as_called(program, (ex.dotted(returned), here), symbol, call, scope, names=names - 1)[1])
    return places.pop() if len(places) == 1 else None


def as_called(
    program: Program, pool: Known, function: Function, call: ex.Call, scope: Scope, *, names: int = _NAMES
) -> Known:
    """What the caller knows of a pool that is known so in the function it calls."""
    text, place = pool
    facts, _ = program.resolver.function(function)
    inside = place is not None and place[0] == _inside(function.path, function.qualname)
    if text is None and place is not None and (inside or place[1].partition(".")[0] in SELF):
        text = place[1]  # the engine of a session
    called = _text_as_called(text, facts, call, bound=function.bound and facts is not None and not is_static(facts))
    if text == called and not inside:
        return pool[0] and called, place
    return called, pool_place(program, scope, ex.of_names(called), names) if called is not None else None


def _text_as_called(pool: str | None, facts: FunctionFacts | None, call: ex.Call, *, bound: bool) -> str | None:
    """The pool of a called function as its caller writes it: of another object, or the one that the caller passes."""
    root, dot, rest = (pool or "").partition(".")
    parameters = facts.parameters if facts is not None else []
    if pool is None or not any(p.name == root and "*" not in p.kind for p in parameters):
        return pool
    names = [p.name for p in parameters if p.kind == "positional"]
    of_class = facts is not None and "classmethod" in facts.decorator_names
    if (bound or of_class) and names[:1] == [root]:
        holder = ex.dotted(call.func.base) if isinstance(call.func, ex.Attribute) else None
        return f"{holder}{dot}{rest}" if holder is not None else pool
    position = names.index(root) - int(bound) if root in names else len(call.args)
    given = dict(call.keywords).get(root) or (call.args[position] if position < len(call.args) else None)
    holder = ex.dotted(given) if given is not None else None
    return f"{holder}{dot}{rest}" if holder is not None else None


def constructors(program: Program, pool: str, scope: Scope, names: int = _NAMES) -> list[tuple[ex.Call, Scope]]:
    """The calls by which the pool called ``pool`` is built, as far as they can be seen, with where they stand.

    Where a function of the project hands it over, they are those that build what it returns.
    """
    head, _, attribute = pool.rpartition(".")
    module = scope.module
    found: list[tuple[ex.Expression, Scope]] = []
    for facts in (*(f.scope for f in scope.functions), module.scope):
        found.extend((value, scope) for value in facts.assignments.get(pool, ()))
    if all(isinstance(value, ex.Constant) for value, _ in found):
        found.extend(bound_by_functions(pool, module))
    cls = module.classes.get(scope.owner or "" if head in SELF else head)
    for value, method in cls.attributes.get(attribute, ()) if cls is not None else ():
        found.append((value, Scope.of(module, module.functions[method]) if method is not None else scope))
    made = [(_made(v), where) for v, where in found] or list(_imported(program, pool, scope))
    calls = [(call, where) for call, where in made if isinstance(call, ex.Call)]
    return [each for call, where in calls for each in _handed_over(program, call, where, names) or ((call, where),)]


def _handed_over(program: Program, call: ex.Call, scope: Scope, names: int) -> list[tuple[ex.Call, Scope]]:
    """The calls that build the pool which a project function returns each time."""
    functions = [s for s in program.resolver.resolve(call.func, scope) if isinstance(s, Function)] if names else []
    place = _returned_place(program, scope, call, names) if functions else None
    where = scope_of(program, place) if place is not None else None
    return constructors(program, place[1], where, names - 1) if place is not None and where is not None else []


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
        if values and not is_global(program, scope.module, facts, pool):
            made = [v for v in map(_made, values) if isinstance(v, ex.Call)]
            given = (v for call in made for v in (*call.args, *(v for _, v in call.keywords)))
            local = {pool, *(v.id for v in given if isinstance(v, ex.Name) and facts.scope.assignments.get(v.id))}
            closed = (c for name in _CLOSERS for c in facts.calls.get(name, ()) if isinstance(c, ex.Attribute))
            return len(made) == len(values) and any(ex.dotted(c.base) in local for c in closed)
    return False


def is_of_pool(program: Program, method: str, resource: DriverClass, *, taking: bool) -> bool:
    """Whether a pool of these runs a statement on one by a method of this name; ``taking``: or hands one out."""
    for class_id, operation in program.drivers.methods_named(method):
        known = program.drivers.classes[class_id]
        does = operation.executes is not None or (taking and operation.acquires == resource.id)
        if does and known.kind is ClassKind.POOL and any(o.acquires == resource.id for o in known.methods.values()):
            return True
    return False


def closes(program: Program, factory: str, scope: Scope, depth: int = 2) -> bool:
    """Whether what a pool, or a factory that was given one, hands out is closed when it is given back."""
    for call, where in constructors(program, factory, scope):
        given = (ex.dotted(value) for value in (*call.args, *(value for _, value in call.keywords)))
        below = (name for name in given if name is not None) if depth else ()
        if closes_when_back(call, where, program) or any(closes(program, name, where, depth - 1) for name in below):
            return True
    return False


def closes_when_back(call: ex.Call, scope: Scope, program: Program) -> bool:
    """Whether a pool that is built like this closes what it is given back."""
    for symbol in program.resolver.resolve(call.func, scope):
        operation = program.drivers.calls.get(symbol.name) if isinstance(symbol, External) else None
        made = program.drivers.classes.get(operation.returns or "") if operation is not None else None
        words = made.pool.closes_with if made is not None and made.pool is not None else ()
        if any(f"{name}={original(value, scope)}" in words for name, value in call.keywords):
            return True
    return False


def scope_of(program: Program, place: Place) -> Scope | None:
    """Where what lives at a place is assigned; None for what a function has alone."""
    where, _, owner = place[0].partition(":")
    module = program.facts(where)
    return Scope(module, (), owner or None) if module is not None else None


def shares(program: Program, place: Place) -> bool:
    """Whether those who take from what lives at a place may wait for each other: not where each gets a new one."""
    where = scope_of(program, place)
    return where is None or not closes(program, place[1], where)
