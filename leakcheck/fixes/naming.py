"""A checkout without a name or a line of its own gets one first; the other shapes do the rest.

    rows = pool.getconn().cursor()               →     conn = pool.getconn()
                                                       rows = conn.cursor()

    conn = pool.getconn(); cur = conn.cursor()   →     conn = pool.getconn()
                                                       cur = conn.cursor()

A name only where the checkout is the first thing that its statement evaluates: then nothing changes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import names_read
from leakcheck.diagnostic import Edit, Position, Span
from leakcheck.fixes.splice import in_place, lines_of
from leakcheck.fixes.tree import RefusedError, only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.found import Found
    from leakcheck.source import Source

_NAMES = {"session": "session", "client": "client"}


def is_unnamed(tree: Tree, found: Found) -> bool:
    """Whether the checkout is only a part of an expression."""
    parent = tree.parent(found.call.node)
    if isinstance(parent, cst.Await):
        parent = tree.parent(parent)
    return isinstance(parent, (cst.Attribute, cst.Expr))


def is_crowded(tree: Tree, found: Found) -> bool:
    """Whether other statements stand on the line of the checkout."""
    statement = tree.statement(found.call.node)
    return isinstance(statement, cst.SimpleStatementLine) and len(statement.body) > 1


def parted(tree: Tree, found: Found, source: Source) -> Edit:
    """The edit that gives each statement on the line of the checkout a line of its own. Raises RefusedError."""
    statement = tree.statement(found.call.node)
    block = tree.block(statement) if statement is not None else None
    if block is None or not isinstance(statement, cst.SimpleStatementLine):
        raise RefusedError(f"line {tree.row(found.call.node)} is the one-line body of a compound statement")
    bare = [one.with_changes(semicolon=cst.MaybeSentinel.DEFAULT) for one in statement.body]
    lines = [cst.SimpleStatementLine([one]) for one in bare]
    lines[0] = lines[0].with_changes(leading_lines=statement.leading_lines)
    lines[-1] = lines[-1].with_changes(trailing_whitespace=statement.trailing_whitespace)
    return in_place(tree, block, statement, lines, source)


def named(tree: Tree, found: Found, source: Source) -> Edit:
    """The edit that gives the checkout a name in front of its statement. Raises RefusedError."""
    call = found.call.node
    parent = tree.parent(call)
    taken = parent if isinstance(parent, cst.Await) else call
    statement = tree.statement(call)
    row = tree.row(call)
    block = tree.block(statement) if statement is not None else None
    if statement is None or block is None or found.acquisition.position is not None or found.acquisition.takes_receiver:
        raise RefusedError(f"line {row} has no room for a name in front of it")
    if not isinstance(tree.root, cst.FunctionDef) or tree.is_nested(call):
        raise RefusedError(f"line {row} is no statement of a function")
    if not _is_first(taken, statement):
        raise RefusedError(f"line {row} does something else before the checkout, which a name would move")
    name = _NAMES.get(found.acquisition.resource.noun, "conn")
    facts = tree.unit.scope.module.scope
    if name in names_read(tree.unit.part.module) or name in facts.assignments or name in facts.imports:
        raise RefusedError(f"`{name}` is in use already: give the checkout of line {row} a name")
    assert isinstance(taken, cst.BaseExpression)
    target = cst.AssignTarget(cst.Name(name))
    leading = statement.leading_lines  # type: ignore[attr-defined]  # every statement in a block has them
    bare = taken.with_changes(lpar=[], rpar=[])
    take = cst.SimpleStatementLine([cst.Assign([target], bare)], leading_lines=leading)
    rest = [statement.deep_replace(taken, cst.Name(name)).with_changes(leading_lines=[])]
    if isinstance(only(statement), cst.Expr) and getattr(only(statement), "value", None) is taken:
        raise RefusedError(f"line {row} does nothing with what it takes")
    return in_place(tree, block, statement, [take, *rest], source)


def _is_first(taken: cst.CSTNode, statement: cst.CSTNode) -> bool:
    """Whether the checkout is evaluated before anything else of the statement."""
    small = only(statement)
    match small if small is not None else statement:
        case cst.Expr(value=node) | cst.Return(value=node) | cst.Assign(value=node):
            pass
        case cst.For(iter=node):
            pass
        case _:
            return False
    while node is not taken:
        match node:
            case cst.Await(expression=inner) | cst.Attribute(value=inner) | cst.Subscript(value=inner):
                node = inner
            case cst.Call(func=cst.Attribute(value=inner)):
                node = inner
            case _:
                return False
    return True


def joined(before: str, after: str, kept: Sequence[Edit]) -> tuple[Edit, ...]:
    """``kept``, and one edit that makes ``after`` of ``before`` without them."""
    old, new = lines_of(before), lines_of(after)
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    span = Span(Position(start + 1, 1), Position(len(old) - end + 1, 1))
    return (*kept, Edit(span, "".join(new[start : len(new) - end])))
