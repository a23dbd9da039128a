"""From explored paths to leaks: which kind of fault, and how severe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec.structs import replace

from leakcheck.cfg import graph as g
from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.driver import ReleaseTwice, UseAfterRelease
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.ownership.likelihood import Likelihood, likelihood
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.queues import LENT
from leakcheck.ownership.state import Hold, Status
from leakcheck.ownership.steps import acquire_steps, cause_text, path_steps, raised_by, reason_text, rebinds, short
from leakcheck.project.facts import is_resumed

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from leakcheck.ownership.explore import Ending, Node
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.obligation import Event
    from leakcheck.ownership.unit import Unit

_FAULTS = {
    EventKind.RELEASED_TWICE: LeakKind.RELEASED_TWICE,
    EventKind.USED_AFTER: LeakKind.USED_AFTER_RELEASE,
    EventKind.NESTED: LeakKind.NESTED_CHECKOUT,
}
_ONLY_RAISE = frozenset({
    (EventKind.USED_AFTER, UseAfterRelease.RAISES.value),
    (EventKind.RELEASED_TWICE, ReleaseTwice.RAISES.value),
})  # fmt: skip
_LOST_WHERE_RAISED = frozenset({LeakKind.ON_EXCEPTION, LeakKind.OVERWRITTEN})


def reported(found: Found, *, in_main: bool, module_level: bool, within: bool = False) -> list[Leak]:
    """The leaks of one acquire: at most one of its release, and separate faults about it.

    ``within``: what self keeps was followed only since the function itself gives it back.
    """
    leaks = []
    main = _release_leak(found, module_level=module_level, within=within)
    if main is not None:
        leaks.append(main)
    expected = found.effects.callees.expected_to_raise
    faults = [f for f in found.exploration.faults if not module_level and id(f[1].instruction.node) not in expected]
    faults = [fault for fault in faults if _is_after_release(found, *fault) and not _is_reckoned_with(found, fault[1])]
    quiet = {id(event.instruction.node) for node, event, _ in faults if not node.state.raised}
    faults = [fault for fault in faults if not _is_consequence(*fault[:2], quiet, main)]
    leaks += [_fault_leak(found, *fault) for fault in faults]
    return [replace(leak, severity=leak.severity.lowered()) for leak in leaks] if in_main else leaks


def nested_leaks(found: Found) -> list[Leak]:
    """LC110 about what is lent for a block: its lender gives it back, and answers for all else."""
    faults = (fault for fault in found.exploration.faults if fault[1].kind is EventKind.NESTED)
    return [_fault_leak(found, *fault) for fault in faults]


def stored_leak(found: Found, attribute: str, ending: Ending, hook: str = "") -> Leak:
    """LC109: the attribute that nobody releases; ``hook`` is what ends the request for which it is kept."""
    stored = next((e for e in reversed(ending.events) if e.kind is EventKind.TRANSFER), None)
    steps = list(acquire_steps(found))
    whose = f"no function of `{hook}`" if hook else "no method"
    if stored is not None:
        span = found.unit.part.span(stored.instruction.node)
        steps.append(Step(StepKind.STORE, found.unit.path, span, f"kept in `{attribute}`, which {whose} gives back"))
    reason = f"give it back in a function registered with `{hook}`" if hook else ""
    return _leak(found, LeakKind.OWNER_NEVER_RELEASES, Severity.ERROR, steps, name=attribute, reason=reason)


def left_held_leak(found: Found, attribute: str, exit_unit: Unit, kind: LeakKind) -> Leak:
    """LC102 or LC103: taken for a block by a class whose exit method gives it back after some blocks only."""
    block = "raised" if kind is LeakKind.ON_EXCEPTION else "did not raise"
    at = exit_unit.node.name if isinstance(exit_unit.node, cst.FunctionDef) else exit_unit.node
    message = f"after a block that {block}, `{exit_unit.name.rpartition('.')[2]}` does not give it back"
    steps = [*acquire_steps(found), Step(StepKind.YIELD, exit_unit.path, exit_unit.part.span(at), message)]
    severity = Severity.WARNING if kind is LeakKind.ON_EXCEPTION else Severity.ERROR
    return _leak(found, kind, severity, steps, name=f"self.{attribute}")


def _release_leak(found: Found, *, module_level: bool, within: bool = False) -> Leak | None:
    leaks = [e for e in found.leaks if (e.lost is not None or not module_level) and not _skips_storing(found, e)]
    if not leaks:
        return _across_yield(found)
    if found.acquisition.claimed and not found.exploration.releases:
        return None
    leaks.sort(key=lambda e: _length(found, e))
    quiet = [e for e in leaks if not e.state.raised]
    ended = found.ended
    kind, ending = LeakKind.ON_EXCEPTION, leaks[0]
    missed = [e for e in leaks if e.state.near_miss == 2 or (e.state.near_miss == 1 and not ended)]
    rebound = [e for e in leaks if e.lost is not None and rebinds(found, e.lost)]
    suspended = _losing_yield(found, leaks) if _is_generator(found) else None
    if missed:
        kind, ending = LeakKind.RELEASE_DOES_NOT_RELEASE, missed[0]
    elif found.effects.name is None and found.kept_in is None and (quiet or not ended):
        if not found.acquisition.certain:
            return None  # by name alone, and the value is not even kept: a lock, a signal
        if _is_generator(found) and all(_is_yielded_in_loop(found, e) for e in quiet or leaks):
            return None  # whoever runs the loop has it
        if _is_never_used(found):
            return None
        kind = LeakKind.DISCARDED
    elif not ended and any(e.state.get(g.RETURN) is Hold.DERIVED for e in leaks):
        kind = LeakKind.DISCARDED
    elif not ended:
        kind = LeakKind.NEVER_RELEASED
    elif rebound:
        kind, ending = LeakKind.OVERWRITTEN, _most_telling(found, rebound)
    elif quiet:
        kind = LeakKind.ON_PATH
    elif suspended is not None:
        kind = LeakKind.ACROSS_YIELD
    elif found.effects.entering and not within:
        kind = LeakKind.OWNER_NEVER_RELEASES
    if found.acquisition.takes_receiver and not found.exploration.releases and not found.is_local_receiver:
        return None  # opened for longer than this function: a start-up hook
    severity = Severity.ERROR if quiet or not ended else Severity.WARNING
    if kind is LeakKind.ON_EXCEPTION or (kind is LeakKind.OWNER_NEVER_RELEASES and found.effects.entering):
        ending = _most_telling(found, leaks)
    gap = kind is LeakKind.ON_EXCEPTION and _only_gap(found, leaks)
    if gap or (kind is LeakKind.ON_EXCEPTION and _only_handing_on(found, leaks)):
        severity = Severity.NOTE
    if kind is LeakKind.ACROSS_YIELD and suspended is not None:
        steps = [*acquire_steps(found), _suspension(found, suspended)]
    else:
        steps = [*acquire_steps(found), *path_steps(found, ending)]
    cause = cause_text(found, ending, kind)
    name = found.kept_in if found.effects.name is None else None
    handed_on = any(e.state.status is Status.MOVED and not e.state.raised for e in found.exploration.endings)
    leak = _leak(found, kind, severity, steps, cause=cause, reason=reason_text(found, ending), name=name)
    return replace(leak, gap=gap, handed_on=handed_on)


def _length(found: Found, ending: Ending) -> tuple[bool, int, int]:
    """How much a path asks one to believe: the exceptions on it, of which a callee may hide the one, and its steps."""
    path, raised = found.exploration.path(ending.node), ending.state.raised
    return raised, max(raised, sum(hop.edge.raised is not None for hop in path)), len(path)


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
    holder = name or found.effects.name
    release = resource.release.format(name=holder or "conn", pool=found.pool_text)
    if holder is not None and holder in (found.effects.name, found.kept_in):
        release = found.release_text
    return Leak(
        kind=kind,
        severity=severity,
        span=part.span(node),
        statement=part.statement(node),
        steps=tuple(steps),
        acquire=short(found.unit, found.call.node),
        release=release,
        name=holder,
        cause=cause,
        reason=reason,
        noun=resource.noun,
        function="" if isinstance(found.unit.node, cst.Module) else found.unit.name,
        resource=resource.id,
    )


def _is_after_release(found: Found, node: Node, event: Event, before: tuple[Event, ...]) -> bool:
    """Whether something gave it back before, where the fault is about that: a test that finds it closed does not."""
    if event.kind is EventKind.NESTED:
        return True
    events = (*(e for hop in found.exploration.path(node) for e in hop.events), *before)
    return any(e.kind is EventKind.RELEASE for e in events)


def _is_consequence(node: Node, event: Event, quiet: Container[int], main: Leak | None) -> bool:
    """Whether a second checkout is made after something raised only, and the first is lost where something raises.

    ``quiet``: where faults are met, too, though nothing raised.
    """
    if event.kind is not EventKind.NESTED or not node.state.raised:
        return False
    if main is None or main.severity is Severity.NOTE:  # only a gap: it is given back behind
        return id(event.instruction.node) in quiet
    return id(event.instruction.node) in quiet or main.kind in _LOST_WHERE_RAISED


def _is_reckoned_with(found: Found, event: Event) -> bool:
    """Whether it does no more than raise after the release, and the code goes on where it does."""
    return (event.kind, event.note) in _ONLY_RAISE and id(event.instruction.node) in found.effects.callees.tried


def _fault_leak(found: Found, node: Node, event: Event, before: tuple[Event, ...]) -> Leak:
    kind = _FAULTS[event.kind]
    part, path = found.unit.part, found.unit.path
    steps = list(acquire_steps(found))
    events = [e for hop in found.exploration.path(node) for e in hop.events] + list(before)
    steps += [
        Step(StepKind.RELEASE, path, part.span(earlier.instruction.node), "given back here")
        for earlier in {id(e.instruction.node): e for e in events}.values()
        if earlier.kind is EventKind.RELEASE and event.kind is not EventKind.NESTED
    ]
    words = {
        EventKind.RELEASED_TWICE: (StepKind.RELEASE, "given back a second time"),
        EventKind.USED_AFTER: (StepKind.USE, "used after it was given back"),
        EventKind.NESTED: (StepKind.CALL, "a second checkout from the same pool while the first is held"),
    }
    step, message = words[event.kind]
    steps += [Step(step, path, part.span(event.instruction.node), message), *event.steps]
    return _leak(
        found,
        kind,
        Severity.WARNING if event.kind is EventKind.NESTED or node.state.raised else Severity.ERROR,
        steps,
        cause=short(found.unit, event.instruction.node),
        reason=event.note,
        at=event.instruction.node,
    )


def _is_generator(found: Found) -> bool:
    facts = found.unit.facts
    return facts is not None and facts.is_generator and not is_resumed(facts)


def _is_never_used(found: Found) -> bool:
    """Whether it is bound to nothing, and that loses nothing.

    A session takes a connection at its first statement; who only empties a queue has what lay in it elsewhere.
    """
    graph, held, resource = found.unit.graph, found.call.target, found.acquisition.resource
    if graph is None or (resource.use_after_release is not UseAfterRelease.REOPENS and resource.id not in LENT):
        return False
    calls = (i for block in graph.blocks for i in block.instructions if isinstance(i, g.Call))
    return not any(held in (call.receiver, *(a.operand for a in call.arguments)) for call in calls)


def _is_yielded_in_loop(found: Found, ending: Ending) -> bool:
    """Whether the last reference to it is what a loop yields."""
    graph = found.unit.graph
    return graph is not None and isinstance(ending.lost, g.Yield) and _in_loop(graph, ending.lost.node)


def _skips_storing(found: Found, ending: Ending) -> bool:
    """Whether a path keeps it only since a loop has no turn that stores it in each: of a list that is never empty."""
    tests = [hop.edge.test for hop in found.exploration.path(ending.node)]
    looped = [t for t in tests if t is not None and t.kind is g.TestKind.ITERATES]
    skipped = {t.subject for t in looped if not t.outcome} - {t.subject for t in looped if t.outcome}
    return not ending.state.raised and bool(skipped) and not skipped.isdisjoint(_storing_loops(found))


def _storing_loops(found: Found) -> Iterator[str]:
    """What those loops go over of which every turn puts it in an attribute, whatever else is the case."""
    for ending in found.exploration.endings:
        stored = (e for e in ending.events if e.kind is EventKind.TRANSFER)
        if any(isinstance(e.instruction, g.StoreAttribute) for e in stored):
            branches = (h for h in reversed(found.exploration.path(ending.node)) if len(h.source.successors) > 1)
            last = next((hop.edge.test for hop in branches), None)
            if last is not None and last.kind is g.TestKind.ITERATES and last.outcome:
                yield last.subject


def _only_handing_on(found: Found, leaks: Sequence[Ending]) -> bool:
    """Whether only what puts it where others see to it can raise, before it does so."""
    raising = _first_raises(found, leaks)
    return bool(raising) and all(id(i.node) in found.exploration.handed_on for i in raising)


def _first_raises(found: Found, leaks: Sequence[Ending]) -> list[g.Instruction]:
    """Every instruction whose raising starts a path to one of the leaks."""
    targets = {e.node for e in leaks}
    reaching: set[Node] = set()
    for node in found.exploration.hops:
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


def _losing_yield(found: Found, leaks: Sequence[Ending]) -> g.Yield | None:
    """A ``yield`` at which a consumer that stops early leaves it held."""
    graph = found.unit.graph
    raising = [i for i in _first_raises(found, leaks) if isinstance(i, g.Yield)] if graph is not None else []
    return next((i for i in raising if graph is not None and (i.delegates or _in_loop(graph, i.node))), None)


def _suspension(found: Found, last: g.Yield) -> Step:
    span = found.unit.part.span(last.node)
    return Step(StepKind.YIELD, found.unit.path, span, "a consumer that stops here leaves it held")


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
            steps = [*acquire_steps(found), _suspension(found, last)]
            reason = "an async generator that is left early is closed late: wrap its consumer in `aclosing()`"
            return _leak(found, LeakKind.ACROSS_YIELD, Severity.WARNING, steps, reason=reason)
    return None


def _in_loop(graph: g.ControlFlowGraph, node: cst.CSTNode) -> bool:
    return any(n is node and depth > 0 for n, depth in graph.yields)


def _most_telling(found: Found, leaks: Sequence[Ending]) -> Ending:
    """Of the paths that end as the first does, the one on which a statement raises: one believes it sooner."""
    first, statements = leaks[0], found.effects.callees.statements
    alike = [e for e in leaks if _manner(e) == _manner(first)]
    raising = [(raised_by(found, ending), ending) for ending in alike]
    told = [(likelihood(instruction, statements), ending) for instruction, ending in raising if instruction is not None]
    likeliest = max((how for how, _ in told), default=Likelihood.HARDLY)
    return next((ending for how, ending in told if how is likeliest), first)


def _manner(ending: Ending) -> tuple[object, ...]:
    """How a path ends: in which place, unless an exception leaves the function, from wherever that comes."""
    leaves_raising = ending.state.raised and not ending.returned and ending.lost is None
    return (ending.returned, ending.lost, None if leaves_raising else ending.node.block)


def _only_gap(found: Found, leaks: Sequence[Ending]) -> bool:
    """Whether all that can raise stands between the acquire and the statement that protects it."""
    unit = found.unit
    raising = _first_raises(found, leaks)
    releases = [i.node for i in found.exploration.releases.values()]
    if not raising or not releases:
        return False
    places = [unit.order(i.node) for i in raising]
    protecting = [p for p in unit.protections if any(id(r) in p.guards for r in releases)]
    if any(p.first < place <= p.last for p in protecting for place in places):
        return False  # it was protected, and what gives it back did not come so far
    return any(p.first > max(places) for p in protecting)
