"""What decides whether an expression runs: the tests around it, and those before it that lead out of the function.

if not url:
    return None                  False: it did not hold
if pool is None:                 True: it holds
    pool = create_pool(url)
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from leakcheck.handlers.places import chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.handlers.syntax import Tree

Deciding = tuple[ast.AST, bool | None]
"""A test, or the statement of a ``try`` that fails where nothing is there yet, and whether it holds if that is sure."""
_ABSENCE = frozenset({"KeyError", "AttributeError", "LookupError", "NameError"})


def deciding(tree: Tree, node: ast.expr, outermost: ast.AST | None) -> Iterator[Deciding]:
    """What decides within ``outermost`` whether ``node`` runs, from the inside out."""
    for above, child in tree.around(node):
        match above:
            case ast.If(test=test, body=body) | ast.While(test=test, body=body) if test is not child:
                yield test, (child in body if isinstance(above, ast.If) else None)
            case ast.IfExp(test=test, body=then) if test is not child:
                yield test, child is then
            case ast.BoolOp(op=ast.Or(), values=values):
                yield from ((value, False) for value in values[: next(i for i, v in enumerate(values) if v is child)])
            case ast.Try(body=body, handlers=handlers) if child in handlers:
                if _is_absence(child):
                    yield from ((statement, None) for statement in body)
            case _:
                pass
        for before in _earlier(above, child):
            match before:
                case ast.If():
                    yield from _leading_out(before, is_asked=True)
                case ast.Try(body=body, handlers=handlers) if any(map(_is_absence, handlers)):
                    yield from ((statement, None) for statement in body if isinstance(statement, ast.Return))
                case ast.With(body=body) | ast.AsyncWith(body=body):
                    for inner in body:
                        yield from _leading_out(inner, is_asked=True)
                case _:
                    pass
        if above is outermost:
            return


def _leading_out(statement: ast.stmt, *, is_asked: bool) -> Iterator[Deciding]:
    """The tests of an ``if``, of its ``elif`` and of those in it, behind which the function returns.

    ``is_asked``: who comes behind the statement has had its test answered.
    """
    if not isinstance(statement, ast.If):
        return
    always = isinstance(statement.body[-1], ast.Return)
    if _returns(statement.body):
        yield statement.test, (False if always and is_asked else None)
    for inner in statement.body:
        yield from _leading_out(inner, is_asked=False)
    for inner in statement.orelse:
        yield from _leading_out(inner, is_asked=is_asked and always)


def _returns(body: list[ast.stmt]) -> bool:
    """Whether a block returns if nothing raises in it: what is kept may be asked before whether it still works."""
    return any(
        isinstance(s, ast.Return) or (isinstance(s, (ast.Try, ast.With, ast.AsyncWith)) and _returns(s.body))
        for s in body
    )


def _earlier(above: ast.AST, child: ast.AST) -> Iterator[ast.stmt]:
    """The statements of the same block before ``child``."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(above, name, None)
        if isinstance(block, list) and child in block:
            yield from block[: block.index(child)]


def _is_absence(handler: ast.AST) -> bool:
    """Whether a handler is there for what is not there yet."""
    caught = handler.type if isinstance(handler, ast.ExceptHandler) else None
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any((chain(n) or "").rpartition(".")[2] in _ABSENCE for n in names if n is not None)
