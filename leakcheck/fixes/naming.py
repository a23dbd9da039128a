"""A checkout without a name or a line of its own gets one first; the other shapes do the rest.

    rows = pool.getconn().cursor()               →     conn = pool.getconn()
                                                       rows = conn.cursor()

    conn = pool.getconn(); cur = conn.cursor()   →     conn = pool.getconn()
                                                       cur = conn.cursor()

    connect(path)                                →     connect(path).close()

A name only where nothing but names, attributes and literals is evaluated in its statement before the checkout, and the
checkout always: then nothing changes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import libcst as cst

from leakcheck.cfg.walk import is_pure, reduce
from leakcheck.diagnostic import Applicability, Edit, Position, Span
from leakcheck.fixes.shapes import TRY_FINALLY, Shape
from leakcheck.fixes.splice import in_place, lines_of
from leakcheck.fixes.tree import RefusedError, only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.found import Found
    from leakcheck.source import Source

_Part = TypeVar("_Part", bound=cst.CSTNode)
_NAMES = {"session": ("session", "db_session"), "client": ("client", "db_client")}
_OTHER_NAMES = ("conn", "connection", "db_conn")
_USING = (cst.Attribute, cst.Expr)
_GIVING = (cst.Arg, cst.Comparison)
"""What holds a checkout that is used at once, and one that is, unless what it passes through gives it to a variable."""


def is_unnamed(tree: Tree, found: Found) -> bool:
    """Whether the checkout is only a part of an expression."""
    parent = tree.parent(found.call.node)
    if isinstance(parent, cst.Await):
        parent = tree.parent(parent)
    return isinstance(parent, _USING) or (isinstance(parent, _GIVING) and found.effects.bound_to is None)


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


def is_dropped(tree: Tree, found: Found) -> bool:
    """Whether nothing is done with what the checkout takes: it is a statement of its own."""
    statement = tree.statement(found.call.node)
    return isinstance(small := only(statement), cst.Expr) and small.value is _taken(tree, found)


def given_back(tree: Tree, found: Found, source: Source) -> Shape:
    """The rewrite by which a checkout that nobody uses is given back at once. Raises RefusedError."""
    statement, taken, resource = tree.statement(found.call.node), _taken(tree, found), found.acquisition.resource
    block = tree.block(statement) if statement is not None else None
    row = tree.row(found.call.node)
    refusal = RefusedError(f"line {row} does nothing with what it takes")
    if block is None or found.acquisition.steps or "leaving" in resource.release or found.acquisition.takes_receiver:
        raise refusal
    text, pool = tree.text(taken), found.acquisition.pool
    if ("{pool}" in resource.release and pool is None) or ("await" in resource.release and not tree.unit.is_async):
        raise refusal
    release = resource.release.format(name=f"({text})" if taken is not found.call.node else text, pool=pool)
    assert isinstance(statement, cst.SimpleStatementLine)
    given = statement.with_changes(body=[cst.Expr(cst.parse_expression(release))])
    message, applicability = "Give it back at once, since nothing is done with it", Applicability.SAFE
    if "{pool}" in resource.release:
        message, applicability = f"{message}; somebody may count on fewer in `{pool}`", Applicability.UNSAFE
    return Shape(TRY_FINALLY, message, (in_place(tree, block, statement, [given], source),), applicability)


def _taken(tree: Tree, found: Found) -> cst.CSTNode:
    """The checkout with its ``await``, where it has one."""
    parent = tree.parent(found.call.node)
    return parent if isinstance(parent, cst.Await) else found.call.node


def is_optional(tree: Tree, found: Found) -> bool:
    """Whether `python -O` leaves out the statement of the checkout."""
    return isinstance(only(tree.statement(found.call.node)), cst.Assert)


def named(tree: Tree, found: Found, source: Source) -> Edit:
    """The edit that gives the checkout a name in front of its statement. Raises RefusedError."""
    call, taken = found.call.node, _taken(tree, found)
    statement = tree.statement(call)
    row = tree.row(call)
    block = tree.block(statement) if statement is not None else None
    if statement is None or block is None or found.acquisition.position is not None or found.acquisition.takes_receiver:
        raise RefusedError(f"line {row} has no room for a name in front of it")
    if not isinstance(tree.root, cst.FunctionDef) or tree.is_nested(call):
        raise RefusedError(f"line {row} is no statement of a function")
    if not _is_first(tree, taken, statement):
        raise RefusedError(f"line {row} does something else before the checkout, which a name would move")
    name = _free_name(tree, found)
    assert isinstance(taken, cst.BaseExpression)
    target = cst.AssignTarget(cst.Name(name))
    leading = statement.leading_lines  # type: ignore[attr-defined]  # every statement in a block has them
    bare = taken.with_changes(lpar=[], rpar=[])
    take = cst.SimpleStatementLine([cst.Assign([target], bare)], leading_lines=leading)
    rest = [statement.deep_replace(taken, cst.Name(name)).with_changes(leading_lines=[])]
    return in_place(tree, block, statement, [take, *rest], source)


def _free_name(tree: Tree, found: Found) -> str:
    """A name that the function, and what is nested in it, does not know. Raises RefusedError."""
    names = _NAMES.get(found.acquisition.resource.noun, _OTHER_NAMES)
    free = tree.free_name(names)
    if free is None:
        row = tree.row(found.call.node)
        raise RefusedError(f"`{'` and `'.join(names)}` are in use already: give the checkout of line {row} a name")
    return free


def _is_first(tree: Tree, taken: cst.CSTNode, statement: cst.CSTNode) -> bool:
    """Whether the checkout is evaluated for certain, and before all of its statement that can be seen from outside."""
    current = taken
    while current is not statement:
        around = tree.parent(current)
        if around is None:
            return False
        before = _before(around, current)
        if before is None or not all(is_pure(reduce(one)) for one in before):
            return False
        current = around
    return True


def _before(around: cst.CSTNode, part: cst.CSTNode) -> Sequence[cst.BaseExpression] | None:
    """What is evaluated before a part of an expression or statement; None where the part may not be evaluated once."""
    match around:
        case cst.Attribute() | cst.Await() | cst.UnaryOperation() | cst.Arg() | cst.Element() | cst.ComparisonTarget():
            return ()
        case cst.Expr() | cst.Return() | cst.WithItem() | cst.SimpleStatementLine(body=[_]):
            return ()
        case cst.Call(func=func, args=args):
            given = _up_to(args, part)
            return () if part is func else None if any(a.star for a in given) else (func, *(a.value for a in given))
        case cst.Comparison(left=left, comparisons=[first, *_]) if part is left or part is first:
            return () if part is left else (left,)
        case cst.BinaryOperation(left=left, right=right):
            return () if part is left else (left,) if part is right else None
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            first_ones = _up_to(elements, part)
            return None if any(isinstance(e, cst.StarredElement) for e in first_ones) else [e.value for e in first_ones]
        case cst.Subscript(value=first) | cst.BooleanOperation(left=first) | cst.Assert(test=first):
            pass
        case cst.Assign(value=first) | cst.AnnAssign(value=first) | cst.For(iter=first) | cst.CompFor(iter=first):
            pass
        case cst.ListComp(for_in=first) | cst.SetComp(for_in=first) | cst.DictComp(for_in=first):
            pass
        case cst.GeneratorExp(for_in=first) | cst.With(items=[first, *_]):
            pass
        case _:
            return None
    return () if part is first else None


def _up_to(parts: Sequence[_Part], part: cst.CSTNode) -> Sequence[_Part]:
    """The parts in front of one."""
    return parts[: next((i for i, one in enumerate(parts) if one is part), 0)]


def joined(before: str, after: str, kept: Sequence[Edit]) -> tuple[Edit, ...]:
    """``kept``, and one edit that makes ``after`` of ``before`` without them."""
    old, new = lines_of(before), lines_of(after)
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    span = Span(Position(start + 1, 1), Position(len(old) - end + 1, 1))
    return (*kept, Edit(span, "".join(new[start : len(new) - end])))
