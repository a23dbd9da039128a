"""Where the region of a checkout may be, the preferred place first.

    conn = connect()        conn = connect()        try:                      conn = None
    if conn:                cur = conn.cursor()         conn = connect()      try:
        …  ← within         …  ← behind             except Error:                 conn = connect()
                                                        return            ┌   except Error:
                                                    …  ← behind the try   └       log(…)   ← around

Behind a compound statement only where each other way through it leaves, or takes a connection, too. Around one, the
variable must be None before: then the release asks whether it holds anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import walk
from leakcheck.fixes.checkout import is_checkout
from leakcheck.fixes.guards import guards
from leakcheck.fixes.roles import is_mentioned
from leakcheck.fixes.tree import TRIES, only, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.found import Found

_LEAVING = (cst.Return, cst.Raise, cst.Continue, cst.Break)
_RAISING = (
    cst.Await, cst.Yield, cst.For, cst.While, cst.With, cst.Raise, cst.Assert, cst.Import, cst.ImportFrom, cst.Del,
    cst.Subscript, cst.CompFor, cst.Return, cst.Continue, cst.Break, cst.Try, cst.TryStar, cst.Match,
)  # fmt: skip
"""Statements and expressions that may raise or leave, besides calls."""


_JUMPING = (cst.Return, cst.Continue, cst.Break)


class Place(Struct, frozen=True):
    """The ``block`` of a region, the first statement that it rewrites, and the first that needs the connection.

    ``is_around``: the first statement holds the checkout itself; ``is_within``: the block is the body of ``if conn:``.
    """

    block: cst.IndentedBlock
    start: int
    first: int
    is_around: bool = False
    is_within: bool = False


def places(tree: Tree, found: Found, name: str, checkout: cst.BaseStatement) -> Iterator[Place]:
    """The places, those first that make the better reading."""
    block = tree.block(checkout)
    if block is None:
        return
    first = _index(block, checkout) + 1
    rest = block.body[first:]
    while rest and _only_binds_others(tree, rest[0], name):
        rest = rest[1:]
    if rest and _is_guarded(tree, rest, name):
        guard = rest[0]
        assert isinstance(guard, cst.If)
        assert isinstance(guard.body, cst.IndentedBlock)
        yield Place(guard.body, 0, 0, is_within=True)
    yield Place(block, first - 1, first)
    yield from _climbed(tree, found, name, checkout)


def _only_binds_others(tree: Tree, statement: cst.BaseStatement, name: str) -> bool:
    """Whether a statement only gives other variables a value: ``rows = []`` between the checkout and ``if conn:``."""
    match only(statement):
        case cst.Assign(targets=targets):
            bound = (node for each in targets for node in walk(each.target))
            only_names = all(isinstance(node, (cst.Name, cst.Tuple, cst.Element)) for node in bound)
            return only_names and is_quiet(tree, statement) and not is_mentioned(tree, name, statement)
        case _:
            return False


def _is_guarded(tree: Tree, rest: Sequence[cst.BaseStatement], name: str) -> bool:
    """Whether all that needs the connection is the body of an ``if conn:``, the first of these statements."""
    match rest[0]:
        case cst.If(test=test, body=cst.IndentedBlock(), orelse=orelse) if guards(test, name):
            others = [*rest[1:], *([orelse] if orelse is not None else [])]
            return not any(is_mentioned(tree, name, other) for other in others)
        case _:
            return False


def _climbed(tree: Tree, found: Found, name: str, checkout: cst.BaseStatement) -> Iterator[Place]:
    """The places behind, and around, the compound statements that hold the checkout and leave it to those behind."""
    inner: cst.BaseStatement = checkout
    is_certain = True
    while True:
        around = _compound(tree, inner)
        block = tree.block(around) if around is not None else None
        if around is None or block is None:
            return
        is_certain = is_certain and _is_certain(tree, found, name, around)
        index = _index(block, around)
        if is_certain:
            yield Place(block, index, index + 1)
        yield Place(block, index, index, is_around=True)
        inner = around


def _compound(tree: Tree, statement: cst.BaseStatement) -> cst.BaseStatement | None:
    """The ``if`` or ``try`` in one of whose blocks a statement is, None where it is in another kind of block."""
    for parent in tree.ancestors(statement):
        if isinstance(parent, (cst.If, *TRIES)):
            while isinstance(parent, cst.If) and isinstance(tree.parent(parent), cst.If):
                outer = tree.parent(parent)  # `elif` is an `if` in the `else`
                assert isinstance(outer, cst.If)
                if outer.orelse is not parent:
                    break
                parent = outer  # noqa: PLW2901  the whole chain is one statement
            return parent
        if not isinstance(parent, (cst.IndentedBlock, cst.Else, cst.ExceptHandler)):
            return None
    return None


def _is_certain(tree: Tree, found: Found, name: str, compound: cst.BaseStatement) -> bool:
    """Whether behind the compound statement the variable holds what one of its ways took, with no way out between."""
    match compound:
        case cst.If():
            return _branches_bind(tree, found, name, compound)
        case cst.Try(body=cst.IndentedBlock(body=body), handlers=handlers, orelse=orelse, finalbody=final):
            others = [*handlers, *([orelse] if orelse is not None else []), *([final] if final is not None else [])]
            if any(is_mentioned(tree, name, other) for other in others):
                return False
            quiet = all(part is None or is_quiet(tree, part.body) for part in (orelse, final))
            return quiet and _binds(tree, found, name, body) and all(leaves(tree, h.body) for h in handlers)
        case _:
            return False


def _branches_bind(tree: Tree, found: Found, name: str, branch: cst.If) -> bool:
    suites: list[cst.BaseSuite] = [branch.body]
    orelse = branch.orelse
    while isinstance(orelse, cst.If):
        suites.append(orelse.body)
        orelse = orelse.orelse
    if orelse is None:
        return False
    suites.append(orelse.body)
    return all(
        isinstance(suite, cst.IndentedBlock) and (leaves(tree, suite) or _binds(tree, found, name, suite.body))
        for suite in suites
    )


def _binds(tree: Tree, found: Found, name: str, body: Sequence[cst.CSTNode]) -> bool:
    """Whether the statements take a connection into the variable, and nothing behind that raises or leaves."""
    for index, statement in enumerate(body):
        taken = isinstance(statement, cst.BaseStatement) and is_checkout(tree, statement, found, name)
        if taken or (isinstance(statement, (cst.If, cst.Try)) and _is_certain(tree, found, name, statement)):
            return all(is_quiet(tree, later) for later in body[index + 1 :])
        if is_mentioned(tree, name, statement):
            return False
    return False


def always_takes(tree: Tree, found: Found, name: str, statement: cst.CSTNode) -> bool:
    """Whether every way through a statement that reaches its end takes a connection into the variable."""
    match statement:
        case cst.If(body=body, orelse=orelse):
            others = [orelse] if isinstance(orelse, cst.If) else [*(orelse.body.body if orelse is not None else ())]
            takes = any(always_takes(tree, found, name, one) for one in others)
            falls = isinstance(orelse, cst.If) or orelse is None or not leaves(tree, orelse.body)
            return (takes or not falls) and (
                leaves(tree, body) or any(always_takes(tree, found, name, one) for one in body.body)
            )
        case cst.Try(body=body, handlers=handlers):
            taken = any(always_takes(tree, found, name, one) for one in body.body)
            return taken and all(leaves(tree, handler.body) for handler in handlers)
        case _:
            return is_checkout(tree, statement, found, name)


def leaves(tree: Tree, suite: cst.BaseSuite) -> bool:
    """Whether no way through the suite reaches its end."""
    last = suite.body[-1] if suite.body else None
    match last:
        case cst.SimpleStatementLine(body=[*_, small]):
            return isinstance(small, _LEAVING) or _exits(tree, small)
        case cst.BaseSmallStatement():
            return isinstance(last, _LEAVING)
        case cst.If(body=body, orelse=cst.Else(body=other)):
            return leaves(tree, body) and leaves(tree, other)
        case _:
            return False


def _exits(tree: Tree, small: cst.CSTNode) -> bool:
    """Whether a statement is a call that never returns."""
    graph = tree.unit.graph
    call = small.value if isinstance(small, cst.Expr) else None
    if graph is None or not isinstance(call, cst.Call):
        return False
    for block in graph.blocks:
        if any(isinstance(i, g.Call) and i.node is call for i in block.instructions):
            return not block.successors
    return False


def is_quiet(tree: Tree, root: cst.CSTNode, *, may_leave: bool = False) -> bool:
    """Whether nothing in the statement raises, or leaves where it must not."""
    callees, calls = tree.unit.callees, tree.calls
    for node in own(root):
        if isinstance(node, _RAISING) and not (may_leave and isinstance(node, _JUMPING)):
            return False
        if isinstance(node, cst.Call):
            call = calls.get(id(node))
            if callees is None or call is None or not callees.is_quiet(call):
                return False
    return True


def _index(block: cst.IndentedBlock, statement: cst.CSTNode) -> int:
    return next(i for i, one in enumerate(block.body) if one is statement)
