"""What giving back on more ways than before means: for the next user, and for what the release does beside.

    giving(region, program)   →   (Applicability.UNSAFE, "`finish()` of line 7 may do more than release")

RefusedError where the pool would pass on what the session was given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Applicability
from leakcheck.driver_session import AfterRelease
from leakcheck.fixes.roles import mentions
from leakcheck.fixes.session_state import dirt, texts
from leakcheck.fixes.tree import RefusedError, own
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program

Doubt = tuple[Applicability, str]
_HOLDS = re.compile(
    r"\bmode=memory\b|(?:^|;)\s*LISTEN\s|_advisory_(?:xact_)?lock|\bLOCK\s+TABLES?\b"
    r"|\bFOR\s+(?:NO\s+KEY\s+|KEY\s+)?(?:UPDATE|SHARE)\b|\bGET_LOCK\b",
    re.IGNORECASE,
)
"""Locks, subscriptions, and databases in memory that others share: they live as long as the connection."""
_LISTENERS = frozenset({"add_listener", "add_log_listener", "add_notify_handler", "add_query_logger"})
_CLOSING = frozenset({"close", "aclose"})
_DOING = (cst.With, cst.Yield, cst.Raise, cst.For, cst.While, cst.Import, cst.ImportFrom, cst.Try, cst.Subscript)


def giving(region: Region, program: Program) -> Iterator[Doubt]:
    """What speaks for leaving it to a reader. Raises RefusedError."""
    yield from _session(region, program)
    yield from _held_as_long(region, program)
    yield from _own_releases(region, program)
    yield from _special_releases(region)
    yield from _other_pools(region)


def graph_calls(region: Region) -> dict[int, g.Call]:
    """The calls of the function as the analysis sees them, by the identity of their syntax."""
    graph = region.tree.unit.graph
    blocks = graph.blocks if graph is not None else []
    return {id(i.node): i for block in blocks for i in block.instructions if isinstance(i, g.Call)}


def _session(region: Region, program: Program) -> Iterator[Doubt]:
    """A connection that goes back to a pool must not take session state with it."""
    after = region.found.acquisition.resource.after_release
    if after is AfterRelease.CLOSED or (region.found.acquisition.resource.is_owner and _only_closes(region, program)):
        return
    found = dirt(region, program)
    if found is not None:
        node, what = found
        row = region.tree.row(node)
        raise RefusedError(f"line {row} {what}, which the pool would pass on to the next user of the connection")
    if after is AfterRelease.KEPT:
        yield (
            Applicability.UNSAFE,
            (
                "what gives it back may do more than that, and would do it after an error, too"
                if region.found.acquisition.resource.is_owner
                else "its pool is not known to roll back what is open when a connection comes back"
            ),
        )


def _held_as_long(region: Region, program: Program) -> Iterator[Doubt]:
    """Where a release is new, what only lasts as long as the connection ends before what comes behind."""
    if all(ending.state.raised for ending in region.found.leaks):
        return
    listening = [m.node for m in mentions(region.tree, region.name) if m.attribute in _LISTENERS]
    written = (
        pair for statement in (region.checkout, *region.statements) for pair in texts(statement, region, program)
    )
    holding = [node for node, text in written if _HOLDS.search(text)]
    for node in (*listening, *holding):
        row = region.tree.row(node)
        yield Applicability.UNSAFE, f"what line {row} holds would end before what comes behind"


def _only_closes(region: Region, program: Program) -> bool:
    """Whether all that an object does when it is closed is to close, for good, what it has from the beginning."""
    resource = region.found.acquisition.resource
    if region.found.acquisition.unopened or len(resource.attributes) != 1:
        return False
    kept = [program.drivers.classes.get(kept) for kept in resource.attributes.values()]
    path, _, name = resource.id.rpartition(":")
    method = resource.release.rpartition(".")[2].partition("(")[0]
    module = program.facts(path)
    found = module.classes[name].methods.get(method) if module is not None and name in module.classes else None
    unit = program.functions.units.of(Function(path, found)) if found is not None else None
    if unit is None or not all(one is not None and one.after_release is AfterRelease.CLOSED for one in kept):
        return False
    for node in own(unit.node):
        if isinstance(node, _DOING):
            return False
        if isinstance(node, cst.Call):
            called = ex.dotted(reduce(node.func)) or ""
            closes = called.startswith("self.") and called.rpartition(".")[2] in _CLOSING and not node.args
            if not closes and not program.calls.is_non_raising(called):
                return False
    return True


def _own_releases(region: Region, program: Program) -> Iterator[Doubt]:
    """A release by a function of the program's own now runs on more paths: it must do nothing but release."""
    callees, calls = region.tree.unit.callees, graph_calls(region)
    for node in region.removed.values():
        for inner in walk(node):
            instruction = calls.get(id(inner))
            if instruction is None or callees is None or not region.holds(inner):
                continue
            name = ex.last_name(instruction.func) or ""
            resolved = [s for s in callees.symbols(instruction) if isinstance(s, (Function, Class))]
            known = name in program.release_names or bool(callees.symbols(instruction)) or name == "close"
            if (resolved and not callees.is_quiet(instruction)) or not known:
                row = region.tree.row(inner)
                yield Applicability.UNSAFE, f"`{name}()` of line {row} may do more than release, now on more paths"


def _special_releases(region: Region) -> Iterator[Doubt]:
    """What a release is given besides the connection counts on every way now: only what was taken with it may."""
    for node in region.removed.values():
        for call in walk(node):
            if isinstance(call, cst.Call) and len(call.args) > 1 and region.holds(call):
                names = [arg.value.value for arg in call.args if isinstance(arg.value, cst.Name) and not arg.star]
                if len(names) < len(call.args) or not {*names} <= {region.name, *region.beside}:
                    yield Applicability.UNSAFE, f"line {region.tree.row(call)} gives back more than the connection"


def _other_pools(region: Region) -> Iterator[Doubt]:
    """A release to what is not written as the pool that it came from: another would raise, now on more ways."""
    pool = region.found.acquisition.pool
    if pool is None or region.found.acquisition.steps or "{pool}" not in region.found.acquisition.resource.release:
        return
    for node in region.removed.values():
        for call in walk(node):
            match call:
                case cst.Call(func=cst.Attribute(value=base), args=[cst.Arg(value=cst.Name(value=given)), *_]):
                    if given == region.name and region.tree.text(base) != pool and region.holds(call):
                        row, other = region.tree.row(call), region.tree.text(base)
                        yield Applicability.UNSAFE, f"line {row} gives it to `{other}`, not to `{pool}`"
                case _:
                    pass
