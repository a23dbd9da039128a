"""Places that outlive a call: where a pool can be kept for the next one.

_pool        after ``global _pool``, or read from the module    lasts
app.state.pool, cls._pools[key]                                 lasts
self.pool                                                       as long as the object
self._pools[key], where the body of the class makes _pools      lasts
request.state.pool, g.pool, pool                                no longer than the call
"""

from __future__ import annotations

import ast
from enum import IntEnum
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.names import Class, External, original
from leakcheck.project.nodes import children, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.handlers.syntax import Definition, Tree
    from leakcheck.ownership.program import Program

_TRANSIENT_ROOTS = frozenset({
    "request", "req", "g", "scope", "environ", "info", "websocket", "event", "message", "update", "interaction", "ctx",
    "context", "session",
})  # fmt: skip
"""Parameters that are made for one run."""
_LASTING_PARTS = frozenset(
    {"app", "application", "bot", "client", "bot_data", "server", "__class__", "lifespan_context"}
)
"""Attributes of such parameters that lead to what outlives it."""


_MAKING = frozenset({"make", "create", "new", "build", "load", "parse", "read", "init"})
"""What functions are called that give something new."""


_COPYING = frozenset({"BaseModel", "SQLModel", "BaseSettings"})
"""Bases that give each object a copy of what the body of the class makes."""


class Lasting(IntEnum):
    """How long a place lasts."""

    CALL = 0
    OBJECT = 1
    PROCESS = 2


def chain(node: ast.AST) -> str | None:
    """The place that an expression names, without its subscripts: ``_pools`` of ``_pools[key]``."""
    parts: list[str] = []
    while True:
        match node:
            case ast.Attribute(value=value, attr=attr):
                parts.append(attr)
                node = value
            case ast.Subscript(value=value) | ast.Await(value=value) | ast.NamedExpr(value=value):
                node = value
            case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]):
                return ".".join([name, "__class__", *reversed(parts)])
            case ast.Name(id=name):
                return ".".join([name, *reversed(parts)])
            case _:
                return None


def places(node: ast.AST) -> Iterator[str]:
    """The places that an expression reads."""
    pending = [node]
    while pending:
        current = pending.pop()
        match current:
            case ast.Call(
                func=ast.Name(id="hasattr" | "getattr"), args=[base, ast.Constant(value=str() as name), *rest]
            ):
                found = chain(base)
                if found is not None:
                    yield f"{found}.{name}"
                pending.extend(rest)
            case ast.Compare(
                left=ast.Constant(value=str() as name), comparators=[ast.Call(func=ast.Name(id="globals"))]
            ):
                yield name
            case ast.Call(func=ast.Attribute(value=receiver), args=args):
                pending.extend((receiver, *args))
            case ast.Name() | ast.Attribute() | ast.Subscript():
                found = chain(current)
                if found is not None:
                    yield found
                else:
                    pending.extend(children(current))
                if isinstance(current, ast.Subscript):
                    pending.append(current.slice)
            case _:
                pending.extend(children(current))


def lasting(
    program: Program, tree: Tree, function: Definition | None, place: str, transient: frozenset[str]
) -> Lasting:
    """How long what is kept in ``place`` by ``function`` lasts."""
    root, _, rest = place.partition(".")
    parts = set(rest.split("."))
    if function is None:
        return Lasting.PROCESS
    if root == "self":
        of_class = "__class__" in parts or _is_shared(program, tree, function, rest.partition(".")[0])
        return Lasting.PROCESS if of_class else Lasting.OBJECT
    if root == "cls":
        return Lasting.PROCESS
    names = tree.names(function)
    if root in names.declared:
        return Lasting.PROCESS
    if root in _TRANSIENT_ROOTS and parts.isdisjoint(_LASTING_PARTS):
        return Lasting.CALL
    if root in names.bound:
        kept = rest or _is_fetched_store(tree, function, root) or _is_common_default(function, root)
        return Lasting.PROCESS if kept else Lasting.CALL
    symbols = program.resolver.name(root, tree.scope(function.body[0]))
    if any(isinstance(s, External) and s.name in transient for s in symbols):
        return Lasting.CALL
    return Lasting.PROCESS


def _is_fetched_store(tree: Tree, function: Definition, name: str) -> bool:
    """Whether items are kept in what some function gives that makes no new one: ``store = app_store()``."""
    given: list[ast.expr] = []
    keeps = False
    for node in walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                given.append(value)
            case ast.Subscript(value=ast.Name(id=target), ctx=ast.Store()) if target == name:
                keeps = True
            case _:
                pass
    match given:
        case [ast.Call(func=ast.Name() | ast.Attribute() as maker)] if keeps:
            words = original(ex.from_ast(maker), tree.scope(function.body[0])).split("_")
            return len(words) > 1 and words[0] not in _MAKING and _TRANSIENT_ROOTS.isdisjoint(words)
        case _:
            return False


def _is_common_default(function: Definition, name: str) -> bool:
    """Whether a parameter is, unless something is given for it, one container that all calls have: ``cache={}``."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    default = next((default for argument, default in pairs if argument.arg == name), None)
    return isinstance(default, (ast.Dict, ast.List, ast.Call))


def _is_shared(program: Program, tree: Tree, function: Definition, attribute: str) -> bool:
    """Whether all objects have one container by this name: the body of the class makes it, and no method another."""
    facts = tree.facts_of(function)
    if facts is None or facts.owner is None:
        return False
    found = False
    for _, cls, _ in program.resolver.hierarchy.lineage(Class(tree.path, facts.owner)):
        if any(ex.last_name(base) in _COPYING for base in cls.bases) or attribute in cls.factories:
            return False
        for value, method in cls.attributes.get(attribute, ()):
            if method is not None or not isinstance(value, (ex.Sequence, ex.Call)):
                return False
            found = True
    return found
