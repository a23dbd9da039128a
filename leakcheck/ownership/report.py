"""From explored paths to leaks: which kind of fault, how severe, and the steps that show it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import walk
from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.ownership.effects import Effects, Event, EventKind
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.ownership.state import Box, Hold, Status
from leakcheck.ownership.summary import Owned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from leakcheck.ownership.acquire import Acquisition
    from leakcheck.ownership.explore import Ending, Exploration, Hop, Node
    from leakcheck.ownership.unit import Unit

_TEXT_LIMIT = 60
_FAULTS = {
    EventKind.RELEASED_TWICE: LeakKind.RELEASED_TWICE,
    EventKind.USED_AFTER: LeakKind.USED_AFTER_RELEASE,
    EventKind.NESTED: LeakKind.NESTED_CHECKOUT,
}
_MANAGING = frozenset({"contextmanager", "asynccontextmanager", "fixture"})


@dataclass(slots=True, eq=False)
class Found:
    """One acquire of a unit and all that was seen of it."""

    unit: Unit
    call: g.Call
    acquisition: Acquisition
    exploration: Exploration
    effects: Effects

    @property
    def leaks(self) -> list[Ending]:
        """Path ends at which the resource is held by nobody who will give it back."""
        return [e for e in self.exploration.endings if e.state.owed]

    @property
    def ended(self) -> bool:
        """Whether some path gives the resource back or hands it on."""
        return any(
            e.state.status in (Status.RELEASED, Status.MOVED) or e.state.paused for e in self.exploration.endings
        )

    @property
    def is_local_receiver(self) -> bool:
        """Whether what is opened was made in this function."""
        facts = self.unit.facts
        return facts is not None and self.call.receiver in facts.scope.assignments

    def stores(self) -> Iterator[tuple[str, Ending]]:
        """Attributes of self that took the resource."""
        seen = set()
        for ending in self.exploration.endings:
            attribute = ending.state.moved_to
            if ending.state.status is Status.MOVED and attribute and "." not in attribute and attribute not in seen:
                seen.add(attribute)
                yield attribute, ending


def owned_by(found: Sequence[Found]) -> tuple[tuple[Owned, ...], tuple[tuple[str, Owned], ...], tuple[Owned, ...]]:
    """What the function returns, stores on self, and checks out for itself."""
    returns: list[Owned] = []
    stores: list[tuple[str, Owned]] = []
    checks_out: list[Owned] = []
    for each in found:
        acquisition = each.acquisition
        owned = Owned(acquisition.resource.id, None, acquisition.pool, _acquire_steps(each))
        if acquisition.pool is not None and any(e.state.status is not Status.MOVED for e in each.exploration.endings):
            checks_out.append(owned)
        for ending in each.exploration.endings:
            if ending.state.status is not Status.MOVED or ending.state.moved_to is not None:
                continue
            value = ending.state.get(g.RETURN)
            if value is Hold.OWN:
                returns.append(owned)
            elif isinstance(value, Box):
                held = next((key for key, item in value.items if item is Hold.OWN), ...)
                if held is not ...:
                    beside = tuple(key for key, item in value.items if item is Hold.DERIVED)
                    returns.append(replace(owned, position=held, companions=beside))
        stores += [(attribute, owned) for attribute, _ in each.stores()]
    unique = {(o.resource, o.position): o for o in returns}
    return tuple(unique.values()), tuple(dict(stores).items()), tuple(checks_out)


def reported(found: Found, *, in_main: bool, module_level: bool) -> list[Leak]:
    """The leaks of one acquire: at most one of its release, and separate faults about it."""
    leaks = []
    main = _release_leak(found, module_level=module_level)
    if main is not None:
        leaks.append(main)
    leaks += [_fault_leak(found, *fault) for fault in found.exploration.faults if not module_level]
    return [replace(leak, severity=leak.severity.lowered()) for leak in leaks] if in_main else leaks


def stored_leak(found: Found, attribute: str, ending: Ending) -> Leak:
    """LC109: the attribute of self that nobody releases."""
    stored = next((e for e in reversed(ending.events) if e.kind is EventKind.TRANSFER), None)
    steps = list(_acquire_steps(found))
    if stored is not None:
        span = found.unit.part.span(stored.instruction.node)
        steps.append(
            Step(StepKind.STORE, found.unit.path, span, f"kept in `self.{attribute}`, which no method gives back")
        )
    return _leak(found, LeakKind.OWNER_NEVER_RELEASES, Severity.ERROR, steps, name=f"self.{attribute}")


def _release_leak(found: Found, *, module_level: bool) -> Leak | None:
    leaks = [e for e in found.leaks if e.lost is not None] if module_level else found.leaks
    if not leaks:
        return _across_yield(found)
    leaks.sort(key=lambda e: (e.state.raised, len(found.exploration.path(e.node))))
    quiet = [e for e in leaks if not e.state.raised]
    ended = found.ended
    kind, ending = LeakKind.ON_EXCEPTION, leaks[0]
    missed = [e for e in leaks if e.state.near_miss == 2 or (e.state.near_miss == 1 and not ended)]  # noqa: PLR2004
    rebound = [e for e in leaks if e.lost is not None and _rebinds(e.lost)]
    if missed:
        kind, ending = LeakKind.RELEASE_DOES_NOT_RELEASE, missed[0]
    elif found.effects.bound_to is None and (quiet or not ended):
        if not found.acquisition.certain:
            return None  # by name alone, and the value is not even kept: a lock, a signal
        kind = LeakKind.DISCARDED
    elif not ended and any(e.state.get(g.RETURN) is Hold.DERIVED for e in leaks):
        kind = LeakKind.DISCARDED
    elif not ended:
        kind = LeakKind.NEVER_RELEASED
    elif rebound:
        kind, ending = LeakKind.OVERWRITTEN, rebound[0]
    elif quiet:
        kind = LeakKind.ON_PATH
    elif _is_generator(found) and _raised_by_yields(found, leaks):
        kind = LeakKind.ACROSS_YIELD
    elif found.unit.is_entering:
        kind = LeakKind.OWNER_NEVER_RELEASES
    if found.acquisition.takes_receiver and not ended and not found.is_local_receiver:
        return None  # opened for longer than this function: a start-up hook
    severity = Severity.ERROR if quiet or not ended else Severity.WARNING
    if kind is LeakKind.ON_EXCEPTION and _only_gap(found, leaks):
        severity = Severity.NOTE
    steps = [*_acquire_steps(found), *_path_steps(found, ending)]
    cause = _cause(found, ending, kind)
    return _leak(found, kind, severity, steps, cause=cause, reason=_reason(found, ending))


def _leak(
    found: Found,
    kind: LeakKind,
    severity: Severity,
    steps: Sequence[Step],
    *,
    cause: str = "",
    reason: str = "",
    name: str | None = None,
    at: cst.CSTNode | None = None,
) -> Leak:
    part, resource = found.unit.part, found.acquisition.resource
    node = at if at is not None else found.call.node
    holder = name or found.effects.bound_to
    release = resource.release.format(name=holder or "conn", pool=found.acquisition.pool or "pool")
    return Leak(
        kind=kind,
        severity=severity,
        span=part.span(node),
        statement=part.statement(node),
        steps=tuple(steps),
        acquire=_short(found, found.call.node),
        release=release,
        name=holder,
        cause=cause,
        reason=reason,
        noun=resource.noun,
    )


def _fault_leak(found: Found, node: Node, event: Event, before: tuple[Event, ...]) -> Leak:
    kind = _FAULTS[event.kind]
    part, path = found.unit.part, found.unit.path
    steps = list(_acquire_steps(found))
    events = [e for hop in found.exploration.path(node) for e in hop.events] + list(before)
    for earlier in {id(e.instruction.node): e for e in events}.values():
        if earlier.kind is EventKind.RELEASE and event.kind is not EventKind.NESTED:
            steps.append(Step(StepKind.RELEASE, path, part.span(earlier.instruction.node), "given back here"))
    words = {
        EventKind.RELEASED_TWICE: (StepKind.RELEASE, "given back a second time"),
        EventKind.USED_AFTER: (StepKind.USE, "used after it was given back"),
        EventKind.NESTED: (StepKind.CALL, "a second checkout from the same pool while the first is held"),
    }
    step, message = words[event.kind]
    steps.append(Step(step, path, part.span(event.instruction.node), message))
    return _leak(
        found,
        kind,
        Severity.WARNING if event.kind is EventKind.NESTED or node.state.raised else Severity.ERROR,
        steps,
        cause=_short(found, event.instruction.node),
        reason=event.note,
        at=event.instruction.node,
    )


# Steps


def _acquire_steps(found: Found) -> tuple[Step, ...]:
    part, acquisition = found.unit.part, found.acquisition
    text = _short(found, found.call.node)
    if acquisition.steps:
        first = acquisition.steps[-1]
        what = f"`{text}` hands over the {acquisition.resource.noun} taken at {first.path}:{first.span.start.row}"
        return (*acquisition.steps, Step(StepKind.ACQUIRE, found.unit.path, part.span(found.call.node), what))
    return (
        Step(StepKind.ACQUIRE, found.unit.path, part.span(found.call.node), f"{acquisition.resource.noun} taken here"),
    )


def _path_steps(found: Found, ending: Ending) -> Iterator[Step]:
    part, path = found.unit.part, found.unit.path
    release = _leak_release(found)
    where: cst.CSTNode | None = None
    seen: set[int] = set()
    hops = found.exploration.path(ending.node)
    for event, hop in _history(hops, ending):
        if event is not None and event.kind is EventKind.NEAR_MISS and id(event.instruction.node) not in seen:
            seen.add(id(event.instruction.node))
            note = event.note or "leaving this `with` does not give it back"
            yield Step(StepKind.NEAR_MISS, path, part.span(event.instruction.node), note)
        if event is not None and event.kind is EventKind.BORROW and id(event.instruction.node) not in seen:
            seen.add(id(event.instruction.node))
            yield Step(StepKind.CALL, path, part.span(event.instruction.node), "does not give it back on this path")
        if hop is not None and hop.edge.raised is not None and hop.source.instructions:
            instruction = hop.source.instructions[-1]
            where = instruction.node
            if id(where) not in seen:
                seen.add(id(where))
                yield Step(StepKind.RAISE, path, part.span(where), _raise_text(found, instruction))
    if ending.lost is not None:
        how = (
            "the only name of it is bound to something else"
            if _rebinds(ending.lost)
            else "nothing refers to it from here"
        )
        kind = StepKind.OVERWRITE if _rebinds(ending.lost) else StepKind.EXIT
        yield Step(kind, path, part.span(ending.lost.node), f"{how}: lost without `{release}`")
        return
    if ending.returned:
        where = _returned_from(hops, found, ending) or _last_statement(found.unit)
    yield Step(StepKind.EXIT, path, part.span(where or found.call.node), f"leaves without `{release}`")


def _history(hops: Iterable[Hop], ending: Ending) -> Iterator[tuple[Event | None, Hop | None]]:
    for hop in hops:
        for event in hop.events:
            yield event, None
        yield None, hop
    for event in ending.events:
        yield event, None


def _returned_from(hops: Sequence[Hop], found: Found, ending: Ending) -> cst.CSTNode | None:
    """The ``return`` by which the path leaves: on it, or on the way out from where nothing mattered any more."""
    graph, constants = found.unit.graph, found.unit.constants
    blocks = [hop.source for hop in hops]
    if graph is not None and constants is not None:
        by_index = {b.index: b for b in graph.blocks}
        current = ending.node.block
        while current in constants.returning and current != constants.returning[current]:
            blocks.append(by_index[current])
            current = constants.returning[current]
    for block in reversed(blocks):
        for instruction in reversed(block.instructions):
            if (
                isinstance(instruction, g.Move)
                and instruction.target == g.RETURN
                and isinstance(instruction.node, cst.Return)
            ):
                return instruction.node
    return None


def _last_statement(unit: Unit) -> cst.CSTNode | None:
    body = getattr(unit.node, "body", None)
    statements = getattr(body, "body", body)
    node: cst.CSTNode | None = statements[-1] if isinstance(statements, (list, tuple)) and statements else None
    while isinstance(node, (cst.With, cst.If, cst.For, cst.While, cst.Try)):
        suite = node.body
        if isinstance(node, cst.Try) and (node.finalbody or node.handlers):
            suite = node.finalbody.body if node.finalbody is not None else node.handlers[-1].body
        node = suite.body[-1] if suite.body else None
    return node


def _raise_text(found: Found, instruction: g.Instruction) -> str:
    match instruction:
        case g.Call():
            return f"`{_short(found, instruction.node)}` may raise"
        case g.Await():
            return "may raise, or be cancelled here"
        case g.Yield():
            return "the consumer may stop here, or raise into it"
        case g.Point(what=what):
            return what
        case g.Iterate():
            return "the next element may fail to come"
        case g.Enter():
            return "entering this `with` may raise"
        case _:
            return "may raise"


def _short(found: Found, node: cst.CSTNode) -> str:
    if isinstance(node, cst.Await) and isinstance(node.expression, cst.Call):
        node = node.expression
    if isinstance(node, cst.Call):
        func = found.unit.part.text(node.func)
        return f"{func}({'...' if node.args else ''})"[-_TEXT_LIMIT:]
    text = found.unit.part.text(node)
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def _leak_release(found: Found) -> str:
    name, pool = found.effects.bound_to or "conn", found.acquisition.pool or "pool"
    return found.acquisition.resource.release.format(name=name, pool=pool)


def _cause(found: Found, ending: Ending, kind: LeakKind) -> str:
    if kind is LeakKind.RELEASE_DOES_NOT_RELEASE:
        for event, _ in _history(found.exploration.path(ending.node), ending):
            if event is not None and event.kind is EventKind.NEAR_MISS:
                node = event.instruction.node
                return f"with {_short(found, node.item)}" if isinstance(node, cst.WithItem) else _short(found, node)
        return ""
    if kind is LeakKind.OVERWRITTEN and ending.lost is not None:
        return _short(found, ending.lost.node)
    for hop in reversed(found.exploration.path(ending.node)):
        if hop.edge.raised is not None and hop.source.instructions:
            node = hop.source.instructions[-1].node
            if isinstance(node, (cst.Call, cst.Await)):
                return _short(found, node)
    return ""


def _reason(found: Found, ending: Ending) -> str:
    for event, _ in _history(found.exploration.path(ending.node), ending):
        if event is not None and event.kind is EventKind.NEAR_MISS and event.note:
            return event.note
    return ""


def _rebinds(instruction: g.Instruction) -> bool:
    target = getattr(instruction, "target", "%")
    return isinstance(target, str) and target[:1] not in "%#" and not isinstance(instruction, g.Forget)


# Kinds


def _is_generator(found: Found) -> bool:
    unit = found.unit
    if unit.facts is None or not unit.facts.is_generator:
        return False
    return not any(ex.last_name(d) in _MANAGING for d in unit.facts.decorators)


def _first_raises(found: Found, leaks: Sequence[Ending]) -> list[g.Instruction]:
    """Every instruction whose raising starts a path to one of the leaks."""
    targets = {e.node for e in leaks}
    reaching: set[Node] = set()
    for node, hop in found.exploration.hops.items():
        if node in targets:
            current: Node | None = node
            while current is not None and current not in reaching:
                reaching.add(current)
                hop = found.exploration.hops[current]
                current = hop.origin if hop is not None else None
    firsts: dict[int, g.Instruction] = {}
    for node in reaching:
        firsts.update(found.exploration.first_raises.get(node, {}))
    return list(firsts.values())


def _raised_by_yields(found: Found, leaks: Sequence[Ending]) -> bool:
    graph = found.unit.graph
    raising = [i for i in _first_raises(found, leaks) if isinstance(i, g.Yield)]
    return graph is not None and any(i.delegates or _in_loop(graph, i.node) for i in raising)


def _across_yield(found: Found) -> Leak | None:
    """An async generator that holds the resource over a yield in a loop, even where it releases in the end."""
    unit, graph = found.unit, found.unit.graph
    if not (unit.is_async and _is_generator(found)) or graph is None:
        return None
    if not any(depth > 0 for _, depth in graph.yields) or unit.consumed_by_aclosing:
        return None
    for hop in found.exploration.hops.values():
        if hop is None or hop.edge.raised is None or not hop.source.instructions:
            continue
        last = hop.source.instructions[-1]
        if isinstance(last, g.Yield) and hop.origin.state.status is Status.HELD and _in_loop(graph, last.node):
            steps = [
                *_acquire_steps(found),
                Step(StepKind.YIELD, unit.path, unit.part.span(last.node), "a consumer that stops here leaves it held"),
            ]
            reason = "an async generator that is left early is closed late: wrap its consumer in `aclosing()`"
            return _leak(found, LeakKind.ACROSS_YIELD, Severity.WARNING, steps, reason=reason)
    return None


def _in_loop(graph: g.ControlFlowGraph, node: cst.CSTNode) -> bool:
    return any(n is node and depth > 0 for n, depth in graph.yields)


def _only_gap(found: Found, leaks: Sequence[Ending]) -> bool:
    """Whether all that can raise stands between the acquire and the statement that protects it."""
    unit = found.unit
    raising = _first_raises(found, leaks)
    releases = [i.node for i in found.exploration.releases.values()]
    if not raising or not releases:
        return False
    last = max(unit.order(i.node) for i in raising)
    for node in walk(unit.node):
        if isinstance(node, (cst.Try, cst.TryStar)) and unit.order(node) > last:
            guards: list[cst.CSTNode] = [h.body for h in node.handlers]
            if node.finalbody is not None:
                guards.append(node.finalbody)
        elif isinstance(node, cst.With) and unit.order(node) > last:
            guards = list(node.items)
        else:
            continue
        inside = {id(n) for guard in guards for n in walk(guard)}
        if any(id(r) in inside for r in releases):
            return True
    return False
