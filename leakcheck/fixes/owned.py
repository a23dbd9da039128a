"""A connection that is taken only where the function is given none, or has none yet: only that one is given back.

    def touch(connection=None):              def touch(connection=None):
        if connection is None:                   own_connection = None
            connection = connect()      →        try:
        connection.execute(sql)                      if connection is None:
                                                         connection = own_connection = connect()
                                                     connection.execute(sql)
                                                 finally:
                                                     if own_connection is not None:
                                                         own_connection.close()

Only where nothing in the function gives it back, nobody looks at the variable behind the region, and no loop comes back
to it: there it would still hold what is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import walk
from leakcheck.fixes.checkout import checkout_of
from leakcheck.fixes.conditions import applicability_of
from leakcheck.fixes.handles import handles
from leakcheck.fixes.places import places
from leakcheck.fixes.region import Region, releases_in
from leakcheck.fixes.release import block, release_of, without_leading_blanks
from leakcheck.fixes.roles import Role, is_mentioned, mentions
from leakcheck.fixes.shapes import TRY_FINALLY, Shape
from leakcheck.fixes.splice import replaced
from leakcheck.fixes.tree import LOOPS, RefusedError, only
from leakcheck.ownership.state import Status

if TYPE_CHECKING:
    from leakcheck.fixes.giving import Doubt
    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source


def owned_shape(tree: Tree, found: Found, program: Program, source: Source) -> tuple[Shape, Doubt]:
    """The rewrite of such a checkout, and how far it may be applied. Raises RefusedError."""
    region = _region(tree, found)
    doubt = applicability_of(region, program)
    name, own = region.name, _free_name(tree, region.name)
    call = release_of(region, own)
    small = only(region.checkout)
    assert isinstance(small, cst.Assign)
    both = small.with_changes(targets=[*small.targets, cst.AssignTarget(cst.Name(own))])
    statements = [_with(statement, small, both) for statement in region.statements]
    test = cst.Comparison(cst.Name(own), [cst.ComparisonTarget(cst.IsNot(), cst.Name("None"))])
    release = block(region, [cst.SimpleStatementLine([cst.Expr(call.deep_clone())])])
    final = cst.Finally(body=block(region, [cst.If(test, release)]))
    blank, body = without_leading_blanks(statements)
    unset = cst.Assign([cst.AssignTarget(cst.Name(own))], cst.Name("None"))
    lines = [cst.SimpleStatementLine([unset], leading_lines=blank), cst.Try(block(region, body), finalbody=final)]
    message = f"Release what line {tree.row(region.call)} takes in `finally`, and no other `{name}`"
    return Shape(TRY_FINALLY, message, (replaced(region, lines, source),)), doubt


def _with(statement: cst.BaseStatement, old: cst.CSTNode, new: cst.CSTNode) -> cst.BaseStatement:
    changed = statement.deep_replace(old, new)
    assert isinstance(changed, cst.BaseStatement)
    return changed


def _region(tree: Tree, found: Found) -> Region:
    """The statements from the branch that takes it to the last that may need it. Raises RefusedError."""
    taken = checkout_of(tree, found)
    name, statement = taken.name, taken.statement
    refusal = RefusedError(f"line {tree.row(statement)} takes it only where there is none")
    is_plain = isinstance(only(statement), cst.Assign) and not taken.beside and not taken.is_wrapped
    is_moved = any(ending.state.status is Status.MOVED for ending in found.exploration.endings)
    in_loop = any(isinstance(node, LOOPS) for node in tree.ancestors(statement))
    if not is_plain or is_moved or in_loop or releases_in(tree, found, name):
        raise refusal
    for place in places(tree, found, name, statement):
        branch = place.block.body[place.start]
        if not place.is_around or not isinstance(branch, cst.If):
            continue
        body = place.block.body
        region = Region(tree, found, name, statement, place.block, place.start, place.start, place.start)
        region.is_around = region.needs_test = True
        region.handles = handles(name, body[place.start :])
        needed = (name, *region.handles)
        region.last = max(
            i for i in range(place.start, len(body)) if any(is_mentioned(tree, one, body[i]) for one in needed)
        )
        if region.last > region.start and _is_whole(region):
            return region
    raise refusal


def _is_whole(region: Region) -> bool:
    """Whether nobody looks at the variable, or at what lives by it, behind the region or from elsewhere."""
    tree = region.tree
    inside = {id(node) for statement in region.statements for node in walk(statement)}
    start = tree.unit.order(region.block.body[region.start])
    for name in (region.name, *region.handles):
        for mention in mentions(tree, name):
            if mention.role in (Role.SHARED, Role.CAPTURED):
                return False
            if id(mention.node) not in inside and tree.unit.order(mention.node) > start:
                return False
    return True


def _free_name(tree: Tree, name: str) -> str:
    free = tree.free_name((f"own_{name}", f"opened_{name}"))
    if free is None:
        raise RefusedError(f"`own_{name}` is in use already")
    return free
