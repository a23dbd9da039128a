"""From the arguments of a ``def`` to its parameters.

def load(dsn, /, *paths, limit: int = 5)   →   dsn, *paths and limit, each with its kind, annotation and default
"""

from __future__ import annotations

import ast

from leakcheck.expression import annotation, from_ast
from leakcheck.project.facts import Parameter


def parameters_of(arguments: ast.arguments) -> list[Parameter]:
    """The parameters of a function, in the order in which they are written."""
    found = []
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    for arg, default in zip(positional, defaults, strict=True):
        found.append(_parameter(arg, default, "positional"))
    if arguments.vararg:
        found.append(_parameter(arguments.vararg, None, "*"))
    for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(_parameter(arg, default, "keyword"))
    if arguments.kwarg:
        found.append(_parameter(arguments.kwarg, None, "**"))
    return found


def _parameter(arg: ast.arg, default: ast.expr | None, kind: str) -> Parameter:
    note = annotation(from_ast(arg.annotation)) if arg.annotation else None
    return Parameter(arg.arg, note, from_ast(default) if default is not None else None, kind)
