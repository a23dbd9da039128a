"""Where a path leaves its function: at a ``return``, or at the last statement that it comes to.

A path that keeps the connection ends in the branch that it took, not in the one that stands first or last::

    if row is None:
        show("no such user")
    else:
        conn.close()

Where it went past an ``if`` without ``else``, it ends with the test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg import graph as g
from leakcheck.cfg.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leakcheck.ownership.explore import Ending, Hop
    from leakcheck.ownership.found import Found
    from leakcheck.ownership.unit import Unit

_COMPOUND = (cst.With, cst.If, cst.Else, cst.For, cst.While, cst.Try)


def place_left(found: Found, hops: Sequence[Hop], ending: Ending) -> cst.CSTNode | None:
    """The ``return`` by which the path leaves, or the statement after which it falls off the end."""
    blocks = [*(hop.source for hop in hops), *_on_the_way_out(found, ending)]
    passed = [i for block in reversed(blocks) for i in reversed(block.instructions)]
    for instruction in passed:
        returns = isinstance(instruction, g.Move) and instruction.target == g.RETURN
        if returns and isinstance(instruction.node, cst.Return):
            return instruction.node
    return _last_statement(found.unit, passed[0].node if passed else None, raised=ending.state.raised)


def _on_the_way_out(found: Found, ending: Ending) -> Iterator[g.BasicBlock]:
    """The blocks from where nothing mattered any more to the end of the function; without an exception if one can."""
    graph, constants = found.unit.graph, found.unit.constants
    if graph is None or constants is None:
        return
    by_index = {block.index: block for block in graph.blocks}
    reach, current = constants.reach, ending.node.block
    quiet = not ending.state.raised and current in reach.returning_quietly
    following = reach.returning_quietly if quiet else reach.returning
    while current in following and current != following[current]:
        yield by_index[current]
        current = following[current]


def _last_statement(unit: Unit, passed: cst.CSTNode | None, *, raised: bool) -> cst.CSTNode | None:
    """The last statement of the function, of its branches the one in which ``passed`` stands.

    Where something ``raised``, the path left the body of a ``try`` for a handler.
    """
    if isinstance(unit.node, cst.Lambda):
        return None
    statements = unit.node.body if isinstance(unit.node, cst.Module) else unit.node.body.body
    node: cst.CSTNode | None = statements[-1] if statements else None
    while isinstance(node, _COMPOUND):
        suites = list(_last_suites(node, raised=raised))
        suite = next((s for s in suites if passed is not None and any(n is passed for n in walk(s))), None)
        if suite is None and isinstance(node, cst.If) and node.orelse is None:
            return node.test  # it went past the branch
        suite = suite or suites[0]
        node = suite if isinstance(suite, cst.If) else suite.body[-1] if suite.body else None
    return node


def _last_suites(node: cst.CSTNode, *, raised: bool) -> Iterator[cst.BaseSuite | cst.If]:
    """Where the statement may end; first where it does unless the path is known to pass another."""
    match node:
        case cst.Try(finalbody=cst.Finally(body=body)):
            yield body
        case cst.Try(body=body, handlers=handlers, orelse=orelse):
            yield from (h.body for h in reversed(handlers))
            if not (raised and handlers):
                yield orelse.body if orelse is not None else body
        case cst.If(body=body, orelse=cst.If() as orelse):
            yield body
            yield orelse
        case cst.If(body=body, orelse=cst.Else(body=otherwise)):
            yield body
            yield otherwise
        case cst.With(body=body) | cst.If(body=body) | cst.For(body=body) | cst.While(body=body):
            yield body
        case _:
            return
