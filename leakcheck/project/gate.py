"""The gate: which files, then which functions, can hold a checkout, before any LibCST.

Bytes first: a file matters if it holds a word of an acquiring call. Project functions that hand out what they took
add their names to the words, to a fixed point. Then the cheap parse: a function matters if it calls something that
may take a resource.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.annotations import annotated_injections
from leakcheck.project.facts import ENTERING, FunctionFacts, ModuleFacts, Statement, is_property
from leakcheck.project.getters import opens, reads
from leakcheck.project.imports import imported_files, star_imported_files
from leakcheck.project.items import asked_for
from leakcheck.project.names import Class, External, Function, Instance, Method, Scope, bound_by_functions
from leakcheck.project.nesting import lends, may_nest
from leakcheck.project.owning import may_own
from leakcheck.project.speaking import speaks, takes_plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Symbol

_FEW = 40
"""Up to this many files the cheap parse of all of them costs less than finding out which need it."""
_ENTERED = re.compile(rb"\.\s*__a?enter__\(")
"""A context manager that is entered by hand."""
_WRAPPERS = frozenset(
    {"wait_for", "shield", "run", "run_until_complete", "cast", "closing", "aclosing", "enter_context", "cls"}
)
"""Calls that return what they are given, what that returns, or an object that keeps it."""


def select(program: Program, paths: Sequence[str]) -> list[str]:
    """Those of ``paths`` that can hold a finding, in their order."""
    chosen: set[str] = set()
    others: list[str] = []
    for path in paths:
        if program.has_trigger(path):
            chosen.add(path)
        else:
            others.append(path)
    if len(others) <= _FEW:
        chosen.update(path for path in others if _imports_matter(program, path) or _shares_driver(program, path))
    else:
        _add_users(program, paths, chosen, others)
    for path in others:
        if path not in chosen:
            program.forget(path)
    return [path for path in paths if path in chosen]


def _imports_matter(program: Program, path: str) -> bool:
    """Whether a file imports a project file that can hold an acquire, directly or through two more."""
    reached = _reached(path, lambda file: imported_files(program, file), 3)  # a re-export of a re-export
    return any(program.has_trigger(file) for file in reached)


def _shares_driver(program: Program, path: str) -> bool:
    """Whether a file has the names of a driver from a project file that it imports all names of, or that does so."""
    reached = _reached(path, lambda file: star_imported_files(program, file))
    return any(program.triggers.imports_driver(program.data(file)) for file in reached)


def _reached(path: str, imported: Callable[[str], Iterable[str]], depth: float = math.inf) -> Iterator[str]:
    """The files that a file imports, and those that these do, so many deep: near ones first."""
    seen, level = {path}, [path]
    while level and depth > 0:
        fresh = [file for near in level for file in imported(near)]
        level, depth = [file for file in dict.fromkeys(fresh) if file not in seen], depth - 1
        seen.update(level)
        yield from level


def _words(path: str, names: Iterable[str]) -> Iterable[tuple[bytes, bytes]]:
    """Names that a file hands out, each with what the file may be called where they are imported."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")[-2:]
    package = parts[-1] if len(parts) < 2 or "." in parts[0] else parts[0]
    return ((name.encode(), module.encode()) for name in names for module in {package, parts[-1]})


def _imported_of(facts: ModuleFacts, names: AbstractSet[str]) -> set[str]:
    """What a file calls those of these names that it imports."""
    imports = facts.scope.imports.items()
    return {name for name, targets in imports if any(t.rpartition(".")[2] in names for t in targets)}


def _add_users(program: Program, paths: Sequence[str], chosen: set[str], others: list[str]) -> None:
    """Add the files that mention a name which the chosen files, or files of the same packages, hand out.

    And those with a statement that a function of the project may send, or that enter a context manager by hand.
    """
    words: set[tuple[bytes, bytes]] = set()
    named = set(paths)
    saying = (p for p in others if takes_plainly(program.data(p)) and program.takes(p))
    chosen.update(p for p in saying if _imports_matter(program, p))
    entering = (p for p in others if _ENTERED.search(program.data(p)) is not None)
    chosen.update(p for p in entering if _imports_matter(program, p))
    chosen.update(p for p in others if b"import *" in program.data(p) and _shares_driver(program, p))
    sources = set(chosen)
    sources.update(p for p in _unnamed(program, paths) if p not in named and program.has_trigger(p))
    known: set[str] = set()
    getters: set[str] = set()
    while sources:
        fresh: set[tuple[bytes, bytes]] = set()
        for path in sorted(sources):
            facts = program.facts(path)
            if facts is not None:
                names = exported(program, facts, known)
                fresh.update(_words(path, names))
                getters.update(f.name for f in facts.functions.values() if f.name in names and is_property(f))
        for path in sorted(chosen):  # it may give what is told only now another name
            facts = program.facts(path)
            if facts is not None:
                fresh.update(_words(path, _imported_of(facts, {name.decode() for name, _ in fresh})))
        fresh -= words
        words |= fresh
        known = {name.decode() for name, _ in words}
        sources = set()
        if not fresh:
            break
        patterns = {name: re.compile(rb"\b" + re.escape(name) + rb"\b") for name, _ in fresh}
        modules = {module: [name for name, origin in fresh if origin == module] for _, module in fresh}
        for path in others:
            if path in chosen:
                continue
            data = program.data(path)
            near = (name for module, names in modules.items() if module in data for name in names if name in data)
            if any(patterns[name].search(data) is not None for name in near):
                chosen.add(path)
                sources.add(path)
    program.handed_out, program.getters = known, getters


def _unnamed(program: Program, paths: Sequence[str]) -> Iterable[str]:
    """Files of the project that were not named and that the named ones may import."""
    yield from program.modules.beside(paths)
    neighbours = program.modules.neighbours(frozenset(paths))
    if not neighbours:
        return
    names = b"|".join(re.escape(name.encode()) for name in neighbours)
    patterns = [re.compile(word + b" (" + names + rb")\b") for word in (b"from", b"import")]
    mentioned = {name for path in paths for pattern in patterns for name in pattern.findall(program.data(path))}
    for name, place in neighbours.items():
        if name.encode() in mentioned:
            yield from (
                [place] if place.endswith(".py") else program.modules.beside([os.path.join(place, "__init__.py")])
            )


def exported(program: Program, facts: ModuleFacts, known: AbstractSet[str]) -> set[str]:
    """Names of this file whose callers receive something they must give back, or end."""
    found = {qualname.rpartition(".")[2] for qualname in program.starting(facts.path)}
    for function in facts.functions.values():
        symbol = Function(facts.path, function.qualname)
        if function.parent is None and (program.hands_out(symbol) or lends(program, symbol)):
            found.add(function.name)
    for cls in facts.classes.values():
        if program.construction(Class(facts.path, cls.qualname)) is not None:
            found.add(cls.name)
    found |= _imported_of(facts, known)
    module = Scope(facts)
    assigned = [(n, v, module) for n, values in facts.scope.assignments.items() for v in values]
    assigned += [
        (n, v, module) for c in facts.classes.values() for n, values in c.attributes.items() for v, _ in values
    ]
    assigned += [(n, v, inside) for n in facts.globals for v, inside in bound_by_functions(n, facts)]
    for name, value, scope in assigned:
        if isinstance(value, (ex.Call, ex.Name, ex.Attribute)) and "." not in name and name not in found:
            symbols = program.resolver.resolve(value, scope)
            if any(_is_factory(program, s) or _is_giving(program, s) for s in symbols):
                found.add(name)
        made = (program.resolver.resolve(function, scope) for function in annotated_injections(value, scope))
        if any(_is_giving(program, symbol) for symbols in made for symbol in symbols):
            found.add(name)  # an annotation by which a framework gives it to whoever names it
    return found


def _is_giving(program: Program, symbol: Symbol) -> bool:
    """Whether it is a function that hands something out, or a driver's method that does, under another name."""
    match symbol:
        case Function():
            return program.hands_out(symbol)
        case Method(operation=operation):
            return operation.acquires is not None
        case External(name=name):
            known = program.drivers.calls.get(name)
            return known is not None and known.acquires is not None
        case _:
            return False


def _is_factory(program: Program, symbol: Symbol) -> bool:
    match symbol:
        case Instance(of=str() as class_id):
            return "__call__" in program.drivers.classes[class_id].methods
        case _:
            return False


def candidates(program: Program, facts: ModuleFacts) -> list[FunctionFacts | Statement]:
    """The functions and module-level loops of a file that may take a resource."""
    all_items: list[FunctionFacts | Statement] = [*facts.functions.values(), *facts.loops]
    return [item for item in all_items if matters(program, facts, item)]


def matters(program: Program, facts: ModuleFacts, item: FunctionFacts | Statement) -> bool:
    """Whether a function or statement may take a resource, a framework takes one for it, or it changes a session.

    Something must look like taking, by its name at least; then what each call means is asked.
    """
    scope, injected = Scope(facts), []
    if isinstance(item, FunctionFacts):
        scope = Scope.of(facts, item)
        injected = [*program.resolver.annotations.injections(item, facts)] if item.decorators else []
        if speaks(program, facts, item) or _hands_back(program, item, scope) or may_nest(program, facts, item):
            return True
    if program.getters != set() and any(opens(program, read, scope) for read in reads(item)):
        return True
    owns = isinstance(item, FunctionFacts) and may_own(program, item)
    takes = owns or _any_takes(program, item.calls, scope)
    if not takes and not any(_takes(program, i.function, i.scope) for i in injected):
        return False
    possible = program.acquisitions.possible
    asked = [(callee, scope) for found in item.calls.values() for callee in found]
    asked += [(each.function, each.scope) for each in injected]
    return item.unlisted or any(possible(callee, place) for callee, place in asked)


def _hands_back(program: Program, function: FunctionFacts, scope: Scope) -> bool:
    """Whether a function that is named like a release hands something to a pool."""
    names = program.release_names & function.calls.keys()
    if not names or not program.calls.says_release(function.name):
        return False
    called = (callee for name in names for callee in function.calls[name])
    symbols = (symbol for callee in called for symbol in program.resolver.resolve(callee, scope))
    return any(isinstance(s, Method) and isinstance(s.operation.releases, int) for s in symbols)


def _any_takes(program: Program, calls: dict[str, list[ex.Expression]], scope: Scope) -> bool:
    return any(
        name in program.acquiring_names
        or name in ENTERING
        or program.factories_named(name)
        or any(_takes(program, e, scope) for e in expressions)
        for name, expressions in calls.items()
    )


def may_hand_out(program: Program, facts: ModuleFacts, function: FunctionFacts) -> bool:
    """Whether what the function returns or yields may come from a call that takes a resource.

    Calls that only work on the way are not asked, which keeps the question from spreading over the whole project.
    """
    scope = Scope.of(facts, function)
    seen: set[str] = set()
    pending = [*function.returned, *function.yielded]
    while pending:
        match pending.pop():
            case ex.Call(func=func, args=args, keywords=keywords):
                name = ex.last_name(func) or ""
                if name in program.acquiring_names or program.factories_named(name) or _takes(program, func, scope):
                    return True
                if name[:1].isupper() or name in _WRAPPERS:
                    pending.extend((*args, *(v for _, v in keywords)))
                if isinstance(func, ex.Attribute) and (ex.last_name(func.base) or "")[:1].isupper():
                    pending.append(func.base)  # `return Store(path).opened()`: it may give the object
            case ex.Entered(value=ex.Call(func=func)) if function.is_generator and _is_lent(program, func, scope):
                return True
            case ex.Await(value=value) | ex.Entered(value=value) | ex.Item(base=value):
                pending.append(value)
            case ex.Choice(options=items) | ex.Sequence(items=items):
                pending.extend(items)
            case ex.Attribute() as read if opens(program, read, scope):
                return True
            case ex.Name(id=name) if name not in seen:
                seen.add(name)
                for around in scope.functions:
                    pending.extend(around.scope.assignments.get(name, ()))
            case _:
                pass
    return False


def _is_lent(program: Program, callee: ex.Expression, scope: Scope) -> bool:
    """Whether entering what a call gives borrows from a context manager of the project, which may take it."""
    return any(lends(program, symbol) for symbol in program.resolver.resolve(callee, scope))


def _from_elsewhere(program: Program, callee: ex.Expression, scope: Scope) -> bool:
    """Whether the callee comes from project files that hold no acquire: then nobody needs to parse them."""
    root = callee
    while not isinstance(root, ex.Name):
        match root:
            case ex.Attribute(base=inner) | ex.Call(func=inner) | ex.Await(value=inner) | ex.Item(base=inner):
                root = inner
            case _:
                return False
    for facts in (*(f.scope for f in reversed(scope.functions)), scope.module.scope):
        targets = facts.imports.get(root.id)
        if targets:
            return not any(_may_matter(program, target, scope.module.path) for target in targets)
        if root.id in facts.assignments or root.id in facts.functions or root.id in facts.classes:
            return False
    return False


def _hands_out_nothing(program: Program, callee: ex.Expression, scope: Scope) -> bool:
    """Whether the callee's name is none of those that hand something out, where all of them are known."""
    if program.handed_out is None or asked_for(callee) is not None:
        return False
    name = ex.last_name(callee) or ""
    if isinstance(callee, ex.Name):
        for facts in (*(f.scope for f in scope.functions), scope.module.scope):
            if name in facts.assignments:
                return False
            origins = {t.rpartition(".")[2] for t in facts.imports.get(name, ())}
            if not origins.isdisjoint(program.handed_out) or not origins.isdisjoint(program.driver_words):
                return False
        if any(p.name == name for f in scope.functions for p in f.parameters):
            return False
    return name not in program.handed_out and name not in program.driver_words


def _may_matter(program: Program, target: str, importer: str) -> bool:
    member = program.modules.member(target, importer)
    if member is None:
        return True  # a library: what its name means is known without a parse
    path = member[0]
    known = program.relevant.get(path)
    if known is None:
        known = program.has_trigger(path) or _imports_matter(program, path)
        program.relevant[path] = known
    return known


def _takes(program: Program, callee: ex.Expression, scope: Scope) -> bool:
    """Whether the callee, resolved, takes a resource or hands one out."""
    if program.acquisitions.queues.taken(callee, scope) is not None:
        return True
    if _hands_out_nothing(program, callee, scope) or _from_elsewhere(program, callee, scope):
        return False
    for symbol in program.resolver.resolve(callee, scope):
        match symbol:
            case External(name=name):
                operation = program.drivers.calls.get(name)
                if operation is not None and operation.acquires is not None:
                    return True
            case Method(operation=operation):
                if operation.acquires is not None or operation.acquires_receiver:
                    return True
            case Instance() if _is_factory(program, symbol):
                return True
            case Function():
                if program.hands_out(symbol):
                    return True
            case Class():
                if program.construction(symbol) is not None:
                    return True
            case _:
                pass
    return False
