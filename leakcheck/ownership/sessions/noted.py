"""What an object notes of the transaction on its connection: a flag, a counter.

    def run(self):
        self.begin()                       →   `begin` assigns `self.active`, so that tests of it are
        ...                                    about this transaction
        if self.active: self.rollback()

Where such a test decides whether the transaction is ended, the object knows that it need not be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.ownership.sessions import connections
from leakcheck.project.facts import is_property
from leakcheck.project.names import Class, Function

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.project.facts import ClassFacts, ModuleFacts

_STATUS = ".transaction_status"
"""What `conn.info` of psycopg tells."""


def noted_in(unit: Unit, graph: g.ControlFlowGraph, names: Iterable[str], program: Program) -> frozenset[str]:
    """The subjects of tests that ask for what is noted of a transaction, by itself or by what holds its connection."""
    asking = {s for s, reads in graph.condition_reads.items() if _asks(reads)}
    holders = {holder for holder, _, attribute in (n.rpartition(".") for n in names) if holder and attribute}
    if not holders or not graph.condition_reads:
        return frozenset(asking)
    noted: set[str] = set()
    for instruction in (i for block in graph.blocks for i in block.instructions):
        match instruction:
            case g.StoreAttribute(path=path, name=name) if path in holders:
                noted.add(f".{name}")
            case g.Call(func=ex.Attribute(base=base)) if ex.dotted(base) in holders:
                for symbol in program.resolver.resolve(instruction.func, unit.scope):
                    if isinstance(symbol, Function):
                        noted.update(f".{name}" for name in _noted_by(symbol, program))
            case _:
                pass
    return frozenset(asking.union(s for s, reads in graph.condition_reads.items() if not noted.isdisjoint(reads)))


def _asks(reads: frozenset[str]) -> bool:
    """Whether a test asks the connection, or its transaction, whether one is open."""
    return _STATUS in reads or (".is_active" in reads and any(map(_is_named, reads)))


def _is_named(read: str) -> bool:
    """Whether a name or attribute that a test reads says that it is a transaction, or a session."""
    return connections.is_word(read.removeprefix("."))


def _noted_by(method: Function, program: Program) -> set[str]:
    """The attributes that a method assigns, and the properties that tell of them."""
    facts, _ = program.resolver.function(method)
    if facts is None or facts.owner is None:
        return set()
    found = set[str]()
    for _, owner, module in program.resolver.hierarchy.lineage(Class(method.path, facts.owner)):
        assigned = {n for n, values in owner.attributes.items() if any(by == facts.qualname for _, by in values)}
        found |= assigned | _telling(owner, module, assigned)
    return found


def _telling(owner: ClassFacts, module: ModuleFacts, noted: set[str]) -> set[str]:
    """The properties of a class that give one of these attributes."""
    found = set[str]()
    for name, qualname in owner.methods.items():
        function = module.functions.get(qualname)
        if function is not None and is_property(function):
            given = {ex.last_name(value) for value in function.returned}
            if not noted.isdisjoint(given):
                found.add(name)
    return found
