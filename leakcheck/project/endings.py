"""How a function ends, from its syntax alone: whether it can return, and the call that it ends by.

def fail(message): raise RuntimeError(message)      →   never returns
def die(message): print(message); sys.exit(1)       →   ends by `sys.exit`
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from leakcheck.expression import Expression, from_ast, last_name
from leakcheck.project.nodes import children

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NEVER = frozenset({"NoReturn", "Never"})
_STUB = "NotImplementedError"
"""Raised by what somebody else is to write: it says nothing of what will be written."""


def never_returns(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function says that it never returns, or ends by ``raise`` on every path."""
    if node.returns is not None and last_name(from_ast(node.returns)) in _NEVER:
        return True
    return _raises(node.body) and not any(isinstance(n, ast.Return) for n in _own(node))


def is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function only says that somebody else is to write it."""
    match _last(node.body):
        case ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name))):
            return name == _STUB
        case _:
            return False


def last_call(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Expression | None:
    """What a function calls in its last statement, where no other way leads out of it."""
    last = _last(node.body)
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call)):
        return None
    return None if any(isinstance(n, ast.Return) for n in _own(node)) else from_ast(last.value.func)


def _own(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The statements of the function itself, without those of functions and classes in it."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            pending.extend(children(node))


def _last(body: Sequence[ast.stmt]) -> ast.stmt | None:
    """The statement that a body ends by, inside of what is always entered."""
    last = body[-1] if body else None
    while isinstance(last, ast.If) and isinstance(last.test, ast.Constant) and last.test.value is True:
        last = last.body[-1]
    return last


def _raises(body: Sequence[ast.stmt]) -> bool:
    """Whether control cannot run past the last statement, since it raises."""
    match _last(body):
        case ast.Raise(exc=None):
            return True
        case ast.Raise(exc=raised):
            called = raised.func if isinstance(raised, ast.Call) else raised
            return last_name(from_ast(called)) != _STUB if called is not None else True
        case ast.If(body=then, orelse=otherwise):
            return _raises(then) and _raises(otherwise)
        case _:
            return False
