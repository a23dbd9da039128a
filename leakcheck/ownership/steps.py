"""The steps of a leak: from the acquire along the path to where the resource is lost, in words.

path_steps(found, ending)   →   "`conn.execute(...)` may raise", "leaves without `conn.close()`"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg import graph as g
from leakcheck.diagnostic import Step, StepKind
from leakcheck.ownership.exits import place_left
from leakcheck.ownership.leak import LeakKind
from leakcheck.ownership.obligation import EventKind
from leakcheck.ownership.state import Hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from leakcheck.ownership.explore import Ending, Hop
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.obligation import Event
    from leakcheck.ownership.unit import Unit

_TEXT_LIMIT = 60


def acquire_steps(found: Found) -> tuple[Step, ...]:
    """Where the resource was taken, through all functions that handed it over."""
    part, acquisition = found.unit.part, found.acquisition
    text = short(found.unit, found.call.node)
    if acquisition.unopened:
        what = f"{acquisition.resource.noun} made here"
        return (Step(StepKind.ACQUIRE, found.unit.path, part.span(found.call.node), what),)
    here = (found.unit.path, part.span(found.call.node))
    if acquisition.steps:
        places = [(step.path, step.span) for step in acquisition.steps]
        if here in places:
            return acquisition.steps[: places.index(here) + 1]  # functions that call each other: once is enough
        path, span = places[-1]
        what = f"`{text}` hands over the {acquisition.resource.noun} taken at {path}:{span.start.row}"
        return (*acquisition.steps, Step(StepKind.ACQUIRE, *here, what))
    return (Step(StepKind.ACQUIRE, *here, f"{acquisition.resource.noun} taken here"),)


def path_steps(found: Found, ending: Ending) -> Iterator[Step]:
    """What happens between the acquire and the path's end, and the end itself."""
    part, path = found.unit.part, found.unit.path
    release = found.release_text
    where: cst.CSTNode | None = None
    opened: cst.CSTNode | None = None
    seen: set[int] = set()
    hops = found.exploration.path(ending.node)
    for event, hop in _history(hops, ending):
        if event is not None and event.kind is EventKind.NEAR_MISS and id(event.instruction.node) not in seen:
            seen.add(id(event.instruction.node))
            note = event.note or "leaving this `with` does not give it back"
            yield Step(StepKind.NEAR_MISS, path, part.span(event.instruction.node), note)
        if event is not None and event.kind is EventKind.OPENED and id(event.instruction.node) not in seen:
            seen.add(id(event.instruction.node))
            yield from found.acquisition.steps
            opened = event.instruction.node
            yield Step(StepKind.CALL, path, part.span(opened), "opened here")
        if event is not None and event.kind is EventKind.BORROW and id(event.instruction.node) not in seen:
            seen.add(id(event.instruction.node))
            yield Step(StepKind.CALL, path, part.span(event.instruction.node), "does not give it back on this path")
        if hop is not None and hop.edge.raised is not None and hop.source.instructions:
            instruction = hop.source.instructions[-1]
            where = instruction.node
            if where is opened:
                yield Step(StepKind.RAISE, path, part.span(where), "goes on when it has opened it, and may raise then")
            elif id(where) not in seen:
                yield Step(StepKind.RAISE, path, part.span(where), _raise_text(found, instruction))
            seen.add(id(where))
        if hop is not None and hop.source.branch is not None and _finds_closed(found, hop):
            yield Step(StepKind.BRANCH, path, part.span(hop.source.branch), "closed: its pool goes on counting it")
    if ending.lost is not None:
        how = (
            "the only name of it is bound to something else"
            if rebinds(found, ending.lost)
            else "nothing refers to it from here"
        )
        kind = StepKind.OVERWRITE if rebinds(found, ending.lost) else StepKind.EXIT
        yield Step(kind, path, part.span(ending.lost.node), f"{how}: lost without `{release}`")
        return
    if ending.returned:
        where = place_left(found, hops, ending)
    yield Step(StepKind.EXIT, path, part.span(where or found.call.node), f"leaves without `{release}`")


def _history(hops: Iterable[Hop], ending: Ending) -> Iterator[tuple[Event | None, Hop | None]]:
    for hop in hops:
        for event in hop.events:
            yield event, None
        yield None, hop
    for event in ending.events:
        yield event, None


def _finds_closed(found: Found, hop: Hop) -> bool:
    """Whether the path went on where a test says that the connection is closed."""
    test = hop.edge.test
    if test is None or test.kind is not g.TestKind.OPEN or test.outcome:
        return False
    return test.subject == found.effects.bound_to or hop.origin.state.get(test.subject) is Hold.OWN


def _raise_text(found: Found, instruction: g.Instruction) -> str:
    match instruction:
        case g.Call():
            return f"`{short(found.unit, instruction.node)}` may raise"
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


def short(unit: Unit, node: cst.CSTNode) -> str:
    """The text of an expression for a message: a call without its arguments, anything else cut to its start."""
    if isinstance(node, cst.Await) and isinstance(node.expression, cst.Call):
        node = node.expression
    if isinstance(node, cst.Call):
        text = _called(unit, node.with_changes(lpar=[], rpar=[]))
        return text if len(text) <= _TEXT_LIMIT else "…" + text[1 - _TEXT_LIMIT :]
    text = unit.part.text(node)
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def _called(unit: Unit, node: cst.BaseExpression) -> str:
    """A call, or what is called, without the arguments of any call in it: ``Adapter(...).connect()``."""
    match node:
        case cst.Call(func=func, args=args, lpar=[]):
            return f"{_called(unit, func)}({'...' if args else ''})"
        case cst.Attribute(value=value, attr=attr, lpar=[]):
            return f"{_called(unit, value)}.{attr.value}"
        case _:
            return unit.part.text(node)


def cause_text(found: Found, ending: Ending, kind: LeakKind) -> str:
    """What the message names as the cause: the near miss, the new binding, or the last call that raised.

    Of a quiet path the call that gives it back elsewhere and does not here, if it comes to one.
    """
    if kind is LeakKind.ON_PATH:
        history = _history(found.exploration.path(ending.node), ending)
        lent = {found.unit.part.text(e.instruction.node) for e, _ in history if e and e.kind is EventKind.BORROW}
        return found.release_text if found.release_text in lent else ""
    if kind is LeakKind.RELEASE_DOES_NOT_RELEASE:
        for event, _ in _history(found.exploration.path(ending.node), ending):
            if event is not None and event.kind is EventKind.NEAR_MISS:
                node = event.instruction.node
                return (
                    f"with {short(found.unit, node.item)}"
                    if isinstance(node, cst.WithItem)
                    else short(found.unit, node)
                )
        return ""
    if kind is LeakKind.OVERWRITTEN and ending.lost is not None:
        return short(found.unit, ending.lost.node)
    raising = raised_by(found, ending)
    return short(found.unit, raising.node) if raising is not None else ""


def raised_by(found: Found, ending: Ending) -> g.Instruction | None:
    """The last call on the path that raised, None where it goes on since a test finds the connection closed."""
    for hop in reversed(found.exploration.path(ending.node)):
        if _finds_closed(found, hop):
            return None
        if hop.edge.raised is not None and hop.source.instructions:
            last = hop.source.instructions[-1]
            if isinstance(last.node, (cst.Call, cst.Await)):
                return last
    return None


def reason_text(found: Found, ending: Ending) -> str:
    """The driver's words for why a near miss on the path does not release."""
    for event, _ in _history(found.exploration.path(ending.node), ending):
        if event is not None and event.kind is EventKind.NEAR_MISS and event.note:
            return event.note
    return ""


def rebinds(found: Found, instruction: g.Instruction) -> bool:
    """Whether the instruction gives a name of the source, or the attribute that kept it, another value."""
    if isinstance(instruction, g.StoreAttribute):
        return found.kept_in == f"{instruction.path}.{instruction.name}"
    target = getattr(instruction, "target", "%")  # a store has none
    return isinstance(target, str) and target[:1] not in "%#" and not isinstance(instruction, g.Forget)
