"""By which parameter a caller is spared a pool of its own: one is built only where it is None, or is none of a class.

def __init__(self, url=None, engine=None):
    if engine is None:
        engine = create_engine(url)             spared by ``engine``

Store(engine=app.state.engine)                  builds none
Store(url=URL), Store(engine=None)              build one

def __init__(self, source):
    if not isinstance(source, Engine):
        source = create_engine(source)          spared by a ``source`` that is an Engine

Store(engine)                                   builds none
Store(URL)                                      builds one
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.handlers.arguments import given, parameters
from leakcheck.handlers.deciding import deciding
from leakcheck.project.names import original
from leakcheck.project.nodes import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from leakcheck.handlers.syntax import Definition, Tree
    from leakcheck.project.names import Scope


Spared = frozenset[tuple[str, str]]
"""Parameters, each with the name of the class that it must not be of for a pool to be built; "": it must be None."""


def sparing(tree: Tree, call: ast.expr) -> Spared:
    """The parameters of the function around ``call`` each of which must be None for it to run, or of no such class."""
    function = tree.within(call)
    if function is None:
        return frozenset()
    aliases = _aliases(function)
    tests = [(test, holds) for test, holds in deciding(tree, call, function) if isinstance(test, ast.expr)]
    scope = tree.scope(call)
    absent = {each for test, holds in tests if holds is not None for each in _absent(test, scope, holds=holds)}
    known = {"": _optional(function)}
    own = _parameters(function)
    return frozenset((aliases.get(n, n), cls) for n, cls in absent if aliases.get(n, n) in known.get(cls, own))


def handed_on(
    tree: Tree,
    call: ast.Call,
    definition: Definition,
    spared: Spared,
    is_one: Callable[[ast.expr, str], bool],
    *,
    bound: bool,
) -> Spared | None:
    """The parameters of the function around ``call`` that it gives for these of ``definition``.

    None where it gives something else for one, so that no pool is built. ``is_one``: whether a value is known to be
    of a class. ``bound``: the first parameter is given by itself.
    """
    around = tree.within(call)
    own = _parameters(around) if around is not None else set()
    handed: set[tuple[str, str]] = set()
    values = [(value, cls) for name, value in given(call, definition, bound=bound) for n, cls in spared if n == name]
    for value, cls in values:
        if cls and is_one(value, cls):
            return None
        if isinstance(value, ast.Name) and value.id in own:
            handed.add((value.id, cls))
        elif not cls and not (isinstance(value, ast.Constant) and not value.value):
            return None
    return frozenset(handed)


def _parameters(function: Definition) -> set[str]:
    return {*parameters(function), *(a.arg for a in function.args.kwonlyargs)}


def _optional(function: Definition) -> set[str]:
    """The parameters that are None by default: where another value counts as none, too, a flag is none of them."""
    names, defaults = parameters(function), function.args.defaults
    by_default = [*zip(names[len(names) - len(defaults) :], defaults, strict=True)]
    by_default += [(a.arg, d) for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d]
    return {name for name, default in by_default if isinstance(default, ast.Constant) and default.value is None}


def _absent(test: ast.expr, scope: Scope, *, holds: bool) -> set[tuple[str, str]]:
    """The names that are None, or nothing, or of none of a class, where a test holds or does not."""
    match test:
        case ast.Name(id=name):
            return set() if holds else {(name, "")}
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _absent(operand, scope, holds=not holds)
        case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=name), cls]) if not holds:
            classes = cls.elts if isinstance(cls, ast.Tuple) else [cls]
            return {(name, word) for each in classes if (word := original(ex.from_ast(each), scope))}
        case (
            ast.Compare(left=ast.Name(id=name), ops=[op], comparators=[ast.Constant(value=None)])
            | ast.Compare(left=ast.Constant(value=None), ops=[op], comparators=[ast.Name(id=name)])
        ):
            return {(name, "")} if isinstance(op, (ast.Is, ast.Eq) if holds else (ast.IsNot, ast.NotEq)) else set()
        case ast.BoolOp(op=op, values=values) if isinstance(op, ast.And if holds else ast.Or):
            return {each for value in values for each in _absent(value, scope, holds=holds)}
        case _:
            return set()


def _aliases(function: Definition) -> dict[str, str]:
    """Local names that start as a parameter: ``_engine = engine``."""
    found: dict[str, str] = {}
    for node in walk(function):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=value))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Name(id=value))
            ):
                found.setdefault(name, value)
            case _:
                pass
    return found
