"""Loops that end, turn by turn, what another loop over the same collection took.

for key in keys:
    conn.execute("SELECT pg_advisory_lock(%s)", key)
...
for key in reversed(keys):      →   has a turn wherever the first one had
    conn.execute("SELECT pg_advisory_unlock(%s)", key)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import reduce, walk
from leakcheck.ownership.sessions.session import ENDS
from leakcheck.sql.event import SqlKind

if TYPE_CHECKING:
    from leakcheck.ownership.sessions.session import Held
    from leakcheck.ownership.sessions.statements import Statements


class Turns(Struct, frozen=True):
    """What these loops step through, by the names that the graph has for it.

    ``steps`` are the loops, and the calls by which they reach it: none of these raises that did not before.
    """

    iterables: frozenset[str] = frozenset()
    steps: frozenset[int] = frozenset()


NO_TURNS = Turns()


def turns(graph: g.ControlFlowGraph, taking: g.Call, held: Held, statements: Statements) -> Turns:
    """The loops that end what a call takes in a turn of another."""
    steps = [i for block in graph.blocks for i in block.instructions if isinstance(i, g.Iterate)]
    inside = {id(step.node): {id(node) for node in walk(step.node)} for step in steps}
    own = {_collection(step.node) for step in steps if id(taking.node) in inside[id(step.node)]} - {None}
    others = [s for s in steps if _collection(s.node) in own and id(taking.node) not in inside[id(s.node)]]
    if not others:
        return NO_TURNS
    ends = ENDS[held.kind] | {SqlKind.DISCARD_ALL}
    calls = (i for block in graph.blocks for i in block.instructions if isinstance(i, g.Call))
    ending = {id(c.node) for c in calls if any(event.kind in ends for event in statements.executing(c))}
    found = [step for step in others if not ending.isdisjoint(inside[id(step.node)])]
    reached = (id(n) for s in found if isinstance(s.node, (cst.For, cst.CompFor)) for n in walk(s.node.iter))
    return Turns(frozenset(step.iterable for step in found), frozenset((*(id(s.node) for s in found), *reached)))


def _collection(loop: cst.CSTNode) -> str | None:
    """The variable or path that a loop steps through: ``keys`` of ``enumerate(reversed(keys))``."""
    found = reduce(loop.iter) if isinstance(loop, (cst.For, cst.CompFor)) else None
    while isinstance(found, ex.Call):
        found = found.args[0] if found.args else found.func.base if isinstance(found.func, ex.Attribute) else None
    return ex.dotted(found) if found is not None else None
