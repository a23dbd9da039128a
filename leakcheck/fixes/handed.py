"""A connection that the function returns or hands on: given back where something raises before that.

    conn = connect()                     conn = connect()
    conn.execute("PRAGMA …")      →      try:
    return conn                              conn.execute("PRAGMA …")
                                         except BaseException:
                                             conn.close()
                                             raise
                                         return conn

Only where what is lost is lost by an exception, and everything else goes on by one statement: it is returned, in a
tuple or in what is made of it, or kept on an object, or given to what takes it over. That statement stays as it is.
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
    """Whether the function hands it on where nothing raises, and does nothing else to get rid of it."""
    moved = any(ending.state.status is Status.MOVED for ending in found.exploration.endings)
    only_raising = all(ending.state.raised for ending in found.leaks)
    return moved and only_raising and not found.exploration.releases


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
    follows = only(region.block.body[region.last + 1])
    end = "is returned" if isinstance(follows, cst.Return) else "goes on"
    return Shape(TRY_FINALLY, f"Release `{region.name}` where something raises before it {end}", (edit,)), doubt


def _region(tree: Tree, found: Found, program: Program) -> Region:
    """The statements between the checkout and that which hands it on. Raises RefusedError."""
    name, checkout, _ = checkout_of(tree, found)
    refusal = RefusedError(f"`{name}` is handed on, so its release is not this function's alone")
    is_none = may_be_none(tree, found, program)
    for place in places(tree, found, name, checkout):
        last = _handing_on(tree, found, name, place)
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


def _handing_on(tree: Tree, found: Found, name: str, place: Place) -> int | None:
    """The index of the one statement that hands it on."""
    if place.is_around or place.is_within:
        return None
    passed = _passed_by(found)
    for index in range(place.first, len(place.block.body)):
        small = only(place.block.body[index])
        if small is None:
            continue
        nodes = {id(node) for node in walk(small)}
        if passed and passed <= nodes:
            return index
        if isinstance(small, cst.Return) and small.value is not None and is_mentioned(tree, name, small):
            return index if not passed and _is_returned_by(small.value, name) else None
    return None


def _passed_by(found: Found) -> set[int]:
    """By what it is put where others see to it, on all ways that end so."""
    moved = (e.events for e in found.exploration.endings if e.state.status is Status.MOVED)
    transfers = ([e for e in events if e.kind is EventKind.TRANSFER] for events in moved)
    return {id(events[-1].instruction.node) for events in transfers if events}


def _is_returned_by(value: cst.BaseExpression, name: str) -> bool:
    """Whether a returned value is it, alone or among others, or what is made of it."""
    if isinstance(value, cst.Call):
        return any(isinstance(a.value, cst.Name) and a.value.value == name for a in value.args)
    return all(isinstance(node, _PLAIN) for node in walk(value))
