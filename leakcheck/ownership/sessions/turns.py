"""What happens again where something is ended as it was taken: turns of a loop, and what a statement is given.

for key in keys:
    conn.execute("SELECT pg_advisory_lock(%s)", number(key))
...
for key in reversed(keys):                                      →   has a turn wherever the first one had
    conn.execute("SELECT pg_advisory_unlock(%s)", number(key))  →   `number(key)` has not raised before
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
    from collections.abc import Iterator

    from leakcheck.ownership.sessions.session import Held
    from leakcheck.ownership.sessions.statements import Statements


class Turns(Struct, frozen=True):
    """What these loops step through, by the names that the graph has for it.

    ``steps`` are the loops, the calls by which they reach it, and those that are made once more with what the taking
    statement was given: none of these raises that did not before. ``taking`` is that statement, which in a later turn
    sets once more what it has set, and ends nothing.
    """

    iterables: frozenset[str] = frozenset()
    steps: frozenset[int] = frozenset()
    taking: int = 0


NO_TURNS = Turns()


def turns(graph: g.ControlFlowGraph, taking: g.Call, held: Held, statements: Statements) -> Turns:
    """The loops that end what a call takes in a turn of another, and what it is that takes it."""
    steps = [i for block in graph.blocks for i in block.instructions if isinstance(i, g.Iterate)]
    inside = {id(step.node): {id(node) for node in walk(step.node)} for step in steps}
    own = {_collection(step.node) for step in steps if id(taking.node) in inside[id(step.node)]} - {None}
    others = [s for s in steps if _collection(s.node) in own and id(taking.node) not in inside[id(s.node)]]
    again = frozenset(_made_again(graph, taking))
    if not others:
        return Turns(steps=again, taking=id(taking.node))
    ends = ENDS[held.kind] | {SqlKind.DISCARD_ALL}
    calls = (i for block in graph.blocks for i in block.instructions if isinstance(i, g.Call))
    ending = {id(c.node) for c in calls if any(event.kind in ends for event in statements.executing(c))}
    found = [step for step in others if not ending.isdisjoint(inside[id(step.node)])]
    reached = (id(n) for s in found if isinstance(s.node, (cst.For, cst.CompFor)) for n in walk(s.node.iter))
    return Turns(
        frozenset(step.iterable for step in found), again.union((id(s.node) for s in found), reached), id(taking.node)
    )


def _made_again(graph: g.ControlFlowGraph, taking: g.Call) -> Iterator[int]:
    """The calls that are the same as one that was made to say what is taken: ``number(key)``."""
    arguments = taking.node.args if isinstance(taking.node, cst.Call) else ()
    made = {id(n): reduce(n) for argument in arguments for n in walk(argument.value) if isinstance(n, cst.Call)}
    same = [expression for expression in made.values() if expression is not ex.OPAQUE]
    calls = (i.node for block in graph.blocks for i in block.instructions if isinstance(i, g.Call)) if same else ()
    for node in calls:
        if id(node) not in made and isinstance(node, cst.Call) and reduce(node) in same:
            yield id(node)


def _collection(loop: cst.CSTNode) -> str | None:
    """The variable or path that a loop steps through: ``keys`` of ``enumerate(reversed(keys))``."""
    found = reduce(loop.iter) if isinstance(loop, (cst.For, cst.CompFor)) else None
    while isinstance(found, ex.Call):
        found = found.args[0] if found.args else found.func.base if isinstance(found.func, ex.Attribute) else None
    return ex.dotted(found) if found is not None else None
