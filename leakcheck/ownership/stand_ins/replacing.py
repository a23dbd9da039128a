"""Where a file puts something else in the place of a name: by ``patch``, ``setattr``, in ``sys.modules``, by hand.

patch("shop.db.psycopg2.connect")   →   Replaced(Constant("shop.db.psycopg2.connect"))
shop.db.pool = MagicMock()          →   Replaced(Constant("shop.db.pool"), by=Call(Name("MagicMock")), by_hand=True)
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct, field

from leakcheck import expression as ex
from leakcheck.project.facts import SELF
from leakcheck.project.nodes import children, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODULES = "sys.modules"
PATCHERS = frozenset({"monkeypatch", "mocker"})
"""Fixtures of pytest and its plugins by which something is replaced until the test ends."""
PATCHING = (b"patch", b"setattr", b"setitem", b"modules", b"mocker")
"""One of these is in all text that replaces something otherwise than by hand."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_GIVEN = ("new", "wraps", "side_effect")
"""What ``patch`` is told of that takes the place of what it replaces."""
_OPTIONS = frozenset({"spec", "create", "spec_set", "autospec", "new_callable"})


class Replaced(Struct, frozen=True):
    """A name that something else takes the place of: ``target`` is its dotted text, or gives it.

    ``by`` is what takes its place, where that is told; it ``ends`` with the block or function that it stands at.
    """

    target: ex.Expression
    by: ex.Expression | None = None
    by_hand: bool = False
    ends: bool = False


class Written(Struct):
    """What is replaced in a file: by its functions, by the rows of these, by itself, and by what it has a name for."""

    functions: dict[int, tuple[Replaced, ...]] = field(default_factory=dict)
    top: list[Replaced] = field(default_factory=list)
    named: dict[str, list[Replaced]] = field(default_factory=dict)
    """``NO_DATABASE = patch("shop.db.connect")`` replaces it where a function mentions the name."""
    mentioned: dict[int, frozenset[str]] = field(default_factory=dict)
    """The names that functions mention, by the rows of these; only where the file has a name for something."""


def written_in(tree: ast.Module) -> Written:
    """What is replaced in a file."""
    found, functions = Written(), list[ast.FunctionDef | ast.AsyncFunctionDef]()
    pending: list[ast.AST] = [tree]
    for place in pending:
        for node in children(place):
            if isinstance(node, _FUNCTIONS):
                functions.append(node)
            elif isinstance(node, (ast.ClassDef, ast.If, ast.Try)):
                pending.append(node)
            elif isinstance(node, ast.stmt):
                _at_top(node, found)
    for function in functions:
        found.functions[function.lineno] = tuple(_replaced_in(function))
        if found.named:
            found.mentioned[function.lineno] = frozenset(n.id for n in walk(function) if isinstance(n, ast.Name))
    return found


def _at_top(statement: ast.stmt, found: Written) -> None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            found.named.setdefault(name, []).extend(_replaced_in(value))
            if not found.named[name]:
                del found.named[name]
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="start"))):
            found.top += found.named.get(name, ())
        case _:
            found.top += _replaced_in(statement)


def _replaced_in(root: ast.AST) -> Iterator[Replaced]:
    """What is replaced somewhere below a node."""
    pending: list[tuple[ast.AST, bool, bool]] = [(root, False, True)]
    while pending:
        node, ends, by_hand = pending.pop()
        match node:
            case ast.Call():
                yield from replaced_by(ex.from_ast(node), ends=ends)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _assigned(target, ex.from_ast(value), by_hand=by_hand)
            case _:
                pass
        passing = [*getattr(node, "decorator_list", ()), *getattr(node, "items", ())]
        within = by_hand and not isinstance(node, ast.ClassDef)  # what a stand-in does to itself is its own affair
        pending += [(child, ends or child in passing, within) for child in children(node)]


def _assigned(target: ast.expr, value: ex.Expression, *, by_hand: bool) -> Iterator[Replaced]:
    match ex.from_ast(target):
        case ex.Item(base=base, index=ex.Constant(value=str()) as name) if ex.dotted(base) == _MODULES:
            yield Replaced(name, value)
        case ex.Attribute(base=base) as attribute if by_hand and (owner := ex.dotted(base)) and owner not in SELF:
            yield Replaced(ex.Constant(f"{owner}.{attribute.name}"), value, by_hand=True)
        case _:
            pass


def replaced_by(call: ex.Expression, *, ends: bool = False) -> Iterator[Replaced]:
    """What a call replaces: ``patch("a.b")``, ``patch.object(a, "b")``, ``monkeypatch.setattr(a, "b", …)``."""
    if not isinstance(call, ex.Call):
        return
    name = (ex.last_name(call.func) or "").lstrip("_")  # `from unittest.mock import patch as _patch`
    of = (ex.last_name(call.func.base) or "").lstrip("_") or None if isinstance(call.func, ex.Attribute) else None
    given = dict(call.keywords)
    told = next((given[word] for word in _GIVEN if word in given), None)
    match name, of, call.args:
        case "patch", _, (target, *rest):
            yield Replaced(target, rest[0] if rest else told, ends=ends)
        case ("object", "patch", (owner, attribute, *rest)) | ("setattr", _, (owner, attribute, *rest)) if (
            name == "object" or rest or "value" in given
        ):
            by = rest[0] if rest else given.get("value", told)
            yield Replaced(_member(owner, attribute), by, by_hand=of is None, ends=ends)
        case "setattr", str(), (target, by):
            yield Replaced(target, by, ends=ends)
        case "multiple", "patch", (owner, *_):
            members = [(ex.Constant(word), by) for word, by in call.keywords if word not in _OPTIONS]
            yield from (Replaced(_member(owner, word), by, ends=ends) for word, by in members)
        case "dict", "patch", (_, ex.Sequence(keys=keys, items=items), *_):
            yield from _keyed(keys, items, ends=ends)
        case "update", "modules", (ex.Sequence(keys=keys, items=items), *_):
            yield from _keyed(keys, items, ends=ends)
        case ("setitem", _, (_, key, by)) | ("setdefault", "modules", (key, by)):
            yield Replaced(key, by, ends=ends)
        case _ if not PATCHERS.isdisjoint(ex.dotted(a) or "" for a in call.args):  # `install(monkeypatch, "driver")`
            yield from (Replaced(a, ends=ends) for a in call.args if isinstance(a, ex.Constant))
        case _:
            pass


def _member(owner: ex.Expression, attribute: ex.Expression) -> ex.Expression:
    """The text of an attribute of what an expression, or its text, names."""
    text = ex.dotted(owner)
    named = owner if isinstance(owner, (ex.Constant, ex.Text)) else ex.Constant(text or "")
    return ex.joined((named, ex.Constant("."), attribute))


def _keyed(keys: tuple[object, ...], values: tuple[ex.Expression, ...], *, ends: bool) -> Iterator[Replaced]:
    for key, value in zip(keys, values, strict=False):
        if isinstance(key, str):
            yield Replaced(ex.Constant(key), value, ends=ends)
