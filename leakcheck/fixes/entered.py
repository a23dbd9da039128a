"""A checkout that is entered at once by a ``with`` that does not release it (LC106).

    with psycopg2.connect(dsn) as conn:     →   with closing(psycopg2.connect(dsn)) as conn, conn:
    with pool.getconn() as conn:            →   with pool.connection() as conn:              (psycopg 3)
    with pool.getconn() as conn:            →   conn = pool.getconn(); try: with conn: … finally: pool.putconn(conn)

The ``with`` that ends the transaction stays, so what it commits and rolls back is as it was; the helper of the project,
where there is one, does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck.cfg.walk import walk
from leakcheck.driver import WithEffect
from leakcheck.driver_session import AfterRelease
from leakcheck.fixes.conditions import applicability_of
from leakcheck.fixes.enclose import PLAIN_CLOSE, filled, shown
from leakcheck.fixes.handles import COUNTS
from leakcheck.fixes.imports import imported
from leakcheck.fixes.outliving import needing
from leakcheck.fixes.region import Region, is_bound_before, may_come_later
from leakcheck.fixes.release import release_of
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.shapes import CONTEXT_MANAGER, TRY_FINALLY, WITH_TRANSACTION, Shape, doubted, helped
from leakcheck.fixes.splice import changed, in_place
from leakcheck.fixes.transaction import commits_as_helpers, committing
from leakcheck.fixes.tree import RefusedError

if TYPE_CHECKING:
    from leakcheck.diagnostic import Applicability
    from leakcheck.fixes.tree import Tree
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source


def entered(tree: Tree, found: Found) -> tuple[cst.With, cst.WithItem] | None:
    """The ``with`` that enters the checkout at once, and its item; None where the checkout is not entered."""
    node: cst.CSTNode = found.call.node
    parent = tree.parent(node)
    if isinstance(parent, cst.Await):
        node, parent = parent, tree.parent(parent)
    around = tree.parent(parent) if isinstance(parent, cst.WithItem) else None
    if isinstance(parent, cst.WithItem) and isinstance(around, cst.With) and parent.item is node:
        return around, parent
    return None


def entered_shape(
    tree: Tree, found: Found, block: tuple[cst.With, cst.WithItem], program: Program, source: Source
) -> tuple[Shape, tuple[Applicability, str]]:
    """The rewrite of such a ``with``, and how far it may be applied. Raises RefusedError."""
    statement, item = block
    region = _region(tree, found, statement, item)
    region.handles = needing(region, program)
    _check_asynchronous(region, block)
    _check_inside(region)
    _check_later(region, statement)
    doubt = applicability_of(region, program)
    resource = found.acquisition.resource
    asname = cst.AsName(name=cst.Name(region.name))
    helped = _helped(region, block, program, source)
    if helped is not None:
        return helped, doubt
    if resource.context and not found.acquisition.steps and resource.after_release is not AfterRelease.CLOSED:
        if "{acquire}" not in resource.context and (region.is_given_arguments or found.acquisition.pool is None):
            raise RefusedError(f"line {tree.row(item)} gives arguments that `{resource.context}` does not take")
        kept = [cst.WithItem(item=filled(resource.context, region), asname=asname)]
        return _header(region, block, kept, source), doubt
    if resource.release == PLAIN_CLOSE and resource.with_effect is WithEffect.KEEPS:
        known, edits = imported(region.tree, "contextlib", "closing", source)
        taken = cst.Call(cst.parse_expression(known), [cst.Arg(region.call)])
        kept = [cst.WithItem(item=taken, asname=asname), cst.WithItem(item=cst.Name(region.name))]
        shape = _header(region, block, kept, source)
        return replace(shape, edits=(*edits, *shape.edits)), doubt
    return _in_steps(region, statement, item, source), doubt


def _helped(region: Region, block: tuple[cst.With, cst.WithItem], program: Program, source: Source) -> Shape | None:
    """The project's helper in the place of the checkout, whose ``with`` commits and rolls back as the helper does."""
    statement, item = block
    if not commits_as_helpers(region) or statement.items[-1] is not item:
        return None
    try:
        given = helped(region, program, source, stays=False)
        body = committing(region, region.block.body)
    except RefusedError:
        return None
    if given is None:
        return None
    asname = cst.AsName(name=cst.Name(region.name))
    kept = item.with_changes(item=given.expression, asname=asname)
    whole = statement.with_changes(items=[*statement.items[:-1], kept], body=statement.body.with_changes(body=body))
    edit = changed(region.tree.unit.part, statement, whole, source)
    message = f"Take it by `with {shown(region, given.expression)} as {region.name}`, which gives it back, too"
    return doubted(Shape(WITH_TRANSACTION, message, (*given.edits, edit)), region, program)


def _region(tree: Tree, found: Found, statement: cst.With, item: cst.WithItem) -> Region:
    """The body of the ``with`` as a region."""
    row = tree.row(item)
    if not isinstance(tree.root, cst.FunctionDef):
        raise RefusedError(f"line {row} is module-level code, whose names may be read elsewhere")
    if not isinstance(item.asname, cst.AsName) or not isinstance(item.asname.name, cst.Name):
        raise RefusedError(f"line {row} does not bind it to a plain name")
    if not isinstance(statement.body, cst.IndentedBlock):
        raise RefusedError(f"line {row} has its body on the same line")
    name = item.asname.name.value
    return Region(tree, found, name, statement, statement.body, 0, 0, len(statement.body.body) - 1)


def _check_asynchronous(region: Region, block: tuple[cst.With, cst.WithItem]) -> None:
    """An ``async with`` of what is no asynchronous context manager fails before anything can release it."""
    statement, item = block
    acquisition = region.found.acquisition
    is_async = acquisition.protocol.is_async or acquisition.resource.release.startswith("await ")
    if statement.asynchronous is not None and not is_async:
        raise RefusedError(f"line {region.tree.row(item)} enters it by `async with`, which raises: `with` would not")


def _check_inside(region: Region) -> None:
    """A release in the block would be a second one then, and what leaves the ``with`` finds it closed already."""
    for release in region.found.exploration.releases.values():
        raise RefusedError(f"line {region.tree.row(release.node)} gives `{region.name}` back within the `with`")


def _check_later(region: Region, statement: cst.With) -> None:
    """Behind the ``with`` the connection is gone now."""
    tree = region.tree
    inside = {id(node) for node in walk(statement)}
    for name in (region.name, *sorted(region.handles)):
        for mention in mentions(tree, name):
            node = mention.node
            if id(node) in inside or mention.role is Role.BOUND or is_bound_before(region, node):
                continue
            if name != region.name and mention.role is Role.READ and mention.attribute in COUNTS:
                continue
            if may_come_later(region, node):
                raise RefusedError(f"line {tree.row(node)} uses `{name}` behind the `with`")


def _header(region: Region, block: tuple[cst.With, cst.WithItem], kept: list[cst.WithItem], source: Source) -> Shape:
    """The same ``with`` with other items in the place of one."""
    statement, item = block
    index = next(i for i, one in enumerate(statement.items) if one is item)
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    spaced = [one.with_changes(comma=comma) for one in kept[:-1]] + [kept[-1].with_changes(comma=item.comma)]
    items = [*statement.items[:index], *spaced, *statement.items[index + 1 :]]
    edit = changed(region.tree.unit.part, statement, statement.with_changes(items=items), source)
    entered_now = ", ".join(shown(region, one) for one in kept)
    keyword = "async with" if statement.asynchronous is not None else "with"
    return Shape(CONTEXT_MANAGER, f"Release it by `{keyword} {entered_now}`", (edit,))


def _in_steps(region: Region, statement: cst.With, item: cst.WithItem, source: Source) -> Shape:
    """The checkout in front of a ``try``, the ``with`` over its name inside, the release in the ``finally``."""
    tree = region.tree
    around = tree.block(statement)
    if statement.items[0] is not item or around is None or statement.asynchronous is not None:
        raise RefusedError(f"line {tree.row(item)} enters more than the checkout")
    if region.found.acquisition.resource.with_effect is not WithEffect.KEEPS:
        raise RefusedError(f"line {tree.row(item)} enters what is no context manager")
    call = release_of(region)
    target = cst.AssignTarget(cst.Name(region.name))
    take = cst.SimpleStatementLine([cst.Assign([target], item.item)], leading_lines=statement.leading_lines)
    inner = statement.with_changes(
        items=[cst.WithItem(cst.Name(region.name), comma=item.comma), *statement.items[1:]], leading_lines=[]
    )
    indent = around.indent
    give = cst.SimpleStatementLine([cst.Expr(call.deep_clone())])
    guarded = cst.Try(
        body=cst.IndentedBlock([inner], indent=indent),
        finalbody=cst.Finally(body=cst.IndentedBlock([give], indent=indent)),
    )
    edit = in_place(tree, around, statement, [take, guarded], source)
    return Shape(TRY_FINALLY, f"Release `{region.name}` in `finally`", (edit,))
