"""Loops that leave an async generator of the project while it holds a resource.

    async for session in get_session():     the generator sleeps at its `yield`, and its `finally` runs some time later,
        return await load(session)          when the event loop comes to close it

A sync generator is closed when its last reference goes; an async one needs ``aclosing`` around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg.walk import reduce, walk
from leakcheck.diagnostic import Severity, Step, StepKind
from leakcheck.ownership.leak import Leak, LeakKind
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.summary import Owned
    from leakcheck.ownership.unit import Unit

_REASON = "an async generator that is left early is closed late: iterate over `aclosing(...)` of it"


def left_early(program: Program, unit: Unit) -> Iterator[Leak]:
    """LC111: a loop over a generator that lends what it holds, with a way out before the generator's end."""
    if not unit.is_async:
        return
    nested = {id(n) for f in walk(unit.node) if _is_scope(f, unit) for n in walk(f)}
    for loop in walk(unit.node):
        if not isinstance(loop, cst.For) or loop.asynchronous is None or id(loop) in nested:
            continue
        way_out = _way_out(loop)
        owned = _lent(program, unit, loop.iter) if way_out is not None else None
        if owned is None or way_out is None:
            continue
        part, text = unit.part, f"{unit.part.text(loop.iter.func)}()" if isinstance(loop.iter, cst.Call) else ""
        steps = (
            *owned.steps,
            Step(StepKind.ACQUIRE, unit.path, part.span(loop.iter), f"`{text}` lends what it holds"),
            Step(StepKind.EXIT, unit.path, part.span(way_out), "leaves the generator suspended"),
        )
        resource = program.functions.owners.resource(owned.resource)
        yield Leak(
            kind=LeakKind.ACROSS_YIELD,
            severity=Severity.WARNING,
            span=part.span(loop.iter),
            statement=part.statement(loop.iter),
            steps=steps,
            acquire=text,
            release=f"aclosing({text})",
            name=None,
            cause="",
            reason=_REASON,
            noun=resource.noun,
        )


def _is_scope(node: cst.CSTNode, unit: Unit) -> bool:
    return isinstance(node, (cst.FunctionDef, cst.Lambda)) and node is not unit.node


def _lent(program: Program, unit: Unit, iterated: cst.BaseExpression) -> Owned | None:
    """What the generator of this call holds, where it is not reported itself for a `yield` in a loop."""
    call = reduce(iterated)
    if not isinstance(call, ex.Call):
        return None
    for symbol in program.resolver.resolve(call.func, unit.scope):
        if not isinstance(symbol, Function):
            continue
        summary, generator = program.summary(symbol), program.functions.units.of(symbol)
        if summary is None or not (summary.is_async and summary.yields) or summary.manages or generator is None:
            continue
        graph = program.functions.graph(generator)
        if all(depth == 0 for _, depth in graph.yields):
            lent = program.acquisitions.handed_over(symbol, call, summary.yields[0], unit.scope)
            return None if program.functions.stand_ins.take(unit, call, lent) else summary.yields[0]
    return None


def _way_out(loop: cst.For) -> cst.CSTNode | None:
    """A ``break`` of this loop, or a ``return`` inside it."""
    stack: list[tuple[cst.CSTNode, bool]] = [(loop.body, False)]
    while stack:
        node, inner = stack.pop()
        if isinstance(node, cst.Return) or (isinstance(node, cst.Break) and not inner):
            return node
        if isinstance(node, (cst.FunctionDef, cst.Lambda, cst.ClassDef)):
            continue
        within = inner or isinstance(node, (cst.For, cst.While))
        stack.extend((child, within) for child in reversed(node.children))
    return None
