"""Which project functions an exception can leave.

    def quiet_close(conn):
        try: conn.close()
        except Exception: log.warning("...")     →   cannot raise

A call that cannot raise ends no path of its caller. One that is given None, of which the function calls a method, does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import libcst as cst
from msgspec import Struct

from leakcheck import expression as ex
from leakcheck.cfg import graph as g
from leakcheck.cfg.builder import TooLargeError
from leakcheck.ownership.arguments import displays, known_of
from leakcheck.ownership.constants import LITERALS
from leakcheck.ownership.state import Fact, State, Value
from leakcheck.project.facts import is_static
from leakcheck.project.hierarchy import initialiser_in
from leakcheck.project.names import Class, Function
from leakcheck.source import Source

if TYPE_CHECKING:
    from leakcheck.ownership.callees import Callees
    from leakcheck.ownership.constants import Constants
    from leakcheck.ownership.program import Program
    from leakcheck.ownership.unit import Unit
    from leakcheck.ownership.units import Units
    from leakcheck.project.names import Scope


Known = State | Mapping[str, Value]
_PLAIN = frozenset({"staticmethod", "classmethod", "override"})
"""Decorators that leave a function what it is."""
_CATCHES_ALL = re.compile(r"\bexcept\s*:|\b(?:except|suppress)\b[^:\n]*\b(?:Base)?Exception\b")
"""What the text of a function has that calls something which raises, and cannot raise itself."""


class Ways(Struct, frozen=True):
    """How a call of a project function may end."""

    returns: bool = True
    raises: bool = True


class Raising:
    """Answers once for each function; while an answer is being found (recursion) the function may raise."""

    def __init__(self, program: Program, units: Units) -> None:
        self._program = program
        self._units = units
        self._raising: dict[tuple[str, str, frozenset[str]], bool] = {}
        self._given_none: dict[tuple[str, str, frozenset[str]], Ways] = {}

    def may_raise(self, function: Function) -> bool:
        """Whether an exception can leave a project function; a body that only does what cannot raise has none.

        Of a generator, before it first yields: that is what entering a context manager runs.
        """
        return self._may_raise(function, frozenset())

    def may_raise_called(self, function: Function, call: g.Call) -> bool:
        """Whether an exception can leave this call of a project function."""
        facts, _ = self._program.resolver.function(function)
        if facts is None:
            return True
        return self._may_raise(function, displays(facts, call, bound=function.bound and not is_static(facts)))

    def given_none(self, function: Function, call: g.Call, known: Known) -> Ways | None:
        """How a call of a project function may end that is given None; None where it is not, or nothing is known."""
        if not any((LITERALS.get(a.operand) or known.get(a.operand)) is Fact.NONE for a in call.arguments):
            return None
        facts, _ = self._program.resolver.function(function)
        if facts is None or facts.is_generator or any(ex.last_name(d) not in _PLAIN for d in facts.decorators):
            return None
        told = known_of(facts, call, known, bound=function.bound and not is_static(facts))
        nones = frozenset(name for name, fact in told if fact is Fact.NONE)
        key = (function.path, function.qualname, nones)
        if nones and key not in self._given_none:
            self._given_none[key] = Ways()  # what a recursive call sees
            unit = self._units.of(function)
            if unit is not None:
                self._given_none[key] = self._ways(unit, nones=nones)
        return self._given_none.get(key)

    def _may_raise(self, function: Function, lists: frozenset[str]) -> bool:
        """As ``may_raise``, where these parameters are lists: looping over one does not raise."""
        key = (function.path, function.qualname, lists)
        if key not in self._raising:
            self._raising[key] = True
            unit = self._units.of(function) if self._may_be_quiet(function) else None
            if unit is not None:
                self._raising[key] = self._ways(unit, lists).raises
        return self._raising[key]

    def _may_be_quiet(self, function: Function) -> bool:
        """Whether all that it calls is quiet, or it seems to catch what that raises, before LibCST parses anything."""
        facts, scope = self._program.resolver.function(function)
        source = self._program.source(function.path)
        if facts is None or scope is None or not isinstance(source, Source):
            return False
        if _CATCHES_ALL.search(source.rows(facts.first_row, facts.last_row)) is not None:
            return True
        return all(self._is_quiet(name, e, scope) for name, found in facts.calls.items() for e in found)

    def may_raise_building(self, cls: Class) -> bool:
        """Whether an exception can leave the construction of a project class: what its ``__init__`` does."""
        hierarchy = self._program.resolver.hierarchy
        if hierarchy.has_unknown_base(cls, _is_standard):
            return True
        for owner, facts, _ in hierarchy.lineage(cls):
            if "__new__" in facts.methods:
                return True
            name = initialiser_in(facts)
            if name is not None:
                return self.may_raise(Function(owner.path, facts.methods[name], bound=True))
        return bool(hierarchy.external_bases(cls))

    def may_raise_entering(self, cls: Class) -> bool:
        """Whether an exception can leave what entering an object of a project class runs."""
        for owner, facts, _ in self._program.resolver.hierarchy.lineage(cls):
            name = next((n for n in ("__enter__", "__aenter__") if n in facts.methods), None)
            if name is not None:
                return self.may_raise(Function(owner.path, facts.methods[name], bound=True))
        return True

    def _is_quiet(self, name: str, callee: ex.Expression, scope: Scope) -> bool:
        """Whether calling ``callee`` is taken not to raise, before anything of it is parsed by LibCST."""
        calls = self._program.calls
        if calls.says_release(name) or calls.is_non_raising(ex.dotted(callee) or name):
            return True
        symbols = self._program.resolver.resolve(callee, scope)
        return bool(symbols) and all(
            (isinstance(s, Function) and not self.may_raise(s))
            or (isinstance(s, Class) and not self.may_raise_building(s))
            for s in symbols
        )

    def _ways(self, unit: Unit, lists: frozenset[str] = frozenset(), nones: frozenset[str] = frozenset()) -> Ways:
        """Which ends of its graph some way reaches; these parameters are lists, and these None."""
        try:
            graph = self._units.graph(unit)
        except TooLargeError:
            return Ways()
        constants, callees = self._units.constants(unit), self._units.callees(unit)
        if nones:
            constants = constants.entered_with(dict.fromkeys(nones, Fact.NONE))
        reached = reachable(graph, constants, callees, until_yield=graph.is_generator, lists=lists)
        return Ways(graph.exit.index in reached, graph.failure.index in reached)


def reachable(
    graph: g.ControlFlowGraph,
    constants: Constants,
    callees: Callees,
    *,
    until_yield: bool = False,
    lists: frozenset[str] = frozenset(),
) -> set[int]:
    """The blocks that some path reaches on which only that raises which can; ``lists`` are names of lists."""
    seen, stack = {graph.entry.index}, [graph.entry]
    while stack:
        block = stack.pop()
        last = block.instructions[-1] if block.instructions else None
        if until_yield and isinstance(last, g.Yield):
            continue
        quiet = last is not None and (callees.is_quiet_instruction(last) or _loops_over(last, lists))
        if quiet and isinstance(last, g.Call):
            given = callees.ways_given_none(last, constants.before(block, len(block.instructions) - 1))
            quiet = not constants.dereferences_none(block) and (given is None or not given.raises)
        raises = not block.raises or not quiet
        for edge in constants.taken(block):
            if (edge.raised is None or raises) and edge.target.index not in seen:
                seen.add(edge.target.index)
                stack.append(edge.target)
    return seen


def _loops_over(instruction: g.Instruction, names: frozenset[str]) -> bool:
    node = instruction.node
    return isinstance(node, cst.For) and isinstance(node.iter, cst.Name) and node.iter.value in names


def _is_standard(base: str) -> bool:
    return base.partition(".")[0] in sys.stdlib_module_names
