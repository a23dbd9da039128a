"""A connection that the function returns: given back where something raises before that.

    conn = connect()                     conn = connect()
    conn.execute("PRAGMA …")      →      try:
    return conn                              conn.execute("PRAGMA …")
                                         except BaseException:
                                             conn.close()
                                             raise
                                         return conn

Only where what is lost is lost by an exception, and everything else goes to the caller by one plain ``return``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import walk
from leakcheck.fixes.conditions import applicability_of
from leakcheck.fixes.nullness import may_be_none
from leakcheck.fixes.places import places
from leakcheck.fixes.region import Region, check_outside, checkout_of
from leakcheck.fixes.release import asking, block, release_of, without_leading_blanks
from leakcheck.fixes.roles import is_mentioned
from leakcheck.fixes.shapes import TRY_FINALLY, Shape
from leakcheck.fixes.splice import replaced
from leakcheck.fixes.tree import RefusedError, Tree, only
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.state import Status

if TYPE_CHECKING:
    from leakcheck.diagnostic import Applicability
    from leakcheck.fixes.places import Place
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.program import Program
    from leakcheck.source import Source

_PLAIN = (cst.Name, cst.Tuple, cst.Element, cst.BaseNumber, cst.SimpleString)


def is_handed(found: Found) -> bool:
    """Whether the function returns it where nothing raises, and does nothing else to get rid of it."""
    moved = [ending for ending in found.exploration.endings if ending.state.status is Status.MOVED]
    stored = any(event.kind is EventKind.TRANSFER for ending in moved for event in ending.events)
    only_raising = all(ending.state.raised for ending in found.leaks)
    return bool(moved) and not stored and only_raising and not found.exploration.releases


def handed_shape(tree: Tree, found: Found, program: Program, source: Source) -> tuple[Shape, tuple[Applicability, str]]:
    """The rewrite of such a checkout, and how far it may be applied. Raises RefusedError."""
    region = _region(tree, found, program)
    doubt = applicability_of(region, program)
    release = asking(region, block(region, [cst.SimpleStatementLine([cst.Expr(release_of(region).deep_clone())])]))
    handler = cst.ExceptHandler(
        type=cst.Name("BaseException"),
        body=release.with_changes(body=[*release.body, cst.SimpleStatementLine([cst.Raise()])]),
    )
    blank, body = without_leading_blanks(list(region.statements))
    guarded = cst.Try(leading_lines=blank, body=block(region, body), handlers=[handler])
    kept = region.block.body[region.start : region.first]
    edit = replaced(region, [*kept, guarded], source)
    return Shape(TRY_FINALLY, f"Release `{region.name}` where something raises before it is returned", (edit,)), doubt


def _region(tree: Tree, found: Found, program: Program) -> Region:
    """The statements between the checkout and the ``return``. Raises RefusedError."""
    name, checkout, _ = checkout_of(tree, found)
    refusal = RefusedError(f"`{name}` is handed on, so its release is not this function's alone")
    is_none = may_be_none(tree, found, program)
    for place in places(tree, found, name, checkout):
        last = _return(tree, name, place)
        if last is None or last == place.first:
            continue
        region = Region(tree, found, name, checkout, place.block, place.start, place.first, last - 1)
        region.is_handed = True
        region.may_be_none = region.needs_test = is_none
        try:
            check_outside(region, last, apart=place.block.body[last])
        except RefusedError as error:
            refusal = error
        else:
            return region
    raise refusal


def _return(tree: Tree, name: str, place: Place) -> int | None:
    """The index of the plain ``return`` that hands it on."""
    if place.is_around or place.is_within:
        return None
    for index in range(place.first, len(place.block.body)):
        small = only(place.block.body[index])
        if isinstance(small, cst.Return) and small.value is not None and is_mentioned(tree, name, small):
            return index if all(isinstance(node, _PLAIN) for node in walk(small.value)) else None
    return None
