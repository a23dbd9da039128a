"""By which parameter a caller is spared a pool of its own: one is built only where it is None.

def __init__(self, url=None, engine=None):
    if engine is None:
        engine = create_engine(url)             spared by ``engine``

Store(engine=app.state.engine)                  builds none
Store(url=URL), Store(engine=None)              build one
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from leakcheck.handlers.arguments import given, parameters
from leakcheck.handlers.deciding import deciding
from leakcheck.project.nodes import walk

if TYPE_CHECKING:
    from leakcheck.handlers.syntax import Definition, Tree


def sparing(tree: Tree, call: ast.expr) -> frozenset[str]:
    """The parameters of the function around ``call`` each of which must be None for it to run."""
    function = tree.within(call)
    if function is None:
        return frozenset()
    aliases = _aliases(function)
    tests = [(test, holds) for test, holds in deciding(tree, call, function) if isinstance(test, ast.expr)]
    absent = {name for test, holds in tests if holds is not None for name in _absent(test, holds=holds)}
    return frozenset({aliases.get(name, name) for name in absent} & _optional(function))


def handed_on(
    tree: Tree, call: ast.Call, definition: Definition, spared: frozenset[str], *, bound: bool
) -> frozenset[str] | None:
    """The parameters of the function around ``call`` that it gives for these of ``definition``.

    None where it gives something else for one, so that no pool is built. ``bound``: the first parameter is given by
    itself.
    """
    around = tree.within(call)
    own = {*parameters(around), *(a.arg for a in around.args.kwonlyargs)} if around is not None else set()
    handed: set[str] = set()
    for value in (value for name, value in given(call, definition, bound=bound) if name in spared):
        if isinstance(value, ast.Name) and value.id in own:
            handed.add(value.id)
        elif not (isinstance(value, ast.Constant) and not value.value):
            return None
    return frozenset(handed)


def _optional(function: Definition) -> set[str]:
    """The parameters that are None by default: where another value counts as none, too, a flag is none of them."""
    names, defaults = parameters(function), function.args.defaults
    by_default = [*zip(names[len(names) - len(defaults) :], defaults, strict=True)]
    by_default += [(a.arg, d) for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d]
    return {name for name, default in by_default if isinstance(default, ast.Constant) and default.value is None}


def _absent(test: ast.expr, *, holds: bool) -> set[str]:
    """The names that are None, or nothing, where a test holds or does not."""
    match test:
        case ast.Name(id=name):
            return set() if holds else {name}
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _absent(operand, holds=not holds)
        case (
            ast.Compare(left=ast.Name(id=name), ops=[op], comparators=[ast.Constant(value=None)])
            | ast.Compare(left=ast.Constant(value=None), ops=[op], comparators=[ast.Name(id=name)])
        ):
            return {name} if isinstance(op, (ast.Is, ast.Eq) if holds else (ast.IsNot, ast.NotEq)) else set()
        case ast.BoolOp(op=op, values=values) if isinstance(op, ast.And if holds else ast.Or):
            return {name for value in values for name in _absent(value, holds=holds)}
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
