"""Objects that open themselves when they are made, by a method of their own.

    def __init__(self, dsn):
        self.dsn = dsn
        self.connect()          →   True: whoever makes one owes a `close()`

Only where no path returns without that call having returned: none around an `if`, and none past an error of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.cfg.walk import walk
from leakcheck.project.facts import is_self
from leakcheck.project.names import Function

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.ownership.program import Program
    from leakcheck.project.names import Class


def opens_when_made(program: Program, cls: Class, opening: Iterable[str]) -> bool:
    """Whether making an object of the class calls one of these methods of it in any case, or fails."""
    names = frozenset(name for name in opening if _opens_or_raises(program, cls, name))
    for owner, init, _ in program.resolver.hierarchy.initialisers(cls) if names else ():
        unit = program.functions.units.of(Function(owner.path, init.qualname))
        try:
            if unit is not None and _always_calls(program.functions.units.graph(unit), names):
                return True
        except TooLargeError:
            return False
        if init.name not in init.calls:  # of a base class
            return False
    return False


def _opens_or_raises(program: Program, cls: Class, name: str) -> bool:
    """Whether a method hides no error: one that does may leave its object unopened, and whoever made it then asks."""
    for owner, facts, _ in program.resolver.hierarchy.lineage(cls):
        if name in facts.methods:
            unit = program.functions.units.of(Function(owner.path, facts.methods[name]))
            return unit is not None and all(_raises(h) for h in walk(unit.node) if isinstance(h, cst.ExceptHandler))
    return False


def _raises(handler: cst.ExceptHandler) -> bool:
    """Whether a handler ends by raising."""
    last = handler.body.body[-1]
    last = last.body[-1] if isinstance(last, cst.SimpleStatementLine) else last
    return isinstance(last, cst.Raise)


def _always_calls(graph: g.ControlFlowGraph, names: frozenset[str]) -> bool:
    """Whether no path through a function returns without one of these methods of its object having returned."""
    seen, pending = {graph.entry.index}, [graph.entry]
    while pending:
        block = pending.pop()
        if block is graph.exit:
            return False
        called = any(_is_one(instruction, names) for instruction in block.instructions)
        for edge in block.raises if called else (*block.successors, *block.raises):
            if edge.target.index not in seen:
                seen.add(edge.target.index)
                pending.append(edge.target)
    return True


def _is_one(instruction: g.Instruction, names: frozenset[str]) -> bool:
    match instruction:
        case g.Call(func=ex.Attribute(base=base, name=name)):
            return name in names and is_self(base)
        case _:
            return False
