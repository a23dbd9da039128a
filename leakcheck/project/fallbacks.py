"""What stands in for an import that fails.

A ``try`` that does ``from db import connect``, with a ``def connect()`` under its ``except ImportError:``, has the
fallback ``connect``.
"""

from __future__ import annotations

import ast

_FAILURES = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
"""What a handler names that is run where an import fails."""


def fallbacks_of(node: ast.Try) -> set[str]:
    """The names that the body of a ``try`` imports and that a handler of it binds where an import fails."""
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for statement in node.body
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        for alias in statement.names
    }
    if not imported:
        return imported
    handlers = [handler for handler in node.handlers if _meets_failure(handler)]
    return imported.intersection(name for handler in handlers for s in handler.body for name in _bound(s))


def _meets_failure(handler: ast.ExceptHandler) -> bool:
    match handler.type:
        case None:
            return True
        case ast.Tuple(elts=kinds):
            return any(isinstance(kind, ast.Name) and kind.id in _FAILURES for kind in kinds)
        case ast.Name(id=kind):
            return kind in _FAILURES
        case _:
            return False


def _bound(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case _:
            return []
