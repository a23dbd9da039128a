"""The rewrites that a region allows, the preferred one first.

A committing shape only where the proof holds; else the driver's own ``with``, else ``closing``, else ``finally``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct, field
from msgspec.structs import replace

from leakcheck.diagnostic import Applicability, Edit
from leakcheck.fixes.by_itself import check_connection
from leakcheck.fixes.enclose import (
    Context,
    closing_of,
    context_of,
    releases_as_driver,
    shown,
    taking,
    with_context,
    with_held,
)
from leakcheck.fixes.imports import imported
from leakcheck.fixes.mocked import doubt_of_tests
from leakcheck.fixes.project_transaction import helper_for
from leakcheck.fixes.prune import pruned
from leakcheck.fixes.release import release_of, rollback_of, with_finally
from leakcheck.fixes.remarks import as_footer, said_again
from leakcheck.fixes.splice import replaced
from leakcheck.fixes.transaction import Committed, committed
from leakcheck.fixes.tree import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source

TRY_FINALLY, CONTEXT_MANAGER, WITH_TRANSACTION = "try-finally", "context-manager", "with-transaction"


class Shape(Struct, frozen=True):
    """One rewrite of a region. ``kind`` is its name in the configuration."""

    kind: str
    message: str
    edits: tuple[Edit, ...]
    applicability: Applicability = Applicability.SAFE
    said_again: Counter[str] = field(default_factory=Counter)
    """Comments that are left out, since they are there already."""


def candidates(region: Region, program: Program, source: Source) -> Iterator[Shape]:
    """The rewrites, the preferred one first. Raises RefusedError where there is none."""
    refusal: RefusedError | None = None
    offered = False
    for make in _ordered(region, program):
        try:
            shape = make(region, program, source)
        except RefusedError as error:
            refusal = refusal or error
            continue
        if shape is not None:
            offered = True
            yield shape
    if not offered:
        assert refusal is not None
        raise refusal


def _ordered(region: Region, program: Program) -> list[Callable[[Region, Program, Source], Shape | None]]:
    """The makers in the order of preference: what the configuration asks for this driver comes first."""
    wanted = dict(program.config.fix_shape).get(region.found.acquisition.resource.driver)
    makers = [
        (WITH_TRANSACTION, _helper),
        (CONTEXT_MANAGER, _committing),
        (CONTEXT_MANAGER, _context),
        (CONTEXT_MANAGER, _closing),
        (TRY_FINALLY, _finally),
    ]
    makers.sort(key=lambda pair: pair[0] != wanted)
    return [make for _, make in makers]


def _helper(region: Region, program: Program, source: Source) -> Shape | None:
    """``with with_transaction(pool) as conn:``, where the project has such a helper and the proof holds."""
    stays = region.is_annotated or region.is_guarded
    if stays and (region.is_around or region.needs_test):
        return None
    context = helped(region, program, source, stays=stays)
    if context is None:
        return None
    parts = committed(region, pruned(region), program)
    if not stays:
        return doubted(replace(_around(region, context, parts, source), kind=WITH_TRANSACTION), region, program)
    footer = as_footer(parts.commit, region)
    edit = replaced(region, [*with_held(region, parts.inside, context, footer), *parts.behind], source)
    keyword = "async with" if context.is_async else "with"
    message = f"Give it to `{keyword} {shown(region, context.expression)}`, which commits"
    shape = Shape(WITH_TRANSACTION, message, (*context.edits, edit), said_again=said_again(region))
    return doubted(shape, region, program)


def helped(region: Region, program: Program, source: Source, *, stays: bool) -> Context | None:
    """What a ``with`` of the project's helper enters, where ``stays`` by the variable; None where it serves another.

    Raises RefusedError where the helper cannot be used.
    """
    helper = helper_for(region, program)
    if helper is None or not releases_as_driver(region, closing=helper.takes_connection):
        return None
    if "sys.path" in source.text:
        raise RefusedError("this module changes `sys.path`, on which the import of the helper may depend")
    if helper.takes_connection:
        check_connection(region, program)
        given: cst.BaseExpression = cst.Await(region.call) if region.is_awaited else region.call
    elif stays or region.is_given_arguments:
        return None
    else:
        given = cst.parse_expression(region.pool or "")
    known, edits = imported(region.tree, helper.module, helper.name, source)
    call = cst.Call(cst.parse_expression(known), [cst.Arg(cst.Name(region.name) if stays else given)])
    return Context(call, is_async=helper.is_async, edits=edits)


def doubted(shape: Shape, region: Region, program: Program) -> Shape:
    """The shape, for a reader to accept where a test asks a mock about calls that it no longer makes itself."""
    doubt = doubt_of_tests(region, program)
    if not doubt:
        return shape
    return replace(shape, message=f"{shape.message}; {doubt}", applicability=Applicability.UNSAFE)


def _committing(region: Region, program: Program, source: Source) -> Shape | None:
    """The driver's own ``with`` that commits, where the proof holds."""
    context = context_of(region)
    if context is None or not context.commits or not releases_as_driver(region):
        return None
    return doubted(_around(region, context, committed(region, pruned(region), program), source), region, program)


def _around(region: Region, context: Context, parts: Committed, source: Source) -> Shape:
    """The ``with`` around what comes before the commit, and the rest behind it."""
    block = with_context(region, parts.inside, context, as_footer(parts.commit, region))
    edit = replaced(region, [*block, *parts.behind], source)
    return Shape(
        CONTEXT_MANAGER,
        f"Take it by `{taking(region, context)}`, which commits",
        (*context.edits, edit),
        said_again=said_again(region),
    )


def _context(region: Region, program: Program, source: Source) -> Shape | None:
    context = context_of(region)
    if context is None or context.commits or not releases_as_driver(region):
        return None
    return doubted(_enclosed(region, context, source), region, program)


def _closing(region: Region, _program: Program, source: Source) -> Shape | None:
    context = closing_of(region, source)
    if context is None or not releases_as_driver(region, closing=True):
        return None
    return _enclosed(region, context, source)


def _enclosed(region: Region, context: Context, source: Source) -> Shape:
    body = pruned(region)
    if not body:
        raise RefusedError(f"nothing is done with `{region.name}`")
    edit = replaced(region, with_context(region, body, context), source)
    return Shape(CONTEXT_MANAGER, f"Take it by `{taking(region, context)}`", (*context.edits, edit))


def _finally(region: Region, _program: Program, source: Source) -> Shape:
    call = release_of(region)
    body = pruned(region)
    if not body:
        raise RefusedError(f"nothing is done with `{region.name}`")
    edit = replaced(region, with_finally(region, body, call), source)
    rollback = rollback_of(region)
    first = "" if rollback is None else f", behind `{region.tree.text(rollback)}` where something raises"
    return Shape(TRY_FINALLY, f"Release `{region.name}` in `finally`{first}", (edit,), said_again=said_again(region))
