"""Calls that wait for something outside the database: an HTTP request, a sleep, a subprocess, a user.

notify(order)    →   "requests.post", where ``notify`` is a project function that calls that
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.ownership.pools import constructors
from leakcheck.project.definitions import Definitions
from leakcheck.project.names import External, Function, Instance, Scope, original
from leakcheck.project.speaking import imports_slow
from leakcheck.project.testing import is_test

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.project.facts import FunctionFacts, ModuleFacts

_ASYNC_PACKAGES = frozenset({"aiohttp", "anyio", "asyncio", "trio"})
_DEPTH = 2
"""How many project functions deep a slow call is looked for."""
_ENDING = frozenset({"commit", "rollback"})
"""Methods by which any library ends a transaction."""


def slow_part(program: Program, callee: ex.Expression, scope: Scope, depth: int = _DEPTH) -> str:
    """What is slow when ``callee`` is called, itself or through project functions; empty where nothing is."""
    known = next((name for name in _names(program, callee, scope) if _is_known(program, name)), "")
    if known or depth == 0:
        return known
    for symbol in program.resolver.resolve(callee, scope):
        if not isinstance(symbol, Function):
            continue
        facts, inner = program.resolver.function(symbol)
        if facts is None or inner is None or facts.is_generator:
            continue
        imports = imports_slow(program, inner.module)
        for name, expressions in facts.calls.items():
            if name in _ENDING and any(_is_of_parameter(expression, facts) for expression in expressions):
                break  # what its caller had open is no longer, when it waits
            for expression in expressions if name in program.vocabulary.slow or depth > 1 or imports else ():
                part = slow_part(program, expression, inner, depth - 1)
                if part:
                    return part
    return ""


def _is_of_parameter(method: ex.Expression, function: FunctionFacts) -> bool:
    """Whether it is a method of something that the function is given."""
    base = method.base if isinstance(method, ex.Attribute) else None
    return isinstance(base, ex.Name) and any(p.name == base.id for p in function.parameters)


def calls_slow(program: Program, module: ModuleFacts, function: FunctionFacts) -> bool:
    """Whether a function calls something that is slow."""
    scope = Scope.of(module, function)
    return any(slow_part(program, callee, scope) for found in function.calls.values() for callee in found)


def is_coroutine(program: Program, callee: ex.Expression, scope: Scope) -> bool:
    """Whether calling ``callee`` only makes a coroutine."""
    for symbol in program.resolver.resolve(callee, scope):
        if isinstance(symbol, Function) and program.is_coroutine(symbol):
            return True
    return any(name.partition(".")[0] in _ASYNC_PACKAGES or "Async" in name for name in _names(program, callee, scope))


def _names(program: Program, callee: ex.Expression, scope: Scope) -> Iterator[str]:
    """The qualified names that a callee may have."""
    if isinstance(callee, ex.Name) and callee.id == "input" and not program.resolver.resolve(callee, scope):
        yield "input"
    if original(callee, scope) not in program.vocabulary.slow and not (
        isinstance(callee, ex.Attribute) and imports_slow(program, scope.module)
    ):
        return
    for symbol in program.resolver.resolve(callee, scope):
        if isinstance(symbol, External):
            yield symbol.name
    if isinstance(callee, ex.Attribute):
        for made in _origins(program, callee.base, scope):
            yield f"{made}.{callee.name}"


def _origins(program: Program, receiver: ex.Expression, scope: Scope) -> Iterator[str]:
    """The qualified names of the classes of an object, and of the functions that made it."""
    if _is_in_process(program, receiver, scope):
        return
    for symbol in program.resolver.resolve(receiver, scope):
        if isinstance(symbol, Instance) and isinstance(symbol.of, External):
            yield symbol.of.name
    dotted = ex.dotted(receiver)
    calls = (
        [(receiver, scope)] if isinstance(receiver, ex.Call) else constructors(program, dotted, scope) if dotted else []
    )
    for call, where in calls:
        yield from (s.name for s in program.resolver.resolve(call.func, where) if isinstance(s, External))


def _is_in_process(program: Program, receiver: ex.Expression, scope: Scope) -> bool:
    """Whether a client goes over no network: one that a test is given by a fixture, or that calls an app directly."""
    parameters = scope.functions[-1].parameters if scope.functions and is_test(scope.module.path) else ()
    if any(ex.Name(parameter.name) == receiver for parameter in parameters):
        return True
    return any(_calls_app(program, value, where) for value, where in _definitions(program, receiver, scope))


def _calls_app(program: Program, value: ex.Expression, scope: Scope) -> bool:
    while isinstance(value, (ex.Await, ex.Entered)):
        value = value.value
    given = dict(value.keywords) if isinstance(value, ex.Call) else {}
    transport = given.get("transport")
    made = [(transport, scope), *_definitions(program, transport, scope)] if transport is not None else []
    names = {original(each, where) for each, where in made if isinstance(each, ex.Call)}
    return "app" in given or not names.isdisjoint(program.calls.in_process)


def _definitions(program: Program, value: ex.Expression, scope: Scope) -> Iterator[tuple[ex.Expression, Scope]]:
    if isinstance(value, ex.Call):
        yield value, scope
    elif isinstance(value, (ex.Name, ex.Attribute)):
        yield from Definitions(program).of(value, scope)


def _is_known(program: Program, name: str) -> bool:
    return name in program.calls.slow or (
        name.rpartition(".")[2] not in _QUICK and any(fnmatchcase(name, p) for p in program.calls.slow_patterns)
    )


_QUICK = frozenset({"can_paginate", "close", "generate_presigned_post", "generate_presigned_url", "get_paginator"})
"""Methods of a client that send nothing."""
