"""A region around the statement that holds its checkout: what the variable holds where the checkout was not reached.

    conn = None                        the variable is None from here on
    try:
        conn = connect()
        …
    except Error:
        if "conn" in locals():         superseded
            conn.close()
        return False

Raises RefusedError where it might hold something else, and notes where the original would have failed instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.diagnostic import Applicability
from leakcheck.fixes.checkout import is_checkout
from leakcheck.fixes.guards import asks_if_bound, guards
from leakcheck.fixes.places import always_takes
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.tree import LOOPS, RefusedError, only

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.fixes.roles import Mention


def check_around(region: Region) -> None:
    """Find out whether the variable must be given None first, and what is doubtful. Raises RefusedError."""
    tree, name = region.tree, region.name
    facts = tree.unit.facts
    if facts is not None and any(parameter.name == name for parameter in facts.parameters):
        raise RefusedError(f"`{name}` is a parameter, too")
    anchor = region.block.body[region.start]
    earlier: list[Mention] = []
    for mention in mentions(tree, name):
        row = tree.row(mention.node)
        if region.holds(mention.node):
            if mention.role is Role.BOUND and not _is_fine(region, mention):
                raise RefusedError(f"line {row} binds `{name}`")
        elif tree.unit.order(mention.node) < tree.unit.order(anchor):
            earlier.append(mention)
            if not _is_none(region, mention):
                raise RefusedError(f"line {row} uses `{name}` before the block of its checkout")
    region.needs_none = not any(_reaches(region, mention) for mention in earlier)
    region.doubts = tuple(_doubts(region))


def _is_fine(region: Region, mention: Mention) -> bool:
    """Whether a binding in the region is a checkout of the same kind, or None in front of it."""
    tree = region.tree
    statement = tree.statement(mention.node)
    if statement is None:
        return False
    is_first = tree.unit.order(statement) < tree.unit.order(region.checkout)
    return is_checkout(tree, statement, region.found, region.name) or (is_first and _is_none(region, mention))


def _is_none(region: Region, mention: Mention) -> bool:
    """Whether a mention is the one of ``conn = None``."""
    match only(region.tree.statement(mention.node)):
        case cst.Assign(targets=[cst.AssignTarget(target=target)], value=cst.Name(value="None")):
            return target is mention.node
        case _:
            return False


def _reaches(region: Region, mention: Mention) -> bool:
    """Whether what was bound there is what the region starts with: no loop goes round in between."""
    tree = region.tree
    statement = tree.statement(mention.node)
    block = tree.block(statement) if statement is not None else None
    for parent in tree.ancestors(region.block.body[region.start]):
        if parent is block:
            return True
        if isinstance(parent, LOOPS):
            return False
    return False


def _doubts(region: Region) -> Iterator[tuple[Applicability, str]]:
    """Where the original would have failed, or found nothing, when the checkout had not been reached."""
    tree, name = region.tree, region.name
    if region.needs_none and region.is_annotated:
        yield Applicability.UNSAFE, f"line {tree.row(region.checkout)} says of which type `{name}` is, behind its None"
    for parent in tree.ancestors(region.checkout):
        if parent is region.block:
            break
        if isinstance(parent, cst.If) and not always_takes(tree, region.found, name, parent):
            yield Applicability.DISPLAY_ONLY, f"line {tree.row(parent)} takes it under a condition"
    for mention in mentions(tree, name):
        if mention.role is Role.BOUND or not region.holds(mention.node) or _is_behind_one(region, mention.node):
            continue
        is_removed = any(id(node) in region.removed for node in (mention.node, *tree.ancestors(mention.node)))
        if not region.needs_none and not is_removed:
            continue
        if not any(_asks(region, test) for test in _tests(region, mention.node)):
            yield Applicability.UNSAFE, f"line {tree.row(mention.node)} fails where the checkout did"


def _is_behind_one(region: Region, node: cst.CSTNode) -> bool:
    """Whether a checkout of the region ran before the node for certain."""
    tree = region.tree
    current = node
    for parent in tree.ancestors(node):
        if isinstance(parent, cst.IndentedBlock):
            for statement in parent.body:
                if statement is current:
                    break
                if always_takes(tree, region.found, region.name, statement):
                    return True
        current = parent
    return False


def _tests(region: Region, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The conditions that hold where the node runs."""
    current = node
    for parent in region.tree.ancestors(node):
        if isinstance(parent, cst.If) and current is parent.body:
            yield parent.test
        if (
            isinstance(parent, cst.BooleanOperation)
            and isinstance(parent.operator, cst.And)
            and current is parent.right
        ):
            yield parent.left
        current = parent


def _asks(region: Region, test: cst.CSTNode) -> bool:
    """Whether a condition keeps out who comes without the checkout, and does not fail for him."""
    if isinstance(test, cst.BooleanOperation):
        return _asks(region, test.left)
    return asks_if_bound(test, region.name) if region.needs_none else guards(test, region.name)
