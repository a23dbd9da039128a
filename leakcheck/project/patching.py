r"""The tree of a text that differs in a few rows from one whose tree is known: only what changed is parsed.

    patched(tree, "a = f()\nb = 1\n", "a = f()\nb = 2\n")   →   a tree with the node of `a = f()`, and a new one for `b`

Module-level statements before and after the changed rows are taken from the former tree: the same nodes, so that what
is known of them stays known. A change that reaches beyond its own statements, as one that opens a string or begins
with ``else:`` does, is no Python on its own; the whole text is parsed then.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONE_RETURN = re.compile(r"\r(?!\n)")
"""Ends a row for Python's tokenizer."""


def patched(tree: ast.Module, before: str, after: str, parse: Callable[[str], ast.Module]) -> ast.Module | None:
    """The tree of ``after``, made from ``tree``, that of ``before``; None where the whole text must be parsed.

    ``parse`` gives the tree of a text, and raises SyntaxError or ValueError where it is no Python.
    """
    old, new = before.split("\n"), after.split("\n")
    if len(old) != len(new) or _LONE_RETURN.search(before) or _LONE_RETURN.search(after):
        return None
    changed = [row for row, (one, other) in enumerate(zip(old, new, strict=True), 1) if one != other]
    if not changed:
        return tree
    head = [each for each in tree.body if _last_row(each) < changed[0]]
    tail = [each for each in tree.body if _first_row(each) > changed[-1]]
    first = _last_row(head[-1]) + 1 if head else 1
    last = _first_row(tail[0]) - 1 if tail else len(new)
    between = tree.body[len(head) : len(tree.body) - len(tail)]
    if any(_first_row(each) < first or _last_row(each) > last for each in between):
        return None  # they share a row: `a = 1; b = 2`
    if (head and new[first - 2].endswith("\\")) or (tail and new[last - 1].endswith("\\")):
        return None  # the statement goes on in what looks like an empty row
    try:
        middle = parse("\n" * (first - 1) + "\n".join(new[first - 1 : last]) + "\n" * bool(tail))
    except (SyntaxError, ValueError):
        return None
    return ast.Module(body=[*head, *middle.body, *tail], type_ignores=[])


def _first_row(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(each.lineno for each in decorators)])


def _last_row(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno
