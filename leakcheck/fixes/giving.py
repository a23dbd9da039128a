"""What giving back on more ways than before means: for the next user, and for what the release does beside.

    giving(region, program)   →   (Applicability.UNSAFE, "`finish()` of line 7 may do more than release")

RefusedError where the pool would pass on what the session was given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Applicability
from leakcheck.driver_session import AfterRelease
from leakcheck.fixes.roles import mentions
from leakcheck.fixes.session_state import dirt, is_set_in, texts
from leakcheck.fixes.shared import shared
from leakcheck.fixes.tree import RefusedError, own
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.driver import DriverClass
    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

Doubt = tuple[Applicability, str]
_HOLDS = re.compile(
    r"\bmode=memory\b|(?:^|;)\s*LISTEN\s|_advisory_(?:xact_)?lock|\bLOCK\s+TABLES?\b"
    r"|\bFOR\s+(?:NO\s+KEY\s+|KEY\s+)?(?:UPDATE|SHARE)\b|\bGET_LOCK\b",
    re.IGNORECASE,
)
"""Locks, subscriptions, and databases in memory that others share: they live as long as the connection."""
_LISTENERS = frozenset({"add_listener", "add_log_listener", "add_notify_handler", "add_query_logger"})
_CLOSING = frozenset({"close", "aclose"})
_UNWRITTEN = frozenset({"abstractmethod", "abstractproperty", "overload"})
_DEPTH = 3
"""How many objects may keep each other until one keeps the connection."""
_DOING = (cst.Yield, cst.Raise, cst.For, cst.While, cst.Import, cst.ImportFrom, cst.Subscript)


def giving(region: Region, program: Program) -> Iterator[Doubt]:
    """What speaks for leaving it to a reader. Raises RefusedError."""
    yield from _session(region, program)
    yield from _given_by_others(region, program)
    yield from shared(region, program)
    yield from _perhaps_async(region)
    yield from _held_as_long(region, program)
    yield from _own_releases(region, program)
    yield from _special_releases(region)
    yield from _other_pools(region)


def _session(region: Region, program: Program) -> Iterator[Doubt]:
    """A connection that goes back to a pool must not take session state with it."""
    resource = region.found.acquisition.resource
    after = _after_owner(region, program) if resource.is_owner else resource.after_release
    if after is AfterRelease.CLOSED:
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
                if resource.is_owner
                else "its pool is not known to roll back what is open when a connection comes back"
            ),
        )


def _given_by_others(region: Region, program: Program) -> Iterator[Doubt]:
    """Which method of several with one name is called is not known: each must hand out what is given back alike."""
    callees, call = region.tree.unit.callees, region.tree.calls.get(id(region.call))
    symbols = callees.symbols(call) if callees is not None and call is not None else ()
    functions = [symbol for symbol in symbols if isinstance(symbol, Function)]
    if not region.found.acquisition.steps or len(functions) < 2:
        return
    release = region.found.acquisition.resource.release
    for function in functions:
        facts, _ = program.resolver.function(function)
        if facts is None or facts.is_stub or not facts.decorator_names.isdisjoint(_UNWRITTEN):
            continue
        summary = program.summary(function)
        given = summary.returns if summary is not None else ()
        if not any(program.functions.owners.resource(one.resource).release == release for one in given):
            row, name = region.tree.row(region.call), function.qualname
            yield Applicability.UNSAFE, f"line {row} may call `{name}()`, which does not hand out what is given back so"
            return


def _perhaps_async(region: Region) -> Iterator[Doubt]:
    """A factory that is known by its name alone may make what must be awaited, where the function speaks of that."""
    callees, call = region.tree.unit.callees, region.tree.calls.get(id(region.call))
    acquisition = region.found.acquisition
    if callees is None or call is None or callees.symbols(call) or acquisition.protocol.is_async:
        return
    kind = re.split(r"[.:]", acquisition.resource.id)[-1]
    if re.search(rf"\b[Aa]sync_?{kind}\b", region.tree.text(region.tree.root)):
        row = region.tree.row(region.call)
        yield Applicability.UNSAFE, f"line {row} may take an asynchronous {kind}, whose release must be awaited"


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


def _after_owner(region: Region, program: Program) -> AfterRelease:
    """What becomes of a connection that an object keeps, where closing the object does nothing but give it back."""
    if region.found.acquisition.unopened:
        return AfterRelease.KEPT
    return _after(region.found.acquisition.resource, program, _handed_out(region, program))


def _after(resource: DriverClass, program: Program, others: set[str], depth: int = _DEPTH) -> AfterRelease:
    """The same of one kind of object; ``others`` are the classes of what may be there in its place."""
    path, _, name = resource.id.rpartition(":")
    module = program.facts(path)
    method = resource.release.rpartition(".")[2].partition("(")[0]
    if module is None or name not in module.classes or not depth:
        return AfterRelease.KEPT
    own_methods = module.classes[name].methods
    held = {a: kind for a, kind in resource.attributes.items() if a not in own_methods}
    begins = module.functions.get(own_methods.get("__init__", ""))
    openers = resource.attributes.keys() - held.keys()  # methods that open it: else closing it may fail instead
    if len(held) != 1 or (openers and (begins is None or not openers <= begins.calls.keys())):
        return AfterRelease.KEPT
    ((attribute, kind),) = held.items()
    kept = program.functions.owners.resource(kind)
    owners = {name}
    after = _after(kept, program, set(), depth - 1) if kept.is_owner else kept.after_release
    if after is AfterRelease.ROLLED_BACK and "{pool}" in kept.release:
        owners |= others
        units = (program.functions.units.of(Function(path, f)) for f in module.classes[name].methods.values())
        if any(unit is not None and is_set_in(unit, program) for unit in units):
            return AfterRelease.KEPT
    elif after is not AfterRelease.CLOSED:
        return AfterRelease.KEPT
    classes = [module.classes.get(owner) for owner in sorted(owners)]
    methods = [cls.methods.get(method) if cls is not None else None for cls in classes]
    closings = [program.functions.units.of(Function(path, one)) if one is not None else None for one in methods]
    only = all(unit is not None and _only_gives_back(unit, attribute, kept, program) for unit in closings)
    return after if only else AfterRelease.KEPT


def _handed_out(region: Region, program: Program) -> set[str]:
    """The classes of what a helper returns, now this, now that; an empty name where it makes it elsewhere."""
    callees, call = region.tree.unit.callees, region.tree.calls.get(id(region.call))
    names: set[str] = set()
    for symbol in callees.symbols(call) if callees is not None and call is not None else ():
        unit = program.functions.units.of(symbol) if isinstance(symbol, Function) else None
        for node in own(unit.node) if unit is not None else ():
            match node:
                case cst.Return(value=cst.Call(func=func)):
                    names.add(ex.last_name(reduce(func)) or "")
                case cst.Return(value=cst.BaseExpression() as value) if not _is_word_none(value):
                    names.add("")
                case _:
                    pass
    return names


def _is_word_none(value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.Name) and value.value == "None"


def _only_gives_back(unit: Unit, attribute: str, kept: DriverClass, program: Program) -> bool:
    """Whether all that a method does is to close what its object has, or to give that one connection to its pool."""
    given = kept.release.rpartition(".")[2].partition("(")[0] if "{pool}" in kept.release else ""
    for node in own(unit.node):
        if isinstance(node, _DOING) or (isinstance(node, cst.With) and not _is_locking(node, program)):
            return False
        if isinstance(node, cst.Call):
            called = ex.dotted(reduce(node.func)) or ""
            last = called.rpartition(".")[2]
            passed = [ex.dotted(reduce(argument.value)) for argument in node.args if argument.keyword is None]
            ends = (last in _CLOSING and not node.args) or (last == given and passed == [f"self.{attribute}"])
            if not (called.startswith("self.") and ends) and not program.calls.is_non_raising(called):
                return False
    return True


def _is_locking(block: cst.With, program: Program) -> bool:
    return all(
        isinstance(item.item, cst.Attribute) and program.calls.is_lock(item.item.attr.value) for item in block.items
    )


def _own_releases(region: Region, program: Program) -> Iterator[Doubt]:
    """A release by a function of the program's own now runs on more paths: it must do nothing but release."""
    callees, calls = region.tree.unit.callees, region.tree.calls
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
    pool = region.pool
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
