"""Whether what hands out a new connection may hand out one that others have, too: closing that one would take it away.

    def connection(self, name):
        if name in self._open:
            return self._open[name]          shared
        return sqlite3.connect(self._path)   the caller's own

What a function reads from an object, a container or the module, and returns, is kept there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck.cfg import graph as g
from leakcheck.diagnostic import Applicability
from leakcheck.fixes.by_itself import found_at
from leakcheck.fixes.tree import RefusedError
from leakcheck.ownership.perhaps_none import returned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leakcheck.fixes.region import Region
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit

_READING = frozenset({"get", "setdefault"})
"""Methods of containers that leave in them what they give."""


def shared(region: Region, program: Program) -> Iterator[tuple[Applicability, str]]:
    """What speaks for leaving it to a reader. Raises RefusedError where nothing gave back what may be shared."""
    for step in region.found.acquisition.steps:
        try:
            unit, _ = found_at(step, program)
        except RefusedError:
            continue
        if unit.facts is None or not _hands_out_kept(unit, program):
            continue
        row, name = region.tree.row(region.call), unit.facts.name
        reason = f"line {row} may be given one that `{name}()` keeps and hands out again"
        if not any(region.holds(node) for node in region.removed.values()):
            raise RefusedError(reason)
        yield Applicability.UNSAFE, reason


def _hands_out_kept(unit: Unit, program: Program) -> bool:
    """Whether a function returns, on some way, what it reads from where others find it."""
    units = program.functions.units
    graph, constants = units.graph(unit), units.constants(unit)
    instructions = [i for block in graph.blocks for i in block.instructions]
    made = {i.target for i in instructions if isinstance(i, (g.Call, g.Await, g.Build, g.Enter, g.Iterate))}
    taken = {id(found.call.node) for found in program.functions.found(unit).found}
    facts = unit.facts
    own = {*facts.scope.assignments, *(one.name for one in facts.parameters)} if facts is not None else set()

    def is_outside(name: str) -> bool:
        return facts is not None and name.isidentifier() and name not in own

    def gives(instruction: g.Instruction) -> bool:
        match instruction:
            case g.LoadItem(base=base) | g.LoadAttribute(base=base):
                return base not in made
            case g.Call(receiver=str(base), method=method):
                return method in _READING and base not in made and id(instruction.node) not in taken
            case _:
                return False

    return bool(returned(graph, constants, is_outside, gives))
